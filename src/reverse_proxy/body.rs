//! Bodies between a worker, where the client's connection lives, and the upstream runtime.
//!
//! Both directions are bounded channels: a side that does not read stops the other one. A channel that closes
//! without an end is a broken body, never a complete one.

use crate::http::response::CONNECTION_BUFFER_BYTES;
use crate::upstream::{RequestBodyError, RequestBodySender};
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Chunks that wait for the client's connection. A chunk is a read from the upstream socket.
const MAX_WAITING_CHUNKS: usize = 4;

/// The response has no end: its connection must not look as if it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the response from the upstream server broke off")]
pub struct ResponseBroken;

/// Sends the body of a request on as it comes, from the moment that the upstream connection asks for it: until then
/// a client that waits for `100 Continue` is not invited.
pub async fn send_request_body(mut payload: Payload, sender: RequestBodySender, idle: Duration) {
    if !sender.wanted().await {
        return;
    }
    loop {
        let chunk = tokio::select! {
            chunk = timeout(idle, payload.next()) => chunk,
            () = sender.closed() => return,
        };
        match chunk {
            Ok(Some(Ok(chunk))) => {
                if !sender.send(chunk).await {
                    return;
                }
            }
            Ok(Some(Err(_))) => return sender.fail(RequestBodyError::Incomplete).await,
            Ok(None) => return sender.finish().await,
            Err(_) => return sender.fail(RequestBodyError::Stalled).await,
        }
    }
}

enum Part {
    Chunk(Bytes),
    End,
}

/// The upstream end of a response's body.
#[derive(Debug)]
pub struct ResponseBodySender(mpsc::Sender<Part>);

impl ResponseBodySender {
    /// Sends a chunk when there is room; false when the client has left.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.0.send(Part::Chunk(chunk)).await.is_ok()
    }

    /// The body is complete.
    pub async fn finish(self) {
        // A client that has left needs no end.
        let _left = self.0.send(Part::End).await;
    }

    /// Ready when the client has left.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The client's end of a response's body.
#[derive(Debug)]
pub struct StreamedBody {
    parts: mpsc::Receiver<Part>,
    size: BodySize,
    /// What did not fit the connection's buffer.
    rest: Bytes,
    ended: bool,
}

impl StreamedBody {
    /// A body of this size as the response's head tells it.
    #[must_use]
    pub fn channel(size: BodySize) -> (ResponseBodySender, Self) {
        let (sender, parts) = mpsc::channel(MAX_WAITING_CHUNKS);
        let body = Self {
            parts,
            size,
            rest: Bytes::new(),
            ended: false,
        };
        (ResponseBodySender(sender), body)
    }
}

impl MessageBody for StreamedBody {
    type Error = ResponseBroken;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ResponseBroken>>> {
        while self.rest.is_empty() {
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.parts.poll_recv(cx)) {
                Some(Part::Chunk(chunk)) => self.rest = chunk,
                Some(Part::End) => self.ended = true,
                None => return Poll::Ready(Some(Err(ResponseBroken))),
            }
        }
        let length = self.rest.len().min(CONNECTION_BUFFER_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn next(body: &mut StreamedBody) -> Option<Result<Bytes, ResponseBroken>> {
        poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await
    }

    #[tokio::test]
    async fn a_large_chunk_is_sent_in_pieces_that_fit_the_buffer() {
        let (sender, mut body) = StreamedBody::channel(BodySize::Stream);
        let chunk = Bytes::from(vec![b'x'; 2 * CONNECTION_BUFFER_BYTES + 1]);
        assert!(sender.send(Bytes::new()).await && sender.send(chunk).await);
        sender.finish().await;
        let mut lengths = Vec::new();
        while let Some(piece) = next(&mut body).await {
            lengths.push(piece.unwrap().len());
        }
        assert_eq!(
            lengths,
            [CONNECTION_BUFFER_BYTES, CONNECTION_BUFFER_BYTES, 1]
        );
    }

    #[tokio::test]
    async fn a_sender_that_goes_away_breaks_the_body() {
        let (sender, mut body) = StreamedBody::channel(BodySize::Stream);
        sender.send(Bytes::from_static(b"x")).await;
        drop(sender);
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "x");
        assert_eq!(next(&mut body).await, Some(Err(ResponseBroken)));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_stops_the_sender() {
        let (sender, body) = StreamedBody::channel(BodySize::Stream);
        for _ in 0..MAX_WAITING_CHUNKS {
            assert!(sender.send(Bytes::from_static(b"x")).await);
        }
        let more = timeout(Duration::from_millis(20), sender.send(Bytes::new()));
        assert!(more.await.is_err(), "more than the bound");
        drop(body);
        assert!(!sender.send(Bytes::new()).await);
    }
}
