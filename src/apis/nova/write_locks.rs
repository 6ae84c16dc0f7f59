//! One write at a time for each image in this process.
//!
//! Glance's PATCH reads, changes and writes without a lock: of fifty concurrent patches sent to it
//! directly, twenty got lost. Writers of one image therefore queue here. The locks are a fixed
//! array; two images that share one wait for each other, which costs time and nothing else.

use crate::glance::ImageId;
use std::hash::{BuildHasher, RandomState};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

const STRIPES: usize = 1024;

/// The queue for writes.
#[derive(Debug)]
pub struct WriteLocks {
    stripes: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl Default for WriteLocks {
    fn default() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl WriteLocks {
    /// Waits for the image's turn, but not beyond `deadline`.
    pub async fn lock(&self, image: &ImageId, deadline: Instant) -> Option<MutexGuard<'_, ()>> {
        let hash = self.hasher.hash_one(image.lock_key());
        let index = usize::try_from(hash % STRIPES as u64).ok()?;
        timeout_at(deadline, self.stripes.get(index)?.lock())
            .await
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_second_writer_waits_for_the_first_and_not_beyond_its_deadline() {
        let locks = WriteLocks::default();
        let id = |text| ImageId::parse(text).unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        let first = locks.lock(&id("image"), soon()).await.unwrap();
        assert!(locks.lock(&id("image"), soon()).await.is_none());
        assert!(locks.lock(&id("IMAGE"), soon()).await.is_none());
        drop(first);
        assert!(locks.lock(&id("image"), soon()).await.is_some());
    }
}
