//! The time of a log line: UTC, as `tracing` writes it and as oslo.log does.

use chrono::{DateTime, Utc};
use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

thread_local! {
    /// The second written last, with its text. It is cached because formatting a date is slow and many
    /// lines share a second.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Appends `2026-01-02T03:04:05.000006Z`. Times before 1970 are written as 1970.
pub fn write(out: &mut Vec<u8>, at: SystemTime) {
    let since = since_epoch(at);
    with_second(since, |second| out.extend_from_slice(second.as_bytes()));
    fraction(out, since.subsec_micros(), b"000000");
    out.push(b'Z');
}

/// Appends `2026-01-02 03:04:05.000`.
pub fn write_oslo(out: &mut Vec<u8>, at: SystemTime) {
    let since = since_epoch(at);
    with_second(since, |second| {
        out.extend(
            second
                .bytes()
                .map(|byte| if byte == b'T' { b' ' } else { byte }),
        );
    });
    fraction(out, since.subsec_millis(), b"000");
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn with_second(since: Duration, use_it: impl FnOnce(&str)) {
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let at = DateTime::<Utc>::from(UNIX_EPOCH + since);
            *text = at.format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        use_it(text);
    });
}

/// A dot and as many digits as `zeros` has.
fn fraction(out: &mut Vec<u8>, number: u32, zeros: &[u8]) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    out.push(b'.');
    out.extend_from_slice(zeros.get(digits.len()..).unwrap_or_default());
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
                let mut out = Vec::new();
                write_oslo(&mut out, at);
                let text = text.replace('T', " ");
                prop_assert_eq!(&String::from_utf8(out).unwrap(), &text[..23]);
            }
        }
    }
}
