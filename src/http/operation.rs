//! One operation of the API: from a settled request to its answer, by way of the cache.

use super::auth::AuthContext;
use super::forwarded::PublicOrigin;
use super::request_ids::RequestIds;
use super::request_observer::RequestLogFields;
use super::{AppState, RequestTiming, body};
use crate::apis::nova::cache_query::CacheableRead;
use crate::apis::nova::json::Json;
use crate::apis::nova::links::{self, LinkBase};
use crate::apis::nova::microversion::Microversion;
use crate::apis::nova::routes::{Api, MatchedRoute};
use crate::apis::nova::{self, ApiError, HandlerResponse, OperationInput};
use crate::cache::{self, CacheOutcome, Cacheability};
use crate::glance::{CallContext, Endpoint, GlanceError, ImageId};
use actix_web::HttpRequest;
use actix_web::web::Payload;
use futures_util::future::LocalBoxFuture;
use std::borrow::Cow;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A request as it came.
pub(super) struct RequestContext<'r> {
    pub(super) request: &'r HttpRequest,
    pub(super) payload: Payload,
    pub(super) ids: &'r RequestIds,
    pub(super) log_fields: &'r RequestLogFields,
    pub(super) timing: RequestTiming,
    pub(super) origin: PublicOrigin<'r>,
}

/// A request whose token and microversion are settled.
pub(super) struct ApiRequest<'r> {
    pub(super) context: RequestContext<'r>,
    pub(super) auth_context: AuthContext<'r>,
    pub(super) version: Microversion,
    pub(super) api: Api,
    pub(super) project: Option<Cow<'r, str>>,
    pub(super) operation: MatchedRoute<'r>,
}

/// Where an admitted call goes, and what the cache is asked for it.
struct UpstreamTarget<'r> {
    endpoint: Cow<'r, Endpoint>,
    image: Option<ImageId>,
    cacheability: Cacheability,
}

/// An answer, and what the cache did for it where it is on and the operation a read.
type HandlerResult = Result<(HandlerResponse, Option<CacheOutcome>), ApiError>;

/// How a call is answered.
pub(super) enum Dispatch<'r> {
    /// With what is kept.
    Cached(HandlerResponse),
    /// After waiting, in a box, so that a kept answer does not carry the room for it about.
    Pending(LocalBoxFuture<'r, HandlerResult>),
}

impl AppState {
    /// Answers a call, at once where the answer is kept.
    pub(super) fn dispatch<'r>(&'r self, call: ApiRequest<'r>) -> Result<Dispatch<'r>, ApiError> {
        body::check_content_type(call.context.request)?;
        if call.operation.operation.takes_body() {
            return Ok(Dispatch::Pending(Box::pin(self.with_body(call))));
        }
        let target = self.authorize(&call)?;
        Ok(match self.lookup_cache(&call, &target) {
            Some(body) => Dispatch::Cached(HandlerResponse::chunks(body)),
            None => Dispatch::Pending(Box::pin(self.call_handler(call, target, Json::Null))),
        })
    }

    async fn with_body(&self, mut call: ApiRequest<'_>) -> HandlerResult {
        let context = &mut call.context;
        let body = body::read(context.request, &mut context.payload, self.server.max_body);
        let body = body::in_time(body, self.server.body_timeout);
        let body =
            nova::metadata_body::parse(&with_deadline(context.timing.deadline, body).await?)?;
        let target = self.authorize(&call)?;
        self.call_handler(call, target, body).await
    }

    /// The last checks before anybody is asked.
    fn authorize<'r>(&'r self, call: &ApiRequest<'r>) -> Result<UpstreamTarget<'r>, ApiError> {
        call.auth_context.check_project(call.project.as_deref())?;
        if !call.operation.microversions.serves(call.version) {
            return Err(ApiError::RouteRemoved);
        }
        let endpoint = call.auth_context.endpoint()?;
        let origin = &call.context.origin;
        let image = ImageId::parse(&call.operation.id).ok();
        let asked = CacheableRead {
            operation: call.operation.operation,
            image: image.as_ref(),
            key: &call.operation.key,
            query: call.query(),
            api: call.api,
            project: call.project.as_deref(),
            scheme: origin.scheme(),
            host: origin.host(),
            prefix: origin.prefix(),
            endpoint: &endpoint,
        };
        let cacheability = if self.cached {
            asked.cacheability(call.auth_context.scope(&self.auth))?
        } else {
            Cacheability::NotApplicable
        };
        Ok(UpstreamTarget {
            endpoint,
            image,
            cacheability,
        })
    }

    fn lookup_cache(
        &self,
        call: &ApiRequest<'_>,
        target: &UpstreamTarget<'_>,
    ) -> Option<cache::Body> {
        let Cacheability::Cacheable(query) = &target.cacheability else {
            return None;
        };
        let cache = self.service.reads.cache();
        cache.get(query, call.context.timing.started)
    }

    /// Has Glance asked.
    async fn call_handler(
        &self,
        call: ApiRequest<'_>,
        target: UpstreamTarget<'_>,
        body: Json,
    ) -> HandlerResult {
        let query = call.query().to_owned();
        let ApiRequest {
            context,
            auth_context,
            ..
        } = call;
        let root = self.root_url(&context.origin);
        let glance = links::glance_root(&self.service.settings, target.endpoint.as_str());
        let request = OperationInput {
            operation: call.operation.operation,
            api: call.api,
            body,
            image: target.image,
            key: call.operation.key.into_owned(),
            query,
            links: LinkBase::new(&root, call.api, call.project.as_deref(), &glance),
            project_id: auth_context.project_id().map(str::to_owned),
            cancellation: CancellationToken::new(),
            caller: CallContext {
                endpoint: target.endpoint.into_owned(),
                token: auth_context.token_header(),
                service_token: auth_context.service_token_header(&self.auth),
                request_id: context.ids.upstream(),
                fairness_key: auth_context.fairness_key(),
                deadline: context.timing.deadline,
                spent: context.log_fields.spent().clone(),
            },
        };
        let answer = self.service.respond(
            request,
            target.cacheability,
            &self.spawner,
            context.ids.span(),
            (),
        );
        let answer = with_deadline(context.timing.deadline, answer).await;
        if matches!(
            answer,
            Err(ApiError::Glance {
                error: GlanceError::Unauthorized,
                ..
            })
        ) {
            auth_context.on_upstream_unauthorized(&self.auth);
            if let Ok(scope) = auth_context.scope(&self.auth) {
                self.service.reads.cache().invalidate_token(&scope);
            }
        }
        answer
    }
}

impl<'r> ApiRequest<'r> {
    fn query(&self) -> &'r str {
        self.context.request.uri().query().unwrap_or_default()
    }
}

/// The result of `context`, or a fault at `deadline`.
async fn with_deadline<T>(
    deadline: Instant,
    context: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    timeout_at(deadline, context)
        .await
        .unwrap_or(Err(ApiError::Timeout))
}
