//! What every operation works with.

use super::answer::Answer;
use super::fault::{ApiError, During};
use super::json::Json;
use super::links::LinkBase;
use super::locks::WriteLocks;
use super::microversion::Version;
use super::routes::{Action, Api};
use super::transitional::Transitional;
use super::view::Detail;
use super::{images, metadata};
use crate::cache::{Answers, WriteGuard};
use crate::config;
use crate::glance::{Caller, Glance, GlanceError};
use std::sync::Arc;
use std::time::Duration;

/// The compute API's image operations on top of Glance.
#[derive(Debug)]
pub struct Service {
    /// The image service.
    pub glance: Glance,
    /// The `[nova]` settings.
    pub settings: config::Nova,
    /// The queue for writes.
    pub locks: WriteLocks,
    /// What has been answered, and which of it a write has made old.
    pub answers: Arc<Answers<ApiError>>,
    /// `cache.transitional_window`.
    pub transitional_window: Duration,
}

/// One request, checked and resolved: everything an operation needs besides the service.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is to be done.
    pub action: Action,
    /// The image, as the client named it.
    pub id: String,
    /// The metadata key.
    pub key: String,
    /// The mount point the request came in by.
    pub api: Api,
    /// The raw query string.
    pub query: String,
    /// The body, of the operations that have one.
    pub body: Json,
    /// For whom Glance is called.
    pub caller: Caller,
    /// What this request's links begin with.
    pub links: LinkBase,
}

impl Service {
    /// The highest microversion served.
    #[must_use]
    pub fn max_microversion(&self) -> Version {
        Version::new(2, self.settings.max_microversion)
    }

    /// Which images are coming into being, as of now.
    #[must_use]
    pub fn transitional(&self) -> Transitional {
        Transitional::now(self.transitional_window)
    }

    /// Sends a write to Glance, and tells `write` whether its outcome is known.
    pub async fn tracked<T>(
        &self,
        write: &mut WriteGuard<'_>,
        caller: &Caller,
        call: impl Future<Output = Result<T, GlanceError>>,
    ) -> Result<T, GlanceError> {
        write.sending(self.glance.deadline(caller));
        let outcome = call.await;
        if outcome.as_ref().err().is_none_or(GlanceError::is_final) {
            write.settled();
        }
        outcome
    }

    /// Does what `request` asks for.
    pub async fn answer(&self, request: Request) -> Result<Answer, ApiError> {
        match request.action {
            Action::ListImages => images::list(self, request, Detail::Basic).await,
            Action::DetailImages => images::list(self, request, Detail::Full).await,
            Action::ShowImage => images::show(self, request).await,
            Action::ListMetadata => metadata::list(self, request).await,
            Action::ShowMetadataItem => metadata::show(self, request).await,
            Action::DeleteImage => images::delete(self, request).await,
            Action::CreateMetadata => metadata::create(self, request).await,
            Action::ReplaceMetadata => metadata::replace(self, request).await,
            Action::UpdateMetadataItem => metadata::update(self, request).await,
            Action::DeleteMetadataItem => metadata::delete(self, request).await,
        }
    }
}

/// Wraps a failure of Glance with what it was asked.
pub fn during(during: During) -> impl Fn(GlanceError) -> ApiError {
    move |error| ApiError::Glance {
        error,
        during: during.clone(),
    }
}
