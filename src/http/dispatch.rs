//! From a request that the HTTP library has read to the API that answers it.

use super::api::{AnyApi, Api};
use super::concurrency_limit::ConcurrencyLimit;
use super::context::{RequestContext, RequestTiming};
use super::error::HttpError;
use super::forwarded::PublicOrigin;
use super::request_ids::RequestIds;
use super::request_observer::RequestObserver;
use super::response::Response;
use super::{error_log, limits};
use crate::config;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{ApiLabels, ApiRequestMetrics, RequestMetrics};
use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::sync::Arc;

/// The labels of requests that no API takes.
const UNMATCHED: ApiLabels = ApiLabels {
    api: "none",
    routes: &["unknown"],
    versions: &["none"],
};

/// What one listener answers requests with; shared by all workers.
#[derive(Debug)]
pub struct AppState {
    /// The `[server]` settings.
    pub(super) server: config::Server,
    concurrency_limit: Arc<ConcurrencyLimit>,
    /// Writes a line for each request, unless that is switched off.
    pub(super) access_log: Option<AccessLog>,
    metrics: RequestMetrics,
    /// In the order in which they are asked for a route.
    apis: Vec<Mounted>,
    unmatched: ApiRequestMetrics,
}

#[derive(Debug)]
struct Mounted {
    api: Box<dyn AnyApi>,
    metrics: ApiRequestMetrics,
}

impl AppState {
    /// A listener's state without any API. Requests are counted in `metrics`, and get a line in
    /// `access_log` where there is one.
    #[must_use]
    pub fn new(
        server: config::Server,
        metrics: RequestMetrics,
        access_log: Option<AccessLog>,
    ) -> Self {
        Self {
            server,
            concurrency_limit: Arc::default(),
            access_log,
            unmatched: metrics.api(UNMATCHED),
            metrics,
            apis: Vec::new(),
        }
    }

    /// Adds an API. Those added before are asked for a route first.
    #[must_use]
    pub fn with_api(mut self, api: impl Api) -> Self {
        let metrics = self.metrics.api(Api::labels(&api));
        let api = Box::new(api);
        self.apis.push(Mounted { api, metrics });
        self
    }

    /// The `[server]` settings.
    #[must_use]
    pub fn server(&self) -> &config::Server {
        &self.server
    }

    /// The limit of requests in flight.
    #[must_use]
    pub fn concurrency_limit(&self) -> &Arc<ConcurrencyLimit> {
        &self.concurrency_limit
    }

    pub(super) fn metrics(&self, api: usize) -> &ApiRequestMetrics {
        self.apis
            .get(api)
            .map_or(&self.unmatched, |mounted| &mounted.metrics)
    }

    /// Limits, then the first API that has a route for the request.
    async fn dispatch<'r>(
        &'r self,
        request: &'r HttpRequest,
        payload: Payload,
        ids: &'r RequestIds,
        observer: &'r RequestObserver<'r>,
    ) -> Response {
        let limit = &self.concurrency_limit;
        let permit = match limit.try_acquire(self.server.max_in_flight) {
            Ok(permit) => permit,
            Err(error) => {
                self.metrics.rejected.inc();
                return self.refuse(error.into(), request, ids, observer);
            }
        };
        let origin = limits::check_uri_length(request, self.server.max_uri)
            .and_then(|()| Ok(PublicOrigin::of(request, &self.server)?));
        let origin = match origin {
            Ok(origin) => origin,
            Err(error) => return self.refuse(error, request, ids, observer),
        };
        let received_at = observer.started();
        let mut context = RequestContext {
            request,
            payload,
            ids,
            observer,
            timing: RequestTiming {
                received_at,
                deadline: received_at + self.server.request_timeout,
            },
            origin,
            permit: Arc::new(permit),
        };
        for (index, Mounted { api, .. }) in self.apis.iter().enumerate() {
            observer.api(index);
            context = match api.serve(context) {
                Ok(response) => return response.await,
                Err(context) => context,
            };
        }
        observer.api(usize::MAX);
        Response::new(StatusCode::NOT_FOUND)
    }

    /// An error before the request reaches an API, in the format of the API it would have reached.
    fn refuse(
        &self,
        error: HttpError,
        request: &HttpRequest,
        ids: &RequestIds,
        observer: &RequestObserver<'_>,
    ) -> Response {
        let (method, path) = (request.method().as_str(), request.uri().path());
        for (index, Mounted { api, .. }) in self.apis.iter().enumerate() {
            if let Some((label, response)) = api.refuse(method, path, error, ids) {
                observer.api(index);
                observer.route(label);
                return response;
            }
        }
        Response::new(StatusCode::NOT_FOUND)
    }
}

/// Answers one request.
pub async fn serve(state: Data<AppState>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let ids = RequestIds::of(&request);
    let observer = RequestObserver::begin(&state, &request, &ids);
    let response = state.dispatch(&request, payload, &ids, &observer).await;
    error_log::log(&ids, &response);
    let response = response.into_http();
    observer.responded(response.status(), response.body().size());
    response
}
