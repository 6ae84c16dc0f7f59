//! The front: everything between the socket and an operation of the API.
//!
//! One request goes through these, top to bottom; each is one file:
//!
//! | step | file | fails with |
//! |---|---|---|
//! | request id, global id | `request_id.rs` | |
//! | requests in flight | `concurrency_limit.rs` | 503 |
//! | length of the target | `body.rs` | 414 |
//! | the `Host` | `forwarded.rs` | 400 |
//! | route | [`crate::apis::nova::routes`] | |
//! | size of the body, as announced | `body.rs` | 413 |
//! | token | `auth.rs` | 401, 503 |
//! | route-level 404 | `page.rs` | 404 |
//! | microversion | [`crate::apis::nova::microversion`] | 400, 406 |
//! | content type, body | `body.rs` | 415, 413, 400 |
//! | project in the path | `auth.rs` | 400 |
//! | gate of the route | [`crate::apis::nova::routes`] | 404 |
//! | the operation | `operation.rs`, [`crate::apis::nova::service`] | its own |
//! | headers, fault bodies | `response.rs` | |
//!
//! The order is Nova's, and clients can tell: an unknown path without a token is a 401.

pub mod auth;
mod body;
pub mod client_address;
pub mod concurrency_limit;
mod error_log;
pub mod forwarded;
mod media_type;
mod metric_labels;
mod not_found_page;
mod operation;
mod request_ids;
mod request_observer;
mod response;

use crate::apis::nova::links;
use crate::apis::nova::microversion::{self, Microversion, Negotiation};
use crate::apis::nova::routes::{self, Api, Route, Target};
use crate::apis::nova::{self, ApiError, NovaService, versions};
use crate::cache::CacheOutcome;
use crate::config;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{RequestMetrics, VersionLabel};
use crate::upstream::runtime::Spawner;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderName;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use auth::{Authenticator, ValidationContext};
use concurrency_limit::{ConcurrencyLimit, LimitReached};
use forwarded::{InvalidHost, PublicOrigin};
use operation::{ApiRequest, Dispatch, RequestContext};
use request_ids::RequestIds;
use request_observer::{RequestLogFields, RequestObserver};
use response::{API_VERSION, ApiResponse, NOVA_API_VERSION, NovaHeaders};
use std::sync::Arc;
use tokio::time::Instant;

/// Everything a request needs; shared by all workers.
#[derive(Debug)]
pub struct AppState {
    /// The `[server]` settings.
    pub server: config::Server,
    /// How many requests are answered at a time.
    pub concurrency_limit: Arc<ConcurrencyLimit>,
    /// Where each request gets its line, unless that is switched off.
    pub access_log: Option<AccessLog>,
    /// Where each request is counted.
    pub metrics: RequestMetrics,
    /// Who judges tokens, and where Glance is.
    pub auth: Authenticator,
    /// The operations.
    pub service: Arc<NovaService>,
    /// The `[cache]` switch.
    pub cached: bool,
    /// Where upstream work runs.
    pub spawner: Spawner,
}

/// Answers one request.
pub async fn serve(front: Data<AppState>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let ids = RequestIds::of(&request);
    let observer = RequestObserver::begin(&front, &request, &ids);
    let timing = RequestTiming {
        started: observer.started(),
        deadline: observer.started() + front.server.request_timeout,
    };
    let outcome = match front
        .concurrency_limit
        .try_acquire(front.server.max_in_flight)
    {
        Ok(_permit) => match front.route(&request, observer.log_fields()) {
            RouteOutcome::Answered(outcome) => outcome,
            RouteOutcome::Mounted(place, origin) => {
                let context = RequestContext {
                    request: &request,
                    payload,
                    ids: &ids,
                    log_fields: observer.log_fields(),
                    timing,
                    origin,
                };
                front.handle_api_request(context, place).await
            }
        },
        Err(LimitReached) => {
            front.metrics.rejected.inc();
            ApiResponse::fault(&ApiError::Overloaded, NovaHeaders::Ids)
        }
    };
    if let Some(error) = outcome.error() {
        error_log::log(&ids, error);
    }
    observer.end(outcome.status());
    outcome.into_response(&request, &ids, &front.auth)
}

