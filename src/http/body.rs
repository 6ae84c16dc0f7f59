//! Reading the body of a request.

use super::context::RequestContext;
use super::error::HttpError;
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// The largest body, in bytes, and the longest time for it to arrive.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// `server.max_body`
    pub max: usize,
    /// `server.body_timeout`
    pub timeout: Duration,
}

/// The whole body of a request, within `limits` and the request's deadline.
pub async fn read(
    context: &mut RequestContext<'_>,
    limits: BodyLimits,
) -> Result<Bytes, HttpError> {
    let deadline = context.timing.deadline;
    let body = collect(&mut context.payload, limits.max);
    let body = async {
        let body = timeout(limits.timeout, body).await;
        body.unwrap_or(Err(HttpError::BodyTimeout))
    };
    super::context::with_deadline(deadline, body).await
}

/// The body in one piece, unless it turns out larger than `max`.
async fn collect(payload: &mut Payload, max: usize) -> Result<Bytes, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| HttpError::BodyIncomplete)?;
        if body.len() + chunk.len() > max {
            return Err(HttpError::BodyTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
