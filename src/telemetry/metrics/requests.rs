//! The requests of clients.

use super::histogram::{Histogram, Snapshot};
use super::labels::{CacheLabel, MethodLabel, RouteLabel, StatusLabel, VersionLabel};
use super::shards::Shards;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const ROUTES: usize = RouteLabel::ALL.len();
const METHODS: usize = MethodLabel::ALL.len();
const STATUSES: usize = StatusLabel::ALL.len();
const VERSIONS: usize = VersionLabel::ALL.len();
/// One for requests that the cache knows nothing of.
const CACHE: usize = CacheLabel::ALL.len() + 1;

/// All that is counted of one request.
#[derive(Debug, Clone, Copy)]
pub struct RequestSample {
    /// Where it went.
    pub route: RouteLabel,
    /// Its method.
    pub method: MethodLabel,
    /// What was answered.
    pub status: StatusLabel,
    /// The family of its microversion.
    pub version: VersionLabel,
    /// What the cache did, if it was asked.
    pub cache: Option<CacheLabel>,
    /// From its head to its answer.
    pub duration: Duration,
}

/// Counts requests; clones count together.
#[derive(Debug, Clone, Default)]
pub struct RequestMetrics {
    shards: Arc<Shards<Shard>>,
    /// Requests and connections turned away because there were too many.
    pub rejected: Counter,
}

/// What one thread has counted: tables by the numbers of the labels.
#[derive(Debug)]
struct Shard {
    answered: Box<[AtomicU64]>,
    duration: Box<[Histogram]>,
}

impl Default for Shard {
    fn default() -> Self {
        let counters = ROUTES * METHODS * STATUSES * VERSIONS;
        let histograms = ROUTES * METHODS * CACHE;
        Self {
            answered: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            duration: (0..histograms).map(|_| Histogram::default()).collect(),
        }
    }
}

fn answered_at(
    route: RouteLabel,
    method: MethodLabel,
    status: StatusLabel,
    version: VersionLabel,
) -> usize {
    let place = route as usize * METHODS + method as usize;
    (place * STATUSES + status as usize) * VERSIONS + version as usize
}

fn duration_at(route: RouteLabel, method: MethodLabel, cache: Option<CacheLabel>) -> usize {
    let place = route as usize * METHODS + method as usize;
    place * CACHE + cache.map_or(0, |cache| cache as usize + 1)
}

impl RequestMetrics {
    /// Counts a request that is over.
    pub fn count(&self, request: RequestSample) {
        let Some(shard) = self.shards.local() else {
            return;
        };
        let RequestSample {
            route,
            method,
            status,
            version,
            cache,
            duration,
        } = request;
        if let Some(counter) = shard
            .answered
            .get(answered_at(route, method, status, version))
        {
            counter.fetch_add(1, Relaxed);
        }
        if let Some(histogram) = shard.duration.get(duration_at(route, method, cache)) {
            histogram.observe(duration);
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Requests(Arc::clone(&self.shards))));
        registry.register(
            "requests_rejected",
            "Requests and connections turned away because there were too many",
            self.rejected.clone(),
        );
    }
}

#[derive(Debug)]
struct Requests(Arc<Shards<Shard>>);

#[derive(Debug, EncodeLabelSet)]
struct Answered {
    route: RouteLabel,
    method: MethodLabel,
    status: StatusLabel,
    version: VersionLabel,
}

#[derive(Debug, EncodeLabelSet)]
struct RequestDuration {
    route: RouteLabel,
    method: MethodLabel,
    cache: &'static str,
}

/// Only what has happened is shown: most combinations never do.
impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests by what was answered";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for labels in every_answer() {
            let at = answered_at(labels.route, labels.method, labels.status, labels.version);
            let tables = self.0.iter().filter_map(|shard| shard.answered.get(at));
            let count: u64 = tables.map(|counter| counter.load(Relaxed)).sum();
            if count > 0 {
                let mut series = family.encode_family(&labels)?;
                series.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let help = "Time from a request's head to its answer, body not included";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("request", help, unit, MetricType::Histogram)?;
        for (labels, cache) in every_duration() {
            let at = duration_at(labels.route, labels.method, cache);
            let tables = self.0.iter().filter_map(|shard| shard.duration.get(at));
            let sum = Snapshot::of(tables);
            if sum.count() > 0 {
                sum.encode(&mut family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn every_place() -> impl Iterator<Item = (RouteLabel, MethodLabel)> {
    let routes = RouteLabel::ALL.iter();
    routes.flat_map(|route| MethodLabel::ALL.iter().map(|method| (*route, *method)))
}

fn every_answer() -> impl Iterator<Item = Answered> {
    every_place().flat_map(|(route, method)| {
        StatusLabel::ALL.iter().flat_map(move |&status| {
            let versions = VersionLabel::ALL.iter();
            versions.map(move |&version| Answered {
                route,
                method,
                status,
                version,
            })
        })
    })
}

fn every_duration() -> impl Iterator<Item = (RequestDuration, Option<CacheLabel>)> {
    let outcomes = || CacheLabel::ALL.iter().map(|outcome| Some(*outcome));
    every_place().flat_map(move |(route, method)| {
        [None].into_iter().chain(outcomes()).map(move |outcome| {
            let cache = outcome.map_or("none", CacheLabel::as_str);
            (
                RequestDuration {
                    route,
                    method,
                    cache,
                },
                outcome,
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_combination_of_labels_has_a_counter_of_its_own() {
        let places: HashSet<_> = every_answer()
            .map(|of| answered_at(of.route, of.method, of.status, of.version))
            .collect();
        assert_eq!(places.len(), every_answer().count());
        assert_eq!(places.len(), Shard::default().answered.len());
        assert_eq!(places.iter().max(), Some(&(places.len() - 1)));
        let places: HashSet<_> = every_duration()
            .map(|(of, cache)| duration_at(of.route, of.method, cache))
            .collect();
        assert_eq!(places.len(), every_duration().count());
        assert_eq!(places.len(), Shard::default().duration.len());
        assert_eq!(places.iter().max(), Some(&(places.len() - 1)));
    }
}
