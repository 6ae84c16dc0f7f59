//! A client's socket with deadlines, and with one request at a time.
//!
//! The HTTP library bounds the head of a connection's first request and nothing after it: a client could send
//! half of a second head, or stop reading a response, and stay for ever. It also closes a socket without reading
//! the rest of its input, whereupon the kernel resets the connection and may drop a response that is still on its
//! way. And it decodes pipelined requests too early (see [`RequestGate`]). The stream below it corrects all three.

use super::connection::{Connection, ConnectionState, Expectation};
use super::request_gate::RequestGate;
use crate::config;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the client has to close its side of a connection that is being closed.
const LINGER: Duration = Duration::from_secs(2);
/// A client reads a response when it takes this much of it, or the rest of it, within `write_timeout`.
const MIN_PROGRESS_BYTES: usize = 64 << 10;
/// Invites a client that sent `Expect: 100-continue` to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The deadlines of a stream.
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

/// The transport of a client's bytes: a TCP socket, or TLS over one.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for Io {}

/// A connection of a client.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an event that has happened or not"
)]
pub struct TimedStream<Io: Transport> {
    /// Until this is dropped.
    io: Option<Io>,
    connection: Connection,
    gate: RequestGate,
    /// The client has ended its side.
    eof: bool,
    /// The part of `100 Continue` that is still to be sent.
    interim: &'static [u8],
    timeouts: StreamTimeouts,
    /// Never later than the next deadline. It is not moved for each request: when it fires, the deadline is
    /// computed again.
    timer: Pin<Box<Sleep>>,
    /// Until draining starts.
    drain: Option<Pin<Box<OwnedNotified>>>,
    /// This task is woken when draining starts.
    drain_registered: bool,
    /// Since when the client has taken less than [`MIN_PROGRESS_BYTES`], and how much.
    stalled: Option<(Instant, usize)>,
    /// It was closed for being idle.
    idle_end: bool,
    /// Since when it is being closed.
    closing: Option<Instant>,
    /// It timed out, or failed by itself.
    broken: bool,
}

impl<Io: Transport> TimedStream<Io> {
    /// Watches over `io`. Must be called on a runtime with time.
    #[must_use]
    pub fn new(io: Io, connection: Connection, timeouts: StreamTimeouts) -> Self {
        let drain = connection.tracker().drain_starts();
        let mut stream = Self {
            timer: Box::pin(sleep_until(Instant::now())),
            drain: Some(Box::pin(drain)),
            drain_registered: false,
            io: Some(io),
            connection,
            gate: RequestGate::default(),
            eof: false,
            interim: &[],
            timeouts,
            stalled: None,
            idle_end: false,
            closing: None,
            broken: false,
        };
        let first = stream.next_check(Instant::now());
        stream.timer.as_mut().reset(first);
        stream
    }

