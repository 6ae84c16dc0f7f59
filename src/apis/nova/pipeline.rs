//! Nova's order of checks, from a matched route to the handler.
//!
//! Clients can observe the order: an unknown path without a token is a 401, and malformed JSON at a
//! microversion without the route is a 400.

use super::api::NovaApi;
use super::cache_query::CacheableRead;
use super::fault::ApiError;
use super::handler_response::HandlerResponse;
use super::headers::NovaHeaders;
use super::json::Json;
use super::links::{self, LinkBase};
use super::routes::{MountedRoute, Target};
use super::service::OperationInput;
use super::{media_type, metadata_body, response};
use crate::cache::{CacheQuery, Fetched};
use crate::glance::{CallContext, GlanceError, ImageId};
use crate::http::auth::AuthContext;
use crate::http::context::{RequestContext, with_deadline};
use crate::http::response::Response;
use crate::http::{HttpError, body, forwarded, limits};
use crate::telemetry::metrics::CacheOutcome;
use crate::telemetry::trace_context;
use crate::upstream::runtime::TaskAborted;
use futures_util::FutureExt as _;
use std::sync::Arc;
use tracing::Instrument;

/// The type of the service that this API belongs to: its access rules apply.
const SERVICE_TYPE: &str = "compute";

impl NovaApi {
    /// Answers a request below `/v2.1` or `/v2`.
    pub(super) async fn handle_mounted<'r>(
        &'r self,
        mut context: RequestContext<'r>,
        route: MountedRoute<'r>,
    ) -> Response {
        let mut headers = NovaHeaders::Ids;
        match self.pipeline(&mut context, route, &mut headers).await {
            Ok(response) => response,
            // Nova refuses a large body before it knows of versions.
            Err(error @ ApiError::Http(HttpError::BodyTooLarge)) => {
                self.fault(&error, &NovaHeaders::Ids, context.ids)
            }
            Err(error) => self.fault(&error, &headers, context.ids),
        }
    }

    /// All checks, in Nova's order.
    async fn pipeline<'r>(
        &'r self,
        context: &mut RequestContext<'r>,
        route: MountedRoute<'r>,
        headers: &mut NovaHeaders,
    ) -> Result<Response, ApiError> {
        limits::check_content_length(context.request, self.server.max_body)?;
        let auth = self.auth.authenticate(context, SERVICE_TYPE).await?;
        let matched = match route.target {
            Target::Operation(matched) => matched,
            Target::Version => return Ok(self.version_document(context, route.api)),
            Target::NotFound => return Ok(response::not_found(headers, context)),
        };
        let version = self.negotiate_microversion(context, route.api, headers)?;
        if !media_type::is_supported_content_type(context.request.headers()) {
            return Err(ApiError::UnsupportedContentType);
        }
        let body = if matched.operation.takes_body() {
            let body = Box::pin(body::read(context, self.body_limits())).await?;
            metadata_body::parse(&body)?
        } else {
            Json::Null
        };
        check_project(&auth, route.project.as_deref())?;
        if !matched.microversions.serves(version) {
            return Err(ApiError::RouteRemoved);
        }
        let endpoint = auth.endpoint.clone()?;
        let (scheme, host) = forwarded::public_origin(context.request, &self.server);
        let image = ImageId::parse(&matched.id).ok();
        let asked = CacheableRead {
            operation: matched.operation,
            image: image.as_ref(),
            key: &matched.key,
            query: context.query(),
            api: route.api,
            project: route.project.as_deref(),
            scheme,
            host: &host,
            endpoint: &endpoint,
        };
        let scope = auth.scope.clone().filter(|_| self.cached);
        let cache_query = match scope {
            Some(scope) => asked.cache_query(scope)?,
            None => None,
        };
        if let Some(cache_query) = &cache_query
            && let Some(body) = self
                .service
                .answers
                .get(cache_query, context.timing.received_at)
        {
            let outcome = Some(CacheOutcome::Hit);
            context.observer.cache(outcome);
            let answer = HandlerResponse::chunks(body);
            return Ok(response::success(answer, outcome, headers, context));
        }
        let root = self.root_url(scheme, &host);
        let alternate = links::glance_root(&self.service.settings, endpoint.as_str());
        let shown = self.cached && matched.operation.is_read();
        let input = OperationInput {
            operation: matched.operation,
            api: route.api,
            body,
            image,
            key: matched.key.into_owned(),
            query: context.query().to_owned(),
            links: LinkBase::new(&root, route.api, route.project.as_deref(), &alternate),
            caller: CallContext {
                endpoint: endpoint.into_owned(),
                token: auth.token_header(),
                service_token: auth.service_token_header(),
                request_id: context.ids.upstream(),
                deadline: context.timing.deadline,
                spent: context.observer.upstream_time().clone(),
            },
        };
        // Boxed, so that a cache hit does not pay for its size.
        let work = Box::pin(self.call_handler(context, input, cache_query));
        let answer = with_deadline(context.timing.deadline, work).await;
        if let Err(ApiError::Glance {
            error: GlanceError::Unauthorized,
            ..
        }) = &answer
        {
            self.on_upstream_unauthorized(&auth);
        }
        let (answer, outcome) = answer?;
        let outcome = shown.then_some(outcome);
        context.observer.cache(outcome);
        Ok(response::success(answer, outcome, headers, context))
    }

    /// Runs the handler on the upstream runtime, by way of the cache where there is a
    /// `cache_query`.
    async fn call_handler(
        &self,
        context: &RequestContext<'_>,
        input: OperationInput,
        cache_query: Option<CacheQuery>,
    ) -> Result<(HandlerResponse, CacheOutcome), ApiError> {
        let service = Arc::clone(&self.service);
        let task = async move { service.answer(input).await };
        let task = trace_context::scope(context.ids.trace().cloned(), task);
        let task = task.instrument(context.ids.span()).boxed();
        let Some(cache_query) = cache_query else {
            let answer = self.spawner.run(task).await;
            let answer = answer.map_err(|TaskAborted| HttpError::Internal)??;
            return Ok((answer, CacheOutcome::Bypass));
        };
        let fetch = async move {
            task.await.map(|answer| Fetched {
                body: answer.body,
                transitional: answer.transitional,
            })
        };
        let answers = &self.service.answers;
        let result = answers
            .fetch(cache_query, &self.spawner, fetch.boxed())
            .await;
        let result = result.map_err(|TaskAborted| HttpError::Internal)??;
        Ok((HandlerResponse::chunks(result.body), result.outcome))
    }

    /// Glance refuses the token: neither its validation nor responses to it are used again.
    fn on_upstream_unauthorized(&self, auth: &AuthContext<'_>) {
        auth.invalidate();
        if let Some(scope) = &auth.scope {
            self.service.answers.invalidate_token(scope);
        }
    }
}

/// The project in the path must be the token's own.
fn check_project(auth: &AuthContext<'_>, path: Option<&str>) -> Result<(), ApiError> {
    let (Some(token), Some(path)) = (auth.validated(), path) else {
        return Ok(());
    };
    let own = token.project_id().unwrap_or("None");
    if own == path {
        return Ok(());
    }
    Err(ApiError::ProjectMismatch {
        path: path.to_owned(),
        token: own.to_owned(),
    })
}
