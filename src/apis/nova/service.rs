//! What every operation works with.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::links::LinkBase;
use super::microversion::Microversion;
use super::routes::{Api, Operation};
use super::transitional::Transitional;
use super::view::Detail;
use super::write_locks::WriteLocks;
use super::{images, metadata};
use crate::cache::{ResponseCache, WriteGuard};
use crate::config;
use crate::glance::{CallContext, GlanceClient, GlanceError, ImageId};
use std::sync::Arc;
use std::time::Duration;

/// The compute API's image operations on top of Glance.
#[derive(Debug)]
pub struct ImageService {
    /// The image service.
    pub glance: GlanceClient,
    /// The `[nova]` settings.
    pub settings: config::Nova,
    /// The queue for writes.
    pub locks: WriteLocks,
    /// What has been answered, and which of it a write has made old.
    pub answers: Arc<ResponseCache<ApiError>>,
    /// `cache.transitional_window`.
    pub transitional_window: Duration,
}

/// One request, checked and resolved: everything an operation needs besides the service.
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
    /// For whom Glance is called.
    pub caller: CallContext,
    /// What this request's links begin with.
    pub links: LinkBase,
}

impl OperationInput {
    /// The image that the operation is about.
    pub fn image_id(&self) -> Result<&ImageId, ApiError> {
        self.image.as_ref().ok_or(ApiError::ImageNotFound)
    }
}

impl ImageService {
    /// The highest microversion served.
    #[must_use]
    pub fn max_microversion(&self) -> Microversion {
        Microversion::new(2, self.settings.max_microversion)
    }

    /// Which images are coming into being, as of now.
    #[must_use]
    pub fn transitional(&self) -> Transitional {
        Transitional::now(self.transitional_window)
    }

    /// Sends a write to Glance, and tells `write` whether its outcome is known.
    pub async fn track_write<T>(
        &self,
        write: &mut WriteGuard<'_>,
        caller: &CallContext,
        call: impl Future<Output = Result<T, GlanceError>>,
    ) -> Result<T, GlanceError> {
        write.call_started(self.glance.deadline(caller));
        let outcome = call.await;
        if outcome
            .as_ref()
            .err()
            .is_none_or(GlanceError::is_outcome_known)
        {
            write.outcome_known();
        }
        outcome
    }

    /// Does what `request` asks for.
    pub async fn answer(&self, request: OperationInput) -> Result<HandlerResponse, ApiError> {
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

/// Wraps a failure of Glance with what it was asked.
pub fn while_doing(operation: GlanceOperation) -> impl Fn(GlanceError) -> ApiError {
    move |error| ApiError::Glance {
        error,
        operation: operation.clone(),
    }
}
