//! What a write invalidates.

use crate::glance::ImageId;
use std::time::Duration;
use uuid::Uuid;

/// The images that a write may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidatedImages {
    /// This one.
    One(Uuid),
    /// Any image: the id that was written to is not canonical.
    All,
    /// No image that was there before.
    None,
}

/// The responses that a write may have changed: those about its image, and all lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalidation {
    /// The images that it was a write to.
    pub images: InvalidatedImages,
    /// How long from now Glance may still carry the write out; zero when its outcome is known.
    pub uncacheable_for: Duration,
}

impl Invalidation {
    /// Of a write to this image whose outcome is known.
    #[must_use]
    pub fn of_write(id: &ImageId) -> Self {
        Self {
            images: id
                .canonical()
                .map_or(InvalidatedImages::All, InvalidatedImages::One),
            uncacheable_for: Duration::ZERO,
        }
    }

    /// Of a change after which other images are listed, and no image is another one.
    #[must_use]
    pub fn of_lists() -> Self {
        Self {
            images: InvalidatedImages::None,
            uncacheable_for: Duration::ZERO,
        }
    }
}
