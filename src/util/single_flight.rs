//! Single-flight: concurrent requests for the same thing share one piece of work.
//!
//! The first caller for a key leads: it does the work and completes its [`LeaderGuard`]. Callers
//! that come meanwhile follow and receive a clone of the outcome. A flight belongs to a generation:
//! a caller that knows of a later one does not join it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// The flights under way: one for each key at most, `capacity` in all.
#[derive(Debug)]
pub struct SingleFlight<K: Eq + Hash, G, T> {
    table: Arc<Mutex<InFlightTable<K, G, T>>>,
    capacity: usize,
}

#[derive(Debug)]
struct InFlightTable<K, G, T> {
    flights: HashMap<K, Flight<G, T>>,
    last_number: u64,
}

#[derive(Debug)]
struct Flight<G, T> {
    number: u64,
    generation: G,
    joinable_until: Option<Instant>,
    outcome: watch::Receiver<Option<T>>,
}

impl<G: PartialEq, T> Flight<G, T> {
    fn is_joinable(&self, generation: &G, now: Instant) -> bool {
        self.generation == *generation && self.joinable_until.is_none_or(|until| now < until)
    }
}

/// The part of a caller.
#[derive(Debug)]
pub enum Role<K: Eq + Hash, G, T> {
    /// Wait for the outcome of a flight that another caller leads.
    Follower(Follower<T>),
    /// Do the work and complete the guard.
    Leader(LeaderGuard<K, G, T>),
}

impl<K: Clone + Eq + Hash, G: PartialEq, T: Clone> SingleFlight<K, G, T> {
    /// No flights yet, and never more than `capacity` that others can join.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let table = InFlightTable {
            flights: HashMap::new(),
            last_number: 0,
        };
        Self {
            table: Arc::new(Mutex::new(table)),
            capacity,
        }
    }

    /// Joins the flight for `key` if it belongs to `generation` and is still joinable at `now`;
    /// otherwise leads a new one, which others can join until `joinable_until`, or until it ends.
    ///
    /// When the table is full the leader's flight is not [shared](LeaderGuard::is_shared): no
    /// caller can join it.
    pub fn join_or_lead(
        &self,
        key: &K,
        generation: G,
        now: Instant,
        joinable_until: Option<Instant>,
    ) -> Role<K, G, T> {
        let mut table = self.table.lock();
        if let Some(flight) = table.flights.get(key)
            && flight.is_joinable(&generation, now)
        {
            return Role::Follower(Follower(flight.outcome.clone()));
        }
        let (sender, outcome) = watch::channel(None);
        table.last_number += 1;
        let number = table.last_number;
        let has_room = table.flights.len() < self.capacity || table.flights.contains_key(key);
        if has_room {
            let flight = Flight {
                number,
                generation,
                joinable_until,
                outcome,
            };
            table.flights.insert(key.clone(), flight);
        }
        drop(table);
        Role::Leader(LeaderGuard {
            registration: has_room.then(|| Registration {
                table: Arc::clone(&self.table),
                key: key.clone(),
                number,
            }),
            sender,
        })
    }
}

/// Waits for the outcome of a flight.
#[derive(Debug)]
pub struct Follower<T>(watch::Receiver<Option<T>>);

impl<T: Clone> Follower<T> {
    /// The outcome; `None` when the leader ended without one, by a panic or because its task was
    /// dropped.
    pub async fn outcome(mut self) -> Option<T> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

/// The leader's obligation to complete its flight. Dropped before, it ends the flight, and
/// followers learn that there is no outcome.
#[derive(Debug)]
pub struct LeaderGuard<K: Eq + Hash, G, T> {
    registration: Option<Registration<K, G, T>>,
    sender: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash, G, T> LeaderGuard<K, G, T> {
    /// Whether others can join this flight; they cannot when the table was full.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.registration.is_some()
    }

    /// Follows this flight, for a leader that leaves the work to another task.
    #[must_use]
    pub fn follower(&self) -> Follower<T> {
        Follower(self.sender.subscribe())
    }

    /// Gives the outcome to all followers and ends the flight.
    pub fn complete(self, outcome: T) {
        self.sender.send_replace(Some(outcome));
    }
}

#[derive(Debug)]
struct Registration<K: Eq + Hash, G, T> {
    table: Arc<Mutex<InFlightTable<K, G, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, G, T> Drop for Registration<K, G, T> {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        // A later flight may have replaced this one.
        let flight = table.flights.get(&self.key);
        if flight.is_some_and(|flight| flight.number == self.number) {
            table.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use std::time::Duration;

    use super::*;

    type Flights = SingleFlight<&'static str, u32, u32>;

    fn leader(
        flights: &Flights,
        key: &'static str,
        generation: u32,
    ) -> LeaderGuard<&'static str, u32, u32> {
        match flights.join_or_lead(&key, generation, Instant::now(), None) {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("joined a flight"),
        }
    }

    fn follower(flights: &Flights, key: &'static str, generation: u32) -> Follower<u32> {
        match flights.join_or_lead(&key, generation, Instant::now(), None) {
            Role::Follower(follower) => follower,
            Role::Leader(_) => panic!("leads"),
        }
    }

    #[tokio::test]
    async fn followers_receive_what_the_leader_completes_with() {
        let flights = Flights::new(8);
        let first = leader(&flights, "a", 1);
        let (one, two) = (follower(&flights, "a", 1), follower(&flights, "a", 1));
        let other = leader(&flights, "b", 1);
        first.complete(7);
        assert_eq!(
            (one.outcome().await, two.outcome().await),
            (Some(7), Some(7))
        );
        // The flight is over: the next caller leads.
        leader(&flights, "a", 1).complete(8);
        other.complete(9);
    }

    #[tokio::test]
    async fn followers_learn_that_the_leader_is_gone() {
        let flights = Flights::new(8);
        let first = leader(&flights, "a", 1);
        let waiting = follower(&flights, "a", 1);
        drop(first);
        assert_eq!(waiting.outcome().await, None);
        leader(&flights, "a", 1);
    }

    #[tokio::test]
    async fn a_flight_of_another_generation_is_replaced_and_not_joined() {
        let flights = Flights::new(8);
        let old = leader(&flights, "a", 1);
        let new = leader(&flights, "a", 2);
        // The end of the old flight leaves the new one where it is.
        old.complete(1);
        let waiting = follower(&flights, "a", 2);
        new.complete(2);
        assert_eq!(waiting.outcome().await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_is_joinable_until_its_time() {
        let flights = Flights::new(8);
        let until = Instant::now() + Duration::from_secs(1);
        let first = flights.join_or_lead(&"a", 1, Instant::now(), Some(until));
        let waiting = follower(&flights, "a", 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        leader(&flights, "a", 1).complete(2);
        let Role::Leader(first) = first else {
            panic!("joined a flight")
        };
        first.complete(1);
        assert_eq!(waiting.outcome().now_or_never(), Some(Some(1)));
    }

    #[test]
    fn beyond_the_capacity_a_leader_is_alone() {
        let flights = Flights::new(2);
        let (one, two, three) = (
            leader(&flights, "a", 1),
            leader(&flights, "b", 1),
            leader(&flights, "c", 1),
        );
        assert!(one.is_shared() && two.is_shared() && !three.is_shared());
        // A key that has a flight takes no more room.
        assert!(leader(&flights, "a", 2).is_shared());
        drop(two);
        assert!(leader(&flights, "c", 1).is_shared());
    }
}
