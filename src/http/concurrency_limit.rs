//! How many requests are answered at a time.

use super::error::HttpError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the requests in flight. One too many is refused at once: a queue here would only make
/// every client wait, and most of them give up before their turn.
#[derive(Debug, Default)]
pub struct ConcurrencyLimit {
    in_flight: AtomicUsize,
    rejected: AtomicU64,
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub struct Permit<'g>(&'g ConcurrencyLimit);

impl ConcurrencyLimit {
    /// Lets a request in unless there are `max` already.
    pub fn try_acquire(&self, max: usize) -> Result<Permit<'_>, HttpError> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(Permit(self));
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let rejected = self.rejected.fetch_add(1, Ordering::Relaxed) + 1;
        // The log must not be one more thing that an overload brings down.
        if rejected.is_power_of_two() {
            tracing::warn!(
                rejected,
                max,
                "too many requests at a time (server.max_in_flight)"
            );
        }
        Err(HttpError::Overloaded)
    }

    /// How many requests are being answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many requests were refused so far.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_are_inside() {
        let gate = ConcurrencyLimit::default();
        let (one, two) = (gate.try_acquire(2), gate.try_acquire(2));
        assert!(one.is_ok() && two.is_ok());
        assert!(gate.try_acquire(2).is_err());
        assert_eq!((gate.in_flight(), gate.rejected()), (2, 1));
        drop(one);
        assert!(gate.try_acquire(2).is_ok());
        drop(two);
        assert_eq!((gate.in_flight(), gate.rejected()), (0, 1));
    }
}
