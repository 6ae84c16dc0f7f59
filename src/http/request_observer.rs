//! What is noted of a request while it is answered, and counted and logged when it is over.

use super::AppState;
use super::request_ids::RequestIds;
use crate::apis::nova::microversion::Microversion;
use crate::keystone::Token;
use crate::telemetry::access_log::AccessLogEntry;
use crate::telemetry::metrics::{
    CacheLabel, MethodLabel, RequestSample, RouteLabel, StatusLabel, VersionLabel,
};
use crate::telemetry::upstream_time::UpstreamTime;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::USER_AGENT;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use tokio::time::Instant;

/// What becomes known of a request on its way.
#[derive(Debug)]
pub struct RequestLogFields {
    route: Cell<RouteLabel>,
    version: Cell<(VersionLabel, Option<Microversion>)>,
    cache: Cell<Option<CacheLabel>>,
    token: OnceCell<Arc<Token>>,
    spent: OnceCell<UpstreamTime>,
}

impl Default for RequestLogFields {
    fn default() -> Self {
        Self {
            route: Cell::new(RouteLabel::Unknown),
            version: Cell::new((VersionLabel::None, None)),
            cache: Cell::new(None),
            token: OnceCell::new(),
            spent: OnceCell::new(),
        }
    }
}

impl RequestLogFields {
    /// The template of its path.
    pub fn route(&self, route: RouteLabel) {
        self.route.set(route);
    }

    /// Its microversion is settled; `/v2` has none.
    pub fn version(&self, family: VersionLabel, version: Option<Microversion>) {
        self.version.set((family, version));
    }

    /// What the cache did for it, where it is on and the request one for it.
    pub fn cache(&self, outcome: Option<CacheLabel>) {
        self.cache.set(outcome);
    }

    /// Its token is valid.
    pub fn token(&self, token: &Arc<Token>) {
        // The first one is the user's, a second one a service's that speaks for them.
        let _ = self.token.set(Arc::clone(token));
    }

    /// Where its waiting for Keystone and Glance adds up.
    pub fn spent(&self) -> &UpstreamTime {
        self.spent.get_or_init(UpstreamTime::default)
    }
}

/// A request in flight. It is counted and logged when this is dropped, answered or not: a client
/// can leave before.
#[derive(Debug)]
pub struct RequestObserver<'r> {
    front: &'r AppState,
    request: &'r HttpRequest,
    ids: &'r RequestIds,
    log_fields: RequestLogFields,
    started: Instant,
    status: Option<StatusCode>,
}

impl<'r> RequestObserver<'r> {
    /// The request has arrived.
    #[must_use]
    pub fn begin(front: &'r AppState, request: &'r HttpRequest, ids: &'r RequestIds) -> Self {
        Self {
            front,
            request,
            ids,
            log_fields: RequestLogFields::default(),
            started: Instant::now(),
            status: None,
        }
    }

    /// When it arrived.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What is known of it.
    #[must_use]
    pub fn log_fields(&self) -> &RequestLogFields {
        &self.log_fields
    }

    /// It is answered.
    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for RequestObserver<'_> {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let status = self.status.map(|status| status.as_u16());
        let (version, microversion) = self.log_fields.version.get();
        let method = self.request.method().as_str();
        self.front.metrics.count(RequestSample {
            route: self.log_fields.route.get(),
            method: MethodLabel::of(method),
            status: StatusLabel::of(status),
            version,
            cache: self.log_fields.cache.get(),
            duration,
        });
        let Some(log) = &self.front.access_log else {
            return;
        };
        let token = self.log_fields.token.get();
        let agent = self.request.headers().get(USER_AGENT);
        log.write(&AccessLogEntry {
            request_id: self.ids.local(),
            global_id: self.ids.global(),
            client: self.request.peer_addr(),
            project: token.and_then(|token| token.project_id()),
            user: token.map(|token| token.user_id()),
            method,
            route: self.log_fields.route.get(),
            path: self.request.uri().path(),
            status,
            version: microversion.map(Microversion::numbers),
            cache: self.log_fields.cache.get(),
            upstream: self
                .log_fields
                .spent
                .get()
                .map(UpstreamTime::total)
                .unwrap_or_default(),
            duration,
            user_agent: agent.map(actix_web::http::header::HeaderValue::as_bytes),
        });
    }
}
