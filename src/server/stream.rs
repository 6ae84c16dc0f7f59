//! A client's socket that keeps its own deadlines.
//!
//! The HTTP library bounds the head of a connection's first request and nothing after it: a client
//! could send half of a second head, or stop reading an answer, and stay for ever. It also closes a
//! socket without reading what is left in it, whereupon the kernel resets the connection and may
//! throw away an answer that is still on its way. Both are seen to here.

use crate::config;
use crate::http::connection::{Connection, ConnectionState};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the client has to close its side of a connection that is being closed.
const LINGER: Duration = Duration::from_secs(2);
/// A client takes an answer when it takes this much of it, or all there is, within `write_timeout`.
const MIN_PROGRESS_BYTES: usize = 64 << 10;

/// The times a stream keeps.
#[derive(Debug, Clone, Copy)]
pub struct StreamTimeouts {
    head: Duration,
    keep_alive: Duration,
    write: Duration,
    drain_grace: Duration,
}

impl From<&config::Server> for StreamTimeouts {
    fn from(settings: &config::Server) -> Self {
        Self {
            head: settings.head_timeout,
            keep_alive: settings.keep_alive,
            write: settings.write_timeout,
            drain_grace: settings.drain_grace,
        }
    }
}

/// A connection of a client.
pub struct TimedStream {
    /// Until this is dropped.
    io: Option<TcpStream>,
    connection: Connection,
    times: StreamTimeouts,
    /// Never later than the next deadline, and not moved for each request: it looks again instead.
    timer: Pin<Box<Sleep>>,
    /// Until draining starts.
    drain: Option<Pin<Box<OwnedNotified>>>,
    /// This task is woken when draining starts.
    told: bool,
    /// Since when the client has taken less than [`MIN_PROGRESS_BYTES`], and how much.
    stalled: Option<(Instant, usize)>,
    /// Given up while nothing was asked.
    idle_end: bool,
    /// Since when it is being closed.
    closing: Option<Instant>,
    /// Cut, or failed by itself.
    broken: bool,
}

impl TimedStream {
    /// Watches over `io`. Must be called on a runtime with time.
    #[must_use]
    pub fn new(io: TcpStream, connection: Connection, times: StreamTimeouts) -> Self {
        let drain = connection.all().drain_starts();
        let mut stream = Self {
            timer: Box::pin(sleep_until(Instant::now())),
            drain: Some(Box::pin(drain)),
            told: false,
            io: Some(io),
            connection,
            times,
            stalled: None,
            idle_end: false,
            closing: None,
            broken: false,
        };
        let first = stream.next_check(Instant::now());
        stream.timer.as_mut().reset(first);
        stream
    }

    /// What this stream's requests are told through.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A time before which no deadline that is set from now on can pass.
    fn next_check(&self, now: Instant) -> Instant {
        let StreamTimeouts {
            head,
            keep_alive,
            write,
            ..
        } = self.times;
        now + head.min(keep_alive).min(write)
    }

    /// When patience with the client ends.
    fn deadline(&self) -> Option<Instant> {
        if let Some(since) = self.closing {
            return Some(since + LINGER);
        }
        if let Some((since, _)) = self.stalled {
            return Some(since + self.times.write);
        }
        let draining = self.connection.all().draining();
        let drained =
            |idle: Instant| draining.map(|since| since.max(idle) + self.times.drain_grace);
        match self.connection.state() {
            ConnectionState::Accepted(since) => drained(since),
            ConnectionState::Idle(since) => {
                let usual = since + self.times.keep_alive;
                Some(drained(since).map_or(usual, |drained| drained.min(usual)))
            }
            ConnectionState::ReadingHead(since) => Some(since + self.times.head),
            ConnectionState::ReadingFirstHead | ConnectionState::Responding => None,
        }
    }

