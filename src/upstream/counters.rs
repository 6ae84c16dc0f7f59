//! What happened on the way to Glance, in numbers that only say how often.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that goes up, or up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Only for what was counted by `inc` before.
    pub(super) fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The numbers, counted since the process began unless they say "now".
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    pub(super) calls: Count,
    pub(super) in_flight: Count,
    pub(super) waiting: Count,
    pub(super) queue_full: Count,
    pub(super) retries: Count,
    pub(super) failovers: Count,
    pub(super) budget_exhausted: Count,
    pub(super) ejections: Count,
    pub(super) readmissions: Count,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UpstreamSnapshot {
    /// Calls that were to be made, each once however often it was sent.
    pub calls: u64,
    /// Calls on the wire now.
    pub in_flight: u64,
    /// Calls that wait for their turn now.
    pub waiting: u64,
    /// Calls refused because too many waited.
    pub queue_full: u64,
    /// Calls sent once more.
    pub retries: u64,
    /// Of those, the ones sent to another endpoint.
    pub failovers: u64,
    /// Calls that would have been sent once more if there had not been too many of those.
    pub budget_exhausted: u64,
    /// How often an endpoint was left out.
    pub ejections: u64,
    /// How often one came back.
    pub readmissions: u64,
}

impl UpstreamCounters {
    /// The numbers now. Each is right; together they may be a few events apart.
    #[must_use]
    pub fn snapshot(&self) -> UpstreamSnapshot {
        UpstreamSnapshot {
            calls: self.calls.get(),
            in_flight: self.in_flight.get(),
            waiting: self.waiting.get(),
            queue_full: self.queue_full.get(),
            retries: self.retries.get(),
            failovers: self.failovers.get(),
            budget_exhausted: self.budget_exhausted.get(),
            ejections: self.ejections.get(),
            readmissions: self.readmissions.get(),
        }
    }
}
