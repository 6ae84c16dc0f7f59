//! Calls to Keystone and Glance.

use super::histogram::{Histogram, Snapshot};
use super::labels::CallOutcome;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use url::Url;

/// The label of every endpoint that the settings do not name: those of tokens' catalogs.
const CATALOG: &str = "catalog";

/// Counts calls, told apart by the origins it knows; all others are one. Clones count together.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    known: Arc<RwLock<Vec<Arc<EndpointCalls>>>>,
    others: Arc<EndpointCalls>,
}

#[derive(Debug)]
struct EndpointCalls {
    /// `None`: all that are not known.
    origin: Option<Url>,
    endpoint: String,
    duration: [Histogram; CallOutcome::ALL.len()],
}

impl EndpointCalls {
    fn to(origin: Option<&Url>) -> Arc<Self> {
        let label = |url: &Url| url.origin().ascii_serialization();
        Arc::new(Self {
            origin: origin.cloned(),
            endpoint: origin.map_or_else(|| CATALOG.to_owned(), label),
            duration: Default::default(),
        })
    }

    fn are_to(&self, url: &Url) -> bool {
        self.origin.as_ref().is_some_and(|origin| {
            origin.scheme() == url.scheme()
                && origin.host_str() == url.host_str()
                && origin.port_or_known_default() == url.port_or_known_default()
        })
    }
}

impl Default for UpstreamMetrics {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            others: EndpointCalls::to(None),
        }
    }
}

impl UpstreamMetrics {
    /// Calls to the origin of `url` are counted by themselves from now on. For endpoints of the
    /// settings alone: each is a label.
    pub fn register_endpoint(&self, url: &Url) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|calls| calls.are_to(url)) {
            known.push(EndpointCalls::to(Some(url)));
        }
    }

    /// A call to `url` begins. It counts as abandoned unless it gets another outcome.
    #[must_use]
    pub fn begin(&self, url: &Url) -> CallTimer {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|calls| calls.are_to(url));
        CallTimer {
            calls: Arc::clone(found.unwrap_or(&self.others)),
            started: Instant::now(),
            outcome: CallOutcome::Canceled,
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

/// A call under way; it is counted when it is dropped.
#[derive(Debug)]
pub struct CallTimer {
    calls: Arc<EndpointCalls>,
    started: Instant,
    outcome: CallOutcome,
}

impl CallTimer {
    /// What came of it.
    pub fn end(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        if let Some(histogram) = self.calls.duration.get(self.outcome as usize) {
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
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for calls in known.iter().chain([&self.others]) {
            for (histogram, outcome) in calls.duration.iter().zip(CallOutcome::ALL) {
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
        let all = Metrics::default();
        let metrics = &all.upstream;
        metrics.register_endpoint(&url("http://glance:9292"));
        metrics.register_endpoint(&url("http://glance:9292/v2"));
        for known in ["http://glance:9292/v2/images", "http://Glance:9292/a?b"] {
            metrics.begin(&url(known)).end(CallOutcome::Success);
        }
        for n in 0..100 {
            let url = url(&format!("https://of-a-catalog-{n}:9292/v2/images/{n}"));
            metrics.begin(&url).end(CallOutcome::of_status(404));
        }
        drop(metrics.begin(&url("http://glance:9293")));
        let text = all.text();
        let counts: Vec<_> = text
            .lines()
            .filter(|line| line.contains("call_seconds_count"))
            .collect();
        assert_eq!(
            counts,
            [
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"http://glance:9292\",outcome=\"2xx\"} 2",
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"catalog\",outcome=\"4xx\"} 100",
                "nova_image_proxy_upstream_call_seconds_count{endpoint=\"catalog\",outcome=\"canceled\"} 1",
            ]
        );
    }
}
