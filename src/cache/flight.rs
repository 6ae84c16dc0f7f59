//! One fetch for many readers.

use super::key::Key;
use super::stamp::Stamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::Instant;

/// Different requests fetched for several readers at one moment; beyond that each fetches alone.
const MOST: usize = 4096;

/// How a reader gets what a fetch brings.
pub type Flight<T> = watch::Receiver<Option<T>>;

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    stamp: Stamp,
    /// From then on a reader must not join: what the fetch brings may be too old for it.
    closes: Instant,
    flight: Flight<T>,
}

#[derive(Debug)]
struct Board<T> {
    entries: HashMap<Key, Entry<T>>,
    last: u64,
}

/// The fetches under way.
#[derive(Debug)]
pub struct Flights<T>(Arc<Mutex<Board<T>>>);

/// What a reader does.
pub enum Boarding<T> {
    /// Waits for a fetch that is under way.
    Join(Flight<T>),
    /// Fetches, and brings it to everybody who joins meanwhile.
    Fetch(Landing<T>),
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Board {
            entries: HashMap::new(),
            last: 0,
        })))
    }
}

impl<T: Clone> Flights<T> {
    /// Joins a fetch for `key` that began under this very stamp and not too long ago, or becomes
    /// one that others can join until `closes`.
    pub fn board(&self, key: &Key, stamp: Stamp, now: Instant, closes: Instant) -> Boarding<T> {
        let mut board = lock(&self.0);
        if let Some(entry) = board.entries.get(key)
            && entry.stamp == stamp
            && now < entry.closes
        {
            return Boarding::Join(entry.flight.clone());
        }
        let (land, flight) = watch::channel(None);
        board.last += 1;
        let number = board.last;
        if board.entries.len() < MOST {
            let entry = Entry {
                number,
                stamp,
                closes,
                flight,
            };
            board.entries.insert(key.clone(), entry);
        }
        let landing = Landing {
            flights: Arc::clone(&self.0),
            key: key.clone(),
            number,
            land,
        };
        Boarding::Fetch(landing)
    }
}

/// The duty to bring what was fetched. When it is dropped before, those who wait learn that too.
#[derive(Debug)]
pub struct Landing<T> {
    flights: Arc<Mutex<Board<T>>>,
    key: Key,
    number: u64,
    land: watch::Sender<Option<T>>,
}

impl<T> Landing<T> {
    /// Brings it to everybody who waits.
    pub fn land(self, what: T) {
        self.land.send_replace(Some(what));
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut board = lock(&self.flights);
        // A later fetch may have taken the place of this one.
        if board
            .entries
            .get(&self.key)
            .is_some_and(|entry| entry.number == self.number)
        {
            board.entries.remove(&self.key);
        }
    }
}

fn lock<T>(board: &Mutex<Board<T>>) -> MutexGuard<'_, Board<T>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
