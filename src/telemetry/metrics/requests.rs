//! The requests of clients.

use super::histogram::{Histogram, Snapshot};
use super::labels::{ApiLabels, CacheLabel, MethodLabel, StatusLabel};
use super::shards::Shards;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const METHODS: usize = MethodLabel::ALL.len();
const STATUSES: usize = StatusLabel::ALL.len();
/// One for requests that the cache has no part in.
const CACHE: usize = CacheLabel::ALL.len() + 1;

/// All that is counted of one request.
#[derive(Debug, Clone, Copy)]
pub struct RequestSample {
    /// Its route, as an index into [`ApiLabels::routes`].
    pub route: usize,
    /// Its method.
    pub method: MethodLabel,
    /// The status of the response.
    pub status: StatusLabel,
    /// The family of its microversion, as an index into [`ApiLabels::versions`].
    pub version: usize,
    /// The cache's part in it, if it had one.
    pub cache: Option<CacheLabel>,
    /// The length of the response's body.
    pub response_bytes: u64,
    /// From its head to its response.
    pub duration: Duration,
}

/// The requests of all APIs; clones count together.
#[derive(Debug, Clone, Default)]
pub struct RequestMetrics {
    apis: Arc<Mutex<Vec<ApiRequestMetrics>>>,
    /// Requests rejected because there were too many.
    pub rejected: Counter,
}

/// The requests of one API; clones count together.
#[derive(Debug, Clone)]
pub struct ApiRequestMetrics {
    labels: ApiLabels,
    shards: Arc<Shards<Shard>>,
}

/// The counters of one thread: tables by the numbers of the labels.
#[derive(Debug)]
struct Shard {
    answered: Box<[AtomicU64]>,
    duration: Box<[Histogram]>,
    /// By route.
    body_bytes: Box<[AtomicU64]>,
}

impl Shard {
    fn new(labels: ApiLabels) -> Self {
        let places = labels.routes.len() * METHODS;
        let counters = places * STATUSES * labels.versions.len();
        let histograms = places * CACHE;
        Self {
            answered: (0..counters).map(|_| AtomicU64::new(0)).collect(),
            duration: (0..histograms).map(|_| Histogram::default()).collect(),
            body_bytes: labels.routes.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl ApiRequestMetrics {
    /// The label values.
    #[must_use]
    pub fn labels(&self) -> ApiLabels {
        self.labels
    }

    /// Counts a request that is over.
    pub fn count(&self, request: RequestSample) {
        let Some(shard) = self.shards.local() else {
            return;
        };
        let answered = self.answered_at(
            request.route,
            request.method,
            request.status,
            request.version,
        );
        if let Some(counter) = shard.answered.get(answered) {
            counter.fetch_add(1, Relaxed);
        }
        let duration = duration_at(request.route, request.method, request.cache);
        if let Some(histogram) = shard.duration.get(duration) {
            histogram.observe(request.duration);
        }
        if let Some(bytes) = shard.body_bytes.get(request.route) {
            bytes.fetch_add(request.response_bytes, Relaxed);
        }
    }

    fn answered_at(
        &self,
        route: usize,
        method: MethodLabel,
        status: StatusLabel,
        version: usize,
    ) -> usize {
        let place = route * METHODS + method as usize;
        (place * STATUSES + status as usize) * self.labels.versions.len() + version
    }

    fn places(&self) -> impl Iterator<Item = (usize, MethodLabel)> {
        let routes = 0..self.labels.routes.len();
        routes.flat_map(|route| MethodLabel::ALL.iter().map(move |method| (route, *method)))
    }

    /// The labels of every counter, and where it stands.
    fn every_answer(&self) -> impl Iterator<Item = (Answered, usize)> {
        let ApiLabels {
            api,
            routes,
            versions,
        } = self.labels;
        self.places().flat_map(move |(route, method)| {
            StatusLabel::ALL.iter().flat_map(move |&status| {
                versions.iter().enumerate().map(move |(index, version)| {
                    let labels = Answered {
                        api,
                        route: routes.get(route).copied().unwrap_or_default(),
                        method,
                        status,
                        microversion: version,
                    };
                    (labels, self.answered_at(route, method, status, index))
                })
            })
        })
    }

    /// The labels of every histogram, and where it stands.
    fn every_duration(&self) -> impl Iterator<Item = (RequestDuration, usize)> {
        let ApiLabels { api, routes, .. } = self.labels;
        let outcomes = || CacheLabel::ALL.iter().map(|outcome| Some(*outcome));
        self.places().flat_map(move |(route, method)| {
            [None].into_iter().chain(outcomes()).map(move |outcome| {
                let labels = RequestDuration {
                    api,
                    route: routes.get(route).copied().unwrap_or_default(),
                    method,
                    cache: outcome.map_or("none", CacheLabel::as_str),
                };
                (labels, duration_at(route, method, outcome))
            })
        })
    }
}

fn duration_at(route: usize, method: MethodLabel, cache: Option<CacheLabel>) -> usize {
    let place = route * METHODS + method as usize;
    place * CACHE + cache.map_or(0, |cache| cache as usize + 1)
}

impl RequestMetrics {
    /// The counters of an API, which brings its labels.
    #[must_use]
    pub fn api(&self, labels: ApiLabels) -> ApiRequestMetrics {
        let mut apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        // Two listeners may serve the same API.
        if let Some(known) = apis.iter().find(|api| api.labels == labels) {
            return known.clone();
        }
        let metrics = ApiRequestMetrics {
            labels,
            shards: Arc::new(Shards::new(|| Shard::new(labels))),
        };
        apis.push(metrics.clone());
        metrics
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Requests(Arc::clone(&self.apis))));
        registry.register(
            "http_requests_rejected",
            "Requests rejected because too many were in flight; http_requests_total counts them too",
            self.rejected.clone(),
        );
    }
}

#[derive(Debug)]
struct Requests(Arc<Mutex<Vec<ApiRequestMetrics>>>);

#[derive(Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    api: &'static str,
    route: &'static str,
    method: MethodLabel,
    status: StatusLabel,
    microversion: &'static str,
}

