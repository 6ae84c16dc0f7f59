//! The answer cache.

use super::labels::CacheOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: CacheOutcome,
}

/// What the answer cache counts. Clones count together.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// Lookups answered from memory.
    pub hits: Counter,
    /// Lookups that went to Glance.
    pub misses: Counter,
    /// Lookups that shared another one's call.
    pub coalesced: Counter,
    /// Lookups answered past their time because Glance failed.
    pub stale: Counter,
    /// Requests that are not for the cache.
    pub bypassed: Counter,
    /// Entries found but older than a write.
    pub invalidated_lookups: Counter,
    /// Entries thrown out to make room.
    pub evictions: Counter,
    /// What the entries weigh, in bytes.
    pub bytes: Gauge,
    /// How many entries there are.
    pub entries: Gauge,
    lookups: Family<Labels, Counter>,
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let lookups = Family::<Labels, Counter>::default();
        let of = |outcome| lookups.get_or_create_owned(&Labels { outcome });
        Self {
            hits: of(CacheOutcome::Hit),
            misses: of(CacheOutcome::Miss),
            coalesced: of(CacheOutcome::Coalesced),
            stale: of(CacheOutcome::Stale),
            bypassed: Counter::default(),
            invalidated_lookups: Counter::default(),
            evictions: Counter::default(),
            bytes: Gauge::default(),
            entries: Gauge::default(),
            lookups,
        }
    }
}

impl CacheMetrics {
    /// Counts one lookup.
    pub fn count(&self, outcome: CacheOutcome) {
        match outcome {
            CacheOutcome::Hit => &self.hits,
            CacheOutcome::Miss => &self.misses,
            CacheOutcome::Coalesced => &self.coalesced,
            CacheOutcome::Stale => &self.stale,
            CacheOutcome::Bypass => &self.bypassed,
        }
        .inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "response_cache_lookups",
            "Lookups in the response cache",
            self.lookups.clone(),
        );
        registry.register(
            "response_cache_bypassed",
            "Reads that the response cache had no part in",
            self.bypassed.clone(),
        );
        registry.register(
            "response_cache_invalidated_lookups",
            "Lookups that found a response older than a write",
            self.invalidated_lookups.clone(),
        );
        registry.register(
            "response_cache_evictions",
            "Responses evicted to make room",
            self.evictions.clone(),
        );
        registry.register_with_unit(
            "response_cache_size",
            "Memory of the cached responses",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "response_cache_entries",
            "Cached responses",
            self.entries.clone(),
        );
    }
}
