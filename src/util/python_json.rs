//! JSON text exactly as Python's `json.dumps` writes it.
//!
//! OpenStack's legacy services answer with `json.dumps(value)`: pure ASCII, `", "` and `": "` as
//! separators, numbers as Python's `repr` has them. Clients depend on each of these: old versions of
//! python-requests guess the charset of a body that is not ASCII, and scripts search for
//! `"status": "ACTIVE"`.

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::value::RawValue;
use std::io::{self, Write};
use std::ops::Range;

/// JSON text nested deeper than this is not written again; Python's own limit is about twice as much.
const MAX_DEPTH: usize = 512;

/// A value as JSON text.
#[must_use]
pub fn to_string(value: &impl Serialize) -> String {
    let mut out = Vec::with_capacity(128);
    // Memory takes every byte, and the keys of the values written here are strings.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter));
    String::from_utf8(out).unwrap_or_default()
}

/// Appends a string in double quotes.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Memory takes every byte.
    let _ = write_escaped(out, text);
    out.push(b'"');
}

/// Appends a number in JSON's syntax.
pub fn write_number(out: &mut Vec<u8>, digits: &str) {
    if !digits.contains(['.', 'e', 'E']) {
        // Python has no negative zero among its integers.
        out.extend_from_slice(if digits == "-0" {
            b"0"
        } else {
            digits.as_bytes()
        });
        return;
    }
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => out.extend_from_slice(float(value).as_bytes()),
        // Python writes `Infinity`, which is no JSON.
        Ok(_) | Err(_) => out.extend_from_slice(digits.as_bytes()),
    }
}

/// Appends JSON text of another writer as Python writes it after reading it: other separators and
/// escapes, and each key of an object once, where it first stood, with its last value. Text nested
/// too deep for Python becomes one string.
pub fn write_raw(out: &mut Vec<u8>, raw: &RawValue) {
    let text = raw.get();
    if is_plain_string(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let start = out.len();
    if Rewriter::new(out).rewrite(text).is_err() {
        out.truncate(start);
        write_str(out, text);
    }
}

/// `repr()` of a float: the shortest digits, with an exponent of at least two digits where it is
/// below -4 or above 15.
#[must_use]
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Bytes that stand for themselves in a string.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn is_plain_string(text: &str) -> bool {
    text.strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|inner| inner.bytes().all(is_plain))
}

/// The inside of a string.
fn write_escaped<W: Write + ?Sized>(out: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    loop {
        let plain = rest.bytes().position(|byte| !is_plain(byte));
        let (head, tail) = rest.split_at(plain.unwrap_or(rest.len()));
        out.write_all(head.as_bytes())?;
        let mut characters = tail.chars();
        let Some(character) = characters.next() else {
            return Ok(());
        };
        for unit in character.encode_utf16(&mut [0; 2]) {
            write_unit(out, *unit)?;
        }
        rest = characters.as_str();
    }
}

/// One UTF-16 code unit: what lies beyond the basic plane is a pair of escapes.
fn write_unit<W: Write + ?Sized>(out: &mut W, unit: u16) -> io::Result<()> {
    match u8::try_from(unit) {
        Ok(b'"') => out.write_all(b"\\\""),
        Ok(b'\\') => out.write_all(b"\\\\"),
        Ok(b'\n') => out.write_all(b"\\n"),
        Ok(b'\r') => out.write_all(b"\\r"),
        Ok(b'\t') => out.write_all(b"\\t"),
        Ok(0x08) => out.write_all(b"\\b"),
        Ok(0x0c) => out.write_all(b"\\f"),
        Ok(byte) if is_plain(byte) => out.write_all(&[byte]),
        Ok(_) | Err(_) => write!(out, "\\u{unit:04x}"),
    }
}

/// `serde_json` with Python's separators, escapes and floats.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(out, fragment)
    }

    fn write_f64<W: Write + ?Sized>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(float(value).as_bytes())
    }
}

/// The text is nested deeper than [`MAX_DEPTH`].
struct TooDeep;

/// Writes valid JSON text again, without building the value.
struct Rewriter<'o> {
    out: &'o mut Vec<u8>,
    open: Vec<Container>,
}

/// An array or object that is not yet closed.
enum Container {
    Array,
    Object(Vec<Member>),
}