impl AppState {
    /// Answers what takes no token.
    fn route<'r>(
        &'r self,
        request: &'r HttpRequest,
        log_fields: &RequestLogFields,
    ) -> RouteOutcome<'r> {
        if let Err(error) = body::check_uri_length(request, self.server.max_uri) {
            return RouteOutcome::Answered(ApiResponse::fault(&error, NovaHeaders::Ids));
        }
        let origin = match PublicOrigin::of(request, &self.server) {
            Ok(origin) => origin,
            Err(InvalidHost) => {
                return RouteOutcome::Answered(ApiResponse::fault(
                    &ApiError::InvalidHost,
                    NovaHeaders::Ids,
                ));
            }
        };
        let path = request.uri().path();
        let max = self.service.max_microversion();
        let route = routes::parse(request.method().as_str(), path, &self.server.path_prefix);
        log_fields.route(metric_labels::route(&route));
        RouteOutcome::Answered(match route {
            Route::Options => ApiResponse::empty(NovaHeaders::None),
            Route::OutsidePrefix => ApiResponse::page(NovaHeaders::None),
            Route::Version(api) => self.version(request, &origin, api, log_fields),
            Route::Versions => self.version_document_or(request, &origin, log_fields, || {
                let body = versions::all(&self.root_url(&origin), max);
                document(request, StatusCode::OK, body, NovaHeaders::None)
            }),
            Route::Choices(path) => self.version_document_or(request, &origin, log_fields, || {
                let body = versions::choices(&self.root_url(&origin), &path, max);
                document(
                    request,
                    StatusCode::MULTIPLE_CHOICES,
                    body,
                    NovaHeaders::None,
                )
            }),
            Route::Mounted {
                api,
                project,
                target,
            } => {
                let place = RouteMatch {
                    api,
                    project,
                    target,
                };
                return RouteOutcome::Mounted(place, origin);
            }
        })
    }

    /// A request below a mount point, in Nova's order of checks.
    fn handle_api_request<'r>(
        &'r self,
        context: RequestContext<'r>,
        place: RouteMatch<'r>,
    ) -> impl Future<Output = ApiResponse> {
        let (request, log_fields) = (context.request, context.log_fields);
        // The future of an async function has room for its arguments twice.
        async move {
            if let Err(error) = body::check_content_length(request, self.server.max_body) {
                return ApiResponse::fault(&error, NovaHeaders::Ids);
            }
            let validation_context = ValidationContext {
                spawner: &self.spawner,
                deadline: context.timing.deadline,
                ids: context.ids,
                log_fields,
            };
            let auth_context = match self.auth.authenticate(request, validation_context).await {
                Ok(auth_context) => auth_context,
                Err(error) => return ApiResponse::fault(&error, NovaHeaders::Ids),
            };
            let operation = match place.target {
                Target::Operation(operation) => operation,
                Target::Version => {
                    return self.version(request, &context.origin, place.api, log_fields);
                }
                Target::NotFound => return ApiResponse::page(NovaHeaders::Ids),
            };
            let (version, headers_kind) =
                match self.negotiate_microversion(request, place.api, log_fields) {
                    Ok(accepted) => accepted,
                    Err(outcome) => return outcome,
                };
            let call = ApiRequest {
                context,
                auth_context,
                version,
                api: place.api,
                project: place.project,
                operation,
            };
            let given = match self.dispatch(call) {
                Ok(Dispatch::Cached(answer)) => Ok((answer, Some(CacheOutcome::Hit))),
                Ok(Dispatch::Pending(answer)) => answer.await,
                Err(error) => Err(error),
            };
            match given {
                Ok((answer, cache)) => {
                    log_fields.cache(cache.map(CacheOutcome::label));
                    let media_type = media_type::success_type(request.headers());
                    ApiResponse::answer(answer, headers_kind, media_type, cache)
                }
                Err(error @ ApiError::BodyTooLarge) => ApiResponse::fault(&error, NovaHeaders::Ids),
                Err(error) => ApiResponse::fault(&error, headers_kind),
            }
        }
    }

    /// The document of the version that the media type asks for, or else another one.
    fn version_document_or(
        &self,
        request: &HttpRequest,
        origin: &PublicOrigin<'_>,
        log_fields: &RequestLogFields,
        otherwise: impl FnOnce() -> ApiResponse,
    ) -> ApiResponse {
        match media_type::version(request.headers()) {
            Some(api) => self.version(request, origin, api, log_fields),
            None => otherwise(),
        }
    }

    /// The version document of one API, which honours the version headers where the API has them.
    fn version(
        &self,
        request: &HttpRequest,
        origin: &PublicOrigin<'_>,
        api: Api,
        log_fields: &RequestLogFields,
    ) -> ApiResponse {
        let (_, headers_kind) = match self.negotiate_microversion(request, api, log_fields) {
            Ok(accepted) => accepted,
            Err(outcome) => return outcome,
        };
        let max = self.service.max_microversion();
        document(
            request,
            StatusCode::OK,
            versions::one(&self.root_url(origin), api, max),
            headers_kind,
        )
    }

    fn negotiate_microversion(
        &self,
        request: &HttpRequest,
        api: Api,
        log_fields: &RequestLogFields,
    ) -> Result<(Microversion, NovaHeaders), ApiResponse> {
        if api == Api::V2 {
            log_fields.version(VersionLabel::V2, None);
            return Ok((Microversion::MIN, NovaHeaders::Ids));
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
                log_fields.version(metric_labels::version(api, version), Some(version));
                Ok((version, NovaHeaders::Versioned(version)))
            }
            Negotiation::OutOfRange(asked) => {
                let error = ApiError::VersionOutOfRange {
                    asked: asked.clone(),
                    max,
                };
                Err(ApiResponse::fault(&error, NovaHeaders::Asked(asked)))
            }
            Negotiation::Malformed(text) => Err(ApiResponse::fault(
                &ApiError::MalformedVersion(text),
                NovaHeaders::Ids,
            )),
        }
    }

    /// What the links to a client that came to `origin` begin with.
    fn root_url(&self, origin: &PublicOrigin<'_>) -> String {
        let (scheme, host, prefix) = (origin.scheme(), origin.host(), origin.prefix());
        links::root(&self.service.settings, scheme, host, prefix)
    }
}

