//! What is noted of a request while it is answered, and counted and logged when it is over.

use super::Front;
use super::request_id::Ids;
use crate::keystone::Token;
use crate::nova::microversion::Version;
use crate::telemetry::access_log::Record;
use crate::telemetry::metrics::{
    CacheOutcome, Counted, MethodLabel, RouteLabel, StatusLabel, VersionLabel,
};
use crate::telemetry::spent::Spent;
use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::USER_AGENT;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use tokio::time::Instant;

/// What becomes known of a request on its way.
#[derive(Debug)]
pub struct Seen {
    route: Cell<RouteLabel>,
    version: Cell<(VersionLabel, Option<Version>)>,
    cache: Cell<Option<CacheOutcome>>,
    token: OnceCell<Arc<Token>>,
    spent: OnceCell<Spent>,
}

impl Default for Seen {
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

impl Seen {
    /// The template of its path.
    pub fn route(&self, route: RouteLabel) {
        self.route.set(route);
    }

    /// Its microversion is settled; `/v2` has none.
    pub fn version(&self, family: VersionLabel, version: Option<Version>) {
        self.version.set((family, version));
    }

    /// What the cache did for it, where it is on and the request one for it.
    pub fn cache(&self, outcome: Option<CacheOutcome>) {
        self.cache.set(outcome);
    }

    /// Its token is valid.
    pub fn token(&self, token: &Arc<Token>) {
        // The first one is the user's, a second one a service's that speaks for them.
        let _ = self.token.set(Arc::clone(token));
    }

    /// Where its waiting for Keystone and Glance adds up.
    pub fn spent(&self) -> &Spent {
        self.spent.get_or_init(Spent::default)
    }
}

/// A request in flight. It is counted and logged when this is dropped, answered or not: a client
/// can leave before.
#[derive(Debug)]
pub struct Watch<'r> {
    front: &'r Front,
    request: &'r HttpRequest,
    ids: &'r Ids,
    seen: Seen,
    started: Instant,
    status: Option<StatusCode>,
}

impl<'r> Watch<'r> {
    /// The request has arrived.
    #[must_use]
    pub fn begin(front: &'r Front, request: &'r HttpRequest, ids: &'r Ids) -> Self {
        Self {
            front,
            request,
            ids,
            seen: Seen::default(),
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
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// It is answered.
    pub fn end(mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let status = self.status.map(|status| status.as_u16());
        let (version, microversion) = self.seen.version.get();
        let method = self.request.method().as_str();
        self.front.metrics.count(Counted {
            route: self.seen.route.get(),
            method: MethodLabel::of(method),
            status: StatusLabel::of(status),
            version,
            cache: self.seen.cache.get(),
            took,
        });
        let Some(log) = &self.front.access_log else {
            return;
        };
        let token = self.seen.token.get();
        let agent = self.request.headers().get(USER_AGENT);
        log.write(&Record {
            request_id: self.ids.local(),
            global_id: self.ids.global(),
            client: self.request.peer_addr(),
            project: token.and_then(|token| token.project_id()),
            user: token.map(|token| token.user_id()),
            method,
            route: self.seen.route.get(),
            path: self.request.uri().path(),
            status,
            version: microversion.map(Version::numbers),
            cache: self.seen.cache.get(),
            upstream: self.seen.spent.get().map(Spent::total).unwrap_or_default(),
            took,
            user_agent: agent.map(actix_web::http::header::HeaderValue::as_bytes),
        });
    }
}
