//! A response on its way to the client.

use crate::cache;
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
    Chunks(cache::Body),
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
            Body::Chunks(chunks) => match &*chunks {
                [only] => BoxBody::new(only.clone()),
                _ => BoxBody::new(Chunks::new(chunks)),
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
    left: u64,
    next: usize,
    pieces: cache::Body,
}

impl Chunks {
    fn new(chunks: cache::Body) -> Self {
        Self {
            left: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            next: 0,
            pieces: chunks,
        }
    }
}

impl MessageBody for Chunks {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let chunk = self.pieces.get(self.next).cloned();
        self.next += 1;
        Poll::Ready(chunk.map(Ok))
    }
}
