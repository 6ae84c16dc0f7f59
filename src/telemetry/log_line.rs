//! One line of the log, built from names and values, in each of the formats.
//!
//! Every value of a client becomes printable ASCII of bounded length: quotes, control characters and
//! everything beyond ASCII are escaped as in JSON strings, in all formats, so that no value can
//! end its line, pass for another field, or send commands to a terminal.

use super::timestamp;
use crate::config::LogFormat;
use std::fmt::Display;
use std::io::Write;
use std::time::SystemTime;

/// The name of a value as it stands in a line of either format; see [`name!`].
#[derive(Debug, Clone, Copy)]
pub struct FieldName {
    pub(super) text: &'static str,
    pub(super) json: &'static str,
}

/// The [`FieldName`] of these letters.
macro_rules! name {
    ($name:literal) => {
        $crate::telemetry::log_line::FieldName {
            text: concat!(" ", $name, "="),
            json: concat!(",\"", $name, "\":"),
        }
    };
}
pub(super) use name;

/// The service's name in lines that carry one.
pub(super) const SERVICE: &str = "nova-image-proxy";
/// What the targets of a line in oslo's format begin with.
const MODULE: &str = "nova_image_proxy";

/// Writes a line to the end of a buffer; [`LogLine::end`] completes it.
#[derive(Debug)]
pub struct LogLine<'b> {
    out: &'b mut Vec<u8>,
    format: LogFormat,
}

impl<'b> LogLine<'b> {
    /// Begins a line. In oslo's format it belongs to no request.
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
                let indent = "      ".get(level.len()..).unwrap_or(" ");
                line.put_all(&[indent, level, " ", target, ":"]);
            }
            LogFormat::Json => {
                line.put("{\"timestamp\":\"");
                timestamp::write(line.out, at);
                line.put_all(&["\",\"level\":\"", level, "\",\"service\":\"", SERVICE]);
                line.put_all(&["\",\"target\":\"", target, "\""]);
            }
            LogFormat::Oslo => {
                oslo_head(line.out, at, level, target);
                line.put("[-]");
            }
        }
        line
    }

    /// The text for people, which comes first. It consists of plain characters.
    pub fn message(&mut self, parts: &[&str]) {
        match self.format {
            LogFormat::Text | LogFormat::Oslo => {
                self.put(" ");
                self.put_all(parts);
            }
            LogFormat::Json => {
                self.put(",\"message\":\"");
                self.put_all(parts);
                self.put("\"");
            }
        }
    }

    /// A number.
    pub fn number(&mut self, name: FieldName, value: u64) {
        self.name(name);
        self.put(itoa::Buffer::new().format(value));
    }

    /// A microversion.
    pub fn version(&mut self, name: FieldName, (major, minor): (u64, u64)) {
        self.name(name);
        self.mark();
        self.put(itoa::Buffer::new().format(major));
        self.put(".");
        self.put(itoa::Buffer::new().format(minor));
        self.mark();
    }

    /// A value of plain characters: a checked id, a fixed word.
    pub fn word(&mut self, name: FieldName, value: &str) {
        self.name(name);
        self.mark();
        self.put(value);
        self.mark();
    }

    /// A value whose text has plain characters only, such as an address.
    pub fn plain(&mut self, name: FieldName, value: impl Display) {
        self.name(name);
        self.mark();
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{value}");
        self.mark();
    }

    /// Any value. Bytes beyond ASCII are shown as Latin-1, and those beyond `most` are cut off.
    pub fn text(&mut self, name: FieldName, value: &[u8], most: usize) {
        self.name(name);
        self.out.push(b'"');
        escape(self.out, value.get(..most).unwrap_or(value));
        if value.len() > most {
            // An ellipsis.
            self.put("\\u2026");
        }
        self.out.push(b'"');
    }

    /// Ends the line.
    pub fn end(mut self) {
        match self.format {
            LogFormat::Text | LogFormat::Oslo => self.put("\n"),
            LogFormat::Json => self.put("}\n"),
        }
    }

    fn name(&mut self, name: FieldName) {
        match self.format {
            LogFormat::Text | LogFormat::Oslo => self.put(name.text),
            LogFormat::Json => self.put(name.json),
        }
    }

    /// Before and after a value that is no number: JSON has nothing else without quotes.
    fn mark(&mut self) {
        match self.format {
            LogFormat::Text | LogFormat::Oslo => {}
            LogFormat::Json => self.out.push(b'"'),
        }
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn put_all(&mut self, parts: &[&str]) {
        for part in parts {
            self.put(part);
        }
    }
}

/// The beginning of a line as oslo.log writes it: time, process, level, module. Kolla's fluentd reads
/// `WARNING` and no `WARN`.
pub(super) fn oslo_head(out: &mut Vec<u8>, at: SystemTime, level: &str, target: &str) {
    timestamp::write_oslo(out, at);
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(std::process::id()).as_bytes());
    let level = if level == "WARN" { "WARNING" } else { level };
    for part in [" ", level, " "] {
        out.extend_from_slice(part.as_bytes());
    }
    let is_own = target.starts_with(MODULE);
    if !is_own && !target.contains("::") {
        out.extend_from_slice(MODULE.as_bytes());
        out.push(b'.');
    }
    for (index, module) in target.split("::").enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(module.as_bytes());
    }
    out.push(b' ');
}

/// Bytes that stand for themselves between quotes.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Appends bytes with JSON's escapes; those beyond ASCII are read as Latin-1.
pub(super) fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ if is_plain(byte) => out.push(byte),
            // Writing to memory cannot fail.
            _ => drop(write!(out, "\\u{byte:04x}")),
        }
    }
}

/// Appends text for a line of text: all but printable ASCII is escaped.
pub(super) fn escape_text(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            ' '..='~' => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to memory cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
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
        let mut line = LogLine::new(&mut out, format, at, "INFO", "test");
        line.message(&["a ", "message"]);
        line.number(name!("n"), 5);
        line.word(name!("id"), "req-1");
        line.text(name!("value"), value, 40);
        line.word(name!("last"), "x");
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_the_format_of_its_log() {
        assert_eq!(
            line(LogFormat::Text, b"a \"b\" \\ \x1b[31m\n\xe9"),
            "2026-11-18T11:06:40.000042Z  INFO test: a message n=5 id=req-1 \
             value=\"a \\\"b\\\" \\\\ \\u001b[31m\\u000a\\u00e9\" last=x\n"
        );
        assert_eq!(
            line(LogFormat::Json, b"a"),
            "{\"timestamp\":\"2026-11-18T11:06:40.000042Z\",\"level\":\"INFO\",\
             \"service\":\"nova-image-proxy\",\"target\":\"test\",\
             \"message\":\"a message\",\"n\":5,\"id\":\"req-1\",\"value\":\"a\",\"last\":\"x\"}\n"
        );
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_quotes_or_its_line(value in any::<Vec<u8>>()) {
            for format in [LogFormat::Text, LogFormat::Json, LogFormat::Oslo] {
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
            prop_assert_eq!(json.as_object().unwrap().len(), 9);
            // The text form quotes as JSON does.
            let text = line(LogFormat::Text, &value);
            let (_, rest) = text.split_once("value=").unwrap();
            let quoted = rest.strip_suffix(" last=x\n").unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(quoted).unwrap(), expected);
        }
    }
}
