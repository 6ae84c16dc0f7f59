//! The front: everything between the socket and an operation of the API.
//!
//! One request goes through these, top to bottom; each is one file:
//!
//! | step | file | fails with |
//! |---|---|---|
//! | request id, global id | `request_id.rs` | |
//! | requests in flight | `gate.rs` | 503 |
//! | length of the target | `body.rs` | 414 |
//! | route | [`crate::nova::routes`] | |
//! | size of the body, as announced | `body.rs` | 413 |
//! | token | `auth.rs` | 401, 503 |
//! | route-level 404 | `page.rs` | 404 |
//! | microversion | [`crate::nova::microversion`] | 400, 406 |
//! | content type, body | `body.rs` | 415, 413, 400 |
//! | project in the path | `auth.rs` | 400 |
//! | gate of the route | [`crate::nova::routes`] | 404 |
//! | the operation | `operation.rs`, [`crate::nova::service`] | its own |
//! | headers, fault bodies | `response.rs` | |
//!
//! The order is Nova's, and clients can tell: an unknown path without a token is a 401.

pub mod auth;
mod body;
pub mod connection;
mod failure;
pub mod gate;
mod labels;
mod negotiate;
mod operation;
mod origin;
mod page;
mod request_id;
mod response;
mod watch;

use crate::config;
use crate::nova::links;
use crate::nova::microversion::{self, Negotiation, Version};
use crate::nova::routes::{self, Api, Route, Target};
use crate::nova::{self, ApiError, Service, versions};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{CacheOutcome, RequestMetrics, VersionLabel};
use crate::upstream::runtime::Spawner;
use actix_web::http::header::HeaderName;
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use auth::{Authenticator, Knock};
use connection::Connection;
use gate::Gate;
use operation::{Call, Step, Work};
use request_id::Ids;
use response::{API_VERSION, Heads, NOVA_API_VERSION, Outcome};
use std::sync::Arc;
use tokio::time::Instant;
use watch::{Seen, Watch};

/// Everything a request needs; shared by all workers.
#[derive(Debug)]
pub struct Front {
    /// The `[server]` settings.
    pub server: config::Server,
    /// How many requests are answered at a time.
    pub gate: Arc<Gate>,
    /// Where each request gets its line, unless that is switched off.
    pub access_log: Option<AccessLog>,
    /// Where each request is counted.
    pub metrics: RequestMetrics,
    /// Who judges tokens, and where Glance is.
    pub auth: Authenticator,
    /// The operations.
    pub service: Arc<Service>,
    /// The `[cache]` switch.
    pub cached: bool,
    /// Where upstream work runs.
    pub spawner: Spawner,
}

