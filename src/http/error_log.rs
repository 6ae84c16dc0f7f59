//! The log line of a failed request: written once, at the boundary, with the cause.

use super::request_ids::RequestIds;
use super::response::Response;
use crate::telemetry::trace_context::TraceContext;
use std::error::Error;

/// Logs a response that failed through no fault of its client.
pub(super) fn log(ids: &RequestIds, response: &Response) {
    if let Some(cause) = response.failure() {
        tracing::warn!(
            request_id = ids.local(),
            global_request_id = ids.global(),
            trace_id = ids.trace().map(TraceContext::trace_id),
            status = response.status().as_u16(),
            cause,
            "a request failed"
        );
    }
}

/// The text of an error and of its causes, down to the first one. Skips a cause whose text its
/// parent already contains.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
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
