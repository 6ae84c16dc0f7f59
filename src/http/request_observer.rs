//! Metrics and access log of one request.

use super::client_address::client_address;
use super::request_ids::RequestIds;
use crate::config;
use crate::keystone::Token;
use crate::telemetry::access_log::{AccessLog, AccessLogEntry};
use crate::telemetry::metrics::{
    ApiLabels, ApiRequestMetrics, CacheLabel, MethodLabel, RequestMetrics, RequestSample,
    StatusLabel,
};
use crate::telemetry::trace_context::TraceContext;
use crate::telemetry::upstream_time::UpstreamTime;
use actix_web::HttpRequest;
use actix_web::body::BodySize;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, USER_AGENT};
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use tokio::time::Instant;

/// The labels of requests that no API takes.
const UNMATCHED: ApiLabels = ApiLabels {
    api: "none",
    routes: &["unknown"],
    versions: &["none"],
};

/// Counts and logs the requests of one listener.
#[derive(Debug)]
pub(super) struct RequestTelemetry {
    /// Names the trusted proxies.
    server: config::Server,
    access_log: Option<AccessLog>,
    metrics: RequestMetrics,
    /// One for each API.
    apis: Vec<ApiRequestMetrics>,
    unmatched: ApiRequestMetrics,
}

impl RequestTelemetry {
    pub(super) fn new(
        server: config::Server,
        metrics: RequestMetrics,
        access_log: Option<AccessLog>,
    ) -> Self {
        Self {
            server,
            access_log,
            unmatched: metrics.api(UNMATCHED),
            metrics,
            apis: Vec::new(),
        }
    }

    /// Adds the API with the next index.
    pub(super) fn add_api(&mut self, labels: ApiLabels) {
        self.apis.push(self.metrics.api(labels));
    }

    pub(super) fn count_rejected(&self) {
        self.metrics.rejected.inc();
    }

    fn api(&self, index: usize) -> &ApiRequestMetrics {
        self.apis.get(index).unwrap_or(&self.unmatched)
    }
}

/// Collects what metrics and access log show of a request. The request is counted and logged when
/// this is dropped, also when its client left before there was a response.
#[derive(Debug)]
pub struct RequestObserver<'r> {
    telemetry: &'r RequestTelemetry,
    request: &'r HttpRequest,
    ids: &'r RequestIds,
    started: Instant,
    /// Index into the APIs of the telemetry; one that does not exist stands for no API.
    api: Cell<usize>,
    route: Cell<usize>,
    version: Cell<(usize, Option<(u64, u64)>)>,
    response: Cell<Option<(StatusCode, u64)>>,
    cache: Cell<Option<CacheLabel>>,
    token: OnceCell<Arc<Token>>,
    upstream_time: OnceCell<UpstreamTime>,
    upstream: OnceCell<String>,
}

impl<'r> RequestObserver<'r> {
    /// Starts with a request that has just arrived.
    #[must_use]
    pub(super) fn begin(
        telemetry: &'r RequestTelemetry,
        request: &'r HttpRequest,
        ids: &'r RequestIds,
    ) -> Self {
        Self {
            telemetry,
            request,
            ids,
            started: Instant::now(),
            api: Cell::new(usize::MAX),
            route: Cell::new(0),
            version: Cell::new((0, None)),
            response: Cell::new(None),
            cache: Cell::new(None),
            token: OnceCell::new(),
            upstream_time: OnceCell::new(),
            upstream: OnceCell::new(),
        }
    }

    /// When the request arrived.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn api(&self, index: usize) {
        self.api.set(index);
    }

    pub(super) fn route(&self, label: usize) {
        self.route.set(label);
    }

    /// Notes the negotiated microversion: the index of its family in
    /// [`ApiLabels::versions`](crate::telemetry::metrics::ApiLabels::versions), and its numbers.
    pub fn version(&self, family: usize, version: Option<(u64, u64)>) {
        self.version.set((family, version));
    }

    /// Notes the cache's part, `None` where the request is not one for the cache.
    pub fn cache(&self, outcome: Option<CacheLabel>) {
        self.cache.set(outcome);
    }

    /// Notes a valid token. The first one is the user's; a second one is of a service that speaks
    /// for the user.
    pub fn token(&self, token: &Arc<Token>) {
        let _ = self.token.set(Arc::clone(token));
    }

    /// Sums up the time spent in calls to Keystone and Glance.
    pub fn upstream_time(&self) -> &UpstreamTime {
        self.upstream_time.get_or_init(UpstreamTime::default)
    }

    /// Notes the endpoint that the request was passed through to.
    pub fn upstream(&self, endpoint: &str) {
        let _ = self.upstream.set(endpoint.to_owned());
    }

    /// Notes the response: its status and the length of its body, as far as that is known.
    pub(super) fn responded(&self, status: StatusCode, body: BodySize) {
        let bytes = match body {
            BodySize::Sized(bytes) => bytes,
            BodySize::None | BodySize::Stream => 0,
        };
        self.response.set(Some((status, bytes)));
    }
}

impl Drop for RequestObserver<'_> {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let (status, response_bytes) = match self.response.get() {
            Some((status, bytes)) => (Some(status.as_u16()), bytes),
            None => (None, 0),
        };
        let (version, microversion) = self.version.get();
        let method = self.request.method().as_str();
        let route = self.route.get();
        let metrics = self.telemetry.api(self.api.get());
        metrics.count(RequestSample {
            route,
            method: MethodLabel::of(method),
            status: StatusLabel::of(status),
            version,
            cache: self.cache.get(),
            response_bytes,
            duration,
        });
        let Some(log) = &self.telemetry.access_log else {
            return;
        };
        let token = self.token.get();
        let agent = self.request.headers().get(USER_AGENT);
        let labels = metrics.labels();
        let peer = self.request.peer_addr();
        let client = peer
            .map(|peer| client_address(peer.ip(), self.request.headers(), &self.telemetry.server));
        let (client_port, proxy) = match (peer, client) {
            (Some(peer), Some(client)) if client == peer.ip().to_canonical() => {
                (Some(peer.port()), None)
            }
            (Some(peer), Some(_)) => (None, Some(peer.ip().to_canonical())),
            (_, None) | (None, _) => (None, None),
        };
        log.write(&AccessLogEntry {
            request_id: self.ids.local(),
            global_request_id: self.ids.global(),
            trace_id: self.ids.trace().map(TraceContext::trace_id),
            client,
            client_port,
            proxy,
            project_id: token.and_then(|token| token.project_id()),
            user_id: token.map(|token| token.user_id()),
            method,
            api: labels.api,
            route: labels.routes.get(route).copied().unwrap_or_default(),
            path: self.request.uri().path(),
            status,
            response_bytes,
            microversion,
            cache: self.cache.get(),
            upstream: self.upstream.get().map(String::as_str),
            upstream_time: self
                .upstream_time
                .get()
                .map(UpstreamTime::total)
                .unwrap_or_default(),
            duration,
            user_agent: agent.map(HeaderValue::as_bytes),
        });
    }
}
