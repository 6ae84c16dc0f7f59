//! The concurrency limit of calls to one service, with a fair queue before it.
//!
//! Calls are queued by [`FairnessKey`] (one for each project): within a key first come, first served; the keys
//! take turns (round-robin). So one project with hundreds of calls delays another one's call by a turn
//! for each key that waits, not by hundreds. When the queue is full, a call of a key that waits for less
//! than the longest queue displaces the newest call of that one.
//!
//! A call that has a permit never waits for another one, so calls cannot wait for each other in a circle.

use super::metrics::LoadBalancerMetrics;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Why a call was not made. Nothing of it left this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Overloaded {
    /// As many calls as may wait are waiting.
    #[error("too many calls are queued")]
    QueueFull,
    /// The deadline passed while the call was queued.
    #[error("the call was queued until its deadline")]
    QueueTimeout,
}

/// The key whose turn a call takes; the keys share the permits evenly. Keys that collide share their turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FairnessKey(u64);

/// Seeded at random: clients cannot choose values that collide.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl FairnessKey {
    /// The key of `value`, such as a project's id.
    #[must_use]
    pub fn new(value: impl Hash) -> Self {
        Self(HASHER.hash_one(value))
    }
}

/// At most so many calls at once, and so many queued.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    max_in_flight: usize,
    max_queued: usize,
    state: Mutex<State>,
    metrics: LoadBalancerMetrics,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    queue: FairQueue<oneshot::Sender<Result<(), Overloaded>>>,
}

/// A call may be made while this lives.
#[derive(Debug)]
pub struct Permit<'l> {
    limit: &'l ConcurrencyLimit,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limit.metrics.in_flight.dec();
        self.limit.release();
    }
}

impl ConcurrencyLimit {
    /// `max_in_flight` calls at once, `max_queued` more in the queue.
    #[must_use]
    pub fn new(max_in_flight: usize, max_queued: usize, metrics: LoadBalancerMetrics) -> Self {
        Self {
            max_in_flight,
            max_queued,
            state: Mutex::default(),
            metrics,
        }
    }

    /// Waits for a permit, but not beyond `deadline`.
    pub async fn acquire(
        &self,
        key: FairnessKey,
        deadline: Instant,
    ) -> Result<Permit<'_>, Overloaded> {
        if let Some(mut slot) = self.permit_or_slot(key)? {
            slot.granted(deadline).await?;
        }
        self.metrics.in_flight.inc();
        Ok(Permit { limit: self })
    }

    /// `None`: a permit was free, and is taken.
    fn permit_or_slot(&self, key: FairnessKey) -> Result<Option<QueueSlot<'_>>, Overloaded> {
        let mut state = self.state.lock();
        if state.in_flight < self.max_in_flight {
            // Permits are handed over while calls are queued, so the queue is empty here.
            state.in_flight += 1;
            return Ok(None);
        }
        if state.queue.len() >= self.max_queued {
            self.metrics.rejected.inc();
            let displaced = state.queue.displace_for(key).ok_or(Overloaded::QueueFull)?;
            // The receiver is gone when its call was canceled just now.
            let _ = displaced.send(Err(Overloaded::QueueFull));
        }
        let (sender, granted) = oneshot::channel();
        let ticket = state.queue.push(key, sender);
        self.metrics.queued.inc();
        Ok(Some(QueueSlot {
            limit: self,
            key,
            ticket,
            granted,
            taken: false,
        }))
    }

    /// Hands the permit to the next queued call, or frees it.
    fn release(&self) {
        let mut state = self.state.lock();
        while let Some(next) = state.queue.pop() {
            if next.send(Ok(())).is_ok() {
                return;
            }
        }
        state.in_flight -= 1;
    }
}

/// A place in the queue.
struct QueueSlot<'l> {
    limit: &'l ConcurrencyLimit,
    key: FairnessKey,
    ticket: u64,
    granted: oneshot::Receiver<Result<(), Overloaded>>,
    /// The outcome was received.
    taken: bool,
}

impl QueueSlot<'_> {
    async fn granted(&mut self, deadline: Instant) -> Result<(), Overloaded> {
        match timeout_at(deadline, &mut self.granted).await {
            Ok(Ok(outcome)) => {
                self.taken = true;
                outcome
            }
            // The sender is dropped only with the limit itself.
            Ok(Err(_)) | Err(_) => Err(Overloaded::QueueTimeout),
        }
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.limit.metrics.queued.dec();
        if self.taken {
            return;
        }
        self.limit.state.lock().queue.remove(self.key, self.ticket);
        // A permit that this call got meanwhile goes to the next one.
        if let Ok(Ok(())) = self.granted.try_recv() {
            self.limit.release();
        }
    }
}

/// Items queued by key; the keys take turns.
#[derive(Debug)]
struct FairQueue<T> {
    /// Never an empty queue.
    queues: HashMap<FairnessKey, VecDeque<(u64, T)>>,
    /// Each key of `queues` once; the first has the next turn.
    turns: VecDeque<FairnessKey>,
    len: usize,
    next_ticket: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            next_ticket: 0,
        }
    }
}

impl<T> FairQueue<T> {
    fn len(&self) -> usize {
        self.len
    }

    /// Adds an item at the end of its key's queue, and returns the ticket to remove it with.
    fn push(&mut self, key: FairnessKey, item: T) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let queue = self.queues.entry(key).or_default();
        if queue.is_empty() {
            self.turns.push_back(key);
        }
        queue.push_back((ticket, item));
        self.len += 1;
        ticket
    }

    /// Takes the oldest item of the key whose turn it is.
    fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let (_, item) = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        Some(item)
    }

    fn remove(&mut self, key: FairnessKey, ticket: u64) {
        let Some(queue) = self.queues.get_mut(&key) else {
            return;
        };
        let before = queue.len();
        queue.retain(|(other, _)| *other != ticket);
        self.len -= before - queue.len();
        self.forget_if_empty(key);
    }

    /// Makes room for an item of `key`: takes the newest item of the longest queue, where that stays longer
    /// than the queue of `key` becomes, or as long.
    fn displace_for(&mut self, key: FairnessKey) -> Option<T> {
        let own = self.queues.get(&key).map_or(0, VecDeque::len);
        let (longest, queue) = self
            .queues
            .iter_mut()
            .max_by_key(|(_, queue)| queue.len())?;
        if queue.len() < own + 2 {
            return None;
        }
        let (_, item) = queue.pop_back()?;
        let longest = *longest;
        self.len -= 1;
        self.forget_if_empty(longest);
        Some(item)
    }

    fn forget_if_empty(&mut self, key: FairnessKey) {
        if self.queues.get(&key).is_some_and(VecDeque::is_empty) {
            self.queues.remove(&key);
            self.turns.retain(|other| *other != key);
        }
    }
}

#[cfg(test)]
mod tests;
