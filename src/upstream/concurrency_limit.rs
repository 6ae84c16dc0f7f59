//! How many calls may be under way at once, and how many may wait for that.
//!
//! First come, first served. A call that has a place never waits for another one, so calls cannot
//! wait for each other in a circle.

use super::counters::UpstreamCounters;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Why a call was not made. Nothing of it left this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overloaded {
    /// As many calls as may wait are waiting.
    #[error("too many calls wait for it already")]
    QueueFull,
    /// The request's time was over before its turn came.
    #[error("the calls before this one took too long")]
    QueueTimeout,
}

/// The way in.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    places: Semaphore,
    waiting: AtomicUsize,
    max_waiting: usize,
    counters: Arc<UpstreamCounters>,
}

/// A place among the calls under way; free again when this is dropped.
#[derive(Debug)]
pub struct Permit<'g> {
    _permit: SemaphorePermit<'g>,
    counters: &'g UpstreamCounters,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.counters.in_flight.dec();
    }
}

impl ConcurrencyLimit {
    /// `max_in_flight` calls at once, `max_waiting` more in the queue.
    #[must_use]
    pub fn new(max_in_flight: usize, max_waiting: usize, counters: Arc<UpstreamCounters>) -> Self {
        Self {
            places: Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            max_waiting,
            counters,
        }
    }

    /// Waits for a place, but not beyond `deadline`.
    pub async fn acquire(&self, deadline: Instant) -> Result<Permit<'_>, Overloaded> {
        // A free place is taken only by who does not overtake others: tokio hands none out while
        // somebody waits.
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait(deadline).await?,
        };
        self.counters.in_flight.inc();
        Ok(Permit {
            _permit: permit,
            counters: &self.counters,
        })
    }

    async fn wait(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Overloaded> {
        let Some(_waiting) = QueueSlot::join(self) else {
            self.counters.queue_full.inc();
            return Err(Overloaded::QueueFull);
        };
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed, so this is the deadline.
            Ok(Err(_)) | Err(_) => Err(Overloaded::QueueTimeout),
        }
    }
}

/// One of those who wait.
struct QueueSlot<'g>(&'g ConcurrencyLimit);

impl<'g> QueueSlot<'g> {
    fn join(gate: &'g ConcurrencyLimit) -> Option<Self> {
        gate.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < gate.max_waiting).then_some(waiting + 1)
            })
            .ok()?;
        gate.counters.waiting.inc();
        Some(Self(gate))
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.counters.waiting.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn gate(places: usize, waiting: usize) -> Arc<ConcurrencyLimit> {
        Arc::new(ConcurrencyLimit::new(places, waiting, Arc::default()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_get_their_turn_in_order() {
        let gate = gate(1, 10);
        let first = gate.acquire(soon()).await.unwrap();
        let (order, mut turns) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..5 {
            let (gate, order) = (Arc::clone(&gate), order.clone());
            tokio::spawn(async move {
                let _place = gate.acquire(soon()).await.unwrap();
                order.send(number).unwrap();
            });
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.counters.waiting.get(), 5);
        drop((first, order));
        for number in 0..5 {
            assert_eq!(turns.recv().await, Some(number));
        }
        assert_eq!(turns.recv().await, None);
        assert_eq!(
            (gate.counters.waiting.get(), gate.counters.in_flight.get()),
            (0, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_fails_at_once_and_a_waiting_call_at_its_deadline() {
        let gate = gate(1, 1);
        let place = gate.acquire(soon()).await.unwrap();
        let waiting = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.acquire(soon()).await.err() })
        };
        tokio::task::yield_now().await;
        let started = Instant::now();
        assert_eq!(
            gate.acquire(soon()).await.err(),
            Some(Overloaded::QueueFull)
        );
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!(waiting.await.unwrap(), Some(Overloaded::QueueTimeout));
        assert_eq!(gate.counters.queue_full.get(), 1);
        drop(place);
        assert!(gate.acquire(soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_the_queue() {
        let gate = gate(1, 1);
        let _place = gate.acquire(soon()).await.unwrap();
        for _ in 0..3 {
            let gate = Arc::clone(&gate);
            let waiting = tokio::spawn(async move { gate.acquire(soon()).await.is_ok() });
            tokio::task::yield_now().await;
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
        }
        assert_eq!(gate.counters.waiting.get(), 0);
        assert_eq!(gate.counters.queue_full.get(), 0);
    }
}
