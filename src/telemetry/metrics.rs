//! What is counted, and how it is shown to Prometheus.
//!
//! Every part that counts holds handles of its own, which are cheap to clone; the registry in
//! [`Metrics`] holds the same ones and is read when somebody asks. Every label is an enum or comes
//! from the settings, so no client can make the number of series grow.

mod cache;

pub use cache::{CacheMetrics, CacheOutcome};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// What every name begins with.
const PREFIX: &str = "nova_image_proxy";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Of the answer cache.
    pub cache: CacheMetrics,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let cache = CacheMetrics::default();
        cache.register(&mut registry);
        Self { cache, registry }
    }
}

impl Metrics {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
