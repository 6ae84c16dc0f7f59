//! Settings that are one word of a few.

use serde::de::{Deserialize, Deserializer, Error};

/// Reads one of `words`; the error lists them.
pub fn enum_value<'de, D, T>(deserializer: D, words: &[(&str, T)]) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy,
{
    let text = String::deserialize(deserializer)?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            D::Error::custom(format!("`{text}` is not one of {}", allowed.join(", ")))
        })
}
