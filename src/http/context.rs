//! The context of a request, as every API gets it.

use super::concurrency_limit::OwnedPermit;
use super::error::HttpError;
use super::forwarded::PublicOrigin;
use super::request_ids::RequestIds;
use super::request_observer::RequestObserver;
use actix_web::HttpRequest;
use actix_web::web::Payload;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// One request on its way to an API.
pub struct RequestContext<'r> {
    /// Method, URI and headers.
    pub request: &'r HttpRequest,
    /// The body, unread.
    pub payload: Payload,
    /// The request's ids.
    pub ids: &'r RequestIds,
    /// Takes what metrics and access log show of the request.
    pub observer: &'r RequestObserver<'r>,
    /// The address that the client knows this gateway by.
    pub origin: PublicOrigin<'r>,
    /// When the request arrived and when it must be answered.
    pub timing: RequestTiming,
    /// The request's place among `server.max_in_flight`. A task that works for the request holds a
    /// clone, so that it counts also when its client has left.
    pub permit: Arc<OwnedPermit>,
}

/// When a request arrived and when it must be answered.
#[derive(Debug, Clone, Copy)]
pub struct RequestTiming {
    /// When its head was read.
    pub received_at: Instant,
    /// When its response must be there.
    pub deadline: Instant,
}

impl RequestContext<'_> {
    /// The raw query string, without the question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        self.request.uri().query().unwrap_or_default()
    }

    /// The address of the other end of the connection: the client, or a proxy before it.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.request.peer_addr()
    }
}

impl fmt::Debug for RequestContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold tokens.
        f.debug_struct("RequestContext")
            .field("method", self.request.method())
            .field("path", &self.request.path())
            .field("ids", self.ids)
            .finish_non_exhaustive()
    }
}

/// The outcome of `work`, or [`HttpError::Timeout`] at `deadline`.
pub async fn with_deadline<T, E: From<HttpError>>(
    deadline: Instant,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout_at(deadline, work)
        .await
        .unwrap_or_else(|_| Err(HttpError::Timeout.into()))
}
