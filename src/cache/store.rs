//! The storage of responses: moka, bounded by bytes.

use super::generation::Generation;
use super::key::CacheKey;
use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Memory that moka and the allocator take for an entry besides its key and body, roughly, in bytes.
const OVERHEAD: usize = 400;
/// moka evicts in batches, and large responses would exceed the bound until the next one. So eviction
/// runs each time this part of the bound has been added.
const PARTS: u64 = 32;

/// A body in the pieces it was rendered in.
pub type Body = Arc<[Bytes]>;

/// A stored response.
#[derive(Debug)]
pub struct CachedResponse {
    pub body: Body,
    pub generation: Generation,
    pub fresh_until: Instant,
    pub stale_until: Instant,
}

impl CachedResponse {
    fn bytes(&self) -> usize {
        let pieces = self.body.len() * size_of::<Bytes>();
        pieces + self.body.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A bounded map from keys to responses.
#[derive(Debug)]
pub struct Store {
    entries: Cache<CacheKey, Arc<CachedResponse>, foldhash::quality::RandomState>,
    max_bytes: u64,
    added: AtomicU64,
}

impl Store {
    /// Holds `max_bytes` at most, each response for `max_age` at most, and counts `evictions`.
    pub fn new(max_bytes: u64, max_age: Duration, evictions: Counter) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weight)
            .time_to_live(max_age)
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

    /// The response under `key`, fresh or not.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<CachedResponse>> {
        self.entries.get(key)
    }

    /// Stores a response in place of the one before.
    pub fn put(&self, key: CacheKey, cached: Arc<CachedResponse>) {
        let weight = u64::from(weight(&key, &cached));
        self.entries.insert(key, cached);
        let added = self.added.fetch_add(weight, Ordering::Relaxed) + weight;
        if added > self.max_bytes / PARTS {
            self.added.store(0, Ordering::Relaxed);
            self.entries.run_pending_tasks();
        }
    }

    /// Bytes and number of the responses, after pending evictions.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}

/// The memory of an entry: an eighth more than it holds, for the allocator and for entries being
/// evicted.
fn weight(key: &CacheKey, cached: &Arc<CachedResponse>) -> u32 {
    let held = OVERHEAD + key.bytes() + cached.bytes();
    u32::try_from(held + held / 8).unwrap_or(u32::MAX)
}
