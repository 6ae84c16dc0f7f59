//! Calls to Keystone and Glance.

use super::histogram::{Histogram, Snapshot};
use super::labels::CallOutcome;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use url::Url;

/// The label of every endpoint that the settings do not name: those of tokens' catalogs.
const CATALOG: &str = "catalog";

/// Counts calls; clones count together.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics(Arc<Endpoints>);

#[derive(Debug)]
struct Endpoints {
    known: Vec<(Url, Calls)>,
    others: Calls,
}

#[derive(Debug)]
struct Calls {
    endpoint: String,
    took: [Histogram; CallOutcome::ALL.len()],
}

impl Calls {
    fn to(endpoint: String) -> Self {
        Self {
            endpoint,
            took: Default::default(),
        }
    }
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self::new([])
    }
}

impl UpstreamMetrics {
    /// Calls are told apart by the origins of `endpoints`, and all others are one.
    pub fn new<'u>(endpoints: impl IntoIterator<Item = &'u Url>) -> Self {
        let mut known: Vec<(Url, Calls)> = Vec::new();
        for url in endpoints {
            if !known.iter().any(|(other, _)| same_origin(other, url)) {
                let label = url.origin().ascii_serialization();
                known.push((url.clone(), Calls::to(label)));
            }
        }
        let others = Calls::to(CATALOG.to_owned());
        Self(Arc::new(Endpoints { known, others }))
    }

    /// A call to `url` begins. It counts as abandoned unless it gets another outcome.
    #[must_use]
    pub fn begin(&self, url: &Url) -> Call {
        Call {
            endpoint: self
                .0
                .known
                .iter()
                .position(|(known, _)| same_origin(known, url)),
            endpoints: Arc::clone(&self.0),
            started: Instant::now(),
            outcome: CallOutcome::Abandoned,
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// A call under way; it is counted when it is dropped.
#[derive(Debug)]
pub struct Call {
    endpoints: Arc<Endpoints>,
    endpoint: Option<usize>,
    started: Instant,
    outcome: CallOutcome,
}

impl Call {
    /// What came of it.
    pub fn end(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let known = self.endpoint.and_then(|at| self.endpoints.known.get(at));
        let calls = known.map_or(&self.endpoints.others, |(_, calls)| calls);
        if let Some(histogram) = calls.took.get(self.outcome as usize) {
            histogram.observe(self.started.elapsed());
        }
    }
}

impl Collector for UpstreamMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Time of calls to Keystone and Glance, from the request to the end of the answer";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let mut family = encoder.encode_descriptor("upstream_call", help, unit, kind)?;
        let known = self.0.known.iter().map(|(_, calls)| calls);
        for calls in known.chain([&self.0.others]) {
            for (histogram, &outcome) in calls.took.iter().zip(CallOutcome::ALL) {
                let sum = Snapshot::of([histogram].into_iter());
                if sum.count() > 0 {
                    let labels = [
                        ("endpoint", calls.endpoint.as_str()),
                        ("outcome", outcome.as_str()),
                    ];
                    sum.encode(&mut family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_that_are_not_in_the_settings_are_one_series() {
        let metrics =
            UpstreamMetrics::new(&[url("http://glance:9292"), url("http://glance:9292/v2")]);
        metrics
            .begin(&url("http://glance:9292/v2/images"))
            .end(CallOutcome::Success);
        metrics
            .begin(&url("http://Glance:9292/v2/images?a=b"))
            .end(CallOutcome::Success);
        for n in 0..100 {
            let url = url(&format!("https://of-a-catalog-{n}:9292/v2/images/{n}"));
            metrics.begin(&url).end(CallOutcome::of_status(404));
        }
        drop(metrics.begin(&url("http://glance:9293")));
        let text = Metrics::new(metrics).text();
        let counts: Vec<_> = text
            .lines()
            .filter(|line| line.contains("call_seconds_count"))
            .collect();
        assert_eq!(
            counts,
            [
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"http://glance:9292\",outcome=\"2xx\"} 2",
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"catalog\",outcome=\"4xx\"} 100",
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"catalog\",outcome=\"abandoned\"} 1",
            ]
        );
    }
}
