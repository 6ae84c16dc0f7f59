//! What a write invalidates.

use crate::glance::ImageId;
use std::time::Duration;
use uuid::Uuid;

/// The responses that a write may have changed: those about its image, and all lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidation {
    /// The image; `None` when its id is not canonical, so that it may be any image.
    pub image: Option<Uuid>,
    /// How long from now Glance may still carry the write out; zero when its outcome is known.
    pub uncacheable_for: Duration,
}

impl Invalidation {
    /// Of a write to this image whose outcome is known.
    #[must_use]
    pub fn of_write(id: &ImageId) -> Self {
        Self {
            image: id.canonical(),
            uncacheable_for: Duration::ZERO,
        }
    }
}
