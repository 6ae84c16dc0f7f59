//! One line of the log, as text or as JSON, out of names and values.
//!
//! Whatever a client sends becomes printable ASCII of bounded length: quotes, control characters,
//! and everything beyond ASCII are escaped as in JSON strings, in both formats, so that no value can
//! end its line, pass for another field, or speak to a terminal.

use super::timestamp;
use crate::config::LogFormat;
use std::fmt::Display;
use std::io::Write;
use std::time::SystemTime;

/// The line is written to the end of a buffer; [`Line::end`] completes it.
#[derive(Debug)]
pub struct Line<'b> {
    out: &'b mut Vec<u8>,
    format: LogFormat,
}

impl<'b> Line<'b> {
    /// Begins as the lines of the rest of the log do.
    pub fn new(
        out: &'b mut Vec<u8>,
        format: LogFormat,
        at: SystemTime,
        level: &str,
        target: &str,
    ) -> Self {
        let mut line = Self { out, format };
        match format {
            LogFormat::Text => {
                timestamp::write(line.out, at);
                line.put(format_args!(" {level:>5} {target}:"));
            }
            LogFormat::Json => {
                line.out.extend_from_slice(b"{\"timestamp\":\"");
                timestamp::write(line.out, at);
                line.put(format_args!(
                    "\",\"level\":\"{level}\",\"target\":\"{target}\""
                ));
            }
        }
        line
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.put(value);
    }

    /// A value that consists of plain characters, whoever sent it: an id, an address, one of our words.
    pub fn word(&mut self, name: &str, value: impl Display) {
        self.name(name);
        match self.format {
            LogFormat::Text => self.put(value),
            LogFormat::Json => self.put(format_args!("\"{value}\"")),
        }
    }

    /// Any value. Bytes beyond ASCII are shown as Latin-1, and those beyond `most` are cut off.
    pub fn text(&mut self, name: &str, value: &[u8], most: usize) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, value.get(..most).unwrap_or(value));
        if value.len() > most {
            // An ellipsis.
            self.out.extend_from_slice(b"\\u2026");
        }
        self.out.push(b'"');
    }

    /// Ends the line.
    pub fn end(self) {
        match self.format {
            LogFormat::Text => self.out.push(b'\n'),
            LogFormat::Json => self.out.extend_from_slice(b"}\n"),
        }
    }

    fn name(&mut self, name: &str) {
        match self.format {
            LogFormat::Text => {
                self.out.push(b' ');
                self.out.extend_from_slice(name.as_bytes());
                self.out.push(b'=');
            }
            LogFormat::Json => {
                self.out.extend_from_slice(b",\"");
                self.out.extend_from_slice(name.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
        }
    }

    fn put(&mut self, value: impl Display) {
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{value}");
    }
}

fn escape(out: &mut Vec<u8>, value: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let mut rest = value;
    while !rest.is_empty() {
        let plain = rest.iter().position(|byte| !is_plain(byte));
        let (run, odd) = rest.split_at(plain.unwrap_or(rest.len()));
        out.extend_from_slice(run);
        let Some((byte, after)) = odd.split_first() else {
            return;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            // Writing to memory cannot fail.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(format: LogFormat, value: &[u8]) -> String {
        let at = UNIX_EPOCH + Duration::from_micros(1_795_000_000_000_042);
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, format, at, "INFO", "test");
        line.number("n", 5);
        line.word("id", "req-1");
        line.text("value", value, 40);
        line.word("last", "x");
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_text_or_json() {
        assert_eq!(
            line(LogFormat::Text, b"a \"b\" \\ \x1b[31m\n\xe9"),
            "2026-11-18T11:06:40.000042Z  INFO test: n=5 id=req-1 \
             value=\"a \\\"b\\\" \\\\ \\u001b[31m\\u000a\\u00e9\" last=x\n"
        );
        assert_eq!(
            line(LogFormat::Json, b"a"),
            "{\"timestamp\":\"2026-11-18T11:06:40.000042Z\",\"level\":\"INFO\",\"target\":\"test\",\
             \"n\":5,\"id\":\"req-1\",\"value\":\"a\",\"last\":\"x\"}\n"
        );
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_quotes_or_its_line(value in any::<Vec<u8>>()) {
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = line(format, &value);
                let body = line.strip_suffix('\n').unwrap();
                prop_assert!(body.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", line);
            }
            let latin_1 = |value: &[u8]| value.iter().copied().map(char::from).collect::<String>();
            let expected = match value.get(..40) {
                Some(cut) if value.len() > 40 => latin_1(cut) + "\u{2026}",
                _ => latin_1(&value),
            };
            let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &value)).unwrap();
            prop_assert_eq!(json["value"].as_str(), Some(expected.as_str()));
            prop_assert_eq!(json.as_object().unwrap().len(), 7);
            // The text form quotes as JSON does.
            let text = line(LogFormat::Text, &value);
            let (_, rest) = text.split_once("value=").unwrap();
            let quoted = rest.strip_suffix(" last=x\n").unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(quoted).unwrap(), expected);
        }
    }
}
