//! The metrics of the process, for Prometheus.
//!
//! Each module declares its metrics in one place beside their use: handles that are cheap to clone, and
//! one `register` function with their names and help. [`Metrics`] holds the registry. Every label
//! value is fixed or comes from the settings, so no client can add a series.

mod callback_metric;
mod exposition;
mod histogram;
mod labels;
mod process;
mod requests;
mod shards;
mod tokens;
mod upstream;

pub use callback_metric::MetricValue;
pub use exposition::Exposition;
pub(crate) use labels::label;
pub use labels::{ApiLabels, CacheLabel, CallOutcome, MethodLabel, StatusLabel};
pub use requests::{ApiRequestMetrics, RequestMetrics, RequestSample};
pub use tokens::TokenMetrics;
pub use upstream::{CallTimer, UpstreamMetrics};

use crate::util::build_info;
use callback_metric::CallbackMetric;
use process::ProcessMetrics;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;

/// The prefix of every name but the standard `process_*`.
const PREFIX: &str = "nova_image_proxy";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Requests of clients.
    pub requests: RequestMetrics,
    /// Requests to upstream services.
    pub upstream: UpstreamMetrics,
    process: Registry,
    registry: Registry,
    on_scrape: Vec<OnScrape>,
}

/// Refreshes gauges before each scrape.
struct OnScrape(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for OnScrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnScrape(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessMetrics));
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Info::new([
            ("version", build_info::VERSION),
            ("revision", build_info::REVISION),
            ("rustc", build_info::RUSTC),
        ]);
        registry.register(
            "build",
            "Version, commit and compiler of the program",
            build,
        );
        let requests = RequestMetrics::default();
        requests.register(&mut registry);
        let upstream = UpstreamMetrics::default();
        upstream.register(&mut registry);
        Self {
            requests,
            upstream,
            process,
            registry,
            on_scrape: Vec::new(),
        }
    }
}

impl Metrics {
    /// Adds metrics that are declared beside their use.
    pub fn register(&mut self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry);
    }

    /// Adds the metrics of a token cache.
    pub fn tokens(&mut self, tokens: &TokenMetrics) {
        tokens.register(&mut self.registry);
    }

    /// Adds a number that another part keeps and that is read at each scrape.
    pub fn register_callback(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> MetricValue + Send + Sync + 'static,
    ) {
        let watched = CallbackMetric { name, help, read };
        self.registry.register_collector(Box::new(watched));
    }

    /// Adds a gauge that does not change, such as a limit of the settings.
    pub fn register_limit(&mut self, name: &'static str, help: &'static str, limit: u64) {
        let limit = MetricValue::gauge(limit);
        self.register_callback(name, help, move || limit);
    }

    /// Calls `refresh` before each scrape.
    pub fn on_scrape(&mut self, refresh: impl Fn() + Send + Sync + 'static) {
        self.on_scrape.push(OnScrape(Box::new(refresh)));
    }

    /// All metrics in a text format.
    #[must_use]
    pub fn text(&self, format: Exposition) -> String {
        for OnScrape(refresh) in &self.on_scrape {
            refresh();
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode_registry(&mut text, &self.process)
            .and_then(|()| text::encode(&mut text, &self.registry));
        format.rewrite(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use std::time::Duration;

    #[test]
    fn what_is_counted_is_shown() {
        let mut metrics = Metrics::default();
        let (lookups, size) = (Counter::<u64>::default(), Gauge::<i64>::default());
        metrics.register(|registry| {
            registry.register("lookups", "Lookups", lookups.clone());
            registry.register("size", "Size", size.clone());
        });
        lookups.inc();
        metrics.on_scrape(move || _ = size.set(17));
        let text = metrics.text(Exposition::OpenMetrics);
        assert!(
            text.contains("nova_image_proxy_lookups_total 1\n"),
            "{text}"
        );
        assert!(text.contains("nova_image_proxy_size 17\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn requests_are_shown_with_labels_and_only_those_that_came() {
        let mut metrics = Metrics::default();
        metrics.register_callback("watched", "A number", || MetricValue::Gauge(-5));
        metrics.register_callback("seen", "A number that grows", || MetricValue::Count(7));
        let api = metrics.requests.api(ApiLabels {
            api: "test",
            routes: &["unknown", "/images/{image_id}"],
            versions: &["none", "v2", "2.1-2.35"],
        });
        for _ in 0..2 {
            api.count(RequestSample {
                route: 1,
                method: MethodLabel::Get,
                status: StatusLabel::Ok,
                version: 2,
                cache: Some(CacheLabel::Hit),
                response_bytes: 100,
                duration: Duration::from_micros(40),
            });
        }
        let text = metrics.text(Exposition::OpenMetrics);
        let own = |name: &str| {
            let lines = text
                .lines()
                .filter(|line| line.contains(name) && !line.starts_with('#'));
            lines
                .map(|line| line.trim_start_matches("nova_image_proxy_"))
                .collect::<Vec<_>>()
        };
        let labels = "api=\"test\",route=\"/images/{image_id}\",method=\"GET\"";
        assert_eq!(
            own("http_requests_total"),
            [format!(
                "http_requests_total{{{labels},status=\"200\",microversion=\"2.1-2.35\"}} 2"
            )]
        );
        let buckets = own("http_request_duration_seconds");
        assert_eq!(buckets.len(), 2 + 21);
        assert_eq!(
            buckets[0],
            format!("http_request_duration_seconds_sum{{{labels},cache=\"hit\"}} 0.00008")
        );
        assert_eq!(
            buckets[2],
            format!(
                "http_request_duration_seconds_bucket{{le=\"0.000025\",{labels},cache=\"hit\"}} 0"
            )
        );
        assert_eq!(
            buckets[3],
            format!(
                "http_request_duration_seconds_bucket{{le=\"0.00005\",{labels},cache=\"hit\"}} 2"
            )
        );
        assert_eq!(
            own("http_response_body_bytes"),
            ["http_response_body_bytes_total{api=\"test\",route=\"/images/{image_id}\"} 200"]
        );
        assert_eq!(own("watched"), ["watched -5"]);
        assert_eq!(own("seen"), ["seen_total 7"]);
        assert_eq!(own("build_info").len(), 1);
    }
}
