//! From a checked request to its handler, by way of the cache.

use super::fault::ApiError;
use super::handler_response::HandlerResponse;
use super::request::NovaRequest;
use super::service::{HandlerContext, NovaService};
use super::{images, metadata};
use crate::cache::{CacheOutcome, Cacheability, Fetched};
use crate::telemetry::trace_context::TaskScope;
use crate::upstream::runtime::Spawner;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;

impl NovaService {
    /// Answers a request by way of the cache, in a task of its own on the upstream runtime. The task
    /// goes on when the client leaves, but for a write of which nothing was sent; `permit` is held
    /// until it ends.
    pub async fn respond(
        self: &Arc<Self>,
        request: NovaRequest,
        context: HandlerContext,
        cacheability: Cacheability,
        spawner: &Spawner,
        scope: TaskScope,
        permit: impl Send + 'static,
    ) -> Result<(HandlerResponse, Option<CacheOutcome>), ApiError> {
        let _canceled_on_drop = context.cancellation.clone().drop_guard();
        let service = Arc::clone(self);
        let work = async move {
            let _permit = permit;
            service.answer(request, context).await
        };
        let work = scope.run(work);
        let found = match cacheability {
            Cacheability::Cacheable(query) => self.reads.fetch(query, spawner, fetch(work)).await?,
            Cacheability::Uncacheable(reason) => {
                self.reads.bypass(reason, spawner, fetch(work)).await?
            }
            Cacheability::NotApplicable => return Ok((spawner.run(work).await??, None)),
        };
        let response = HandlerResponse::chunks(found.body);
        Ok((response, Some(found.outcome)))
    }

    /// Calls the handler of the request.
    async fn answer(
        &self,
        request: NovaRequest,
        context: HandlerContext,
    ) -> Result<HandlerResponse, ApiError> {
        match request {
            NovaRequest::ListImages { detail, query } => {
                images::list(self, context, detail, query).await
            }
            NovaRequest::ShowImage { id } => images::show(self, &context, &id).await,
            NovaRequest::DeleteImage { id } => images::delete(self, &context, &id).await,
            NovaRequest::ListMetadata { id } => metadata::list(self, &context, &id).await,
            NovaRequest::ShowMetadataItem { id, key } => {
                metadata::show(self, &context, &id, &key).await
            }
            NovaRequest::CreateMetadata { id, metadata } => {
                metadata::create(self, &context, &id, metadata).await
            }
            NovaRequest::ReplaceMetadata { id, metadata } => {
                metadata::replace(self, &context, &id, metadata).await
            }
            NovaRequest::UpdateMetadataItem { id, item } => {
                metadata::update(self, &context, &id, item).await
            }
            NovaRequest::DeleteMetadataItem { id, key } => {
                metadata::delete(self, &context, &id, key).await
            }
        }
    }
}

/// The work as the cache takes it.
fn fetch(
    work: impl Future<Output = Result<HandlerResponse, ApiError>> + Send + 'static,
) -> BoxFuture<'static, Result<Fetched, ApiError>> {
    let fetched = |response: HandlerResponse| Fetched {
        body: response.body,
        transitional: response.transitional,
    };
    work.map(move |result| result.map(fetched)).boxed()
}
