//! The calls to Glance.

use super::endpoint_pools::EndpointPools;
use super::error::GlanceError;
use super::image_document::ImageDocument;
use super::image_id::ImageId;
use super::misdirected;
use super::page::{PageRequest, PageResponse};
use super::patch::{self, PatchOp};
use super::query::{Endpoint, ImageQuery};
use crate::telemetry::upstream_time::UpstreamTime;
use crate::upstream::{
    self, BalancedResponse, CallOptions, FairnessKey, Idempotency, LoadBalancer,
    LoadBalancerMetrics, Response, TransportError, UpstreamPolicy,
};
use crate::util::recent_outcomes::RecentOutcomes;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The caller of Glance, the endpoint, and the deadline.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The first of the configured endpoints, which represents all of them, or the one of the token's
    /// catalog. Links and cache keys name it, whichever endpoint responds.
    pub endpoint: Endpoint,
    /// The client's token, marked sensitive; none when the gateway runs without tokens.
    pub token: Option<HeaderValue>,
    /// A service's token that speaks for the client's, marked sensitive: with it Glance accepts a
    /// token that access rules limit, or that has expired.
    pub service_token: Option<HeaderValue>,
    /// The id that ties Glance's log lines to this request.
    pub request_id: HeaderValue,
    /// The project whose turn in the queue to Glance the calls take.
    pub fairness_key: FairnessKey,
    /// When the whole request must be answered.
    pub deadline: Instant,
    /// Where the time spent in calls adds up.
    pub spent: UpstreamTime,
}

/// Limits of the calls, from the `[glance]` settings.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Longest time for one exchange.
    pub timeout: Duration,
    /// Largest response, in bytes.
    pub max_answer: usize,
    /// Images requested in one page, at most 1000.
    pub page_size: u64,
    /// Most images in a list.
    pub max_images: u64,
}

/// A client of the Image service; clones share connections.
#[derive(Debug, Clone)]
pub struct GlanceClient {
    client: upstream::InstrumentedClient,
    pub(super) call: CallLimits,
    pools: Arc<EndpointPools>,
    recent_outcomes: Arc<RecentOutcomes>,
}

impl GlanceClient {
    /// A client with these limits. `configured` are the endpoints of the configured Glance, if there is
    /// one; the first of them stands for all in [`CallContext::endpoint`].
    #[must_use]
    pub fn new(
        client: upstream::InstrumentedClient,
        call: CallLimits,
        configured: Vec<Endpoint>,
        policy: UpstreamPolicy,
    ) -> Self {
        let pools = Arc::new(EndpointPools::new(configured, policy));
        Self {
            client,
            call,
            pools,
            recent_outcomes: Arc::default(),
        }
    }

    /// Whether Glance answered the last calls, for readiness.
    #[must_use]
    pub fn recent_outcomes(&self) -> &Arc<RecentOutcomes> {
        &self.recent_outcomes
    }

    /// The metrics of the calls to Glance.
    #[must_use]
    pub fn metrics(&self) -> &LoadBalancerMetrics {
        self.pools.metrics()
    }

    /// What calls the configured endpoints; `None` where tokens' catalogs name them.
    #[must_use]
    pub fn configured_balancer(&self) -> Option<Arc<LoadBalancer>> {
        self.pools.configured_balancer()
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

    /// One page of a list, from the endpoint that gave the pages before it while that works.
    pub(super) async fn page(
        &self,
        caller: &CallContext,
        query: &ImageQuery,
        request: PageRequest<'_>,
    ) -> Result<PageResponse, GlanceError> {
        let path = query.page(request.size, request.marker);
        let balanced = self
            .balanced(caller, Method::GET, &path, None, request.endpoint)
            .await?;
        if balanced.response.status == StatusCode::NOT_FOUND {
            // A list always exists: whatever answers 404 to it is not Glance.
            return Err(GlanceError::InvalidResponse("404 to a list".to_owned()));
        }
        Ok(PageResponse {
            body: require_status(balanced.response, StatusCode::OK)?,
            endpoint: balanced.endpoint,
        })
    }

    async fn send(
        &self,
        caller: &CallContext,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response, GlanceError> {
        let balanced = self.balanced(caller, method, path, body, None).await?;
        Ok(balanced.response)
    }

    async fn balanced(
        &self,
        caller: &CallContext,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        preferred_endpoint: Option<usize>,
    ) -> Result<BalancedResponse, GlanceError> {
        let _timer = caller.spent.start();
        let idempotency = if method.is_safe() {
            Idempotency::Safe
        } else {
            Idempotency::Unsafe
        };
        let body = body.map(Bytes::from);
        let pool = self.pools.pool_for(&caller.endpoint);
        let request = |index: usize| {
            let endpoint = pool.endpoint(index);
            Self::request(endpoint, caller, method.clone(), path, body.clone())
                .map_err(|error| TransportError::Connect(error.to_string()))
        };
        let options = CallOptions {
            deadline: match idempotency {
                Idempotency::Safe => caller.deadline,
                // After it the write cannot be sent any more, queue and retries included.
                Idempotency::Unsafe => self.deadline(caller),
            },
            timeout: self.call.timeout,
            max_body: self.call.max_answer,
            idempotency,
            fairness_key: caller.fairness_key,
            preferred_endpoint,
        };
        let balanced = pool.balancer.call(&self.client, request, options).await?;
        if let Some(outcome) = misdirected::assess(path, &balanced.response) {
            self.recent_outcomes.record(outcome);
        }
        check_encoding(&balanced.response)?;
        Ok(balanced)
    }

    fn request(
        endpoint: &Endpoint,
        caller: &CallContext,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<reqwest::Request, url::ParseError> {
        let url = format!("{}{path}", endpoint.as_str()).parse()?;
        let mut request = reqwest::Request::new(method, url);
        let headers = request.headers_mut();
        headers.insert(REQUEST_ID, caller.request_id.clone());
        if let Some(token) = &caller.token {
            headers.insert(AUTH_TOKEN, token.clone());
        }
        if let Some(token) = &caller.service_token {
            headers.insert(SERVICE_TOKEN, token.clone());
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(patch::MEDIA_TYPE));
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }
}

fn image_path(id: &ImageId) -> String {
    format!("/v2/images/{}", id.path_segment())
}

/// The client requests no content coding and decodes none: a few bytes could stand for gigabytes.
fn check_encoding(answer: &Response) -> Result<(), GlanceError> {
    let encodings = answer.headers.get_all(http::header::CONTENT_ENCODING);
    if encodings
        .iter()
        .all(|encoding| encoding == "identity" || encoding.is_empty())
    {
        return Ok(());
    }
    let reason = "a body with a Content-Encoding that was not requested";
    Err(GlanceError::InvalidResponse(reason.to_owned()))
}

fn require_status(answer: Response, status: StatusCode) -> Result<Bytes, GlanceError> {
    if answer.status == status {
        return Ok(answer.body);
    }
    Err(GlanceError::of_response(&answer))
}

#[cfg(test)]
mod tests;
