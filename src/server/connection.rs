//! The state of a client's connection, as far as deadlines, pipelining and draining depend on it.
//!
//! The stream below the HTTP library sees bytes come and go, the response tracking above it sees requests and
//! responses. Both share this.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// It is open, and the client has sent nothing.
    Accepted(Instant),
    /// The head of the first request is coming; the HTTP library keeps its deadline.
    ReadingFirstHead,
    /// All requests are answered.
    Idle(Instant),
    /// The head of a further request is coming, since then.
    ReadingHead(Instant),
    /// A response is being made or written.
    Responding,
}

/// Whether a client waits for `100 Continue` before it sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// It does not.
    None,
    /// It does, and the body is not wanted yet.
    Pending,
    /// The body is wanted, and the interim response is to be sent.
    Wanted,
    /// The interim response was sent, or is no longer needed.
    Settled,
    /// The request was answered without its body.
    Declined,
}

/// One connection; clones are the same one.
#[derive(Debug, Clone)]
pub struct Connection(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Cell<ConnectionState>,
    local: Option<SocketAddr>,
    responses: Cell<u64>,
    expectation: Cell<Expectation>,
    is_last: Cell<bool>,
    tracker: Arc<ConnectionTracker>,
}

impl Connection {
    /// A connection that was accepted just now, at the address `local` of this host.
    #[must_use]
    pub fn new(tracker: &Arc<ConnectionTracker>, local: Option<SocketAddr>) -> Self {
        tracker.accepted.fetch_add(1, Ordering::Relaxed);
        tracker.open.fetch_add(1, Ordering::Relaxed);
        Self(Rc::new(Inner {
            state: Cell::new(ConnectionState::Accepted(Instant::now())),
            local,
            responses: Cell::new(0),
            expectation: Cell::new(Expectation::None),
            is_last: Cell::new(false),
            tracker: Arc::clone(tracker),
        }))
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.0.state.get()
    }

    /// The address of this host that the client reached.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// Bytes of a request have come.
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

    /// The kernel has taken all that was to be sent: the idle time counts from here.
    pub fn sent(&self) {
        if let ConnectionState::Idle(_) = self.state() {
            self.0.state.set(ConnectionState::Idle(Instant::now()));
        }
    }

    /// A request is answered until the guard is dropped.
    #[must_use]
    pub fn begin_response(&self) -> ResponseGuard {
        self.0.state.set(ConnectionState::Responding);
        ResponseGuard(self.clone())
    }

    /// How many responses were written to their end.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.0.responses.get()
    }

    /// Whether the client of the current request waits for `100 Continue`.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        self.0.expectation.get()
    }

    /// Sets it.
    pub fn set_expectation(&self, expectation: Expectation) {
        self.0.expectation.set(expectation);
    }

    /// Whether no request follows the current one.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.0.is_last.get()
    }

    /// No request follows the current one.
    pub fn set_last(&self) {
        self.0.is_last.set(true);
    }

    /// All connections of this listener.
    #[must_use]
    pub fn tracker(&self) -> &Arc<ConnectionTracker> {
        &self.0.tracker
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tracker.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response that is not written yet; see [`Connection::begin_response`].
#[derive(Debug)]
pub struct ResponseGuard(Connection);

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        let Inner {
            state, responses, ..
        } = &*self.0.0;
        responses.set(responses.get() + 1);
        state.set(ConnectionState::Idle(Instant::now()));
    }
}

/// All connections of a listener.
#[derive(Debug, Default)]
pub struct ConnectionTracker {
    accepted: AtomicU64,
    open: AtomicUsize,
    timed_out: AtomicU64,
    late_requests: AtomicU64,
    draining: OnceLock<Instant>,
    drain: Arc<Notify>,
}

impl ConnectionTracker {
    /// How many were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were closed because a client sent or took too little in its time.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// How many idle connections were being closed when another request came, which was lost.
    #[must_use]
    pub fn late_requests(&self) -> u64 {
        self.late_requests.load(Ordering::Relaxed)
    }

    /// Since when every response is the last of its connection, and idle connections are closed.
    #[must_use]
    pub fn draining(&self) -> Option<Instant> {
        self.draining.get().copied()
    }

    /// From now on every response is the last of its connection.
    pub fn start_draining(&self) {
        self.draining.get_or_init(Instant::now);
        self.drain.notify_waiters();
    }

    /// Ready when draining starts, unless it has.
    pub fn drain_starts(&self) -> OwnedNotified {
        Arc::clone(&self.drain).notified_owned()
    }

    /// Counts a connection that timed out.
    pub fn count_timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that came too late.
    pub fn count_late_request(&self) {
        self.late_requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_goes_from_request_to_request() {
        let tracker = Arc::new(ConnectionTracker::default());
        let connection = Connection::new(&tracker, None);
        let start = Instant::now();
        assert_eq!(connection.state(), ConnectionState::Accepted(start));
        connection.received();
        assert_eq!(connection.state(), ConnectionState::ReadingFirstHead);
        let guard = connection.begin_response();
        connection.received();
        assert_eq!(connection.state(), ConnectionState::Responding);
        assert_eq!(connection.responses(), 0);
        drop(guard);
        assert_eq!(connection.state(), ConnectionState::Idle(start));
        assert_eq!(connection.responses(), 1);
        connection.received();
        connection.received();
        assert_eq!(connection.state(), ConnectionState::ReadingHead(start));
        assert_eq!((tracker.open(), tracker.accepted()), (1, 1));
        drop(connection);
        assert_eq!((tracker.open(), tracker.accepted()), (0, 1));
    }

    #[tokio::test]
    async fn draining_reaches_those_that_wait_and_those_that_look() {
        let tracker = ConnectionTracker::default();
        let waiting = tracker.drain_starts();
        assert!(tracker.draining().is_none());
        tracker.start_draining();
        waiting.await;
        let since = tracker.draining();
        tracker.start_draining();
        assert!(since.is_some() && since == tracker.draining());
    }
}
