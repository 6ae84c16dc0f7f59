//! Reading the body of a request.

use super::context::RequestContext;
use super::error::HttpError;
use super::limits::content_length;
use actix_web::web::Payload;
use actix_web::{HttpMessage as _, HttpRequest};
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
    let body = collect(context.request, &mut context.payload, limits.max);
    let body = async {
        let body = timeout(limits.timeout, body).await;
        body.unwrap_or(Err(HttpError::BodyTimeout))
    };
    super::context::with_deadline(deadline, body).await
}

/// The body in one piece, unless it turns out larger than `max`.
///
/// The HTTP library takes everything after a request that asks for an upgrade for its body, which
/// then never ends. The gateway upgrades to nothing, so `Content-Length` counts.
async fn collect(
    request: &HttpRequest,
    payload: &mut Payload,
    max: usize,
) -> Result<Bytes, HttpError> {
    let upgrade = request.head().upgrade() && !request.chunked().unwrap_or(false);
    let wanted = if upgrade {
        content_length(request)
    } else {
        u64::MAX
    };
    let mut body = BytesMut::new();
    while (body.len() as u64) < wanted
        && let Some(chunk) = payload.next().await
    {
        let mut chunk = chunk.map_err(|_| HttpError::BodyIncomplete)?;
        chunk.truncate(usize::try_from(wanted - body.len() as u64).unwrap_or(usize::MAX));
        if body.len() + chunk.len() > max {
            return Err(HttpError::BodyTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
