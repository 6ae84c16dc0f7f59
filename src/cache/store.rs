//! Where answers are kept: moka, bounded by bytes.

use super::key::CacheKey;
use super::response_cache::CachedResponse;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What moka and the allocator need for an entry besides its key and body, in bytes, roughly.
const OVERHEAD: usize = 400;
/// moka tidies up in batches. Large answers would exceed the bound until then, so every so many
/// parts of the bound that have been added it is told to.
const PARTS: u64 = 32;

/// A bounded map from keys to answers.
#[derive(Debug)]
pub struct Store {
    entries: Cache<CacheKey, Arc<CachedResponse>, foldhash::quality::RandomState>,
    max_bytes: u64,
    added: AtomicU64,
}

impl Store {
    /// Keeps `max_bytes` at most, each answer for `life` at most, and counts `evictions`.
    pub fn new(max_bytes: u64, life: Duration, evictions: Counter) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weight)
            .time_to_live(life)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.inc();
                }
            })
            .build_with_hasher(foldhash::quality::RandomState::default());
        Self {
            entries,
            max_bytes,
            added: AtomicU64::new(0),
        }
    }

    /// What is kept under `key`, fresh or not.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<CachedResponse>> {
        self.entries.get(key)
    }

    /// Keeps an answer in place of the one before.
    pub fn put(&self, key: CacheKey, cached: Arc<CachedResponse>) {
        let weight = u64::from(weight(&key, &cached));
        self.entries.insert(key, cached);
        let added = self.added.fetch_add(weight, Ordering::Relaxed) + weight;
        if added > self.max_bytes / PARTS {
            self.added.store(0, Ordering::Relaxed);
            self.entries.run_pending_tasks();
        }
    }

    /// Bytes kept, and in how many answers, when what is pending is done.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}

/// What an answer costs the process: an eighth more than it holds, which the allocator and entries
/// on their way out take.
fn weight(key: &CacheKey, cached: &Arc<CachedResponse>) -> u32 {
    let held = OVERHEAD + key.bytes() + cached.bytes();
    u32::try_from(held + held / 8).unwrap_or(u32::MAX)
}
