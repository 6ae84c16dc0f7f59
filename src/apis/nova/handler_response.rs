//! The result of a handler, before it becomes an HTTP response.

use crate::cache::Body;
use bytes::Bytes;
use http::StatusCode;

/// The successful result of an operation.
#[derive(Debug, Clone)]
pub struct HandlerResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, in the chunks in which it was rendered.
    pub body: Body,
    /// Whether an image in it is in a transitional status, so that the cache stores it for a shorter time.
    pub transitional: bool,
}

impl HandlerResponse {
    /// 200 with a JSON body.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        // Without spare capacity, so that the cache counts all the memory of a stored body.
        Self::chunks([Bytes::from(body.into_boxed_slice())].into())
    }

    /// 200 with a JSON body in chunks.
    #[must_use]
    pub fn chunks(body: Body) -> Self {
        Self {
            status: StatusCode::OK,
            body,
            transitional: false,
        }
    }

    /// 204, without a body.
    #[must_use]
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            ..Self::chunks([].into())
        }
    }

    /// Sets whether an image in it is in a transitional status.
    #[must_use]
    pub fn transitional(self, transitional: bool) -> Self {
        Self {
            transitional,
            ..self
        }
    }
}
