//! Python's rules for texts and values: `repr()` and `str()`, which Nova's validation messages quote,
//! and `strip()`.

use super::json::Json;
use std::fmt::Write;

/// `repr()` of a string: single quotes unless only single quotes are inside.
#[must_use]
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || is_unprintable(c) => push_escaped(&mut out, c),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// White space other than the plain blank, and invisible formatting, count as unprintable.
fn is_unprintable(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fffe}'..='\u{ffff}')
}

fn push_escaped(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// `repr()` of a value.
#[must_use]
pub fn repr(value: &Json) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(digits) => Json::python_number(digits),
        Json::Text(text) => repr_str(text),
        Json::List(items) => {
            format!(
                "[{}]",
                items.iter().map(repr).collect::<Vec<_>>().join(", ")
            )
        }
        Json::Map(pairs) => {
            let items: Vec<_> = pairs
                .iter()
                .map(|(key, item)| format!("{}: {}", repr_str(key), repr(item)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// `str()` of a value: like [`repr`], but a string stands for itself.
#[must_use]
pub fn str(value: &Json) -> String {
    match value {
        Json::Text(text) => text.clone(),
        other => repr(other),
    }
}

/// `str.strip()`. Python counts U+001C to U+001F as white space too, Rust does not.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("abc", "'abc'")]
    #[case("it's", "\"it's\"")]
    #[case("'\"", "'\\'\"'")]
    #[case("a\\b\n\t\0\u{7f}", "'a\\\\b\\n\\t\\x00\\x7f'")]
    #[case("ü映🚀", "'ü映🚀'")]
    #[case("\u{a0}\u{2028}", "'\\xa0\\u2028'")]
    fn strings_are_quoted_as_python_quotes_them(#[case] text: &str, #[case] quoted: &str) {
        assert_eq!(repr_str(text), quoted);
    }

    #[test]
    fn values_read_as_python_writes_them() {
        let parse = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let value = parse(r#"{"a": [null, true, false, 1, 1.5, "x", NaN], "b": {}}"#);
        assert_eq!(
            repr(&value),
            "{'a': [None, True, False, 1, 1.5, 'x', nan], 'b': {}}"
        );
        assert_eq!(str(&parse("\"x\"")), "x");
        assert_eq!(str(&parse("null")), "None");
    }

    #[rstest]
    #[case("\u{1c}name\u{1f}", "name")]
    #[case(
        " \t\n\u{b}\u{c}\r\u{1d}\u{1e}\u{85}\u{a0}\u{2003}\u{3000}a b\u{2028}",
        "a b"
    )]
    #[case("\u{1b}a\u{200b}\u{feff}", "\u{1b}a\u{200b}\u{feff}")]
    #[case("\u{1c} ", "")]
    fn strip_takes_what_python_counts_as_white_space(#[case] text: &str, #[case] stripped: &str) {
        assert_eq!(strip(text), stripped);
    }
}