/// The position of a member of an object in the output.
struct Member {
    /// From the opening quote of the key to its closing one.
    key: Range<usize>,
    /// Behind the value; before the value is written, behind the key.
    end: usize,
}

impl<'o> Rewriter<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            open: Vec::new(),
        }
    }

    fn rewrite(mut self, text: &str) -> Result<(), TooDeep> {
        let mut rest = text;
        let mut before_key = false;
        while let Some(&byte) = rest.as_bytes().first() {
            let mut length = 1;
            match byte {
                b'{' | b'[' => {
                    before_key = byte == b'{';
                    self.open(byte)?;
                }
                b'}' | b']' => {
                    before_key = false;
                    self.close(byte);
                }
                b',' => {
                    before_key = matches!(self.open.last(), Some(Container::Object(_)));
                    self.end_member();
                    self.out.extend_from_slice(b", ");
                }
                b':' => {
                    before_key = false;
                    self.out.extend_from_slice(b": ");
                }
                b'"' => {
                    length = string_length(rest);
                    self.string(rest.get(..length).unwrap_or_default(), before_key);
                }
                b'-' | b'0'..=b'9' => {
                    length = token_length(rest);
                    write_number(self.out, rest.get(..length).unwrap_or_default());
                }
                b't' | b'f' | b'n' => {
                    length = token_length(rest);
                    self.out
                        .extend_from_slice(rest.get(..length).unwrap_or_default().as_bytes());
                }
                // White space; nothing else stands between the tokens of JSON.
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Result<(), TooDeep> {
        if self.open.len() == MAX_DEPTH {
            return Err(TooDeep);
        }
        self.open.push(match bracket {
            b'{' => Container::Object(Vec::new()),
            _ => Container::Array,
        });
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.end_member();
        if let Some(Container::Object(members)) = self.open.pop() {
            keep_last_of_each(self.out, &members);
        }
        self.out.push(bracket);
    }

    fn end_member(&mut self) {
        if let Some(Container::Object(members)) = self.open.last_mut()
            && let Some(member) = members.last_mut()
        {
            member.end = self.out.len();
        }
    }

    fn string(&mut self, quoted: &str, is_key: bool) {
        let start = self.out.len();
        write_quoted_again(self.out, quoted);
        let end = self.out.len();
        if is_key && let Some(Container::Object(members)) = self.open.last_mut() {
            members.push(Member {
                key: start..end,
                end,
            });
        }
    }
}

/// Writes the members of an object again where a key stands more than once. Equal keys are written
/// alike, so their bytes are compared.
fn keep_last_of_each(out: &mut Vec<u8>, members: &[Member]) {
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        return;
    };
    let written = |range: Range<usize>| out.get(range).unwrap_or_default();
    let key = |member: &Member| written(member.key.clone());
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by(|a, b| key(a).cmp(key(b)).then(a.end.cmp(&b.end)));
    // Each key's first place, with its last member.
    let mut kept: Vec<(usize, &Member)> = order
        .chunk_by(|a, b| key(a) == key(b))
        .filter_map(|same| Some((same.first()?.end, *same.last()?)))
        .collect();
    if kept.len() == members.len() {
        return;
    }
    kept.sort_by_key(|(place, _)| *place);
    let text: Vec<&[u8]> = kept
        .into_iter()
        .map(|(_, member)| written(member.key.start..member.end))
        .collect();
    let text = text.join(&b", "[..]);
    let range = first.key.start..last.end;
    out.splice(range, text);
}

/// The length of the string that `text` begins with, with its quotes.
fn string_length(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the number or word that `text` begins with.
fn token_length(text: &str) -> usize {
    text.bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)))
        .unwrap_or(text.len())
}

