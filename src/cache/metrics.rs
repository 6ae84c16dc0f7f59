//! The metrics of the response cache.

use super::outcome::{CacheOutcome, NoCacheReason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Bypassed {
    reason: &'static str,
}

/// Counters since the start of the process, and gauges of this moment. Clones share them.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    /// Lookups answered from memory, apart from the family for the sake of its lock.
    pub(super) hits: Counter,
    pub(super) invalidated_lookups: Counter,
    pub(super) evictions: Counter,
    pub(super) size: Gauge,
    pub(super) capacity: Gauge,
    pub(super) entries: Gauge,
    lookups: Family<Lookup, Counter>,
    bypassed: Family<Bypassed, Counter>,
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let lookups = Family::<Lookup, Counter>::default();
        let of = |outcome: CacheOutcome| {
            let outcome = outcome.label().as_str();
            lookups.get_or_create_owned(&Lookup { outcome })
        };
        for outcome in [
            CacheOutcome::Miss,
            CacheOutcome::Coalesced,
            CacheOutcome::Stale,
        ] {
            of(outcome);
        }
        let bypassed = Family::<Bypassed, Counter>::default();
        for reason in NoCacheReason::ALL {
            let reason = reason.as_str();
            bypassed.get_or_create_owned(&Bypassed { reason });
        }
        Self {
            hits: of(CacheOutcome::Hit),
            invalidated_lookups: Counter::default(),
            evictions: Counter::default(),
            size: Gauge::default(),
            capacity: Gauge::default(),
            entries: Gauge::default(),
            lookups,
            bypassed,
        }
    }
}

impl CacheMetrics {
    /// Counts one response.
    pub(super) fn count(&self, outcome: CacheOutcome) {
        match outcome {
            CacheOutcome::Hit => self.hits.inc(),
            CacheOutcome::Bypass(reason) => {
                let reason = reason.as_str();
                self.bypassed.get_or_create(&Bypassed { reason }).inc()
            }
            CacheOutcome::Miss | CacheOutcome::Coalesced | CacheOutcome::Stale => {
                let outcome = outcome.label().as_str();
                self.lookups.get_or_create(&Lookup { outcome }).inc()
            }
        };
    }

    /// Adds them to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "response_cache_lookups",
            "Lookups in the response cache",
            self.lookups.clone(),
        );
        registry.register(
            "response_cache_bypassed",
            "Reads that the response cache had no part in, by the reason",
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
            "Memory of the cached responses and their keys",
            Unit::Bytes,
            self.size.clone(),
        );
        registry.register_with_unit(
            "response_cache_capacity",
            "Most memory for cached responses (cache.max_bytes)",
            Unit::Bytes,
            self.capacity.clone(),
        );
        registry.register(
            "response_cache_entries",
            "Cached responses",
            self.entries.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text;

    #[test]
    fn every_outcome_and_reason_is_a_series_from_the_start() {
        let metrics = CacheMetrics::default();
        metrics.count(CacheOutcome::Hit);
        metrics.count(CacheOutcome::Bypass(NoCacheReason::WritePending));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        for line in [
            "response_cache_lookups_total{outcome=\"hit\"} 1\n",
            "response_cache_lookups_total{outcome=\"miss\"} 0\n",
            "response_cache_lookups_total{outcome=\"coalesced\"} 0\n",
            "response_cache_lookups_total{outcome=\"stale\"} 0\n",
            "response_cache_bypassed_total{reason=\"write-pending\"} 1\n",
            "response_cache_bypassed_total{reason=\"access-rules\"} 0\n",
            "response_cache_size_bytes 0\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
    }
}
