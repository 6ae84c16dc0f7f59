//! Whether a call may be made once more, and when. Pure.

use super::endpoint_pool::CallResult;
use super::exchange::{Response, TransportError};
use std::time::Duration;

/// The wait before the same server is asked again; each further one is twice as long.
const BASE_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A server that was given less time than this is not to blame for a time-out.
const MIN_BLAMED_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a request may reach a server twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// It only reads.
    Safe,
    /// It changes something: it is sent again only when nothing of it was sent.
    Unsafe,
}

/// Where a call may be made once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// At any server, be it the same after a wait.
    Anywhere,
    /// Only at one that was not asked yet: this one has spoken, or took all the time it had.
    Elsewhere,
    /// Nowhere.
    No,
}

/// What an attempt came to.
pub type AttemptResult = Result<Response, TransportError>;

/// What may follow `outcome`.
#[must_use]
pub fn decide(outcome: &AttemptResult, repeat: Idempotency) -> RetryDecision {
    let for_a_read = match outcome {
        // No connection: nothing was sent, so it does not matter what the request does.
        Err(TransportError::Connect(_)) => return RetryDecision::Anywhere,
        // So ends a kept connection that the server closes just as it is used.
        Err(TransportError::Interrupted(_)) => RetryDecision::Anywhere,
        Err(TransportError::Timeout | TransportError::InvalidHttp(_)) => RetryDecision::Elsewhere,
        Ok(answer) if is_gateway_error(answer) => RetryDecision::Elsewhere,
        Ok(_) | Err(TransportError::TooLarge { .. }) => RetryDecision::No,
    };
    match repeat {
        Idempotency::Safe => for_a_read,
        Idempotency::Unsafe => RetryDecision::No,
    }
}

/// What `outcome`, after `took`, says about the server, where an exchange may take `timeout`.
#[must_use]
pub fn call_result(outcome: &AttemptResult, took: Duration, timeout: Duration) -> CallResult {
    match outcome {
        Ok(answer) if is_gateway_error(answer) => CallResult::Failure,
        Ok(_) => CallResult::Success,
        Err(
            TransportError::Connect(_)
            | TransportError::Interrupted(_)
            | TransportError::InvalidHttp(_),
        ) => CallResult::Failure,
        Err(TransportError::Timeout) if took >= MIN_BLAMED_TIMEOUT.min(timeout) => {
            CallResult::Failure
        }
        Err(TransportError::Timeout | TransportError::TooLarge { .. }) => CallResult::Neutral,
    }
}

/// 502, 503, 504: the server, or what stands before it, says that it does not work.
fn is_gateway_error(answer: &Response) -> bool {
    matches!(answer.status.as_u16(), 502..=504)
}

/// The wait before the same server is asked for the `times`th time again. `random` is any number;
/// it spreads those who failed together over half of the wait.
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
    fn only_what_is_safe_is_sent_again(
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
    fn a_request_that_was_late_already_accuses_nobody() {
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
    fn waits_double_up_to_a_bound_and_are_spread_over_half_of_it() {
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
