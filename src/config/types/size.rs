//! Sizes in bytes: a number, or a number and its unit, such as `64MiB`.

use bytesize::ByteSize;
use serde::de::{Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Reads a size for serde.
pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_any(SizeVisitor(PhantomData))
}

struct SizeVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for SizeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size, such as 64MiB, or a number of bytes")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<T, E> {
        T::try_from(bytes).map_err(|_| E::custom("is larger than any memory"))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<T, E> {
        match u64::try_from(bytes) {
            Ok(bytes) => self.visit_u64(bytes),
            Err(_) => Err(E::custom("must not be negative")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match text.parse::<ByteSize>() {
            Ok(size) => self.visit_u64(size.as_u64()),
            Err(_) => Err(E::custom(format!(
                "`{text}` is not a size, such as 64MiB, nor a number of bytes"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!(65536), Some(65536))]
    #[case(json!("65536"), Some(65536))]
    #[case(json!("64KiB"), Some(65536))]
    #[case(json!("64 kib"), Some(65536))]
    #[case(json!("1.5MiB"), Some(1_572_864))]
    #[case(json!("64MB"), Some(64_000_000))]
    #[case(json!(-1), None)]
    #[case(json!(1.5), None)]
    #[case(json!("-1"), None)]
    #[case(json!("64 apples"), None)]
    #[case(json!(""), None)]
    fn a_size_is_a_number_with_or_without_a_unit(
        #[case] value: Value,
        #[case] expected: Option<u64>,
    ) {
        assert_eq!(deserialize::<_, u64>(value).ok(), expected);
    }
}
