//! One fetch for many readers.

use super::generation::Generation;
use super::key::CacheKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// Different requests fetched for several readers at one moment; beyond that each fetches alone.
const MAX_IN_FLIGHT: usize = 4096;

/// How a reader gets what a fetch brings.
pub type FlightReceiver<T> = watch::Receiver<Option<T>>;

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    generation: Generation,
    /// From then on a reader must not join: what the fetch brings may be too old for it.
    joinable_until: Instant,
    receiver: FlightReceiver<T>,
}

#[derive(Debug)]
struct InFlightTable<T> {
    entries: HashMap<CacheKey, Entry<T>>,
    last: u64,
}

/// The fetches under way.
#[derive(Debug)]
pub struct SingleFlight<T>(Arc<Mutex<InFlightTable<T>>>);

/// What a reader does.
pub enum Role<T> {
    /// Waits for a fetch that is under way.
    Follower(FlightReceiver<T>),
    /// Fetches, and brings it to everybody who joins meanwhile.
    Leader(LeaderGuard<T>),
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(InFlightTable {
            entries: HashMap::new(),
            last: 0,
        })))
    }
}

impl<T: Clone> SingleFlight<T> {
    /// Joins a fetch for `key` that began under this very stamp and not too long ago, or becomes
    /// one that others can join until `joinable_until`.
    pub fn join_or_lead(
        &self,
        key: &CacheKey,
        generation: Generation,
        now: Instant,
        joinable_until: Instant,
    ) -> Role<T> {
        let mut table = lock(&self.0);
        if let Some(entry) = table.entries.get(key)
            && entry.generation == generation
            && now < entry.joinable_until
        {
            return Role::Follower(entry.receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        table.last += 1;
        let number = table.last;
        if table.entries.len() < MAX_IN_FLIGHT {
            let entry = Entry {
                number,
                generation,
                joinable_until,
                receiver,
            };
            table.entries.insert(key.clone(), entry);
        }
        let leader = LeaderGuard {
            single_flight: Arc::clone(&self.0),
            key: key.clone(),
            number,
            sender,
        };
        Role::Leader(leader)
    }
}

/// The duty to bring what was fetched. When it is dropped before, those who wait learn that too.
#[derive(Debug)]
pub struct LeaderGuard<T> {
    single_flight: Arc<Mutex<InFlightTable<T>>>,
    key: CacheKey,
    number: u64,
    sender: watch::Sender<Option<T>>,
}

impl<T> LeaderGuard<T> {
    /// Brings it to everybody who waits.
    pub fn complete(self, what: T) {
        self.sender.send_replace(Some(what));
    }
}

impl<T> Drop for LeaderGuard<T> {
    fn drop(&mut self) {
        let mut table = lock(&self.single_flight);
        // A later fetch may have taken the place of this one.
        if table
            .entries
            .get(&self.key)
            .is_some_and(|entry| entry.number == self.number)
        {
            table.entries.remove(&self.key);
        }
    }
}

fn lock<T>(table: &Mutex<InFlightTable<T>>) -> MutexGuard<'_, InFlightTable<T>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
