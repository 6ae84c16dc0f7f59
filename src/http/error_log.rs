//! What the log says of a request that failed by no fault of its client: once, here, with the cause.

use super::request_ids::RequestIds;
use crate::apis::nova::ApiError;
use std::error::Error;

/// Logs a failure that an operator should know of.
pub fn log(ids: &RequestIds, error: &ApiError) {
    let status = error.fault().status;
    // An overload is told by the gate, not once for each request.
    if !status.is_server_error() || matches!(error, ApiError::Overloaded) {
        return;
    }
    let cause = match error {
        ApiError::Glance { error, .. } => chain(error),
        ApiError::KeystoneUnavailable(error) => chain(error),
        ApiError::NoImageEndpoint(reason) => chain(reason),
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

/// An error and what caused it, down to the first cause. Many an error repeats its cause in its own
/// words; that is said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = text + ": " + &more;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("the disk is full")]
    struct Full;

    #[derive(Debug, Error)]
    #[error("cannot write")]
    struct Write(#[source] Full);

    #[derive(Debug, Error)]
    #[error("not saved: {0}")]
    struct Save(#[source] Write);

    #[test]
    fn the_first_cause_is_told_and_nothing_twice() {
        assert_eq!(chain(&Full), "the disk is full");
        let text = chain(&Save(Write(Full)));
        assert_eq!(text, "not saved: cannot write: the disk is full");
    }
}
