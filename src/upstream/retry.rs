//! Whether a call may be retried, where and when. Pure.

use super::endpoint_pool::CallResult;
use super::exchange::{Response, TransportError};
use std::time::Duration;

/// The first backoff before the same endpoint is called again; each further one doubles it.
const BASE_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A time-out after less time than this does not count as the endpoint's failure.
const MIN_BLAMED_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a request is idempotent: whether it may reach an endpoint twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// A read.
    Safe,
    /// A write: sent again only when nothing of it was sent.
    Unsafe,
}

/// Where a call may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// At any endpoint; at the same one after a backoff.
    Anywhere,
    /// Only at an endpoint that was not tried: this one has responded, or used up its time.
    Elsewhere,
    /// Nowhere.
    No,
}

/// The result of one attempt.
pub type AttemptResult = Result<Response, TransportError>;

/// The retry that `result` allows.
#[must_use]
pub fn decide(result: &AttemptResult, idempotency: Idempotency) -> RetryDecision {
    let for_a_read = match result {
        // No connection: nothing was sent, so a write may be retried, too.
        Err(TransportError::Connect(_)) => return RetryDecision::Anywhere,
        // Also an idle connection that the server closed at the moment of its use.
        Err(TransportError::Interrupted(_)) => RetryDecision::Anywhere,
        Err(TransportError::Timeout | TransportError::InvalidHttp(_)) => RetryDecision::Elsewhere,
        Ok(answer) if is_gateway_error(answer) => RetryDecision::Elsewhere,
        Ok(_) | Err(TransportError::TooLarge { .. } | TransportError::MemoryFull(_)) => {
            RetryDecision::No
        }
    };
    match idempotency {
        Idempotency::Safe => for_a_read,
        Idempotency::Unsafe => RetryDecision::No,
    }
}

/// How outlier detection counts `result`, after `duration`, where an exchange may take `timeout`.
#[must_use]
pub fn call_result(result: &AttemptResult, duration: Duration, timeout: Duration) -> CallResult {
    match result {
        Ok(answer) if is_gateway_error(answer) => CallResult::Failure,
        Ok(_) => CallResult::Success,
        Err(
            TransportError::Connect(_)
            | TransportError::Interrupted(_)
            | TransportError::InvalidHttp(_),
        ) => CallResult::Failure,
        Err(TransportError::Timeout) if duration >= MIN_BLAMED_TIMEOUT.min(timeout) => {
            CallResult::Failure
        }
        Err(
            TransportError::Timeout
            | TransportError::TooLarge { .. }
            | TransportError::MemoryFull(_),
        ) => CallResult::Neutral,
    }
}

/// 502, 503, 504: the server, or a proxy before it, reports that it does not work.
fn is_gateway_error(answer: &Response) -> bool {
    matches!(answer.status.as_u16(), 502..=504)
}

/// The wait before the `times`th retry at the same endpoint. `random` is any number: its jitter spreads calls that
/// failed together over half of the wait.
#[must_use]
pub fn backoff(times: u32, random: u64) -> Duration {
    let doubled = BASE_BACKOFF.saturating_mul(1 << times.saturating_sub(1).min(16));
    let longest = doubled.min(MAX_BACKOFF);
    let half = longest / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use rstest::rstest;

    fn answer(status: u16) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
        }
    }

    fn text() -> String {
        "x".to_owned()
    }

    #[rstest]
    #[case(
        Err(TransportError::Connect(text())),
        RetryDecision::Anywhere,
        RetryDecision::Anywhere,
        CallResult::Failure
    )]
    #[case(
        Err(TransportError::Interrupted(text())),
        RetryDecision::Anywhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    #[case(
        Err(TransportError::InvalidHttp(text())),
        RetryDecision::Elsewhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    #[case(
        Err(TransportError::Timeout),
        RetryDecision::Elsewhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    #[case(Err(TransportError::TooLarge { limit: 1 }), RetryDecision::No, RetryDecision::No, CallResult::Neutral)]
    #[case(
        Ok(answer(200)),
        RetryDecision::No,
        RetryDecision::No,
        CallResult::Success
    )]
    #[case(
        Ok(answer(404)),
        RetryDecision::No,
        RetryDecision::No,
        CallResult::Success
    )]
    #[case(
        Ok(answer(429)),
        RetryDecision::No,
        RetryDecision::No,
        CallResult::Success
    )]
    #[case(
        Ok(answer(500)),
        RetryDecision::No,
        RetryDecision::No,
        CallResult::Success
    )]
    #[case(
        Ok(answer(502)),
        RetryDecision::Elsewhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    #[case(
        Ok(answer(503)),
        RetryDecision::Elsewhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    #[case(
        Ok(answer(504)),
        RetryDecision::Elsewhere,
        RetryDecision::No,
        CallResult::Failure
    )]
    fn only_reads_and_unsent_writes_are_retried(
        #[case] outcome: AttemptResult,
        #[case] read: RetryDecision,
        #[case] write: RetryDecision,
        #[case] says: CallResult,
    ) {
        assert_eq!(decide(&outcome, Idempotency::Safe), read);
        assert_eq!(decide(&outcome, Idempotency::Unsafe), write);
        assert_eq!(
            call_result(&outcome, MIN_BLAMED_TIMEOUT, 2 * MIN_BLAMED_TIMEOUT),
            says
        );
    }

    #[test]
    fn a_time_out_of_a_short_remainder_is_not_the_endpoint_s_failure() {
        let late = Err(TransportError::Timeout);
        assert_eq!(
            call_result(&late, MIN_BLAMED_TIMEOUT / 2, MIN_BLAMED_TIMEOUT),
            CallResult::Neutral
        );
        assert_eq!(
            call_result(&late, MIN_BLAMED_TIMEOUT / 2, MIN_BLAMED_TIMEOUT / 2),
            CallResult::Failure
        );
    }

    #[test]
    fn backoff_doubles_up_to_a_bound_with_jitter_over_half_of_it() {
        for (times, longest) in [(1, 50), (2, 100), (3, 200), (6, 1000), (u32::MAX, 1000)] {
            for random in [0, 1, 24_999, 25_000, u64::MAX] {
                let wait = backoff(times, random).as_millis();
                assert!(
                    (longest / 2..=longest).contains(&wait),
                    "{times} {random}: {wait}"
                );
            }
        }
        assert_ne!(backoff(1, 0), backoff(1, 20_000));
    }
}