    /// Ready when a deadline has passed; otherwise this task is woken when one may have.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Polled once, it wakes this task when draining starts; all connections share what it is
        // polled on, so a look at the flag has to be enough from then on.
        if !self.told
            && let Some(drain) = &mut self.drain
        {
            self.told = drain.as_mut().poll(cx).is_pending();
        }
        if self.connection.all().draining().is_some() {
            self.drain = None;
        }
        let deadline = self.deadline();
        loop {
            // While the timer is set for no later than the deadline, it alone says what time it is.
            let early = deadline.is_none_or(|deadline| self.timer.deadline() <= deadline);
            if early {
                ready!(self.timer.as_mut().poll(cx));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(());
            }
            let look = self.next_check(now);
            let look = deadline.map_or(look, |deadline| deadline.min(look));
            self.timer.as_mut().reset(look);
        }
    }

    /// What a passed deadline means to the HTTP library: an error, or for a connection that nobody
    /// uses the end of its input, so that it is closed in good order.
    fn on_deadline(&mut self) -> Poll<io::Result<()>> {
        match self.connection.state() {
            ConnectionState::Accepted(_) | ConnectionState::Idle(_) if self.stalled.is_none() => {
                self.idle_end = true;
                Poll::Ready(Ok(()))
            }
            ConnectionState::Accepted(_)
            | ConnectionState::Idle(_)
            | ConnectionState::ReadingFirstHead
            | ConnectionState::ReadingHead(_)
            | ConnectionState::Responding => Poll::Ready(Err(self.cut())),
        }
    }

    fn cut(&mut self) -> io::Error {
        self.broken = true;
        self.connection.all().count_cut();
        io::ErrorKind::TimedOut.into()
    }

    fn failed(&mut self, error: io::Error) -> io::Error {
        self.broken = true;
        error
    }

    fn io(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let io = self.io.as_mut().map(Pin::new);
        io.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// How much of what was offered the client took.
    fn wrote(&mut self, taken: usize, offered: usize) {
        let Some((_, so_far)) = &mut self.stalled else {
            return;
        };
        *so_far += taken;
        if taken == offered {
            self.stalled = None;
            self.connection.sent();
        } else if *so_far >= MIN_PROGRESS_BYTES {
            self.stalled = Some((Instant::now(), 0));
        }
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match this.io()?.poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    this.connection.received();
                    // A client that sends the head byte by byte is always ready.
                    if matches!(this.connection.state(), ConnectionState::ReadingHead(_))
                        && this.poll_deadline(cx).is_ready()
                    {
                        return this.on_deadline();
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.failed(error))),
            Poll::Pending => {
                ready!(this.poll_deadline(cx));
                this.on_deadline()
            }
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.io()?.poll_write(cx, buf) {
            Poll::Ready(Ok(taken)) => {
                this.wrote(taken, buf.len());
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.failed(error))),
            Poll::Pending => {
                this.stalled.get_or_insert_with(|| (Instant::now(), 0));
                ready!(this.poll_deadline(cx));
                Poll::Ready(Err(this.cut()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // An answer has gone out and the connection is idle: from here it is watched again.
        if let Poll::Ready(()) = this.poll_deadline(cx) {
            cx.waker().wake_by_ref();
        }
        this.io()?.poll_flush(cx)
    }

    /// Says that nothing more comes, then reads until the client has closed too: a socket closed
    /// with unread bytes resets the connection, and the last answer may be lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(this.io()?.poll_shutdown(cx)).map_err(|error| this.failed(error))?;
            this.closing = Some(Instant::now());
        }
        let mut scratch = [0; 1024];
        loop {
            let mut bytes = ReadBuf::new(&mut scratch);
            match this.io()?.poll_read(cx, &mut bytes) {
                Poll::Ready(Ok(())) if !bytes.filled().is_empty() => {
                    if std::mem::take(&mut this.idle_end) {
                        this.connection.all().count_late();
                    }
                    if this.poll_deadline(cx).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                }
                // The client's end, or its reset: either is the end.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(this.poll_deadline(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// After an answer to input that is no HTTP the library lets go of the socket without closing it in
/// good order, and a client that is still sending would lose that answer.
impl Drop for TimedStream {
    fn drop(&mut self) {
        if self.broken || self.closing.is_some() {
            return;
        }
        if let (Some(io), Ok(runtime)) = (self.io.take(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LINGER, linger(io)));
        }
    }
}

async fn linger(mut io: TcpStream) -> io::Result<()> {
    io.shutdown().await?;
    let mut scratch = [0; 1024];
    while io.read(&mut scratch).await? > 0 {}
    Ok(())
}
