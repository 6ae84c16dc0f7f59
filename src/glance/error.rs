//! The failures of a call to Glance, in Glance's own terms.

use super::explanation::explanation;
use super::model::InvalidResponse;
use crate::upstream::{CallError, Response, TransportError};
use http::StatusCode;
use thiserror::Error;

/// Every way a call to Glance can fail.
#[derive(Debug, Clone, Error)]
pub enum GlanceError {
    /// 400, with Glance's explanation.
    #[error("Glance refused the request: {0}")]
    BadRequest(String),
    /// 401: Glance does not accept the token.
    #[error("Glance does not accept the token")]
    Unauthorized,
    /// 403, with Glance's explanation.
    #[error("Glance forbids it: {0}")]
    Forbidden(String),
    /// 404.
    #[error("Glance has no such image")]
    NotFound,
    /// 409, with Glance's explanation.
    #[error("Glance reports a conflict: {0}")]
    Conflict(String),
    /// 413 or 429, with Glance's explanation and its `Retry-After`.
    #[error("Glance reports a limit: {explanation}")]
    OverLimit {
        /// 413 or 429.
        status: StatusCode,
        /// Glance's explanation.
        explanation: String,
        /// Glance's `Retry-After`, as sent.
        retry_after: Option<String>,
    },
    /// 414: path and query are too long for Glance or for a proxy before it.
    #[error("the URI is too long for Glance")]
    UriTooLong,
    /// Not reached, or too many calls queued: nothing of the call has left this process.
    #[error("Glance is unavailable: {0}")]
    NotSent(String),
    /// The connection broke after the call was sent: Glance may have acted, and its state shows whether.
    #[error("Glance is unavailable: {0}")]
    Interrupted(String),
    /// Bytes that are not HTTP: Glance may have acted.
    #[error("the response is not HTTP: {0}")]
    InvalidHttp(String),
    /// Timed out, or too little memory for the response: Glance may have acted, or may still act.
    #[error("Glance is unavailable: {0}")]
    Unavailable(String),
    /// A status from 500 on, of Glance or of a proxy before it.
    #[error("Glance answered {0}")]
    ServerError(StatusCode),
    /// A response that Glance never gives: another status, or a body of the wrong shape.
    #[error("invalid response from Glance: {0}")]
    InvalidResponse(String),
    /// The list is longer than `glance.max_images`.
    #[error("the list is longer than {0} images")]
    TooManyImages(u64),
}

impl From<TransportError> for GlanceError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Connect(_) => Self::NotSent(error.to_string()),
            TransportError::Interrupted(_) => Self::Interrupted(error.to_string()),
            TransportError::Timeout | TransportError::MemoryFull(_) => {
                Self::Unavailable(error.to_string())
            }
            TransportError::InvalidHttp(_) => Self::InvalidHttp(error.to_string()),
            TransportError::TooLarge { .. } => Self::InvalidResponse(error.to_string()),
        }
    }
}

impl From<CallError> for GlanceError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Overloaded(busy) => Self::NotSent(busy.to_string()),
            CallError::Transport(error) => error.into(),
        }
    }
}

impl From<InvalidResponse> for GlanceError {
    fn from(error: InvalidResponse) -> Self {
        Self::InvalidResponse(error.to_string())
    }
}

/// The known outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Glance did not carry it out: it refused the write, or never received it.
    NotApplied,
    /// Glance has answered, and may have carried it out; it will not do so later.
    Answered,
    /// Glance may have carried it out, or may still do so.
    Unknown,
}

