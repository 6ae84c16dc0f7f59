//! How many requests are answered at a time.

use crate::nova::ApiError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the requests in flight. One too many is refused at once: a queue here would only make
/// every client wait, and most of them give up before their turn.
#[derive(Debug, Default)]
pub struct Gate {
    inside: AtomicUsize,
    refused: AtomicU64,
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub struct Pass<'g>(&'g Gate);

impl Gate {
    /// Lets a request in unless there are `max` already.
    pub fn enter(&self, max: usize) -> Result<Pass<'_>, ApiError> {
        if self.inside.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(Pass(self));
        }
        self.inside.fetch_sub(1, Ordering::Relaxed);
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        // The log must not be one more thing that an overload brings down.
        if refused.is_power_of_two() {
            tracing::warn!(
                refused,
                max,
                "too many requests at a time (server.max_in_flight)"
            );
        }
        Err(ApiError::Busy)
    }

    /// How many requests are being answered.
    #[must_use]
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    /// How many requests were refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_are_inside() {
        let gate = Gate::default();
        let (one, two) = (gate.enter(2), gate.enter(2));
        assert!(one.is_ok() && two.is_ok());
        assert!(gate.enter(2).is_err());
        assert_eq!((gate.inside(), gate.refused()), (2, 1));
        drop(one);
        assert!(gate.enter(2).is_ok());
        drop(two);
        assert_eq!((gate.inside(), gate.refused()), (0, 1));
    }
}
