//! The errors of the HTTP layer itself. Each API puts them in its own fault format.

use super::concurrency_limit::LimitReached;
use super::forwarded::InvalidHost;
use thiserror::Error;

/// Why a request is rejected or aborted before or beside an API's own rules.
///
/// Use one of these for a request that every API would reject: too many requests, a target, a body or a
/// response that is too large, a deadline that passed, a bug. Rules of one API have their own errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HttpError {
    /// More requests at a time than `server.max_in_flight`.
    #[error("too many requests are in flight")]
    Overloaded,
    /// Path and query are longer than `server.max_uri`.
    #[error("the URI of the request is too long")]
    UriTooLong,
    /// The `Host` header is not a host.
    #[error(transparent)]
    InvalidHost(#[from] InvalidHost),
    /// Responses hold `server.max_response_memory`.
    #[error("responses hold too much memory")]
    ResponseMemoryFull,
    /// The body took longer than `server.body_timeout`.
    #[error("the body of the request did not arrive in time")]
    BodyTimeout,
    /// The body is larger than `server.max_body`.
    #[error("the body of the request is too large")]
    BodyTooLarge,
    /// The body ended early.
    #[error("the body of the request is incomplete")]
    BodyIncomplete,
    /// The request was not answered within `server.request_timeout`.
    #[error("the request was not answered in time")]
    Timeout,
    /// A bug: the task that answers ended early.
    #[error("a task ended early")]
    Internal,
}

impl From<LimitReached> for HttpError {
    fn from(_: LimitReached) -> Self {
        Self::Overloaded
    }
}
