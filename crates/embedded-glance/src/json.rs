//! JSON as Python's `json.dumps` writes it: a space behind each comma and colon.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Serializer, Value};

/// Puts a space behind commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// JSON in UTF-8, the form of the images API.
pub(super) fn utf8(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced))?;
    // The serializer writes nothing but UTF-8.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// JSON in ASCII, the form of faults: other characters are escaped.
pub(super) fn ascii(value: &Value) -> String {
    // A value of JSON can always be written.
    let text = utf8(value).unwrap_or_default();
    if text.is_ascii() {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_spaced_as_python_does() {
        let value = json!({"a": [1, "ü", {}], "b": {"c": null}, "d": []});
        let text = r#"{"a": [1, "ü", {}], "b": {"c": null}, "d": []}"#;
        assert_eq!(utf8(&value).unwrap(), text);
    }

    #[test]
    fn faults_are_ascii() {
        assert_eq!(ascii(&json!(["ü🚀"])), r#"["\u00fc\ud83d\ude80"]"#);
    }
}
