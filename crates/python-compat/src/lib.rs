//! The rules of Python's text type that the answers of OpenStack services depend on.
//!
//! OpenStack services quote values with `repr()` in their messages and trim them with `strip()`. Both
//! follow Unicode properties that differ from those of Rust's `char` methods.

use std::fmt::Write as _;

use icu_properties::CodePointMapData;
use icu_properties::props::GeneralCategory;

/// `repr()` of a string: in single quotes, unless it holds single quotes and no double ones.
#[must_use]
pub fn repr(text: &str) -> String {
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
            c if is_printable(c) => out.push(c),
            c => push_escaped(&mut out, c),
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable()` of one character: the space, and every character that is neither a
/// separator nor in one of the "other" categories.
#[must_use]
pub fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    !matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
    )
}

/// The shortest of Python's three numeric escapes.
fn push_escaped(out: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// `str.isspace()` of one character. Unlike Rust's white space it includes the four information
/// separators U+001C to U+001F.
#[must_use]
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// `str.strip()` without arguments.
#[must_use]
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
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
    #[case("\u{a0}\u{2028}\u{3000}", "'\\xa0\\u2028\\u3000'")]
    #[case::soft_hyphen("\u{ad}", "'\\xad'")]
    #[case::arabic_number_sign("\u{600}", "'\\u0600'")]
    #[case::tag("\u{e0041}", "'\\U000e0041'")]
    #[case::private_use("\u{e000}\u{f0000}", "'\\ue000\\U000f0000'")]
    #[case::unassigned("\u{378}", "'\\u0378'")]
    #[case::noncharacter("\u{ffff}", "'\\uffff'")]
    fn strings_are_quoted_as_python_quotes_them(#[case] text: &str, #[case] quoted: &str) {
        assert_eq!(repr(text), quoted);
    }

    #[test]
    fn strip_takes_the_information_separators_too() {
        assert_eq!(strip("\u{1c}\u{1f} \t\u{a0}a b\u{85}\u{2003}\u{1d}"), "a b");
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}");
        assert_eq!(strip("\u{1c}"), "");
    }
}
