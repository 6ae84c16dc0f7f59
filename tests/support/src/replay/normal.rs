//! Placeholders for what differs from one run to the next.

use serde_json::Value;

use super::case::Normal;
use crate::client::Response;

/// Headers of the connection and the server, not of the API.
/// `Cache-Status` is one that a gateway with a cache adds.
const IGNORED: [&str; 7] = [
    "cache-status",
    "connection",
    "date",
    "server",
    "content-length",
    "keep-alive",
    "transfer-encoding",
];

/// A text where `9` stands for a digit, `h` for a hexadecimal one and `?` for that or a dash.
const REQUEST_ID: &str = "req-hhhhhhhh-???????????????????????????";
const TIME: &str = "9999-99-99T99:99:99Z";

/// The texts of one run and their placeholders, in the order they are replaced.
#[derive(Debug, Default)]
pub struct Placeholders(Vec<(String, String)>);

impl Placeholders {
    pub fn add(&mut self, text: impl Into<String>, name: &str) {
        self.0.push((text.into(), format!("{{{{{name}}}}}")));
    }

    /// Those of this run and one more.
    pub fn with(&self, text: Option<&str>, name: &str) -> Self {
        let mut more = Self(self.0.clone());
        if let Some(text) = text {
            more.add(text, name);
        }
        more
    }

    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in &self.0 {
            text = text.replace(from, to);
        }
        replace_shape(
            &replace_shape(&text, REQUEST_ID, "{{req}}"),
            TIME,
            "{{time}}",
        )
    }

    pub fn value(&self, value: &Value) -> Value {
        serde_json::from_str(&self.text(&value.to_string())).unwrap()
    }

    pub fn answer(&self, answer: &Response) -> Normal {
        let headers = answer
            .headers
            .iter()
            .map(|(k, v)| (k.to_lowercase(), self.text(v)));
        let mut headers: Vec<_> = headers
            .filter(|(name, _)| !IGNORED.contains(&name.as_str()))
            .collect();
        headers.sort();
        let text = self.text(&answer.text());
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Normal {
            status: answer.status,
            headers,
            body,
        }
    }
}

fn replace_shape(text: &str, shape: &str, placeholder: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if starts_with_shape(rest, shape) {
            result.push_str(placeholder);
            rest = &rest[shape.len()..];
        } else {
            result.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    result
}

fn starts_with_shape(text: &str, shape: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() >= shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, wanted)| match wanted {
                b'9' => byte.is_ascii_digit(),
                b'h' => is_hex(byte),
                b'?' => is_hex(byte) || byte == b'-',
                literal => byte == literal,
            })
}

#[cfg(test)]
#[test]
fn times_and_request_ids_become_placeholders() {
    let mut places = Placeholders::default();
    places.add("http://127.0.0.1:1", "base");
    let id = "req-11111111-2222-4333-8444-555555555555";
    let text = format!("ü {id} http://127.0.0.1:1/x 2024-01-02T03:04:05Z 2024-01-02 req-x");
    assert_eq!(
        places.text(&text),
        "ü {{req}} {{base}}/x {{time}} 2024-01-02 req-x"
    );
}
