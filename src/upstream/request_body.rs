//! The body of a streamed request: chunks come through a bounded channel, from another runtime.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// Chunks that wait for the upstream connection. A chunk is a read from the client's socket.
const MAX_WAITING_CHUNKS: usize = 4;

/// Why a request's body has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestBodyError {
    /// The client left, or its body is malformed.
    #[error("the body of the request is incomplete")]
    Incomplete,
    /// The client sent nothing for too long.
    #[error("the client sends no more of the request's body")]
    Stalled,
}

/// A part of a body. The end is a part of its own: a channel that closes without it is a broken body.
enum Part {
    Chunk(Bytes),
    End,
    Broken(RequestBodyError),
}

/// The end of the channel that the body's chunks go into.
#[derive(Debug)]
pub struct RequestBodySender {
    parts: mpsc::Sender<Part>,
    shared: Arc<Shared>,
}

/// The body of one request; clones are the same one, so that an attempt that never touched it can be
/// repeated.
#[derive(Debug, Clone)]
pub struct RequestBody(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when the connection asks for the first chunk.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` for a request without a body.
    parts: Option<mpsc::Receiver<Part>>,
    touched: bool,
    failure: Option<RequestBodyError>,
    /// Since when the upstream server has to do something: take a chunk, or answer. `None` while the
    /// client has to send.
    upstream_since: Option<Instant>,
}

impl RequestBody {
    /// Of a request without a body.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(None)
    }

    /// A body in one piece.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let (sender, body) = Self::channel();
        // A new channel has room for both.
        let _room = sender.parts.try_send(Part::Chunk(bytes));
        let _room = sender.parts.try_send(Part::End);
        body
    }

    /// A body whose chunks the sender takes.
    #[must_use]
    pub fn channel() -> (RequestBodySender, Self) {
        let (sender, parts) = mpsc::channel(MAX_WAITING_CHUNKS);
        let body = Self::new(Some(parts));
        let shared = Arc::clone(&body.0);
        let sender = RequestBodySender {
            parts: sender,
            shared,
        };
        (sender, body)
    }

    fn new(parts: Option<mpsc::Receiver<Part>>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                parts,
                touched: false,
                failure: None,
                upstream_since: Some(Instant::now()),
            }),
            wanted: Notify::new(),
        }))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.state.lock().parts.is_none()
    }

    /// Whether a part of it was given to a connection.
    pub(super) fn is_touched(&self) -> bool {
        self.0.state.lock().touched
    }

    /// Why it has no end, once that is known.
    pub(super) fn failure(&self) -> Option<RequestBodyError> {
        self.0.state.lock().failure
    }

    /// The upstream server has done something, or may begin to.
    pub(super) fn upstream_moved(&self) {
        let mut state = self.0.state.lock();
        if state.upstream_since.is_some() {
            state.upstream_since = Some(Instant::now());
        }
    }

    /// Ready when the upstream server has done nothing for `idle` although it was its turn.
    pub(super) async fn upstream_idle(&self, idle: Duration) {
        loop {
            let since = self.0.state.lock().upstream_since;
            match since {
                Some(since) if since.elapsed() >= idle => return,
                Some(since) => sleep_until(since + idle).await,
                None => sleep(idle).await,
            }
        }
    }

    /// Ends the body early: its sender need not wait any longer.
    pub(super) fn close(&self) {
        if let Some(parts) = &mut self.0.state.lock().parts {
            parts.close();
        }
    }
}

impl RequestBodySender {
    /// Ready when the upstream connection asks for the body; false when the exchange ended before.
    pub async fn wanted(&self) -> bool {
        tokio::select! {
            () = self.shared.wanted.notified() => true,
            () = self.parts.closed() => false,
        }
    }

    /// Ready when the exchange is over.
    pub async fn closed(&self) {
        self.parts.closed().await;
    }

    /// Sends a chunk when there is room; false when the exchange is over.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.parts.send(Part::Chunk(chunk)).await.is_ok()
    }

    /// The body is complete.
    pub async fn finish(self) {
        // An exchange that is over needs no end.
        let _over = self.parts.send(Part::End).await;
    }

    /// The body has no end.
    pub async fn fail(self, error: RequestBodyError) {
        let _over = self.parts.send(Part::Broken(error)).await;
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let mut state = self.0.state.lock();
        if !state.touched {
            state.touched = true;
            self.0.wanted.notify_one();
        }
        if let Some(failure) = state.failure {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(parts) = &mut state.parts else {
            return Poll::Ready(None);
        };
        let part = parts.poll_recv(cx);
        state.upstream_since = part.is_ready().then(Instant::now);
        let failure = match part {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Part::Chunk(chunk))) => {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            Poll::Ready(Some(Part::End)) => return Poll::Ready(None),
            Poll::Ready(Some(Part::Broken(error))) => error,
            Poll::Ready(None) => RequestBodyError::Incomplete,
        };
        state.failure = Some(failure);
        Poll::Ready(Some(Err(failure)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_empty() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(body: &mut RequestBody) -> Option<Result<Bytes, RequestBodyError>> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn chunks_come_in_order_and_end() {
        let (sender, mut body) = RequestBody::channel();
        assert!(!body.is_end_stream() && !body.is_touched());
        sender.send(Bytes::from_static(b"one")).await;
        sender.send(Bytes::from_static(b"two")).await;
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "one");
        assert!(sender.wanted().await && body.is_touched());
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "two");
        sender.finish().await;
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_body_in_one_piece_needs_no_sender() {
        let mut body = RequestBody::full(Bytes::from_static(b"one"));
        assert!(!body.is_empty() && !body.is_touched());
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "one");
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_breaks_the_body() {
        let (sender, mut body) = RequestBody::channel();
        drop(sender);
        let broken = Err(RequestBodyError::Incomplete);
        assert_eq!(next(&mut body).await, Some(broken.clone()));
        assert_eq!(next(&mut body).await, Some(broken));
        let (sender, mut body) = RequestBody::channel();
        sender.fail(RequestBodyError::Stalled).await;
        assert_eq!(next(&mut body).await, Some(Err(RequestBodyError::Stalled)));
        assert_eq!(body.failure(), Some(RequestBodyError::Stalled));
    }

    #[tokio::test]
    async fn a_sender_waits_for_room_and_learns_that_the_exchange_is_over() {
        let (sender, body) = RequestBody::channel();
        for _ in 0..MAX_WAITING_CHUNKS {
            assert!(sender.send(Bytes::from_static(b"x")).await);
        }
        let more = tokio::time::timeout(Duration::from_millis(20), sender.send(Bytes::new()));
        assert!(more.await.is_err(), "more than the bound");
        body.close();
        assert!(!sender.send(Bytes::new()).await);
        assert!(!sender.wanted().await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_upstream_server_is_idle_only_when_it_is_its_turn() {
        let idle = Duration::from_secs(10);
        let (sender, mut body) = RequestBody::channel();
        let waited = |body: &RequestBody| {
            let body = body.clone();
            async move {
                let limit = Duration::from_secs(100);
                let wait = tokio::time::timeout(limit, body.upstream_idle(idle));
                wait.await.is_ok()
            }
        };
        assert!(waited(&body).await);
        // The client has to send: no time counts.
        assert!(futures_util::FutureExt::now_or_never(next(&mut body)).is_none());
        assert!(!waited(&body).await);
        sender.send(Bytes::from_static(b"x")).await;
        assert!(next(&mut body).await.unwrap().is_ok());
        assert!(waited(&body).await);
    }
}
