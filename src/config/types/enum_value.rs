//! Settings that are one word of a few: enums whose words `strum` derives.

use serde::de::{Deserialize, Deserializer, Error};
use std::str::FromStr;
use strum::VariantNames;

/// Reads a variant by its word for serde; the error lists all words.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr + VariantNames,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let allowed = T::VARIANTS.join(", ");
        D::Error::custom(format!("`{text}` is not one of {allowed}"))
    })
}

/// As [`deserialize`], for a setting whose absence means something.
pub fn deserialize_some<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr + VariantNames,
{
    deserialize(deserializer).map(Some)
}
