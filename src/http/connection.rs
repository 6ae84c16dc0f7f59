//! What a client's connection is doing, as far as time and a stop of the gateway matter.
//!
//! The stream underneath (`server/stream.rs`) knows when bytes come and go, the front when a request
//! is being answered. Both tell this, so that a deadline can be kept for each.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// It is open, and nothing has come yet.
    Accepted(Instant),
    /// The head of the first request is coming; the HTTP library sees to its time.
    ReadingFirstHead,
    /// All requests are answered.
    Idle(Instant),
    /// The head of a further request is coming, since then.
    ReadingHead(Instant),
    /// A response is being written.
    Responding,
}

/// One connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Connection(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Cell<ConnectionState>,
    local: Option<SocketAddr>,
    all: Arc<ConnectionTracker>,
}

impl Connection {
    /// A connection that was accepted just now, at the address `local` of this host.
    #[must_use]
    pub fn new(all: &Arc<ConnectionTracker>, local: Option<SocketAddr>) -> Self {
        all.open.fetch_add(1, Ordering::Relaxed);
        all.accepted.fetch_add(1, Ordering::Relaxed);
        Self(Rc::new(Inner {
            state: Cell::new(ConnectionState::Accepted(Instant::now())),
            local,
            all: Arc::clone(all),
        }))
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.0.state.get()
    }

    /// The address of this host that the client reached.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// Bytes have come.
    pub fn received(&self) {
        let next = match self.state() {
            ConnectionState::Accepted(_) => ConnectionState::ReadingFirstHead,
            ConnectionState::Idle(_) => ConnectionState::ReadingHead(Instant::now()),
            same @ (ConnectionState::ReadingFirstHead
            | ConnectionState::ReadingHead(_)
            | ConnectionState::Responding) => same,
        };
        self.0.state.set(next);
    }

    /// What was to be sent has been taken: silence counts from here.
    pub fn sent(&self) {
        if let ConnectionState::Idle(_) = self.state() {
            self.0.state.set(ConnectionState::Idle(Instant::now()));
        }
    }

    /// A request is being answered until the guard is dropped.
    #[must_use]
    pub fn answering(&self) -> ResponseGuard {
        self.0.state.set(ConnectionState::Responding);
        ResponseGuard(self.clone())
    }

    /// All connections of this listener.
    #[must_use]
    pub fn all(&self) -> &Arc<ConnectionTracker> {
        &self.0.all
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.all.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request in the works; see [`Connection::answering`].
#[derive(Debug)]
pub struct ResponseGuard(Connection);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.0.0.state.set(ConnectionState::Idle(Instant::now()));
    }
}

/// All connections of a listener.
#[derive(Debug, Default)]
pub struct ConnectionTracker {
    open: AtomicUsize,
    accepted: AtomicU64,
    cut: AtomicU64,
    late: AtomicU64,
    draining: OnceLock<Instant>,
    drain: Arc<Notify>,
}

impl ConnectionTracker {
    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were closed because a client sent or took too little in its time.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// How many had been idle and were being closed when another request came, which was lost.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Since when every answer is the last of its connection, and idle ones are closed.
    #[must_use]
    pub fn draining(&self) -> Option<Instant> {
        self.draining.get().copied()
    }

    /// From now on every answer is the last of its connection.
    pub fn start_draining(&self) {
        self.draining.get_or_init(Instant::now);
        self.drain.notify_waiters();
    }

    /// Ready when draining starts, unless it has.
    pub fn drain_starts(&self) -> OwnedNotified {
        Arc::clone(&self.drain).notified_owned()
    }

    /// Counts a connection that was cut.
    pub fn count_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that came too late.
    pub fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_goes_from_request_to_request() {
        let all = Arc::new(ConnectionTracker::default());
        let connection = Connection::new(&all, None);
        let start = Instant::now();
        assert_eq!(connection.state(), ConnectionState::Accepted(start));
        connection.received();
        assert_eq!(connection.state(), ConnectionState::ReadingFirstHead);
        let answering = connection.answering();
        connection.received();
        assert_eq!(connection.state(), ConnectionState::Responding);
        drop(answering);
        assert_eq!(connection.state(), ConnectionState::Idle(start));
        connection.received();
        connection.received();
        assert_eq!(connection.state(), ConnectionState::ReadingHead(start));
        assert_eq!(all.open(), 1);
        drop(connection);
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn draining_is_told_to_those_who_waited_and_to_those_who_ask() {
        let all = ConnectionTracker::default();
        let waiting = all.drain_starts();
        assert!(all.draining().is_none());
        all.start_draining();
        waiting.await;
        let since = all.draining();
        all.start_draining();
        assert!(since.is_some() && since == all.draining());
    }
}