/// When a request came and by when it must be answered.
#[derive(Debug, Clone, Copy)]
struct RequestTiming {
    started: Instant,
    deadline: Instant,
}

/// What the route alone decides.
enum RouteOutcome<'r> {
    /// The answer.
    Answered(ApiResponse),
    /// Where to go on, with the token first.
    Mounted(RouteMatch<'r>, PublicOrigin<'r>),
}

/// Where below a mount point a request goes.
struct RouteMatch<'p> {
    api: Api,
    project: Option<std::borrow::Cow<'p, str>>,
    target: Target<'p>,
}

/// A version document; Nova checks the content type and the query's encoding even here.
fn document(
    request: &HttpRequest,
    status: StatusCode,
    body: String,
    headers_kind: NovaHeaders,
) -> ApiResponse {
    let query = request.uri().query().unwrap_or_default();
    let checked =
        body::check_content_type(request).and_then(|()| Ok(nova::list_query::check_utf8(query)?));
    match checked {
        Ok(()) => ApiResponse::document(
            status,
            body,
            headers_kind,
            media_type::success_type(request.headers()),
        ),
        Err(error) => ApiResponse::fault(&error, headers_kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Data<AppState>, HttpRequest, Payload) -> F) -> usize {
        size_of::<F>()
    }

    /// actix-web boxes it for each request with some 100 bytes of its own, and what takes more than
    /// 1,032 bytes is no longer a short way for the allocator.
    #[test]
    fn the_future_of_a_request_is_small() {
        assert!(size(serve) <= 900, "{}", size(serve));
    }
}
