//! Requests to Keystone, Glance and Nova.

use super::histogram::{Histogram, Snapshot};
use super::labels::CallOutcome;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use url::Url;

/// The labels of every endpoint that the settings do not name: image endpoints of tokens' catalogs.
const CATALOG: (&str, &str) = ("glance", "catalog");

/// Counts requests by the endpoints it knows; all others are one. Clones count together.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    known: Arc<RwLock<Vec<Arc<EndpointCalls>>>>,
    others: Arc<EndpointCalls>,
}

/// An endpoint of the settings.
#[derive(Debug)]
struct KnownEndpoint {
    service: &'static str,
    url: Url,
    /// Scheme, host and port.
    origin: String,
    /// The endpoint counts as down after as many failures in a row.
    max_failures: u32,
}

#[derive(Debug)]
struct EndpointCalls {
    /// `None` for all endpoints that are not known.
    endpoint: Option<KnownEndpoint>,
    failures_in_a_row: AtomicU32,
    duration: [Histogram; CallOutcome::ALL.len()],
}

impl EndpointCalls {
    fn to(endpoint: Option<KnownEndpoint>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            failures_in_a_row: AtomicU32::new(0),
            duration: Default::default(),
        })
    }

    fn are_to(&self, url: &Url) -> bool {
        self.endpoint.as_ref().is_some_and(|known| {
            known.url.scheme() == url.scheme()
                && known.url.host_str() == url.host_str()
                && known.url.port_or_known_default() == url.port_or_known_default()
        })
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        let known = self.endpoint.as_ref();
        let (service, upstream) = known.map_or(CATALOG, |known| (known.service, &known.origin));
        [("upstream_service", service), ("upstream", upstream)]
    }

    fn count(&self, outcome: CallOutcome, started: Instant) {
        if let Some(histogram) = self.duration.get(outcome as usize) {
            histogram.observe(started.elapsed());
        }
        match outcome {
            CallOutcome::Success | CallOutcome::Redirect | CallOutcome::ClientError => {
                self.failures_in_a_row.store(0, Relaxed);
            }
            CallOutcome::ServerError
            | CallOutcome::InvalidStatus
            | CallOutcome::Connect
            | CallOutcome::Timeout
            | CallOutcome::Interrupted => {
                self.failures_in_a_row.fetch_add(1, Relaxed);
            }
            // These tell nothing about the endpoint.
            CallOutcome::TooLarge | CallOutcome::Canceled => {}
        }
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
    /// Counts requests to the origin of `url` apart from now on, as an endpoint of `service` that is
    /// down after `max_failures` failures in a row. For endpoints of the settings only, since each
    /// is a label.
    pub fn register_endpoint(&self, service: &'static str, url: &Url, max_failures: u32) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|calls| calls.are_to(url)) {
            known.push(EndpointCalls::to(Some(KnownEndpoint {
                service,
                url: url.clone(),
                origin: url.origin().ascii_serialization(),
                max_failures,
            })));
        }
    }

    /// Starts the timer of a request to `url`. The request counts as canceled unless it gets another
    /// outcome.
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

/// A request under way; it is counted when this is dropped.
#[derive(Debug)]
pub struct CallTimer {
    calls: Arc<EndpointCalls>,
    started: Instant,
    outcome: CallOutcome,
}

impl CallTimer {
    /// Sets the outcome.
    pub fn end(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        self.calls.count(self.outcome, self.started);
    }
}

impl Collector for UpstreamMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time of requests to upstream services, the body of the response included; \
                    each retry is one";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let name = "upstream_request_duration";
        let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for calls in known.iter().chain([&self.others]) {
            let [service, upstream] = calls.labels();
            for (histogram, outcome) in calls.duration.iter().zip(CallOutcome::ALL) {
                let sum = Snapshot::of([histogram].into_iter());
                if sum.count() > 0 {
                    let labels = [service, upstream, ("outcome", outcome.as_str())];
                    sum.encode(&mut family.encode_family(&labels)?)?;
                }
            }
        }
        let help =
            "Whether the endpoint answered the last requests: 1, or 0 after failures in a row";
        let mut family = encoder.encode_descriptor("upstream_up", help, None, MetricType::Gauge)?;
        for calls in &*known {
            let failures = calls.failures_in_a_row.load(Relaxed);
            let max = calls
                .endpoint
                .as_ref()
                .map_or(u32::MAX, |known| known.max_failures);
            let labels = calls.labels();
            let mut series = family.encode_family(&labels)?;
            series.encode_gauge(&i64::from(failures < max.max(1)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Exposition, Metrics};

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_that_are_not_in_the_settings_are_one_series() {
        let all = Metrics::default();
        let metrics = &all.upstream;
        metrics.register_endpoint("glance", &url("http://glance:9292"), 2);
        metrics.register_endpoint("glance", &url("http://glance:9292/v2"), 2);
        for known in ["http://glance:9292/v2/images", "http://Glance:9292/a?b"] {
            metrics.begin(&url(known)).end(CallOutcome::Success);
        }
        for n in 0..100 {
            let url = url(&format!("https://of-a-catalog-{n}:9292/v2/images/{n}"));
            metrics.begin(&url).end(CallOutcome::of_status(404));
        }
        drop(metrics.begin(&url("http://glance:9293")));
        let text = all.text(Exposition::Prometheus);
        let counts: Vec<_> = text
            .lines()
            .filter(|line| line.contains("request_duration_seconds_count"))
            .collect();
        assert_eq!(
            counts,
            [
                "nova_image_proxy_upstream_request_duration_seconds_count{upstream_service=\"glance\",upstream=\"http://glance:9292\",outcome=\"2xx\"} 2",
                "nova_image_proxy_upstream_request_duration_seconds_count{upstream_service=\"glance\",upstream=\"catalog\",outcome=\"4xx\"} 100",
                "nova_image_proxy_upstream_request_duration_seconds_count{upstream_service=\"glance\",upstream=\"catalog\",outcome=\"canceled\"} 1",
            ]
        );
    }

    #[test]
    fn an_endpoint_is_down_after_failures_in_a_row() {
        let all = Metrics::default();
        let keystone = url("http://keystone:5000");
        all.upstream.register_endpoint("keystone", &keystone, 1);
        let glance = url("http://glance:9292");
        all.upstream.register_endpoint("glance", &glance, 2);
        let up = |service: &str| {
            let text = all.text(Exposition::Prometheus);
            let start = format!("nova_image_proxy_upstream_up{{upstream_service=\"{service}\",");
            let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
            line.ends_with(" 1")
        };
        assert!(up("keystone") && up("glance"));
        all.upstream.begin(&keystone).end(CallOutcome::Connect);
        all.upstream.begin(&glance).end(CallOutcome::Timeout);
        assert!(!up("keystone") && up("glance"));
        all.upstream.begin(&glance).end(CallOutcome::ServerError);
        drop(all.upstream.begin(&glance));
        assert!(!up("glance"));
        all.upstream.begin(&glance).end(CallOutcome::ClientError);
        assert!(up("glance"));
    }
}
