//! Whether a call may be made once more, and when. Pure.

use super::exchange::{Answer, TransportError};
use super::pool::Verdict;
use std::time::Duration;

/// The wait before the same server is asked again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A server that was given less time than this is not to blame for a time-out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a request may reach a server twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It only reads.
    Safe,
    /// It changes something: it is sent again only when nothing of it was sent.
    Unsafe,
}

/// Where a call may be made once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// At any server, be it the same after a wait.
    Anywhere,
    /// Only at one that was not asked yet: this one has spoken, or took all the time it had.
    Elsewhere,
    /// Nowhere.
    No,
}

/// What an attempt came to.
pub type Outcome = Result<Answer, TransportError>;

/// What may follow `outcome`.
#[must_use]
pub fn again(outcome: &Outcome, repeat: Repeat) -> Again {
    let of_a_read = match outcome {
        // No connection: nothing was sent, so it does not matter what the request does.
        Err(TransportError::Connect(_)) => return Again::Anywhere,
        // So ends a kept connection that the server closes just as it is used.
        Err(TransportError::Broken(_)) => Again::Anywhere,
        Err(TransportError::Timeout | TransportError::Garbled(_)) => Again::Elsewhere,
        Ok(answer) if is_unwell(answer) => Again::Elsewhere,
        Ok(_) | Err(TransportError::TooLarge { .. }) => Again::No,
    };
    match repeat {
        Repeat::Safe => of_a_read,
        Repeat::Unsafe => Again::No,
    }
}

/// What `outcome`, after `took`, says about the server, where an exchange may take `timeout`.
#[must_use]
pub fn verdict(outcome: &Outcome, took: Duration, timeout: Duration) -> Verdict {
    match outcome {
        Ok(answer) if is_unwell(answer) => Verdict::Bad,
        Ok(_) => Verdict::Good,
        Err(
            TransportError::Connect(_) | TransportError::Broken(_) | TransportError::Garbled(_),
        ) => Verdict::Bad,
        Err(TransportError::Timeout) if took >= PATIENCE.min(timeout) => Verdict::Bad,
        Err(TransportError::Timeout | TransportError::TooLarge { .. }) => Verdict::Unknown,
    }
}

/// 502, 503, 504: the server, or what stands before it, says that it does not work.
fn is_unwell(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 502..=504)
}

/// The wait before the same server is asked for the `times`th time again. `random` is any number;
/// it spreads those who failed together over half of the wait.
#[must_use]
pub fn wait(times: u32, random: u64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << times.saturating_sub(1).min(16));
    let longest = doubled.min(LONGEST_WAIT);
    let half = longest / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % spread)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use rstest::rstest;

    fn answer(status: u16) -> Answer {
        Answer {
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
        Again::Anywhere,
        Again::Anywhere,
        Verdict::Bad
    )]
    #[case(
        Err(TransportError::Broken(text())),
        Again::Anywhere,
        Again::No,
        Verdict::Bad
    )]
    #[case(
        Err(TransportError::Garbled(text())),
        Again::Elsewhere,
        Again::No,
        Verdict::Bad
    )]
    #[case(
        Err(TransportError::Timeout),
        Again::Elsewhere,
        Again::No,
        Verdict::Bad
    )]
    #[case(Err(TransportError::TooLarge { limit: 1 }), Again::No, Again::No, Verdict::Unknown)]
    #[case(Ok(answer(200)), Again::No, Again::No, Verdict::Good)]
    #[case(Ok(answer(404)), Again::No, Again::No, Verdict::Good)]
    #[case(Ok(answer(429)), Again::No, Again::No, Verdict::Good)]
    #[case(Ok(answer(500)), Again::No, Again::No, Verdict::Good)]
    #[case(Ok(answer(502)), Again::Elsewhere, Again::No, Verdict::Bad)]
    #[case(Ok(answer(503)), Again::Elsewhere, Again::No, Verdict::Bad)]
    #[case(Ok(answer(504)), Again::Elsewhere, Again::No, Verdict::Bad)]
    fn only_what_is_safe_is_sent_again(
        #[case] outcome: Outcome,
        #[case] read: Again,
        #[case] write: Again,
        #[case] says: Verdict,
    ) {
        assert_eq!(again(&outcome, Repeat::Safe), read);
        assert_eq!(again(&outcome, Repeat::Unsafe), write);
        assert_eq!(verdict(&outcome, PATIENCE, 2 * PATIENCE), says);
    }

    #[test]
    fn a_request_that_was_late_already_accuses_nobody() {
        let late = Err(TransportError::Timeout);
        assert_eq!(verdict(&late, PATIENCE / 2, PATIENCE), Verdict::Unknown);
        assert_eq!(verdict(&late, PATIENCE / 2, PATIENCE / 2), Verdict::Bad);
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread_over_half_of_it() {
        for (times, longest) in [(1, 50), (2, 100), (3, 200), (6, 1000), (u32::MAX, 1000)] {
            for random in [0, 1, 24_999, 25_000, u64::MAX] {
                let wait = wait(times, random).as_millis();
                assert!(
                    (longest / 2..=longest).contains(&wait),
                    "{times} {random}: {wait}"
                );
            }
        }
        assert_ne!(wait(1, 0), wait(1, 20_000));
    }
}
