//! The retry budget: retries may be a share of the requests of the last seconds, plus a floor.
//!
//! Without it, a failing server gets a multiple of its usual load. Pure: the caller passes the time.

use std::time::Duration;
use tokio::time::Instant;

/// Requests that earn one retry.
const REQUESTS_PER_RETRY: u64 = 5;
/// Slots in the window.
const SLOTS: usize = 10;
/// The duration of a slot.
const SLOT: Duration = Duration::from_secs(1);

/// The requests and retries of the last ten seconds.
#[derive(Debug)]
pub struct RetryBudget {
    /// Retries in the window that need no requests.
    floor: u64,
    started: Instant,
    /// The index of the current slot, counted from `started`.
    current: u64,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// A budget that allows `floor` retries in ten seconds with any number of requests.
    #[must_use]
    pub fn new(floor: u64, now: Instant) -> Self {
        Self {
            floor,
            started: now,
            current: 0,
            slots: [Slot::default(); SLOTS],
        }
    }

    /// Counts a first attempt.
    pub fn request(&mut self, now: Instant) {
        if let Some(slot) = self.slot(now) {
            slot.requests += 1;
        }
    }

    /// Counts a retry, if the budget allows one.
    pub fn retry(&mut self, now: Instant) -> bool {
        // Empties old slots first.
        self.slot(now);
        let sum = |count: fn(&Slot) -> u64| self.slots.iter().map(count).sum::<u64>();
        let allowed = self.floor + sum(|slot| slot.requests) / REQUESTS_PER_RETRY;
        if sum(|slot| slot.retries) >= allowed {
            return false;
        }
        if let Some(slot) = self.slot(now) {
            slot.retries += 1;
        }
        true
    }

    /// The current slot; slots that have left the window are emptied.
    fn slot(&mut self, now: Instant) -> Option<&mut Slot> {
        let passed = now.saturating_duration_since(self.started).as_secs() / SLOT.as_secs();
        let stale = passed.saturating_sub(self.current).min(SLOTS as u64);
        for slot in 1..=stale {
            *at(&mut self.slots, self.current + slot)? = Slot::default();
        }
        self.current = self.current.max(passed);
        at(&mut self.slots, self.current)
    }
}

fn at(slots: &mut [Slot; SLOTS], number: u64) -> Option<&mut Slot> {
    slots.get_mut(usize::try_from(number % SLOTS as u64).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn granted(budget: &mut RetryBudget, now: Instant) -> u64 {
        (0..1000).map(|_| u64::from(budget.retry(now))).sum()
    }

    #[test]
    fn a_fifth_of_the_requests_and_the_floor_are_granted() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(3, now);
        assert_eq!(granted(&mut budget, now), 3);
        for _ in 0..50 {
            budget.request(now);
        }
        assert_eq!(granted(&mut budget, now), 10);
        assert_eq!(granted(&mut budget, now + SLOT), 0);
    }

    #[test]
    fn what_was_spent_comes_back_when_the_window_has_moved_on() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(3, start);
        for _ in 0..50 {
            budget.request(start);
        }
        assert_eq!(granted(&mut budget, start + 9 * SLOT), 13);
        // The requests are forgotten before the retries, which came later.
        assert_eq!(granted(&mut budget, start + 10 * SLOT), 0);
        assert_eq!(granted(&mut budget, start + 19 * SLOT), 3);
        assert_eq!(granted(&mut budget, start + 1_000_000 * SLOT), 3);
    }

    proptest! {
        #[test]
        fn no_window_of_ten_seconds_has_more_than_its_share(
            floor in 0_u64..20,
            steps in prop::collection::vec((any::<bool>(), 0_u64..3000), 1..300),
        ) {
            let start = Instant::now();
            let mut budget = RetryBudget::new(floor, start);
            let mut now = start;
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (retry, millis) in steps {
                now += Duration::from_millis(millis);
                if !retry {
                    budget.request(now);
                    requests.push(now);
                } else if budget.retry(now) {
                    retries.push(now);
                    let within = |times: &[Instant], span: Duration| {
                        times.iter().filter(|time| now - **time < span).count() as u64
                    };
                    // Slots are whole seconds, so nine of them are surely in the window.
                    prop_assert!(
                        within(&retries, 9 * SLOT) <= floor + within(&requests, 10 * SLOT) / 5
                    );
                }
            }
        }
    }
}
