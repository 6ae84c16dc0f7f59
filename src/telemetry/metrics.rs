//! What is counted, and how it is shown to Prometheus.
//!
//! Every part that counts holds handles of its own, which are cheap to clone; the registry in
//! [`Metrics`] holds the same ones and is read when somebody asks. Every label is an enum or comes
//! from the settings, so no client can make the number of series grow.

mod cache;
mod histogram;
mod labels;
mod requests;
mod shards;
mod tokens;
mod upstream;

pub use cache::CacheMetrics;
pub use labels::{CacheOutcome, CallOutcome, MethodLabel, RouteLabel, StatusLabel, VersionLabel};
pub use requests::{Counted, InFlight, RequestMetrics};
pub use tokens::TokenMetrics;
pub use upstream::{Call, UpstreamMetrics};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;

/// What every name begins with.
const PREFIX: &str = "nova_image_proxy";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Of clients' requests.
    pub requests: RequestMetrics,
    /// Of the answer cache.
    pub cache: CacheMetrics,
    /// Of the token cache.
    pub tokens: TokenMetrics,
    /// Of calls to Keystone and Glance.
    pub upstream: UpstreamMetrics,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(UpstreamMetrics::default())
    }
}

impl Metrics {
    /// Everything at zero; `upstream` knows the endpoints.
    #[must_use]
    pub fn new(upstream: UpstreamMetrics) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which program this is", build);
        let (requests, cache) = (RequestMetrics::default(), CacheMetrics::default());
        let tokens = TokenMetrics::default();
        requests.register(&mut registry);
        cache.register(&mut registry);
        tokens.register(&mut registry);
        upstream.register(&mut registry);
        Self {
            requests,
            cache,
            tokens,
            upstream,
            registry,
        }
    }

    /// Shows a counter of a part that this module knows nothing of.
    pub fn add(&mut self, name: &str, help: &str, counter: &Counter) {
        self.registry.register(name, help, counter.clone());
    }

    /// Shows a number that is looked up when somebody asks.
    pub fn watch(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> i64 + Send + Sync + 'static,
    ) {
        watch(&mut self.registry, name, help, read);
    }

    /// The media type of [`Metrics::text`].
    pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All metrics as Prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

fn watch(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    read: impl Fn() -> i64 + Send + Sync + 'static,
) {
    registry.register_collector(Box::new(Watched { name, help, read }));
}

struct Watched<F> {
    name: &'static str,
    help: &'static str,
    read: F,
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> i64 + Send + Sync + 'static> Collector for Watched<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encoder
            .encode_descriptor(self.name, self.help, None, MetricType::Gauge)?
            .encode_gauge(&(self.read)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        let handle = metrics.cache.clone();
        handle.hits.inc();
        handle.count(CacheOutcome::Hit);
        handle.bytes.set(17);
        let text = metrics.text();
        let lookups = "nova_image_proxy_cache_lookups_total{outcome=\"hit\"} 2\n";
        assert!(text.contains(lookups), "{text}");
        assert!(text.contains("nova_image_proxy_cache_bytes 17\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn requests_are_shown_with_labels_and_only_those_that_came() {
        let mut metrics = Metrics::default();
        let entries = 5;
        metrics.watch("watched", "A number", move || entries);
        for _ in 0..2 {
            metrics.requests.count(Counted {
                route: RouteLabel::Image,
                method: MethodLabel::Get,
                status: StatusLabel::Ok,
                version: VersionLabel::Images,
                cache: Some(CacheOutcome::Hit),
                took: Duration::from_micros(40),
            });
        }
        let text = metrics.text();
        let own = |name: &str| {
            let lines = text
                .lines()
                .filter(|line| line.contains(name) && !line.starts_with('#'));
            lines
                .map(|line| line.trim_start_matches("nova_image_proxy_"))
                .collect::<Vec<_>>()
        };
        let labels = "route=\"/images/{image_id}\",method=\"GET\"";
        assert_eq!(
            own("requests_total"),
            [format!(
                "requests_total{{{labels},status=\"200\",version=\"2.1-2.35\"}} 2"
            )]
        );
        let buckets = own("request_seconds");
        assert_eq!(buckets.len(), 2 + 21);
        assert_eq!(
            buckets[0],
            format!("request_seconds_sum{{{labels},cache=\"hit\"}} 0.00008")
        );
        assert_eq!(
            buckets[2],
            format!("request_seconds_bucket{{le=\"0.000025\",{labels},cache=\"hit\"}} 0")
        );
        assert_eq!(
            buckets[3],
            format!("request_seconds_bucket{{le=\"0.00005\",{labels},cache=\"hit\"}} 2")
        );
        assert_eq!(own("watched"), ["watched 5"]);
        assert_eq!(own("requests_in_flight"), ["requests_in_flight 0"]);
        assert_eq!(own("build_info").len(), 1);
    }
}
