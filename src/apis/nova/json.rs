//! Request bodies: JSON as Python's `json.loads` reads it.
//!
//! Nova's messages quote the values of a request, so this module keeps them as Python does: integers
//! of any size, `NaN`, the order of keys, the last value of a repeated key. Python's extensions of JSON
//! are rewritten before the parser runs. Input that Python reads and Nova then fails on (bytes
//! that are not UTF-8, lone surrogates) is refused.

use crate::util::python_json;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use thiserror::Error;

/// The deepest nesting of a body. The parser reads the text of a level once more for each level above
/// it, so this bounds the time that a hostile body takes. Python's own limit is about 1,000.
const MAX_DEPTH: usize = 512;

/// The parser may read this many times the length of a body, or [`MIN_SCAN`] bytes if that is more. The
/// cost grows with size times depth, so a body that is both large and deep is refused.
const SCANS: usize = 16;
/// In bytes.
const MIN_SCAN: usize = 4 << 20;

/// The most digits of an integer that Python reads.
const MAX_DIGITS: usize = 4300;

/// Python's words for numbers that JSON lacks, the stand-in for the parser (a number that no double
/// holds), and the word in Python's `repr`.
const WORDS: [(&str, &str, &str); 3] = [
    ("-Infinity", "-1e400000003", "-inf"),
    ("Infinity", "1e400000002", "inf"),
    ("NaN", "1e400000001", "nan"),
];

/// The bytes that an allocation takes besides its contents, at most.
const ALLOCATION: usize = 24;

/// A JSON value of a request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, in the digits of the request.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object. A repeated key stands once, in its first place, with its last value.
    Map(Vec<(String, Json)>),
}

/// The text is not JSON, or exceeds a bound of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not JSON")]
pub struct NotJson;

impl Json {
    /// Reads a request body.
    pub fn parse(body: &[u8]) -> Result<Self, NotJson> {
        let text = std::str::from_utf8(body).map_err(|_| NotJson)?;
        let text = without_words(text);
        let raw: &RawValue = serde_json::from_str(&text).map_err(|_| NotJson)?;
        Self::of_raw(raw, MAX_DEPTH, &mut MIN_SCAN.max(SCANS * text.len()))
    }

    /// Each level of nesting reads the text below it again; `budget` is the number of bytes that may
    /// still be read.
    fn of_raw(raw: &RawValue, depth: usize, budget: &mut usize) -> Result<Self, NotJson> {
        let text = raw.get();
        let depth = depth.checked_sub(1).ok_or(NotJson)?;
        *budget = budget.checked_sub(text.len()).ok_or(NotJson)?;
        match text.as_bytes().first() {
            Some(b'n') => Ok(Self::Null),
            Some(b't') => Ok(Self::Bool(true)),
            Some(b'f') => Ok(Self::Bool(false)),
            Some(b'"') => read(text).map(Self::Text),
            Some(b'[') => read::<Vec<&RawValue>>(text)?
                .into_iter()
                .map(|item| Self::of_raw(item, depth, budget))
                .collect::<Result<_, _>>()
                .map(Self::List),
            Some(b'{') => read::<Pairs<'_>>(text)?
                .0
                .into_iter()
                .map(|(key, item)| Ok((key, Self::of_raw(item, depth, budget)?)))
                .collect::<Result<_, _>>()
                .map(Self::Map),
            Some(_) if is_too_long(text) => Err(NotJson),
            Some(_) => Ok(Self::Number(text.to_owned())),
            None => Err(NotJson),
        }
    }

