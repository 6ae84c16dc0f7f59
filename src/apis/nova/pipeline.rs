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
use super::request::NovaRequest;
use super::routes::{MountedRoute, Target};
use super::service::HandlerContext;
use super::{media_type, metadata_body, response};
use crate::cache::{CacheOutcome, Cacheability};
use crate::glance::{CallContext, GlanceError};
use crate::http::auth::AuthContext;
use crate::http::context::{RequestContext, with_deadline};
use crate::http::response::Response;
use crate::http::{HttpError, body, limits};
use tokio_util::sync::CancellationToken;

/// Keystone's ids are 32 hexadecimal digits, its column holds 64.
const MAX_PROJECT_ID_BYTES: usize = 64;
/// A parsed body stands three times in memory while it is validated: as JSON, as the items to write,
/// and for the echo.
const COPIES: usize = 3;
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
        let (body, body_memory) = if matched.entry.takes_body {
            let body = Box::pin(body::read(context, self.body_limits())).await?;
            let parsed = metadata_body::parse(body.bytes())?;
            let memory = body.into_parsed(COPIES * parsed.memory())?;
            (parsed, Some(memory))
        } else {
            (Json::Null, None)
        };
        check_project(&auth, route.project.as_deref())?;
        if !matched.entry.microversions.serves(version) {
            return Err(ApiError::RouteRemoved);
        }
        let endpoint = auth.endpoint.clone()?;
        let request = NovaRequest::parse(matched, context.query(), &body, route.api)?;
        let cacheability = if self.cached {
            let read = CacheableRead {
                request: &request,
                api: route.api,
                project: route.project.as_deref(),
                origin: &context.origin,
                endpoint: &endpoint,
            };
            read.cacheability(auth.scope.clone())
        } else {
            Cacheability::NotApplicable
        };
        if let Cacheability::Cacheable(query) = &cacheability
            && let Some(body) = self
                .service
                .reads
                .cache()
                .get(query, context.timing.received_at)
        {
            let answer = HandlerResponse::chunks(body);
            return self.success(answer, Some(CacheOutcome::Hit), headers, context);
        }
        let root = self.root_url(context);
        let public = self.service.public_glance.as_deref();
        let public = public.unwrap_or(endpoint.as_str());
        let alternate = links::glance_root(&self.service.settings, public);
        let handler_context = HandlerContext {
            caller: CallContext {
                endpoint: endpoint.into_owned(),
                token: auth.token_header(),
                service_token: auth.service_token_header(),
                request_id: context.ids.upstream(),
                fairness_key: auth.fairness_key(),
                deadline: context.timing.deadline,
                spent: context.observer.upstream_time().clone(),
            },
            project_id: auth.project_id().map(str::to_owned),
            cancellation: CancellationToken::new(),
            links: LinkBase::new(&root, route.api, route.project.as_deref(), &alternate),
        };
        let permit = (context.permit.clone(), body_memory);
        let (spawner, scope) = (&self.spawner, context.ids.task_scope());
        let answer = self.service.respond(
            request,
            handler_context,
            cacheability,
            spawner,
            scope,
            permit,
        );
        // Boxed, so that a cache hit does not pay for its size.
        let answer = with_deadline(context.timing.deadline, Box::pin(answer)).await;
        if let Err(ApiError::Glance {
            error: GlanceError::Unauthorized,
            ..
        }) = &answer
        {
            self.on_upstream_unauthorized(&auth);
        }
        let (answer, outcome) = answer?;
        self.success(answer, outcome, headers, context)
    }

    fn success(
        &self,
        answer: HandlerResponse,
        outcome: Option<CacheOutcome>,
        headers: &NovaHeaders,
        context: &RequestContext<'_>,
    ) -> Result<Response, ApiError> {
        context.observer.cache(outcome.map(CacheOutcome::label));
        let memory = &self.service.response_memory;
        Ok(response::success(
            answer, outcome, headers, context, memory,
        )?)
    }

    /// Glance refuses the token: neither its validation nor responses to it are used again.
    fn on_upstream_unauthorized(&self, auth: &AuthContext<'_>) {
        auth.invalidate();
        if let Ok(scope) = &auth.scope {
            self.service.reads.cache().invalidate_token(scope);
        }
    }
}

/// The project in the path must be the token's own. Where the gateway does not know the token's, it
/// must be short enough to be one: it stands in every link of the response.
fn check_project(auth: &AuthContext<'_>, path: Option<&str>) -> Result<(), ApiError> {
    let Some(path) = path else {
        return Ok(());
    };
    let own = match auth.validated() {
        Some(token) => token.project_id().unwrap_or("None"),
        None if path.len() <= MAX_PROJECT_ID_BYTES => return Ok(()),
        None => "None",
    };
    if own == path {
        return Ok(());
    }
    Err(ApiError::ProjectMismatch {
        path: path.to_owned(),
        token: own.to_owned(),
    })
}
