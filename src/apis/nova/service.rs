//! What every handler works with.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::links::LinkBase;
use super::max_microversion::MaxMicroversion;
use super::microversion::Microversion;
use super::routes::{Api, Operation};
use super::view::Detail;
use super::{images, metadata};
use crate::cache::{CacheOutcome, Cacheability, Fetched, ReadThrough};
use crate::config;
use crate::glance::{CallContext, GlanceError, ImageId};
use crate::http::HttpError;
use crate::http::response_memory::ResponseMemory;
use crate::images::{ImageService, UpdateError, WriteError, Writer};
use crate::upstream::runtime::Spawner;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// The handlers of Nova's image API.
#[derive(Debug)]
pub struct NovaService {
    /// Reads and changes images.
    pub images: Arc<ImageService>,
    /// The way through the response cache.
    pub reads: ReadThrough<ApiError>,
    /// The budget for rendered responses.
    pub response_memory: ResponseMemory,
    /// The `[nova]` settings.
    pub settings: config::Nova,
    /// The highest microversion served.
    pub max_microversion: Arc<MaxMicroversion>,
}

/// One request, checked: the input of every handler.
#[derive(Debug, Clone)]
pub struct OperationInput {
    /// What is to be done.
    pub operation: Operation,
    /// The image that the path names; `None` where it names none, or where no image can have the id.
    pub image: Option<ImageId>,
    /// The metadata key.
    pub key: String,
    /// The mount point the request came in by.
    pub api: Api,
    /// The raw query string.
    pub query: String,
    /// The body, of the operations that have one.
    pub body: Json,
    /// On whose behalf Glance is called.
    pub caller: CallContext,
    /// The project of the validated token; `None` where only Glance knows it.
    pub project_id: Option<String>,
    /// Canceled when the client leaves.
    pub cancellation: CancellationToken,
    /// What this request's links begin with.
    pub links: LinkBase,
}

impl OperationInput {
    /// The image that the operation is about.
    pub fn image_id(&self) -> Result<&ImageId, ApiError> {
        self.image.as_ref().ok_or(ApiError::ImageNotFound)
    }

    /// The client, as one that changes an image.
    #[must_use]
    pub fn writer(&self) -> Writer<'_> {
        Writer {
            caller: &self.caller,
            project_id: self.project_id.as_deref(),
            cancellation: &self.cancellation,
        }
    }
}

impl NovaService {
    /// The highest microversion served.
    #[must_use]
    pub fn max_microversion(&self) -> Microversion {
        Microversion::new(2, self.max_microversion.minor())
    }

    /// Answers a request by way of the cache, in a task of its own on the upstream runtime. The task
    /// goes on when the client leaves, but for a write of which nothing was sent; `permit` is held
    /// until it ends.
    pub async fn respond(
        self: &Arc<Self>,
        input: OperationInput,
        cacheability: Cacheability,
        spawner: &Spawner,
        span: Span,
        permit: impl Send + 'static,
    ) -> Result<(HandlerResponse, Option<CacheOutcome>), ApiError> {
        let _canceled_on_drop = input.cancellation.clone().drop_guard();
        let service = Arc::clone(self);
        let work = async move {
            let _permit = permit;
            service.answer(input).await
        };
        let work = work.instrument(span);
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

/// Adds to a failure of Glance what Glance was asked for.
pub fn while_doing(operation: GlanceOperation) -> impl Fn(GlanceError) -> ApiError {
    move |error| ApiError::Glance {
        error,
        operation: operation.clone(),
    }
}

/// The same for a failed write.
pub fn while_writing(operation: GlanceOperation) -> impl Fn(WriteError) -> ApiError {
    move |error| match error {
        WriteError::Glance(error) => while_doing(operation.clone())(error),
        WriteError::Update(UpdateError::ReservedKey(key)) => ApiError::ReservedKey(key),
        WriteError::Update(UpdateError::KeyNotFound) => ApiError::InvalidMetadataKey,
        WriteError::Update(UpdateError::TooManyItems) => ApiError::MetadataQuotaExceeded,
        WriteError::QueueFull => HttpError::Overloaded.into(),
        // No client waits for the response to a canceled write.
        WriteError::Timeout | WriteError::Canceled => HttpError::Timeout.into(),
    }
}
