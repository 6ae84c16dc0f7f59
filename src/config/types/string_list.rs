//! Lists: an array in a file, text with commas in the environment.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, value::StringDeserializer};

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    Commas(String),
    Array(Vec<String>),
}

/// Reads a list of `T` for serde. Blank items are left out, so a trailing comma does no harm.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items = match Written::deserialize(deserializer)
        .map_err(|_| D::Error::custom("must be a list of strings, or one string with commas"))?
    {
        Written::Commas(text) => text.split(',').map(str::to_owned).collect(),
        Written::Array(items) => items,
    };
    items
        .iter()
        .map(|item| item.trim())
        .filter(|item| !item.is_empty())
        .map(|item| {
            let text = StringDeserializer::<D::Error>::new(item.to_owned());
            T::deserialize(text).map_err(|error| D::Error::custom(format!("`{item}`: {error}")))
        })
        .collect()
}
