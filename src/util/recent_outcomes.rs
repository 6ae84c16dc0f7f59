//! Whether the last exchanges with a service all failed for a reason that an operator must fix.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So many exchanges in a row must have failed before they count.
pub const WINDOW: usize = 16;
/// Older outcomes say nothing of the service as it is now. A gateway that a load balancer has taken
/// out of service for them sees no others, so it is tried again after this time.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The outcomes of the last [`WINDOW`] exchanges with a service.
#[derive(Debug, Default)]
pub struct RecentOutcomes(Mutex<VecDeque<(Instant, Result<(), String>)>>);

impl RecentOutcomes {
    /// Records an exchange that worked, or the reason why it failed. Outcomes that a client can
    /// cause, and outages of the service, are not to be recorded.
    pub fn record(&self, outcome: Result<(), String>) {
        let mut outcomes = self.0.lock();
        if outcomes.len() == WINDOW {
            outcomes.pop_front();
        }
        outcomes.push_back((Instant::now(), outcome));
    }

    /// The last reason, when all of the last [`WINDOW`] exchanges failed within a minute.
    #[must_use]
    pub fn persistent_failure(&self) -> Option<String> {
        let outcomes = self.0.lock();
        let all_failed = outcomes
            .iter()
            .all(|(at, outcome)| outcome.is_err() && at.elapsed() < MAX_AGE);
        if outcomes.len() < WINDOW || !all_failed {
            return None;
        }
        outcomes.back().and_then(|(_, last)| last.clone().err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(times: usize) -> RecentOutcomes {
        let outcomes = RecentOutcomes::default();
        for number in 0..times {
            outcomes.record(Err(format!("reason {number}")));
        }
        outcomes
    }

    #[tokio::test]
    async fn a_full_window_of_failures_counts_and_one_success_ends_it() {
        assert_eq!(failed(WINDOW - 1).persistent_failure(), None);
        let outcomes = failed(WINDOW);
        assert_eq!(outcomes.persistent_failure().unwrap(), "reason 15");
        outcomes.record(Ok(()));
        assert_eq!(outcomes.persistent_failure(), None);
        for _ in 0..WINDOW - 1 {
            outcomes.record(Err("again".to_owned()));
        }
        assert_eq!(outcomes.persistent_failure(), None);
        outcomes.record(Err("again".to_owned()));
        assert_eq!(outcomes.persistent_failure().unwrap(), "again");
    }

    #[tokio::test]
    async fn a_window_of_outcomes_is_held_and_no_more() {
        assert_eq!(failed(100 * WINDOW).0.lock().len(), WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn old_failures_do_not_count() {
        let outcomes = failed(WINDOW);
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(outcomes.persistent_failure(), None);
    }
}
