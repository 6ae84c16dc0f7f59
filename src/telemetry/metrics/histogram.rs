//! A histogram of durations without a lock: two additions for each observation.
//!
//! The one of `prometheus-client` takes a mutex, which all workers would share.

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper ends of the buckets, in microseconds: an answer from memory takes tens of them, one from
/// Glance thousands, and nothing more than a minute. The last bucket has no end.
const ENDS: [u64; BUCKETS - 1] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
const BUCKETS: usize = 21;

/// How long things take.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// 64 bits of nanoseconds are 584 years.
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = ENDS.partition_point(|end| end * 1000 < nanoseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
            self.nanoseconds.fetch_add(nanoseconds, Relaxed);
        }
    }
}

/// The sum of some histograms at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Snapshot {
    /// What these have counted together.
    pub fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut sum = Self::default();
        for histogram in histograms {
            for (sum, one) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *sum += one.load(Relaxed);
            }
            sum.nanoseconds += histogram.nanoseconds.load(Relaxed);
        }
        sum
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Writes the metric.
    pub fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let ends = ENDS.iter().map(|end| seconds(Duration::from_micros(*end)));
        let buckets: Vec<(f64, u64)> = ends.chain([f64::INFINITY]).zip(self.buckets).collect();
        let sum = seconds(Duration::from_nanos(self.nanoseconds));
        encoder.encode_histogram::<NoLabelSet>(sum, self.count(), &buckets, None)
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(duration: Duration) -> usize {
        let histogram = Histogram::default();
        histogram.observe(duration);
        let snapshot = Snapshot::of([&histogram].into_iter());
        assert_eq!(snapshot.count(), 1);
        snapshot
            .buckets
            .iter()
            .position(|count| *count == 1)
            .unwrap()
    }

    #[test]
    fn a_duration_counts_where_it_fits_its_end_included() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_micros(25)), 0);
        assert_eq!(bucket(Duration::from_nanos(25_001)), 1);
        assert_eq!(bucket(Duration::from_secs(60)), BUCKETS - 2);
        assert_eq!(bucket(Duration::from_secs(61)), BUCKETS - 1);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn histograms_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_millis(1));
        other.observe(Duration::from_millis(1));
        other.observe(Duration::from_secs(2));
        let sum = Snapshot::of([&one, &other].into_iter());
        assert_eq!((sum.count(), sum.nanoseconds), (3, 2_002_000_000));
    }
}
