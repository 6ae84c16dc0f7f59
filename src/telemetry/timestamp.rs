//! The time of a log line, written as `tracing` writes it: UTC, to the microsecond.

use chrono::{DateTime, Utc};
use std::cell::RefCell;
use std::io::Write;
use std::time::SystemTime;

thread_local! {
    /// The last second that was written, with its text: calendars are dear, and thousands of lines
    /// share a second.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Writes `2026-01-02T03:04:05.000006Z`.
pub fn write(out: &mut Vec<u8>, at: SystemTime) {
    let at = DateTime::<Utc>::from(at);
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.timestamp() {
            *second = at.timestamp();
            *text = at.format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        out.extend_from_slice(text.as_bytes());
    });
    // Writing to memory cannot fail.
    let _ = write!(out, ".{:06}Z", at.timestamp_subsec_micros() % 1_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    proptest! {
        #[test]
        fn it_reads_back(times in proptest::collection::vec(0_u64..4_000_000_000_000_000, 1..4)) {
            for micros in times {
                let at = UNIX_EPOCH + Duration::from_micros(micros);
                let mut out = Vec::new();
                write(&mut out, at);
                let text = String::from_utf8(out).unwrap();
                prop_assert_eq!(text.len(), 27);
                prop_assert_eq!(SystemTime::from(text.parse::<DateTime<Utc>>().unwrap()), at);
            }
        }
    }
}
