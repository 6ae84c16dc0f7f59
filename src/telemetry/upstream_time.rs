//! How long one request has waited for other services.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A sum of waiting times; clones add to the same sum.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTime(Arc<AtomicU64>);

impl UpstreamTime {
    /// Starts the timer; it stops when the guard is dropped.
    #[must_use]
    pub fn start(&self) -> TimerGuard {
        TimerGuard {
            sum: self.clone(),
            since: Instant::now(),
        }
    }

    /// All waiting that is over.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

/// The timer runs.
#[derive(Debug)]
pub struct TimerGuard {
    sum: UpstreamTime,
    since: Instant,
}

impl Drop for TimerGuard {
    fn drop(&mut self) {
        let waited = self.since.elapsed().as_nanos();
        let waited = u64::try_from(waited).unwrap_or(u64::MAX);
        self.sum.0.fetch_add(waited, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_wherever_they_are() {
        let spent = UpstreamTime::default();
        assert_eq!(spent.total(), Duration::ZERO);
        let wait = Duration::from_millis(20);
        for _ in 0..2 {
            let waiting = spent.start();
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                drop(waiting);
            })
            .join()
            .unwrap();
        }
        assert!(spent.total() >= 2 * wait, "{:?}", spent.total());
    }
}