/// Answers one request.
pub async fn serve(front: Data<Front>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let connection = request.conn_data::<Connection>().cloned();
    let _answering = connection.as_ref().map(Connection::answering);
    let ids = Ids::of(&request);
    let watch = Watch::begin(&front, &request, &ids);
    let hours = Hours {
        started: watch.started(),
        deadline: watch.started() + front.server.request_timeout,
    };
    let outcome = match front.gate.enter(front.server.max_in_flight) {
        Ok(_pass) => match front.route(&request, watch.seen()) {
            Routed::Answered(outcome) => outcome,
            Routed::Mounted(place) => {
                let work = Work {
                    request: &request,
                    payload,
                    ids: &ids,
                    seen: watch.seen(),
                    hours,
                };
                front.mounted(work, place).await
            }
        },
        Err(busy) => {
            front.metrics.rejected.inc();
            Outcome::fault(&busy, Heads::Ids)
        }
    };
    if let Some(error) = outcome.error() {
        failure::log(&ids, error);
    }
    watch.end(outcome.status());
    let mut response = outcome.into_response(&request, &ids, &front.auth);
    if connection.is_some_and(|connection| connection.all().draining().is_some()) {
        response
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    response
}

impl Front {
    /// Answers what takes no token.
    fn route<'r>(&self, request: &'r HttpRequest, seen: &Seen) -> Routed<'r> {
        if let Err(error) = body::check_target(request, self.server.max_uri) {
            return Routed::Answered(Outcome::fault(&error, Heads::Ids));
        }
        let path = request.uri().path();
        let max = self.service.max_microversion();
        let route = routes::parse(request.method().as_str(), path, &self.server.path_prefix);
        seen.route(labels::route(&route));
        Routed::Answered(match route {
            Route::Options => Outcome::empty(Heads::None),
            Route::Outside => Outcome::page(Heads::None),
            Route::Version(api) => self.version(request, api, seen),
            Route::Versions => self.unless_asked(request, seen, || {
                let body = versions::all(&self.root_of(request), max);
                document(request, StatusCode::OK, body, Heads::None)
            }),
            Route::Choices(path) => self.unless_asked(request, seen, || {
                let body = versions::choices(&self.root_of(request), &path, max);
                document(request, StatusCode::MULTIPLE_CHOICES, body, Heads::None)
            }),
            Route::Mounted {
                api,
                project,
                target,
            } => {
                return Routed::Mounted(Place {
                    api,
                    project,
                    target,
                });
            }
        })
    }

    /// A request below a mount point, in Nova's order of checks.
    fn mounted<'r>(&'r self, work: Work<'r>, place: Place<'r>) -> impl Future<Output = Outcome> {
        let (request, seen) = (work.request, work.seen);
        // The future of an async function has room for its arguments twice.
        async move {
            if let Err(error) = body::check_announced(request, self.server.max_body) {
                return Outcome::fault(&error, Heads::Ids);
            }
            let knock = Knock {
                spawner: &self.spawner,
                deadline: work.hours.deadline,
                ids: work.ids,
                seen,
            };
            let session = match self.auth.session(request, knock).await {
                Ok(session) => session,
                Err(error) => return Outcome::fault(&error, Heads::Ids),
            };
            let operation = match place.target {
                Target::Operation(operation) => operation,
                Target::Version => return self.version(request, place.api, seen),
                Target::NotFound => return Outcome::page(Heads::Ids),
            };
            let (version, heads) = match self.negotiated(request, place.api, seen) {
                Ok(accepted) => accepted,
                Err(outcome) => return outcome,
            };
            let call = Call {
                work,
                session,
                version,
                api: place.api,
                project: place.project,
                operation,
            };
            let given = match self.operate(call) {
                Ok(Step::Now(answer)) => Ok((answer, Some(CacheOutcome::Hit))),
                Ok(Step::Later(answer)) => answer.await,
                Err(error) => Err(error),
            };
            match given {
                Ok((answer, cache)) => {
                    seen.cache(cache);
                    let media_type = negotiate::success_type(request.headers());
                    Outcome::answer(answer, heads, media_type, cache)
                }
                Err(error @ ApiError::BodyTooLarge) => Outcome::fault(&error, Heads::Ids),
                Err(error) => Outcome::fault(&error, heads),
            }
        }
    }

    /// The document of the version that the media type asks for, or else another one.
    fn unless_asked(
        &self,
        request: &HttpRequest,
        seen: &Seen,
        otherwise: impl FnOnce() -> Outcome,
    ) -> Outcome {
        match negotiate::version(request.headers()) {
            Some(api) => self.version(request, api, seen),
            None => otherwise(),
        }
    }

    /// The version document of one API, which honours the version headers where the API has them.
    fn version(&self, request: &HttpRequest, api: Api, seen: &Seen) -> Outcome {
        let (_, heads) = match self.negotiated(request, api, seen) {
            Ok(accepted) => accepted,
            Err(outcome) => return outcome,
        };
        let max = self.service.max_microversion();
        document(
            request,
            StatusCode::OK,
            versions::one(&self.root_of(request), api, max),
            heads,
        )
    }

    fn negotiated(
        &self,
        request: &HttpRequest,
        api: Api,
        seen: &Seen,
    ) -> Result<(Version, Heads), Outcome> {
        if api == Api::V2 {
            seen.version(VersionLabel::V2, None);
            return Ok((Version::MIN, Heads::Ids));
        }
        let max = self.service.max_microversion();
        let values = |name: HeaderName| {
            request
                .headers()
                .get_all(name)
                .map(actix_web::http::header::HeaderValue::as_bytes)
        };
        match microversion::negotiate(values(API_VERSION), values(NOVA_API_VERSION), max) {
            Negotiation::Accepted(version) => {
                seen.version(labels::version(api, version), Some(version));
                Ok((version, Heads::Versioned(version)))
            }
            Negotiation::OutOfRange(asked) => {
                let error = ApiError::VersionOutOfRange {
                    asked: asked.clone(),
                    max,
                };
                Err(Outcome::fault(&error, Heads::Asked(asked)))
            }
            Negotiation::Malformed(text) => Err(Outcome::fault(
                &ApiError::MalformedVersion(text),
                Heads::Ids,
            )),
        }
    }

    /// What the links to a client that came to `host` begin with.
    fn root(&self, scheme: &str, host: &str) -> String {
        let prefix = &self.server.path_prefix;
        links::root(&self.service.settings, scheme, host, prefix)
    }

    /// The same, for a version document.
    fn root_of(&self, request: &HttpRequest) -> String {
        let (scheme, host) = origin::of(request, &self.server);
        self.root(scheme, &host)
    }
}

/// When a request came and by when it must be answered.
#[derive(Debug, Clone, Copy)]
struct Hours {
    started: Instant,
    deadline: Instant,
}

/// What the route alone decides.
enum Routed<'r> {
    /// The answer.
    Answered(Outcome),
    /// Where to go on, with the token first.
    Mounted(Place<'r>),
}

/// Where below a mount point a request goes.
struct Place<'p> {
    api: Api,
    project: Option<std::borrow::Cow<'p, str>>,
    target: Target<'p>,
}

/// A version document; Nova checks the content type and the query's encoding even here.
fn document(request: &HttpRequest, status: StatusCode, body: String, heads: Heads) -> Outcome {
    let query = request.uri().query().unwrap_or_default();
    let checked =
        body::check_content_type(request).and_then(|()| Ok(nova::query::check_utf8(query)?));
    match checked {
        Ok(()) => Outcome::document(
            status,
            body,
            heads,
            negotiate::success_type(request.headers()),
        ),
        Err(error) => Outcome::fault(&error, heads),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Data<Front>, HttpRequest, Payload) -> F) -> usize {
        size_of::<F>()
    }

    /// actix-web boxes it for each request with some 100 bytes of its own, and what takes more than
    /// 1,032 bytes is no longer a short way for the allocator.
    #[test]
    fn the_future_of_a_request_is_small() {
        assert!(size(serve) <= 900, "{}", size(serve));
    }
}