#[derive(Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestDuration {
    api: &'static str,
    route: &'static str,
    method: MethodLabel,
    cache: &'static str,
}

/// Only what has happened is shown: most combinations never do.
impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let apis = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Requests by route, method, status and microversion";
        let mut family =
            encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for api in &*apis {
            for (labels, at) in api.every_answer() {
                let tables = api.shards.iter().filter_map(|shard| shard.answered.get(at));
                let count: u64 = tables.map(|counter| counter.load(Relaxed)).sum();
                if count > 0 {
                    let mut series = family.encode_family(&labels)?;
                    series.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        let help = "Time from the head of a request to its response, the body not included";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor(
            "http_request_duration",
            help,
            unit,
            MetricType::Histogram,
        )?;
        for api in &*apis {
            for (labels, at) in api.every_duration() {
                let tables = api.shards.iter().filter_map(|shard| shard.duration.get(at));
                let sum = Snapshot::of(tables);
                if sum.count() > 0 {
                    sum.encode(&mut family.encode_family(&labels)?)?;
                }
            }
        }
        let (help, unit) = ("Bytes of response bodies", Some(&Unit::Bytes));
        let mut family =
            encoder.encode_descriptor("http_response_body", help, unit, MetricType::Counter)?;
        for ApiRequestMetrics { labels, shards } in &*apis {
            let api = labels.api;
            for (index, route) in labels.routes.iter().enumerate() {
                let tables = shards
                    .iter()
                    .filter_map(|shard| shard.body_bytes.get(index));
                let count: u64 = tables.map(|counter| counter.load(Relaxed)).sum();
                if count > 0 {
                    let labels = [("api", api), ("route", *route)];
                    let mut series = family.encode_family(&labels)?;
                    series.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_combination_of_labels_has_a_counter_of_its_own() {
        let api = RequestMetrics::default().api(ApiLabels {
            api: "test",
            routes: &["/", "/{id}", "unknown"],
            versions: &["none", "1"],
        });
        let labels: HashSet<_> = api.every_answer().map(|(labels, _)| labels).collect();
        let places: HashSet<_> = api.every_answer().map(|(_, at)| at).collect();
        assert_eq!(places.len(), 3 * METHODS * STATUSES * 2);
        assert_eq!(places.len(), labels.len());
        assert_eq!(places.len(), Shard::new(api.labels).answered.len());
        assert_eq!(places.iter().max(), Some(&(places.len() - 1)));
        let labels: HashSet<_> = api.every_duration().map(|(labels, _)| labels).collect();
        let places: HashSet<_> = api.every_duration().map(|(_, at)| at).collect();
        assert_eq!(places.len(), labels.len());
        assert_eq!(places.len(), Shard::new(api.labels).duration.len());
        assert_eq!(places.iter().max(), Some(&(places.len() - 1)));
    }
}
