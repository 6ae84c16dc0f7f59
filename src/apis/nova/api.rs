//! Nova's image API as the HTTP layer sees it.

use super::fault::ApiError;
use super::headers::NovaHeaders;
use super::labels::LABELS;
use super::links;
use super::microversion::Microversion;
use super::request_labels;
use super::response;
use super::routes::{self, Route};
use super::service::NovaService;
use crate::config;
use crate::http::api::Api;
use crate::http::auth::Authenticator;
use crate::http::body::BodyLimits;
use crate::http::context::RequestContext;
use crate::http::path_prefix;
use crate::http::response::Response;
use crate::http::{HttpError, RequestIds};
use crate::telemetry::metrics::ApiLabels;
use crate::upstream::runtime::Spawner;
use crate::util::byte_budget::ByteBudget;
use actix_web::http::StatusCode;
use std::sync::Arc;

/// Nova's image API: [`routes`] and the version documents.
#[derive(Debug)]
pub struct NovaApi {
    /// The `[server]` settings.
    pub server: config::Server,
    /// Validates tokens and finds Glance's endpoint.
    pub auth: Authenticator,
    /// The image operations.
    pub service: Arc<NovaService>,
    /// The budget for bodies of requests.
    pub request_memory: ByteBudget,
    /// The `[cache]` switch.
    pub cached: bool,
    /// The runtime of upstream work.
    pub spawner: Spawner,
    /// Whether Nova itself answers all that is not one of the image routes.
    pub has_nova: bool,
}

impl Api for NovaApi {
    type Route<'p> = Route<'p>;

    fn labels(&self) -> ApiLabels {
        LABELS
    }

    fn match_route<'p>(&self, method: &str, path: &'p str) -> Option<Route<'p>> {
        let prefix = &self.server.path_prefix;
        let route = routes::parse(method, path, prefix);
        let is_novas = self.has_nova && path_prefix::strip(path, prefix).is_some();
        (route.is_operation() || !is_novas || method == "CONNECT").then_some(route)
    }

    fn route_label(&self, route: &Route<'_>) -> usize {
        request_labels::route(route) as usize
    }

    async fn handle<'r>(&'r self, context: RequestContext<'r>, route: Route<'r>) -> Response {
        match route {
            Route::Options => Response::new(StatusCode::OK),
            Route::OutsidePrefix => response::not_found(&NovaHeaders::None, &context),
            Route::Version(api) => self.version_document(&context, api),
            Route::Versions => self.versions_document(&context),
            Route::Choices(path) => self.choices_document(&context, &path),
            Route::Mounted(mounted) => self.handle_mounted(context, mounted).await,
        }
    }

    fn render_error(&self, error: HttpError, ids: &RequestIds) -> Response {
        self.fault(&error.into(), &NovaHeaders::Ids, ids)
    }
}

impl NovaApi {
    /// An error as a fault.
    pub(super) fn fault(
        &self,
        error: &ApiError,
        headers: &NovaHeaders,
        ids: &RequestIds,
    ) -> Response {
        response::fault(error, headers, ids, self.auth.challenge())
    }

    pub(super) fn max_microversion(&self) -> Microversion {
        self.service.max_microversion()
    }

    pub(super) fn body_limits(&self) -> BodyLimits<'_> {
        BodyLimits {
            max: self.server.max_body,
            timeout: self.server.body_timeout,
            memory: &self.request_memory,
        }
    }

    /// The start of links in responses to this request: scheme, host and path prefix.
    pub(super) fn root_url(&self, context: &RequestContext<'_>) -> String {
        let origin = &context.origin;
        let (scheme, host, prefix) = (origin.scheme(), origin.host(), origin.prefix());
        links::root(&self.service.settings, scheme, host, prefix)
    }
}
