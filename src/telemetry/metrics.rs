//! What is counted, and how it is shown to Prometheus.
//!
//! Every part that counts holds handles of its own, which are cheap to clone; the registry in
//! [`Metrics`] holds the same ones and is read when somebody asks. Every label is an enum or comes
//! from the settings, so no client can make the number of series grow.

mod callback_metric;
mod histogram;
mod labels;
mod requests;
mod shards;
mod tokens;
mod upstream;

pub use callback_metric::MetricValue;
pub(crate) use labels::label;
pub use labels::{ApiLabels, CacheLabel, CallOutcome, MethodLabel, StatusLabel};
pub use requests::{ApiRequestMetrics, RequestMetrics, RequestSample};
pub use tokens::TokenMetrics;
pub use upstream::{CallTimer, UpstreamMetrics};

use callback_metric::CallbackMetric;
use prometheus_client::encoding::text;
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
    /// Of calls to Keystone and Glance.
    pub upstream: UpstreamMetrics,
    registry: Registry,
    refresh: Vec<Refresh>,
}

/// Brings gauges up to date that nobody keeps up to date all the time.
struct Refresh(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresh(..)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which program this is", build);
        let requests = RequestMetrics::default();
        requests.register(&mut registry);
        let upstream = UpstreamMetrics::default();
        upstream.register(&mut registry);
        Self {
            requests,
            upstream,
            registry,
            refresh: Vec::new(),
        }
    }
}

impl Metrics {
    /// The media type of [`Metrics::text`].
    pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Shows what a token cache counts.
    pub fn tokens(&mut self, tokens: &TokenMetrics) {
        tokens.register(&mut self.registry);
    }

    /// Adds metrics that are declared beside their use.
    pub fn register(&mut self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry);
    }

    /// Shows a number that is looked up when somebody asks.
    pub fn register_callback(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> MetricValue + Send + Sync + 'static,
    ) {
        let watched = CallbackMetric { name, help, read };
        self.registry.register_collector(Box::new(watched));
    }

    /// Has something done before numbers are shown, such as bringing gauges up to date.
    pub fn on_scrape(&mut self, gauges: impl Fn() + Send + Sync + 'static) {
        self.refresh.push(Refresh(Box::new(gauges)));
    }

    /// All metrics as Prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        for Refresh(refresh) in &self.refresh {
            refresh();
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
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
        let text = metrics.text();
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
                duration: Duration::from_micros(40),
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
        let labels = "api=\"test\",route=\"/images/{image_id}\",method=\"GET\"";
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
        assert_eq!(own("watched"), ["watched -5"]);
        assert_eq!(own("seen"), ["seen_total 7"]);
        assert_eq!(own("build_info").len(), 1);
    }
}