    /// The state that the requests of this stream share with it.
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
        } = self.timeouts;
        now + head.min(keep_alive).min(write)
    }

    /// When the client must have done something.
    fn deadline(&self) -> Option<Instant> {
        if let Some(since) = self.closing {
            return Some(since + LINGER);
        }
        if let Some((since, _)) = self.stalled {
            return Some(since + self.timeouts.write);
        }
        let draining = self.connection.tracker().draining();
        let drained =
            |idle: Instant| draining.map(|since| since.max(idle) + self.timeouts.drain_grace);
        match self.connection.state() {
            ConnectionState::Accepted(since) => drained(since),
            ConnectionState::Idle(since) => {
                let usual = since + self.timeouts.keep_alive;
                Some(drained(since).map_or(usual, |drained| drained.min(usual)))
            }
            ConnectionState::ReadingHead(since) => Some(since + self.timeouts.head),
            ConnectionState::ReadingFirstHead | ConnectionState::Responding => None,
        }
    }

    /// Ready when a deadline has passed; otherwise this task is woken when one may have.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Polled once, it wakes this task when draining starts. All connections share the lock behind it, so from
        // then on the flag is read instead.
        if !self.drain_registered
            && let Some(drain) = &mut self.drain
        {
            self.drain_registered = drain.as_mut().poll(cx).is_pending();
        }
        if self.connection.tracker().draining().is_some() {
            self.drain = None;
        }
        let deadline = self.deadline();
        loop {
            // While the timer fires no later than the deadline, the clock need not be read.
            let early = deadline.is_none_or(|deadline| self.timer.deadline() <= deadline);
            if early {
                ready!(self.timer.as_mut().poll(cx));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(());
            }
            let check = self.next_check(now);
            let check = deadline.map_or(check, |deadline| deadline.min(check));
            self.timer.as_mut().reset(check);
        }
    }

    /// The meaning of a passed deadline to the HTTP library: an error, or for an idle connection the end of its
    /// input, so that it is closed in good order.
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
            | ConnectionState::Responding => Poll::Ready(Err(self.timed_out())),
        }
    }

    fn timed_out(&mut self) -> io::Error {
        self.broken = true;
        self.connection.tracker().count_timed_out();
        io::ErrorKind::TimedOut.into()
    }

    fn failed(&mut self, error: io::Error) -> io::Error {
        self.broken = true;
        match error.kind() {
            // After a reset that comes right behind data, actix-http goes on with the request, for a
            // client that is gone. Any other error ends it.
            io::ErrorKind::ConnectionReset => io::ErrorKind::ConnectionAborted.into(),
            _ => error,
        }
    }

    fn io(&mut self) -> io::Result<Pin<&mut Io>> {
        let io = self.io.as_mut().map(Pin::new);
        io.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The client took this many of the offered bytes.
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

    /// Reads from the socket once; returns whether bytes of the current request are in `buf` now.
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        let received = if self.gate.is_direct() {
            ready!(self.io()?.poll_read(cx, buf))?;
            let received = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let (length, admitted) = (received.len(), self.gate.admit(received));
            buf.set_filled(before + admitted);
            length
        } else {
            let mut space = [0; 4096];
            let mut bytes = ReadBuf::new(&mut space);
            ready!(self.io()?.poll_read(cx, &mut bytes))?;
            self.gate.hold(bytes.filled());
            bytes.filled().len()
        };
        self.eof = received == 0;
        Poll::Ready(Ok(buf.filled().len() > before))
    }

    /// Input of the current request has come.
    fn received(&mut self) {
        self.connection.received();
        if self.gate.is_closed() {
            self.connection.set_last();
        }
        if self.gate.expects_continue() && self.connection.expectation() == Expectation::None {
            self.connection.set_expectation(Expectation::Pending);
        }
    }

    /// Lets the next request come when the response before it is out.
    fn next_request(&mut self, cx: &mut Context<'_>) {
        let is_idle = matches!(self.connection.state(), ConnectionState::Idle(_));
        if is_idle && self.connection.expectation() == Expectation::Declined && !self.eof {
            // The library would wait for the rest of a chunked body that may never come.
            self.eof = true;
            cx.waker().wake_by_ref();
            return;
        }
        if !self.gate.responded(self.connection.responses()) {
            return;
        }
        self.connection.set_expectation(Expectation::None);
        if !self.gate.is_direct() {
            self.connection.received();
            cx.waker().wake_by_ref();
        }
    }

    /// Sends `100 Continue` where a body is wanted.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.expectation() == Expectation::Wanted {
            self.connection.set_expectation(Expectation::Settled);
            self.interim = CONTINUE;
        }
        while !self.interim.is_empty() {
            let interim = self.interim;
            let taken = ready!(self.io()?.poll_write(cx, interim))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim = interim.get(taken..).unwrap_or_default();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: Transport> AsyncRead for TimedStream<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.gate.release(buf) {
                this.received();
                return Poll::Ready(Ok(()));
            }
            // A client that has ended its side may still wait for responses to requests that are held.
            if this.eof && !this.gate.has_pipelined() {
                this.connection.set_last();
                return Poll::Ready(Ok(()));
            }
            let input = if this.eof || !this.gate.wants_input() {
                Poll::Pending
            } else {
                this.poll_input(cx, buf)
            };
            match input {
                Poll::Ready(Ok(admitted)) => {
                    if admitted || (this.gate.is_open() && !this.eof) {
                        this.received();
                    }
                    // A client that sends the head byte by byte is always ready.
                    if matches!(this.connection.state(), ConnectionState::ReadingHead(_))
                        && this.poll_deadline(cx).is_ready()
                    {
                        return this.on_deadline();
                    }
                    if admitted {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(this.failed(error))),
                Poll::Pending => {
                    ready!(this.poll_deadline(cx));
                    return this.on_deadline();
                }
            }
        }
    }
}

impl<Io: Transport> AsyncWrite for TimedStream<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // The final response makes an interim one needless, unless a part of it is out.
        if this.connection.expectation() == Expectation::Wanted {
            this.connection.set_expectation(Expectation::Settled);
        }
        let written = match this.poll_interim(cx) {
            Poll::Ready(Ok(())) => this.io()?.poll_write(cx, buf),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        match written {
            Poll::Ready(Ok(taken)) => {
                this.wrote(taken, buf.len());
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(this.failed(error))),
            Poll::Pending => {
                this.stalled.get_or_insert_with(|| (Instant::now(), 0));
                ready!(this.poll_deadline(cx));
                Poll::Ready(Err(this.timed_out()))
            }
        }
    }

    /// The library flushes at the end of each of its turns, when all it had to write is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_interim(cx)).map_err(|error| this.failed(error))?;
        this.next_request(cx);
        // A response is out and the connection is idle: from here on it is watched again.
        if let Poll::Ready(()) = this.poll_deadline(cx) {
            cx.waker().wake_by_ref();
        }
        this.io()?.poll_flush(cx)
    }

    /// Ends this side, then reads until the client has ended the other: a socket that is closed with unread bytes
    /// resets the connection, and the last response may be lost.
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
                        this.connection.tracker().count_late_request();
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

/// After its response to input that is no HTTP the library drops the socket without closing it in good order, and a
/// client that is still sending would lose that response.
impl<Io: Transport> Drop for TimedStream<Io> {
    fn drop(&mut self) {
        if self.broken || self.closing.is_some() {
            return;
        }
        if let (Some(io), Ok(runtime)) = (self.io.take(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LINGER, linger(io)));
        }
    }
}

async fn linger(mut io: impl Transport) -> io::Result<()> {
    io.shutdown().await?;
    let mut scratch = [0; 1024];
    while io.read(&mut scratch).await? > 0 {}
    Ok(())
}
