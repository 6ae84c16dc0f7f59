//! From a request that the HTTP library has read to the API that answers it.

use super::api::{AnyApi, Api};
use super::concurrency_limit::ConcurrencyLimit;
use super::context::{RequestContext, RequestTiming};
use super::error::HttpError;
use super::forwarded::PublicOrigin;
use super::request_ids::RequestIds;
use super::request_observer::{RequestObserver, RequestTelemetry};
use super::response::Response;
use super::{error_log, limits};
use crate::config;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::RequestMetrics;
use actix_web::body::MessageBody;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The state of one listener; shared by all workers.
#[derive(Debug)]
pub struct AppState {
    /// The `[server]` settings.
    server: config::Server,
    concurrency_limit: Arc<ConcurrencyLimit>,
    telemetry: RequestTelemetry,
    /// In the order in which they are tried for a route.
    apis: Vec<Box<dyn AnyApi>>,
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
            telemetry: RequestTelemetry::new(server.clone(), metrics, access_log),
            server,
            concurrency_limit: Arc::default(),
            apis: Vec::new(),
        }
    }

    /// Adds an API. Those added before are tried for a route first.
    #[must_use]
    pub fn with_api(mut self, api: impl Api) -> Self {
        self.telemetry.add_api(Api::labels(&api));
        self.apis.push(Box::new(api));
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
                self.telemetry.count_rejected();
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
        for (index, api) in self.apis.iter().enumerate() {
            observer.api(index);
            context = match api.serve(context) {
                ControlFlow::Break(response) => return response.await,
                ControlFlow::Continue(context) => context,
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
        for (index, api) in self.apis.iter().enumerate() {
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
    let observer = RequestObserver::begin(&state.telemetry, &request, &ids);
    let response = state.dispatch(&request, payload, &ids, &observer).await;
    error_log::log(&ids, &response);
    let response = response.into_http();
    observer.responded(response.status(), response.body().size());
    response
}