    /// The value under `key` of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, item)| item),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The memory of the value, in bytes: its parts, and for each that is not empty what the allocator adds.
    #[must_use]
    pub fn memory(&self) -> usize {
        let allocated = |bytes: usize| if bytes == 0 { 0 } else { bytes + ALLOCATION };
        let held = match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(text) | Self::Text(text) => allocated(text.capacity()),
            Self::List(items) => {
                let spare = (items.capacity() - items.len()) * size_of::<Self>();
                allocated(spare) + items.iter().map(Self::memory).sum::<usize>()
            }
            Self::Map(pairs) => {
                let spare = (pairs.capacity() - pairs.len()) * size_of::<(String, Self)>();
                let pair = |(key, item): &(String, Self)| {
                    size_of::<String>() + allocated(key.capacity()) + item.memory()
                };
                allocated(spare) + pairs.iter().map(pair).sum::<usize>()
            }
        };
        size_of::<Self>() + held
    }

    /// A number's text as Python writes it.
    #[must_use]
    pub fn python_number(digits: &str) -> String {
        if let Some((_, _, word)) = WORDS.iter().find(|(_, stand_in, _)| *stand_in == digits) {
            return (*word).to_owned();
        }
        if !digits.contains(['.', 'e', 'E']) {
            return if digits == "-0" {
                "0".to_owned()
            } else {
                digits.to_owned()
            };
        }
        python_json::float(digits.parse().unwrap_or(f64::NAN))
    }

    /// Appends the value as JSON text in Python's form.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            // Python writes `NaN` or `Infinity`, which is no JSON.
            Self::Number(digits) if WORDS.iter().any(|(_, stand_in, _)| stand_in == digits) => {
                out.extend_from_slice(b"null");
            }
            Self::Number(digits) => python_json::write_number(out, digits),
            Self::Text(text) => python_json::write_str(out, text),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    separate(out, index);
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Map(pairs) => {
                out.push(b'{');
                for (index, (key, item)) in pairs.iter().enumerate() {
                    separate(out, index);
                    python_json::write_str(out, key);
                    out.extend_from_slice(b": ");
                    item.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

fn separate(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.extend_from_slice(b", ");
    }
}

fn is_too_long(number: &str) -> bool {
    number.trim_start_matches('-').len() > MAX_DIGITS && !number.contains(['.', 'e', 'E'])
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, NotJson> {
    serde_json::from_str(text).map_err(|_| NotJson)
}

struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs<'de>, A::Error> {
                let mut places = std::collections::HashMap::new();
                let mut pairs: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    let place = *places.entry(key.clone()).or_insert(pairs.len());
                    match pairs.get_mut(place) {
                        Some(pair) => pair.1 = value,
                        None => pairs.push((key, value)),
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Replaces `NaN` and the infinities, outside strings, by their stand-ins.
fn without_words(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(character) = rest.chars().next() {
        let word = WORDS
            .iter()
            .find(|(word, _, _)| !in_string && rest.starts_with(word));
        let taken = match (word, character) {
            (Some((word, stand_in, _)), _) => {
                // The blanks keep `-NaN`, `1NaN` and `NaN1` from becoming numbers.
                out.push(' ');
                out.push_str(stand_in);
                out.push(' ');
                rest = rest.get(word.len()..).unwrap_or_default();
                continue;
            }
            (None, '\\') if in_string => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, other) => other.len_utf8(),
        };
        let (head, tail) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        out.push_str(head);
        rest = tail;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        Json::parse(text.as_bytes()).unwrap().write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[rstest]
    #[case(r#"{"b": 1, "a": 2, "b": 3}"#, r#"{"b": 3, "a": 2}"#)]
    #[case(
        r#" [null,true,false,"x",1e30,123456789012345678901234567890] "#,
        r#"[null, true, false, "x", 1e+30, 123456789012345678901234567890]"#
    )]
    #[case(
        r#"{"a\u0000\n": "\ud83D\uDE80ü"}"#,
        r#"{"a\u0000\n": "\ud83d\ude80\u00fc"}"#
    )]
    #[case(
        r#"{"NaN": "Infinity \" NaN", "x": [NaN, -Infinity]}"#,
        r#"{"NaN": "Infinity \" NaN", "x": [null, null]}"#
    )]
    fn what_was_sent_is_kept(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(written(text), expected);
    }

    #[rstest]
    #[case(b"")]
    #[case(b"  ")]
    #[case(b"{bad")]
    #[case(b"{\"a\": 1} x")]
    #[case(b"{'a': 1}")]
    #[case(b"\xef\xbb\xbf{}")]
    #[case(b"{\"a\": \"\xff\"}")]
    #[case(b"{\"a\": \"\\ud800\"}")]
    #[case(b"{\"\\udc00\": 1}")]
    #[case(b"[NaNs]")]
    #[case(b"[1NaN]")]
    #[case(b"[NaN1]")]
    #[case(b"[-NaN]")]
    #[case(b"[NaN.5]")]
    #[case(b"\xff\xfe[\0]\0")]
    fn what_is_no_json_is_refused(#[case] body: &[u8]) {
        assert_eq!(Json::parse(body), Err(NotJson));
    }

    #[test]
    fn an_integer_has_a_bound() {
        let integer = |digits: usize| format!("-{}", "1".repeat(digits));
        assert!(Json::parse(integer(MAX_DIGITS).as_bytes()).is_ok());
        assert!(Json::parse(integer(MAX_DIGITS + 1).as_bytes()).is_err());
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(Json::parse(nested(50_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_both_large_and_deep_is_refused() {
        let body = |depth: usize, items: usize| {
            format!(
                "{}{}0{}",
                "[".repeat(depth),
                "1,".repeat(items),
                "]".repeat(depth)
            )
        };
        assert!(Json::parse(body(500, 1000).as_bytes()).is_ok());
        assert!(Json::parse(body(10, 50_000).as_bytes()).is_ok());
        assert!(Json::parse(body(500, 50_000).as_bytes()).is_err());
    }

    #[rstest]
    #[case("3", "3")]
    #[case("-0", "0")]
    #[case("3.50", "3.5")]
    #[case("1.0", "1.0")]
    #[case("1E2", "100.0")]
    #[case("1e15", "1000000000000000.0")]
    #[case("1e16", "1e+16")]
    #[case("1.5e-5", "1.5e-05")]
    #[case("0.0001", "0.0001")]
    #[case("1e400", "inf")]
    #[case("-0.0", "-0.0")]
    fn numbers_read_as_python_writes_them(#[case] digits: &str, #[case] python: &str) {
        assert_eq!(Json::python_number(digits), python);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>()) {
            let _ = Json::parse(&body);
        }

        #[test]
        fn what_is_written_reads_back(text in "\\PC{0,20}", number: i64) {
            let json = Json::Map(vec![
                (text.clone(), Json::List(vec![Json::Text(text), Json::Number(number.to_string())])),
            ]);
            let mut out = Vec::new();
            json.write(&mut out);
            prop_assert_eq!(Json::parse(&out), Ok(json));
        }
    }

    #[test]
    fn the_memory_of_a_value_is_more_than_its_text_in_its_parts() {
        let memory = |text: &str| Json::parse(text.as_bytes()).unwrap().memory();
        let empty = size_of::<Json>();
        assert_eq!(memory("null"), empty);
        assert_eq!(memory("[]"), empty);
        assert!(memory(r#""text""#) >= empty + 4);
        assert!(memory("[1, 2]") >= 3 * empty + 2);
        let pair = size_of::<(String, Json)>();
        assert!(memory(r#"{"a": "b", "c": {"d": "e"}}"#) >= empty + 3 * pair + 5);
        let long = format!(
            r#"{{"metadata": {{"{}": "{}"}}}}"#,
            "k".repeat(255),
            "v".repeat(255)
        );
        assert!(memory(&long) < 3 * long.len());
    }
}
