//! Why an image was not changed.

use super::metadata_update::UpdateError;
use super::write_locks::LockError;
use crate::glance::{GlanceError, InvalidResponse};
use thiserror::Error;

/// Why a write failed.
#[derive(Debug, Clone, Error)]
pub enum WriteError {
    /// Glance refused it, or failed.
    #[error(transparent)]
    Glance(#[from] GlanceError),
    /// The image's properties do not allow it.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// Too many writes wait for this image.
    #[error("too many writes wait for this image")]
    QueueFull,
    /// The request's deadline passed before the image's turn came.
    #[error("the deadline passed while the write waited for its turn")]
    Timeout,
    /// The client left before anything was sent.
    #[error("the client left before the write was sent")]
    Canceled,
}

impl From<InvalidResponse> for WriteError {
    fn from(error: InvalidResponse) -> Self {
        Self::Glance(error.into())
    }
}

impl From<LockError> for WriteError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::QueueFull => Self::QueueFull,
            LockError::Timeout => Self::Timeout,
        }
    }
}