impl GlanceError {
    /// The outcome of a write that failed with this error.
    #[must_use]
    pub fn write_outcome(&self) -> WriteOutcome {
        match self {
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::Conflict(_)
            | Self::OverLimit { .. }
            | Self::UriTooLong
            | Self::NotSent(_) => WriteOutcome::NotApplied,
            // A proxy's status for an exchange behind it that broke or timed out.
            Self::ServerError(StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
            | Self::Interrupted(_)
            | Self::InvalidHttp(_)
            | Self::Unavailable(_) => WriteOutcome::Unknown,
            Self::ServerError(_) | Self::InvalidResponse(_) | Self::TooManyImages(_) => {
                WriteOutcome::Answered
            }
        }
    }

    /// Whether a write that sets state (a PATCH, never a POST or a DELETE) is followed by one more read: if the
    /// image is not as wanted then, the write is sent once more.
    ///
    /// True for a conflict, where the write was refused, and for an interrupted exchange, where it may have
    /// been applied. A time-out leaves no time for it.
    #[must_use]
    pub fn is_resolved_by_reading(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Interrupted(_) => true,
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::OverLimit { .. }
            | Self::UriTooLong
            | Self::NotSent(_)
            | Self::InvalidHttp(_)
            | Self::Unavailable(_)
            | Self::ServerError(_)
            | Self::InvalidResponse(_)
            | Self::TooManyImages(_) => false,
        }
    }

    /// The error for a response with an unexpected status.
    #[must_use]
    pub fn of_response(answer: &Response) -> Self {
        match answer.status.as_u16() {
            400 => Self::BadRequest(explanation(answer)),
            401 => Self::Unauthorized,
            403 => Self::Forbidden(explanation(answer)),
            404 => Self::NotFound,
            409 => Self::Conflict(explanation(answer)),
            413 | 429 => Self::OverLimit {
                status: answer.status,
                explanation: explanation(answer),
                retry_after: answer
                    .headers
                    .get(http::header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
            },
            414 => Self::UriTooLong,
            500..=599 => Self::ServerError(answer.status),
            status => Self::InvalidResponse(format!("status {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn response(status: u16) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn a_write_that_was_sent_and_not_answered_may_still_be_carried_out() {
        let of = |error: TransportError| GlanceError::from(error).write_outcome();
        let text = || "reason".to_owned();
        assert_eq!(
            of(TransportError::Connect(text())),
            WriteOutcome::NotApplied
        );
        assert_eq!(of(TransportError::Timeout), WriteOutcome::Unknown);
        assert_eq!(
            of(TransportError::Interrupted(text())),
            WriteOutcome::Unknown
        );
        assert_eq!(
            of(TransportError::InvalidHttp(text())),
            WriteOutcome::Unknown
        );
        assert_eq!(
            of(TransportError::TooLarge { limit: 1 }),
            WriteOutcome::Answered
        );
    }

    #[test]
    fn an_answer_to_a_write_is_an_outcome_unless_a_proxy_speaks_of_a_broken_exchange() {
        for (outcome, statuses) in [
            (
                WriteOutcome::NotApplied,
                &[400, 401, 403, 404, 409, 413, 414, 429][..],
            ),
            (WriteOutcome::Answered, &[201, 302, 405, 500, 501, 503, 599]),
            (WriteOutcome::Unknown, &[502, 504]),
        ] {
            for &status in statuses {
                let error = GlanceError::of_response(&response(status));
                assert_eq!(error.write_outcome(), outcome, "{status}");
            }
        }
    }

    #[test]
    fn an_interrupted_write_is_resolved_by_reading_and_a_slow_one_is_not() {
        let of = |error: TransportError| GlanceError::from(error).is_resolved_by_reading();
        assert!(of(TransportError::Interrupted("reset".into())));
        assert!(GlanceError::of_response(&response(409)).is_resolved_by_reading());
        assert!(!of(TransportError::Timeout));
        assert!(!of(TransportError::Connect("refused".into())));
        assert!(!of(TransportError::InvalidHttp("ssh".into())));
        assert!(!GlanceError::of_response(&response(503)).is_resolved_by_reading());
    }

    #[test]
    fn a_uri_that_is_too_long_for_glance_is_an_error_of_its_own() {
        let error = GlanceError::of_response(&response(414));
        assert!(matches!(error, GlanceError::UriTooLong), "{error}");
        assert_eq!(error.write_outcome(), WriteOutcome::NotApplied);
    }

    #[test]
    fn a_status_glance_never_gives_is_an_invalid_response() {
        for status in [201, 302, 405, 410, 418, 999] {
            let error = GlanceError::of_response(&response(status));
            assert!(matches!(error, GlanceError::InvalidResponse(_)), "{status}");
        }
    }
}
