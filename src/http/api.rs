//! The trait through which the gateway serves an API.

use super::context::RequestContext;
use super::error::HttpError;
use super::request_ids::RequestIds;
use super::response::Response;
use crate::telemetry::metrics::ApiLabels;
use futures_util::future::LocalBoxFuture;
use std::fmt;
use std::ops::ControlFlow;

/// One HTTP API: its routes, its order of checks, its fault format and its metric labels.
///
/// The HTTP layer gives each request an id, bounds it, logs and counts it; everything else is the
/// API's own. To add one, implement this in a module below `apis` and list it where the listener
/// is wired (`application.rs`).
pub trait Api: fmt::Debug + Send + Sync + 'static {
    /// A method and a path, parsed.
    type Route<'p>;

    /// The values of the labels `api`, `route` and `version` in metrics.
    fn labels(&self) -> ApiLabels;

    /// Finds the route of `method` and the raw, still encoded `path`. `None` leaves the request to
    /// the next API.
    fn match_route<'p>(&self, method: &str, path: &'p str) -> Option<Self::Route<'p>>;

    /// The route's index in [`ApiLabels::routes`].
    fn route_label(&self, route: &Self::Route<'_>) -> usize;

    /// Answers a request: authentication, the API's own checks in the API's own order, the work.
    fn handle<'r>(
        &'r self,
        context: RequestContext<'r>,
        route: Self::Route<'r>,
    ) -> impl Future<Output = Response> + 'r;

    /// An error of the HTTP layer in the API's fault format.
    fn render_error(&self, error: HttpError, ids: &RequestIds) -> Response;
}

/// [`Api`] without its associated type, so that a listener can hold several.
pub(super) trait AnyApi: fmt::Debug + Send + Sync {
    /// Answers a request (`Break`), or gives it back when the route is not this API's (`Continue`).
    fn serve<'r>(
        &'r self,
        context: RequestContext<'r>,
    ) -> ControlFlow<LocalBoxFuture<'r, Response>, RequestContext<'r>>;

    /// The route's label and the rendered error, when the route is this API's.
    fn refuse(
        &self,
        method: &str,
        path: &str,
        error: HttpError,
        ids: &RequestIds,
    ) -> Option<(usize, Response)>;
}

impl<A: Api> AnyApi for A {
    fn serve<'r>(
        &'r self,
        context: RequestContext<'r>,
    ) -> ControlFlow<LocalBoxFuture<'r, Response>, RequestContext<'r>> {
        let request = context.request;
        let (method, path) = (request.method().as_str(), request.uri().path());
        let Some(route) = self.match_route(method, path) else {
            return ControlFlow::Continue(context);
        };
        context.observer.route(self.route_label(&route));
        ControlFlow::Break(Box::pin(self.handle(context, route)))
    }

    fn refuse(
        &self,
        method: &str,
        path: &str,
        error: HttpError,
        ids: &RequestIds,
    ) -> Option<(usize, Response)> {
        let route = self.match_route(method, path)?;
        Some((self.route_label(&route), self.render_error(error, ids)))
    }
}
