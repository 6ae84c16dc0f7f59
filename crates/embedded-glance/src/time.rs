//! Moments, stored as microseconds since 1970 and written to the second.

use chrono::{DateTime, Duration, NaiveDate, SecondsFormat, Utc};

/// Now, in microseconds.
pub(super) fn now() -> i64 {
    Utc::now().timestamp_micros()
}

/// The form in which Glance shows a moment: `2024-01-01T00:00:00Z`.
pub(super) fn to_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads the ISO 8601 forms that Glance accepts: a year, a month, a day or a time of day, with a
/// fraction and an offset. A moment without an offset is in UTC.
pub(super) fn parse(text: &str) -> Option<i64> {
    let mut rest = text;
    let year = digits(&mut rest, 4, 4)?;
    let mut month = 1;
    let mut day = 1;
    if !rest.is_empty() {
        let dashed = eat(&mut rest, '-');
        month = digits(&mut rest, if dashed { 1 } else { 2 }, 2)?;
        if rest.is_empty() && !dashed {
            return None;
        }
        if !rest.is_empty() {
            let dashed = eat(&mut rest, '-');
            day = digits(&mut rest, if dashed { 1 } else { 2 }, 2)?;
        }
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let mut time = (0, 0, 0, 0);
    let mut offset = 0;
    if eat(&mut rest, 'T') || eat(&mut rest, ' ') {
        time = time_of_day(&mut rest)?;
        offset = offset_minutes(&mut rest)?;
    }
    if !rest.is_empty() {
        return None;
    }
    let (hour, minute, second, micro) = time;
    let local = date.and_hms_micro_opt(hour, minute, second, micro)?;
    Some(
        (local.checked_sub_signed(Duration::minutes(offset))?)
            .and_utc()
            .timestamp_micros(),
    )
}

fn time_of_day(rest: &mut &str) -> Option<(u32, u32, u32, u32)> {
    let hour = digits(rest, 2, 2)?;
    let (mut minute, mut second, mut micro) = (0, 0, 0);
    if eat(rest, ':') || starts_with_digit(rest) {
        minute = digits(rest, 2, 2)?;
        if eat(rest, ':') || starts_with_digit(rest) {
            second = digits(rest, 1, 2)?;
            if eat(rest, '.') || eat(rest, ',') {
                let length = rest.bytes().take_while(u8::is_ascii_digit).count();
                let (fraction, behind) = rest.split_at(length);
                if fraction.is_empty() {
                    return None;
                }
                micro = format!("{fraction:0<6.6}").parse().ok()?;
                *rest = behind;
            }
        }
    }
    Some((hour, minute, second, micro))
}

fn offset_minutes(rest: &mut &str) -> Option<i64> {
    if eat(rest, 'Z') {
        return Some(0);
    }
    let sign = if eat(rest, '+') {
        1
    } else if eat(rest, '-') {
        -1
    } else {
        return Some(0);
    };
    let hours = i64::from(digits(rest, 2, 2)?);
    eat(rest, ':');
    let minutes = if rest.is_empty() {
        0
    } else {
        i64::from(digits(rest, 2, 2)?)
    };
    Some(sign * (hours * 60 + minutes))
}

fn starts_with_digit(rest: &str) -> bool {
    rest.starts_with(|character: char| character.is_ascii_digit())
}

fn eat(rest: &mut &str, character: char) -> bool {
    match rest.strip_prefix(character) {
        Some(behind) => {
            *rest = behind;
            true
        }
        None => false,
    }
}

fn digits(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let length = rest
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if length < least {
        return None;
    }
    let (number, behind) = rest.split_at(length);
    *rest = behind;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2020-01-02T03:04:05Z", Some("2020-01-02T03:04:05Z"))]
    #[case("2020-01-02T03:04:05", Some("2020-01-02T03:04:05Z"))]
    #[case("2020-01-02 03:04:05.9", Some("2020-01-02T03:04:05Z"))]
    #[case("2020-01-02T03:04:05+05:30", Some("2020-01-01T21:34:05Z"))]
    #[case("2020-01-02T03:04:05-0100", Some("2020-01-02T04:04:05Z"))]
    #[case("20200102T030405Z", Some("2020-01-02T03:04:05Z"))]
    #[case("2020-01-02", Some("2020-01-02T00:00:00Z"))]
    #[case("2020-1", Some("2020-01-01T00:00:00Z"))]
    #[case("2020", Some("2020-01-01T00:00:00Z"))]
    #[case("202001", None)]
    #[case("2020-13-01", None)]
    #[case("2020-01-02T", None)]
    #[case("2020-01-02T03:04:05Zx", None)]
    #[case("gte:2020", None)]
    #[case("", None)]
    #[case("2020-01-02T03:04:05.", None)]
    #[case("映像", None)]
    fn glance_reads_these_moments(#[case] text: &str, #[case] shown: Option<&str>) {
        assert_eq!(parse(text).map(to_text).as_deref(), shown);
    }
}
