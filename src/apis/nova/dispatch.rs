//! From a checked request to its handler, by way of the cache.

use super::fault::ApiError;
use super::handler_response::HandlerResponse;
use super::routes::Operation;
use super::service::{NovaService, OperationInput};
use super::view::Detail;
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
        input: OperationInput,
        cacheability: Cacheability,
        spawner: &Spawner,
        scope: TaskScope,
        permit: impl Send + 'static,
    ) -> Result<(HandlerResponse, Option<CacheOutcome>), ApiError> {
        let _canceled_on_drop = input.cancellation.clone().drop_guard();
        let service = Arc::clone(self);
        let work = async move {
            let _permit = permit;
            service.answer(input).await
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

    /// Calls the handler of the operation.
    async fn answer(&self, request: OperationInput) -> Result<HandlerResponse, ApiError> {
        match request.operation {
            Operation::ListImages => images::list(self, request, Detail::Basic).await,
            Operation::DetailImages => images::list(self, request, Detail::Full).await,
            Operation::ShowImage => images::show(self, request).await,
            Operation::ListMetadata => metadata::list(self, request).await,
            Operation::ShowMetadataItem => metadata::show(self, request).await,
            Operation::DeleteImage => images::delete(self, request).await,
            Operation::CreateMetadata => metadata::create(self, request).await,
            Operation::ReplaceMetadata => metadata::replace(self, request).await,
            Operation::UpdateMetadataItem => metadata::update(self, request).await,
            Operation::DeleteMetadataItem => metadata::delete(self, request).await,
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
