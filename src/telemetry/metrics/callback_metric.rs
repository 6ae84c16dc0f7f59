//! Numbers that other parts keep.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// A number of a metric without labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricValue {
    /// A gauge.
    Gauge(i64),
    /// A counter.
    Count(u64),
}

impl MetricValue {
    /// A gauge of a number that is never negative.
    #[must_use]
    pub fn gauge(number: impl TryInto<i64>) -> Self {
        Self::Gauge(number.try_into().unwrap_or(i64::MAX))
    }
}

/// A metric whose number is read at each scrape.
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
