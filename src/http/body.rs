//! Reading the body of a request.

use super::context::RequestContext;
use super::error::HttpError;
use crate::util::byte_budget::{ByteBudget, ByteReservation};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// The largest body, in bytes, and the longest time for it to arrive.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits<'m> {
    /// `server.max_body`
    pub max: usize,
    /// `server.body_timeout`
    pub timeout: Duration,
    /// The budget of all bodies (`server.max_request_memory`).
    pub memory: &'m ByteBudget,
}

/// A body within its budget until this is dropped.
#[derive(Debug)]
pub struct RequestBody {
    bytes: BytesMut,
    memory: ByteReservation,
}

impl RequestBody {
    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Replaces the body by its parsed form, which takes `bytes` of memory: the result counts them until it
    /// is dropped.
    pub fn into_parsed(mut self, bytes: usize) -> Result<ByteReservation, HttpError> {
        self.memory
            .grow_to(bytes)
            .map_err(|_| HttpError::Overloaded)?;
        Ok(self.memory)
    }

    /// The body as bytes that count in the budget until the last clone is dropped.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for RequestBody {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// The whole body of a request, within `limits` and the request's deadline.
pub async fn read(
    context: &mut RequestContext<'_>,
    limits: BodyLimits<'_>,
) -> Result<RequestBody, HttpError> {
    let deadline = context.timing.deadline;
    let body = collect(&mut context.payload, limits.max, limits.memory);
    let body = async {
        let body = timeout(limits.timeout, body).await;
        body.unwrap_or(Err(HttpError::BodyTimeout))
    };
    super::context::with_deadline(deadline, body).await
}

/// The body in one piece, unless it turns out larger than `max`, or than the rest of the budget.
async fn collect(
    payload: &mut Payload,
    max: usize,
    memory: &ByteBudget,
) -> Result<RequestBody, HttpError> {
    let mut body = RequestBody {
        bytes: BytesMut::new(),
        memory: memory.reservation(),
    };
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| HttpError::BodyIncomplete)?;
        let length = body.bytes.len() + chunk.len();
        if length > max {
            return Err(HttpError::BodyTooLarge);
        }
        if length > body.bytes.capacity() {
            let capacity = (2 * body.bytes.capacity()).min(max).max(length);
            let grown = body.memory.grow_to(capacity);
            grown.map_err(|_| HttpError::Overloaded)?;
            body.bytes.reserve(capacity - body.bytes.len());
        }
        body.bytes.extend_from_slice(&chunk);
    }
    Ok(body)
}
