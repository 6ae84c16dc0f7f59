//! Dates as Glance writes them.

use chrono::{DateTime, NaiveDateTime, Utc};

/// The instant of a date; `None` for text that is no date.
#[must_use]
pub fn utc(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|date| date.to_utc())
        .ok()
        .or_else(|| {
            // Without an offset it is UTC.
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
                .map(|naive| naive.and_utc())
                .ok()
        })
}
