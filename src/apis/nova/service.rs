//! What every handler works with.

use super::fault::{ApiError, GlanceOperation};
use super::links::LinkBase;
use super::max_microversion::MaxMicroversion;
use super::microversion::Microversion;
use crate::cache::ReadThrough;
use crate::config;
use crate::glance::{CallContext, GlanceError};
use crate::http::HttpError;
use crate::http::response_memory::ResponseMemory;
use crate::images::{ImageService, UpdateError, WriteError, Writer};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

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
    /// Where clients reach Glance, if that is not the endpoint that the gateway calls.
    pub public_glance: Option<String>,
    /// The highest microversion served.
    pub max_microversion: Arc<MaxMicroversion>,
}

/// What every handler gets besides its typed request.
#[derive(Debug, Clone)]
pub struct HandlerContext {
    /// On whose behalf Glance is called.
    pub caller: CallContext,
    /// The project of the validated token; `None` where only Glance knows it.
    pub project_id: Option<String>,
    /// Canceled when the client leaves.
    pub cancellation: CancellationToken,
    /// The beginnings of the links in the response.
    pub links: LinkBase,
}

impl HandlerContext {
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
