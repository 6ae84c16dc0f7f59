//! Durations: a number and its unit, such as `30s`.

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize as _, Serializer};
use std::time::Duration;

/// Reads a duration for serde.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        D::Error::custom(format!(
            "`{text}` is not a duration with a unit, such as 30s, 500ms or 1m 30s"
        ))
    })
}

/// Writes a duration for serde as [`deserialize`] reads it.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    humantime::format_duration(*duration)
        .to_string()
        .serialize(serializer)
}