/// A string in JSON's syntax, with Python's escapes. Half a surrogate pair stays what it is.
fn write_quoted_again(out: &mut Vec<u8>, quoted: &str) {
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or_default();
    out.push(b'"');
    let mut parts = inner.split('\\');
    // Memory takes every byte.
    let _ = write_escaped(out, parts.next().unwrap_or_default());
    while let Some(part) = parts.next() {
        let (unit, length) = match part.as_bytes() {
            // Two backslashes in a row: the text behind them is not escaped.
            [] => {
                let _ = write_unit(out, u16::from(b'\\'));
                let _ = write_escaped(out, parts.next().unwrap_or_default());
                continue;
            }
            [b'u', ..] => {
                let digits = part.get(1..5).unwrap_or_default();
                (u16::from_str_radix(digits, 16).unwrap_or(0xfffd), 5)
            }
            [b'b', ..] => (0x08, 1),
            [b'f', ..] => (0x0c, 1),
            [b'n', ..] => (u16::from(b'\n'), 1),
            [b'r', ..] => (u16::from(b'\r'), 1),
            [b't', ..] => (u16::from(b'\t'), 1),
            [byte, ..] => (u16::from(*byte), 1),
        };
        let _ = write_unit(out, unit);
        let _ = write_escaped(out, part.get(length..).unwrap_or_default());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn rewritten(text: &str) -> String {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let mut out = Vec::new();
        write_raw(&mut out, raw);
        String::from_utf8(out).unwrap()
    }

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        write_str(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    /// Each pair is what Python 3's `json.dumps` gives.
    #[rstest]
    #[case("plain ~", "\"plain ~\"")]
    #[case("Zürich", "\"Z\\u00fcrich\"")]
    #[case("映🚀", "\"\\u6620\\ud83d\\ude80\"")]
    #[case("\"\\/", "\"\\\"\\\\/\"")]
    #[case(
        "\0\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}\u{80}",
        "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\\u0080\""
    )]
    #[case("", "\"\"")]
    fn strings_are_pure_ascii(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(quoted(text), expected);
        assert_eq!(to_string(&text), expected);
    }

    #[test]
    fn values_have_python_s_separators() {
        let value = json!({"a": [1, -2.5, 1e22, null], "ü": {"b": true, "c": []}, "d": {}});
        assert_eq!(
            to_string(&value),
            r#"{"a": [1, -2.5, 1e+22, null], "\u00fc": {"b": true, "c": []}, "d": {}}"#
        );
    }

    /// Each pair is what Python 3's `json.dumps(json.loads(text))` gives.
    #[rstest]
    #[case(r#"{"a":[1,2 , {}],  "b" :null}"#, r#"{"a": [1, 2, {}], "b": null}"#)]
    #[case("\"Zürich\"", r#""Z\u00fcrich""#)]
    #[case(r#""\u00FC\/\u0041\u0022\u005C\u000a\b""#, r#""\u00fc/A\"\\\n\b""#)]
    #[case(r#""\\u00fc\\\\\"\\""#, r#""\\u00fc\\\\\"\\""#)]
    #[case(r#""\ud83D\uDE80 🚀 \ud800""#, r#""\ud83d\ude80 \ud83d\ude80 \ud800""#)]
    #[case(
        "[1.50, 1E2, -0, -0.0, 1e16, 12345678901234567890123]",
        "[1.5, 100.0, 0, -0.0, 1e+16, 12345678901234567890123]"
    )]
    #[case(
        r#"{"a":1,"b":{"x":1,"x":[2]},"\u0061":3,"c":4,"b":5}"#,
        r#"{"a": 3, "b": 5, "c": 4}"#
    )]
    #[case(r#"{"a":{"x":1,"x":{"y":1,"y":2}}}"#, r#"{"a": {"x": {"y": 2}}}"#)]
    #[case(" true ", "true")]
    fn json_text_is_written_again_as_python_does(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(rewritten(text), expected);
    }

    #[test]
    fn a_number_that_no_float_can_hold_stays_json() {
        assert_eq!(rewritten("[1e400,-1E400]"), "[1e400, -1E400]");
    }

    #[test]
    fn text_nested_too_deep_is_a_string() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(rewritten(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
        assert_eq!(
            rewritten(&nested(MAX_DEPTH + 1)),
            format!("\"{}\"", nested(MAX_DEPTH + 1))
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|n| json!(f64::from(n) / 4.0)),
            "(?s).{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("(?s).{0,4}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_float_reads_back(value: f64) {
            prop_assert_eq!(float(value).parse::<f64>(), Ok(value));
        }

        #[test]
        fn every_value_is_ascii_and_reads_back(value in value()) {
            let written = to_string(&value);
            prop_assert!(written.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(&serde_json::from_str::<Value>(&written).unwrap(), &value);
        }

        #[test]
        fn the_writer_and_the_rewriter_agree(value in value()) {
            prop_assert_eq!(rewritten(&value.to_string()), to_string(&value));
            prop_assert_eq!(rewritten(&to_string(&value)), to_string(&value));
        }
    }
}
