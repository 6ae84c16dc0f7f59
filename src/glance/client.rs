//! The calls to Glance.

use super::endpoint_pools::EndpointPools;
use super::error::GlanceError;
use super::image_document::ImageDocument;
use super::image_id::ImageId;
use super::patch::{self, PatchOp};
use super::query::{Endpoint, ImageQuery};
use crate::telemetry::upstream_time::UpstreamTime;
use crate::upstream::{
    self, CallOptions, Idempotency, Response, TransportError, UpstreamCounters, UpstreamPolicy,
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const AUTH_TOKEN: &str = "X-Auth-Token";
const SERVICE_TOKEN: &str = "X-Service-Token";
const REQUEST_ID: &str = "X-Openstack-Request-Id";

/// For whom, where and until when Glance is called.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The Glance that is asked: the first of the configured endpoints, which stands for all of
    /// them, or the one of the token's catalog. Which of several answers is not to be seen in links
    /// or keys.
    pub endpoint: Endpoint,
    /// The client's token, marked sensitive; none when the gateway runs without tokens.
    pub token: Option<HeaderValue>,
    /// A service's token that speaks for the client's, marked sensitive: with it Glance accepts a
    /// token that access rules limit, or that has expired.
    pub service_token: Option<HeaderValue>,
    /// The id that ties Glance's log lines to this request.
    pub request_id: HeaderValue,
    /// When the whole request must be answered.
    pub deadline: Instant,
    /// Where the time spent in calls adds up.
    pub spent: UpstreamTime,
}

/// Limits of the calls, from the `[glance]` settings.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Longest time for one call.
    pub timeout: Duration,
    /// Largest answer, in bytes.
    pub max_answer: usize,
    /// Images asked for in one page, at most 1000.
    pub page_size: u64,
    /// Longest list.
    pub max_images: u64,
}

/// A client of the Image service; clones share connections.
#[derive(Debug, Clone)]
pub struct GlanceClient {
    client: upstream::InstrumentedClient,
    pub(super) call: CallLimits,
    services: Arc<EndpointPools>,
}

impl GlanceClient {
    /// A client with these limits. `configured` are the endpoints of the one Glance that there is,
    /// unless callers bring their own; the first of them stands for all in [`CallContext::endpoint`].
    #[must_use]
    pub fn new(
        client: upstream::InstrumentedClient,
        call: CallLimits,
        configured: Vec<Endpoint>,
        rules: UpstreamPolicy,
    ) -> Self {
        let services = Arc::new(EndpointPools::new(configured, rules));
        Self {
            client,
            call,
            services,
        }
    }

    /// What happened on the way to Glance so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<UpstreamCounters> {
        self.services.counters()
    }

    /// When a write for `caller` that begins now is over.
    #[must_use]
    pub fn deadline(&self, caller: &CallContext) -> Instant {
        caller.deadline.min(Instant::now() + self.call.timeout)
    }

    /// `GET /v2/images/{id}`
    pub async fn show(
        &self,
        caller: &CallContext,
        id: &ImageId,
    ) -> Result<ImageDocument, GlanceError> {
        let answer = self
            .send(caller, Method::GET, &image_path(id), None)
            .await?;
        let body = require_status(answer, StatusCode::OK)?;
        Ok(ImageDocument::new(id, body))
    }

    /// `PATCH /v2/images/{id}`: the changed image.
    pub async fn patch(
        &self,
        caller: &CallContext,
        id: &ImageId,
        ops: &[PatchOp],
    ) -> Result<ImageDocument, GlanceError> {
        let body = Some(patch::to_json(ops));
        let answer = self
            .send(caller, Method::PATCH, &image_path(id), body)
            .await?;
        let body = require_status(answer, StatusCode::OK)?;
        Ok(ImageDocument::new(id, body))
    }

    /// `DELETE /v2/images/{id}`
    pub async fn delete(&self, caller: &CallContext, id: &ImageId) -> Result<(), GlanceError> {
        let answer = self
            .send(caller, Method::DELETE, &image_path(id), None)
            .await?;
        require_status(answer, StatusCode::NO_CONTENT).map(drop)
    }

    pub(super) async fn page(
        &self,
        caller: &CallContext,
        query: &ImageQuery,
        size: u64,
        marker: Option<&str>,
    ) -> Result<Bytes, GlanceError> {
        let answer = match self
            .send(caller, Method::GET, &query.page(size, marker), None)
            .await
        {
            // A list always exists; a 404 to it comes from something that is no Glance.
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                return Err(GlanceError::InvalidResponse("404 to a list".to_owned()));
            }
            other => other?,
        };
        require_status(answer, StatusCode::OK)
    }

    async fn send(
        &self,
        caller: &CallContext,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response, GlanceError> {
        let _waiting = caller.spent.start();
        let repeat = if method == Method::GET {
            Idempotency::Safe
        } else {
            Idempotency::Unsafe
        };
        let body = body.map(Bytes::from);
        let service = self.services.of(&caller.endpoint);
        let request = |index: usize| {
            let endpoint = service.endpoint(index);
            self.request(endpoint, caller, method.clone(), path, body.clone())
                .map_err(|error| TransportError::Connect(error.without_url().to_string()))
        };
        let limits = CallOptions {
            deadline: match repeat {
                Idempotency::Safe => caller.deadline,
                // What Glance may still do is known to be over then, queue and retries included.
                Idempotency::Unsafe => self.deadline(caller),
            },
            timeout: self.call.timeout,
            max_body: self.call.max_answer,
        };
        let answer = service
            .calls
            .call(&self.client, request, repeat, limits)
            .await?;
        check_encoding(&answer)?;
        Ok(answer)
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        caller: &CallContext,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> reqwest::Result<reqwest::Request> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", endpoint.as_str()))
            .header(REQUEST_ID, caller.request_id.clone());
        if let Some(token) = &caller.token {
            request = request.header(AUTH_TOKEN, token.clone());
        }
        if let Some(token) = &caller.service_token {
            request = request.header(SERVICE_TOKEN, token.clone());
        }
        if let Some(body) = body {
            request = request
                .header(http::header::CONTENT_TYPE, patch::MEDIA_TYPE)
                .body(body);
        }
        request.build()
    }
}

fn image_path(id: &ImageId) -> String {
    format!("/v2/images/{}", id.path_segment())
}

/// No encoding is ever asked for, and none is undone: a few bytes could stand for gigabytes.
fn check_encoding(answer: &Response) -> Result<(), GlanceError> {
    let encodings = answer.headers.get_all(http::header::CONTENT_ENCODING);
    if encodings
        .iter()
        .all(|encoding| encoding == "identity" || encoding.is_empty())
    {
        return Ok(());
    }
    let nonsense = "a body with a Content-Encoding, which was not asked for";
    Err(GlanceError::InvalidResponse(nonsense.to_owned()))
}

fn require_status(answer: Response, status: StatusCode) -> Result<Bytes, GlanceError> {
    if answer.status == status {
        return Ok(answer.body);
    }
    Err(GlanceError::of_answer(&answer))
}

#[cfg(test)]
mod tests;
