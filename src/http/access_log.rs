//! What the log says of a request.

use super::request_id::Ids;
use super::response::Outcome;
use crate::nova::ApiError;
use actix_web::HttpRequest;
use std::time::Duration;

/// One line for each request, when it is answered.
pub fn line(ids: &Ids, request: &HttpRequest, outcome: &Outcome, took: Duration) {
    tracing::info!(
        target: "access",
        request_id = ids.local(),
        global_id = ids.global(),
        client = request.peer_addr().map(tracing::field::display),
        method = request.method().as_str(),
        path = request.uri().path(),
        status = outcome.status().as_u16(),
        microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

/// A failure that an operator should know of; once, here, with its cause.
pub fn failure(ids: &Ids, error: &ApiError) {
    let status = error.fault().status;
    if !status.is_server_error() {
        return;
    }
    let cause = match error {
        ApiError::Glance { error, .. } => error.to_string(),
        ApiError::KeystoneUnavailable(error) => error.to_string(),
        ApiError::NoImageEndpoint(reason) => reason.to_string(),
        ApiError::Internal => "a task ended early".to_owned(),
        other => other.fault().message,
    };
    tracing::warn!(
        request_id = ids.local(),
        global_id = ids.global(),
        status = status.as_u16(),
        cause,
        "a request failed"
    );
}
