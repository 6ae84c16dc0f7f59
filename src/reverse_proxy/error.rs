//! What a client gets when its request cannot be passed on, or its response does not come.

use super::headers::LoopDetected;
use crate::http::RequestIds;
use crate::http::error_log;
use crate::http::response::{Body, Response};
use crate::http::{HttpError, concurrency_limit::LimitReached};
use crate::images::LockError;
use crate::upstream::{RequestBodyError, StreamError, TransportError};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use bytes::Bytes;
use thiserror::Error;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
/// Seconds after which a refused request is worth another try.
const RETRY_AFTER_SECONDS: &str = "5";

/// Why a request is not answered by its service.
#[derive(Debug, Clone, Error)]
pub enum ProxyError {
    /// The HTTP layer refused it.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// As many are passed through as the settings allow.
    #[error("too many requests are being passed through")]
    Overloaded,
    /// It came through here before.
    #[error(transparent)]
    Loop(#[from] LoopDetected),
    /// The target is no path and query.
    #[error("the target of the request is not a path and a query")]
    InvalidTarget,
    /// The exchange failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl From<LimitReached> for ProxyError {
    fn from(_: LimitReached) -> Self {
        Self::Overloaded
    }
}

impl From<LockError> for ProxyError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::QueueFull => Self::Overloaded,
            LockError::Timeout => HttpError::Timeout.into(),
        }
    }
}

impl From<RequestBodyError> for ProxyError {
    fn from(error: RequestBodyError) -> Self {
        Self::Stream(error.into())
    }
}

impl ProxyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Http(error) => of_http(*error),
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Loop(LoopDetected) => StatusCode::LOOP_DETECTED,
            Self::InvalidTarget => StatusCode::BAD_REQUEST,
            Self::Stream(StreamError::RequestBody(RequestBodyError::Incomplete)) => {
                StatusCode::BAD_REQUEST
            }
            Self::Stream(StreamError::RequestBody(RequestBodyError::Stalled)) => {
                StatusCode::REQUEST_TIMEOUT
            }
            Self::Stream(StreamError::Transport(error)) => match error {
                TransportError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                TransportError::Connect(_)
                | TransportError::Interrupted(_)
                | TransportError::InvalidHttp(_)
                | TransportError::TooLarge { .. }
                | TransportError::MemoryFull(_) => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// What the client is told. The cause of an upstream failure is for the log.
    fn message(&self) -> String {
        match self {
            Self::Stream(StreamError::Transport(TransportError::Timeout)) => {
                "The upstream server did not respond in time.".to_owned()
            }
            Self::Stream(StreamError::Transport(_)) => {
                "The upstream server cannot be reached, or its response is invalid.".to_owned()
            }
            error => sentence(&error.to_string()),
        }
    }

    /// Why it failed, where that is not the client's fault.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Stream(StreamError::Transport(_)) | Self::Loop(_) => Some(error_log::chain(self)),
            Self::Http(HttpError::Internal) => Some("a task ended early".to_owned()),
            Self::Http(_) | Self::Overloaded | Self::InvalidTarget | Self::Stream(_) => None,
        }
    }

    /// The response, in the error format that OpenStack's clients read from any service.
    #[must_use]
    pub fn response(&self, ids: &RequestIds) -> Response {
        let status = self.status();
        let error = serde_json::json!({"error": {
            "code": status.as_u16(),
            "title": status.canonical_reason().unwrap_or_default(),
            "message": self.message(),
        }});
        let response = Response::new(status)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Body::Bytes(Bytes::from(error.to_string())))
            .cause(self.cause());
        let response = match HeaderValue::from_str(ids.local()) {
            Ok(id) => response.header(REQUEST_ID, id),
            Err(_) => response,
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.header(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS))
        } else {
            response
        }
    }
}

fn of_http(error: HttpError) -> StatusCode {
    match error {
        HttpError::Overloaded | HttpError::ResponseMemoryFull | HttpError::Timeout => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        HttpError::UriTooLong => StatusCode::URI_TOO_LONG,
        HttpError::InvalidHost(_) | HttpError::BodyIncomplete => StatusCode::BAD_REQUEST,
        HttpError::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        HttpError::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        HttpError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    fn transport(error: TransportError) -> ProxyError {
        ProxyError::Stream(error.into())
    }

    #[rstest]
    #[case(ProxyError::Overloaded, 503, false)]
    #[case(LoopDetected.into(), 508, true)]
    #[case(ProxyError::InvalidTarget, 400, false)]
    #[case(HttpError::UriTooLong.into(), 414, false)]
    #[case(RequestBodyError::Stalled.into(), 408, false)]
    #[case(RequestBodyError::Incomplete.into(), 400, false)]
    #[case(transport(TransportError::Timeout), 504, true)]
    #[case(transport(TransportError::Connect("refused".into())), 502, true)]
    #[case(transport(TransportError::Interrupted("reset".into())), 502, true)]
    fn each_failure_has_its_status_and_the_log_its_cause(
        #[case] error: ProxyError,
        #[case] status: u16,
        #[case] is_logged: bool,
    ) {
        let ids = RequestIds::of(&TestRequest::default().to_http_request());
        let response = error.response(&ids);
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.failure().is_some(), is_logged);
        assert!(!error.message().contains("refused") && !error.message().contains("reset"));
    }
}
