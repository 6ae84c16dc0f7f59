//! A successful answer, before it becomes HTTP.

use crate::cache::Body;
use bytes::Bytes;
use http::StatusCode;

/// What an operation answers.
#[derive(Debug, Clone)]
pub struct HandlerResponse {
    /// The status line's code.
    pub status: StatusCode,
    /// The body, in the pieces it was made in.
    pub body: Body,
    /// An image in it is coming into being.
    pub transitional: bool,
}

impl HandlerResponse {
    /// 200 with a JSON body.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        // Exactly as long as it is: what is kept weighs what it says.
        Self::chunks([Bytes::from(body.into_boxed_slice())].into())
    }

    /// 200 with a JSON body made in pieces.
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

    /// The same, and whether an image in it is coming into being.
    #[must_use]
    pub fn transitional(self, transitional: bool) -> Self {
        Self {
            transitional,
            ..self
        }
    }
}
