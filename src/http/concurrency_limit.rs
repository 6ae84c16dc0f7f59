//! How many requests are answered at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use thiserror::Error;

/// Load shedding: one request too many is rejected at once. A queue here would make every client wait, and most of
/// them give up before their turn. There is no rate limit: quotas for each client belong to the load balancer in front.
#[derive(Debug, Default)]
pub struct ConcurrencyLimit {
    in_flight: AtomicUsize,
    rejected: AtomicU64,
}

/// As many requests as the limit allows are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many requests at a time")]
pub struct LimitReached;

/// A place for one request, until this is dropped. It moves into the task that works for the request: the work counts
/// as long as it lasts, whether or not the client still waits.
#[derive(Debug)]
pub struct OwnedPermit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    /// A place, unless `max` are taken.
    pub fn try_acquire(self: &Arc<Self>, max: usize) -> Result<OwnedPermit, LimitReached> {
        let acquired =
            self.in_flight
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |in_flight| {
                    (in_flight < max).then_some(in_flight + 1)
                });
        if acquired.is_ok() {
            return Ok(OwnedPermit(Arc::clone(self)));
        }
        let rejected = self.rejected.fetch_add(1, Ordering::Relaxed) + 1;
        // An overload must not flood the log as well.
        if rejected.is_power_of_two() {
            tracing::warn!(
                rejected,
                max,
                "too many requests at a time (server.max_in_flight)"
            );
        }
        Err(LimitReached)
    }

    /// How many places are taken.
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

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn no_more_than_the_limit_are_in_flight() {
        let limit = Arc::new(ConcurrencyLimit::default());
        let (one, two) = (limit.try_acquire(2), limit.try_acquire(2));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(limit.try_acquire(2).unwrap_err(), LimitReached);
        assert_eq!((limit.in_flight(), limit.rejected()), (2, 1));
        drop(one);
        assert!(limit.try_acquire(2).is_ok());
        drop(two);
        assert_eq!((limit.in_flight(), limit.rejected()), (0, 1));
    }

    #[test]
    fn a_task_keeps_the_place_of_the_request_it_works_for() {
        let limit = Arc::new(ConcurrencyLimit::default());
        let permit = limit.try_acquire(1).unwrap();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let task = thread::spawn(move || {
            let _permit = permit;
            finished.recv().unwrap_err();
        });
        assert!(limit.try_acquire(1).is_err());
        drop(finish);
        task.join().unwrap();
        assert_eq!(limit.in_flight(), 0);
    }

    /// Two threads take and give back one place each, a third asks for more than there are: it must not make a free
    /// place look taken.
    #[test]
    fn a_refusal_takes_no_place_from_others() {
        let limit = Arc::new(ConcurrencyLimit::default());
        let (held, stop) = (limit.try_acquire(3).unwrap(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // One place is taken, so this one is refused each time.
                    assert!(limit.try_acquire(1).is_err());
                }
            });
            let worker = || {
                for _ in 0..200_000 {
                    assert!(limit.try_acquire(3).is_ok(), "refused beside a free place");
                }
            };
            let workers = [scope.spawn(worker), scope.spawn(worker)];
            let ended = workers.map(|worker| worker.join().is_ok());
            stop.store(true, Ordering::Relaxed);
            assert_eq!(ended, [true, true]);
        });
        drop(held);
        assert_eq!(limit.in_flight(), 0);
    }
}
