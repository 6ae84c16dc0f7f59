//! A response on its way to the client.

pub use super::response_memory::CONNECTION_BUFFER_BYTES;
use super::response_memory::ResponseBody;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Status, headers and body, with the cause of a failure for the log.
#[derive(Debug)]
pub struct Response {
    http: HttpResponse,
    cause: Option<String>,
}

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// A body in one piece.
    Bytes(Bytes),
    /// A body of known length in several pieces, which other responses may share.
    Chunks(ResponseBody),
    /// A body that is made while it is sent.
    Stream(BoxBody),
}

impl Response {
    /// A response without headers and body.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            http: HttpResponse::new(status),
            cause: None,
        }
    }

    /// Adds a header; one of the same name stays.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.http.headers_mut().append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        let body = match body {
            Body::Bytes(bytes) => BoxBody::new(bytes),
            Body::Chunks(body) => match body.chunks() {
                [only] if only.len() <= CONNECTION_BUFFER_BYTES => BoxBody::new(only.clone()),
                _ => BoxBody::new(Chunks::new(body)),
            },
            Body::Stream(stream) => stream,
        };
        Self {
            http: self.http.set_body(body),
            ..self
        }
    }

    /// Says why the request failed, for the log alone. `None` where the client is at fault.
    #[must_use]
    pub fn cause(self, cause: Option<String>) -> Self {
        Self { cause, ..self }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.http.status()
    }

    /// Why the request failed, where that is for the log.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The response as the HTTP library sends it.
    pub(super) fn into_http(self) -> HttpResponse {
        self.http
    }
}

/// A body of known length in the pieces it was made in.
struct Chunks {
    body: ResponseBody,
    length: u64,
    /// The piece to send next, and how much of it was sent.
    next: (usize, usize),
}

impl Chunks {
    fn new(body: ResponseBody) -> Self {
        Self {
            length: body.chunks().iter().map(|chunk| chunk.len() as u64).sum(),
            next: (0, 0),
            body,
        }
    }
}

impl MessageBody for Chunks {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    /// The HTTP library copies what this returns into the connection's buffer, so it returns no more
    /// than fits.
    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let (index, sent) = self.next;
        let Some(chunk) = self.body.chunks().get(index) else {
            return Poll::Ready(None);
        };
        let end = chunk.len().min(sent + CONNECTION_BUFFER_BYTES);
        let (piece, is_last) = (chunk.slice(sent..end), end == chunk.len());
        self.next = if is_last {
            (index + 1, 0)
        } else {
            (index, end)
        };
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response_memory::ResponseMemory;
    use actix_web::body::to_bytes;

    #[tokio::test]
    async fn chunks_are_sent_in_order_and_in_pieces_that_fit_the_buffer() {
        let sizes = [
            0,
            1,
            CONNECTION_BUFFER_BYTES,
            3 * CONNECTION_BUFFER_BYTES + 7,
        ];
        let chunks: Vec<_> = (b'a'..)
            .zip(sizes)
            .map(|(letter, size)| Bytes::from(vec![letter; size]))
            .collect();
        let body = ResponseMemory::new(1 << 20)
            .admit(chunks.clone().into())
            .unwrap();
        let mut body = Chunks::new(body);
        assert_eq!(
            body.size(),
            BodySize::Sized(sizes.iter().sum::<usize>() as u64)
        );
        let mut pieces = Vec::new();
        while let Some(piece) =
            std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await
        {
            pieces.push(piece.unwrap());
        }
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= CONNECTION_BUFFER_BYTES)
        );
        assert_eq!(pieces.concat(), chunks.concat());
    }

    #[tokio::test]
    async fn a_response_has_the_body_it_was_given() {
        let response = Response::new(StatusCode::OK).body(Body::Bytes(Bytes::from_static(b"text")));
        let body = to_bytes(response.into_http().into_body()).await.unwrap();
        assert_eq!(body, "text");
    }
}
