//! The range of a value: every count, size and duration of the settings has both bounds.

use super::super::Violation;
use bytesize::ByteSize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The shortest time that a timer is set to.
pub const MILLISECOND: Duration = Duration::from_millis(1);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
/// The upper bound of all times: a deadline that far away can still be computed.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A value that can be compared with its bounds, and written as an operator would.
pub trait Bounded: Copy + PartialOrd {
    fn written(self) -> String;
}

impl Bounded for Duration {
    fn written(self) -> String {
        humantime::format_duration(self).to_string()
    }
}

impl Bounded for ByteSize {
    fn written(self) -> String {
        match self.as_u64() {
            bytes if bytes < 1024 => format!("{bytes} B"),
            _ => format!("{:.0}", self.display().iec()).replace(".0 ", " "),
        }
    }
}

macro_rules! counts {
    ($($count:ty),*) => {$(
        impl Bounded for $count {
            fn written(self) -> String {
                self.to_string()
            }
        }
    )*};
}
counts!(i64, u32, u64, usize);

/// A violation when `value` is not `allowed` for the setting `key`.
pub fn check<T: Bounded>(
    key: &'static str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Option<Violation> {
    let (least, most) = (allowed.start().written(), allowed.end().written());
    (!allowed.contains(&value))
        .then(|| Violation::new(key, format!("must be from {least} to {most}")))
}

/// As [`check`], for a number of bytes.
pub fn check_size(
    key: &'static str,
    bytes: impl TryInto<u64>,
    allowed: RangeInclusive<u64>,
) -> Option<Violation> {
    let bytes = ByteSize(bytes.try_into().unwrap_or(u64::MAX));
    let (least, most) = (ByteSize(*allowed.start()), ByteSize(*allowed.end()));
    check(key, bytes, least..=most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_allowed_and_named() {
        let message = |violation: Option<Violation>| violation.map(|violation| violation.message);
        assert_eq!(check("k", 1_u64, 1..=9), None);
        assert_eq!(check("k", 9_u64, 1..=9), None);
        assert_eq!(
            message(check("k", 10_u64, 1..=9)).as_deref(),
            Some("must be from 1 to 9")
        );
        assert_eq!(
            message(check("k", Duration::ZERO, MILLISECOND..=DAY)).as_deref(),
            Some("must be from 1ms to 1day")
        );
        assert_eq!(
            message(check_size("k", 0_usize, 256..=64 << 20)).as_deref(),
            Some("must be from 256 B to 64 MiB")
        );
    }
}
