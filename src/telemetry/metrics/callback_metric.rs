//! Numbers that somebody else keeps.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricValue {
    /// It goes up and down.
    Gauge(i64),
    /// It only grows.
    Count(u64),
}

/// A number that is looked up when somebody asks.
pub(super) struct CallbackMetric<F> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) read: F,
}

impl<F> fmt::Debug for CallbackMetric<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> MetricValue + Send + Sync + 'static> Collector for CallbackMetric<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let number = (self.read)();
        let kind = match number {
            MetricValue::Gauge(_) => MetricType::Gauge,
            MetricValue::Count(_) => MetricType::Counter,
        };
        let mut encoder = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match number {
            MetricValue::Gauge(number) => encoder.encode_gauge(&number),
            MetricValue::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(&count, None),
        }
    }
}
