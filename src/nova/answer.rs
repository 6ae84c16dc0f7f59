//! A successful answer, before it becomes HTTP.

use bytes::Bytes;
use http::StatusCode;

/// What an operation answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// The body, in the pieces it was made in.
    pub chunks: Vec<Bytes>,
}

impl Answer {
    /// 200 with a JSON body.
    #[must_use]
    pub fn json(body: Vec<u8>) -> Self {
        Self::chunks(vec![Bytes::from(body)])
    }

    /// 200 with a JSON body made in pieces.
    #[must_use]
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            chunks,
        }
    }

    /// 204, without a body.
    #[must_use]
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            chunks: Vec::new(),
        }
    }
}
