//! A budget of bytes that buffers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use thiserror::Error;

/// The budget; clones share it. Bytes leave it by way of a [`ByteReservation`] only.
#[derive(Debug, Clone)]
pub struct ByteBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    used: AtomicU64,
}

/// The bytes that remain in the budget are too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the budget of {limit} bytes is used up")]
pub struct BudgetExceeded {
    /// The budget in bytes.
    pub limit: u64,
}

/// Bytes of a budget, returned when this is dropped.
#[derive(Debug)]
pub struct ByteReservation {
    budget: ByteBudget,
    bytes: u64,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit: limit as u64,
            used: AtomicU64::new(0),
        }))
    }

    /// The budget in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// The bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Relaxed)
    }

    /// A reservation of nothing yet.
    #[must_use]
    pub fn reservation(&self) -> ByteReservation {
        ByteReservation {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl ByteReservation {
    /// Extends the reservation to `bytes` in all; it stays as it was where they do not fit. It never
    /// shrinks.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let more = (bytes as u64).saturating_sub(self.bytes);
        let Inner { limit, used } = &*self.budget.0;
        let fits = |used: u64| used.checked_add(more).filter(|sum| sum <= limit);
        used.fetch_update(Relaxed, Relaxed, fits)
            .map_err(|_| BudgetExceeded { limit: *limit })?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_reservation_grows_within_the_budget_and_is_given_back() {
        let budget = ByteBudget::new(100);
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        one.grow_to(40).unwrap();
        one.grow_to(60).unwrap();
        one.grow_to(10).unwrap();
        assert_eq!(budget.used(), 60);
        assert_eq!(other.grow_to(41), Err(BudgetExceeded { limit: 100 }));
        assert_eq!(budget.used(), 60);
        other.grow_to(40).unwrap();
        assert_eq!(budget.used(), 100);
        drop(one);
        assert_eq!(budget.used(), 40);
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn threads_together_stay_within_the_budget() {
        let budget = ByteBudget::new(1000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..2000 {
                        let mut reservation = budget.reservation();
                        let fits = reservation.grow_to(bytes).is_ok();
                        assert!(budget.used() <= 1000);
                        assert!(!fits || bytes <= 1000);
                    }
                });
            }
        });
        assert_eq!(budget.used(), 0);
    }
}
