//! The time of a log line, written as `tracing` writes it: UTC, to the microsecond.

use chrono::{DateTime, Utc};
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// The last second that was written, with its text: calendars are dear, and thousands of lines
    /// share a second.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Writes `2026-01-02T03:04:05.000006Z`. Times before 1970 are written as its beginning.
pub fn write(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let at = DateTime::<Utc>::from(UNIX_EPOCH + since);
            *text = at.format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        out.extend_from_slice(text.as_bytes());
    });
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(since.subsec_micros()).as_bytes();
    out.push(b'.');
    out.extend_from_slice(b"000000".get(digits.len()..).unwrap_or_default());
    out.extend_from_slice(digits);
    out.push(b'Z');
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
