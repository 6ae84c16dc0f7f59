//! The recording, and the comparison of a response with it.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;

/// Headers that a client acts on.
const COMPARED: [&str; 11] = [
    "accept-patch",
    "accept-ranges",
    "allow",
    "content-md5",
    "content-range",
    "etag",
    "location",
    "openstack-image-import-methods",
    "openstack-image-store-ids",
    "retry-after",
    "www-authenticate",
];

/// Calls that build on each other.
#[derive(Deserialize)]
pub struct Scenario {
    #[serde(rename = "scenario")]
    pub name: String,
    /// Scenarios that were run before.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The placeholders of images that scenarios use which need this one.
    #[serde(default)]
    pub images: Vec<String>,
    #[serde(default)]
    pub ranked_times: bool,
    pub calls: Vec<Call>,
}

#[derive(Deserialize)]
pub struct Call {
    pub n: usize,
    pub caller: String,
    pub request: Request,
    /// Placeholders and the paths of their values in the response.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    pub response: Response,
}

#[derive(Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
    pub text: Option<String>,
    pub hex: Option<String>,
    #[serde(default)]
    pub pad: usize,
    pub fill: Option<Fill>,
    #[serde(default)]
    pub chunked: bool,
    pub cut: Option<usize>,
    pub pause: Option<f64>,
}

#[derive(Deserialize)]
pub struct Fill {
    pub size: usize,
    #[serde(default)]
    pub seed: usize,
    #[serde(default)]
    pub head: String,
}

/// A response, with placeholders.
#[derive(Debug, Deserialize)]
pub struct Response {
    pub status: u16,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub json: Option<Value>,
    pub text: Option<String>,
    pub data: Option<Data>,
    #[serde(default)]
    pub cut: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
pub struct Data {
    pub bytes: usize,
    pub sha256: String,
}

/// Calls that are answered otherwise.
#[derive(Deserialize)]
pub struct Difference {
    pub reason: String,
    /// `SCENARIO#N`
    pub calls: Vec<String>,
}

pub fn read(compressed: &[u8]) -> Vec<Scenario> {
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(compressed);
    decoder.read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Request {
    /// JSON and texts are filled in by `fill`.
    pub fn payload(&self, fill: impl Fn(&str) -> String) -> Option<Vec<u8>> {
        if let Some(body) = &self.body {
            return Some(fill(&body.to_string()).into_bytes());
        }
        if let Some(text) = &self.text {
            return Some(fill(text).into_bytes());
        }
        if let Some(hex) = &self.hex {
            let mut bytes = unhex(hex);
            bytes.resize(bytes.len().max(self.pad), 0);
            return Some(bytes);
        }
        let fill = self.fill.as_ref()?;
        let made_up = (0..251_usize).cycle();
        let made_up = made_up.map(|place| u8::try_from((place * 7 + fill.seed) % 251).unwrap());
        let head = unhex(&fill.head).into_iter();
        Some(head.chain(made_up).take(fill.size).collect())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|place| u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).unwrap())
        .collect()
}

impl Response {
    /// The parts that differ from `got`; none for a breakdown of Glance, which has no other to match.
    pub fn differs_from(&self, got: &Self) -> Option<Vec<String>> {
        let is_breakdown = matches!(self.status, 0 | 500)
            && !self.cut
            && self.text.as_deref() != Some("no such link");
        if is_breakdown {
            return None;
        }
        let mut parts = Vec::new();
        if self.status != got.status {
            parts.push("status".to_owned());
        }
        let is_empty = self.json.is_none() && self.text.is_none() && self.data.is_none();
        let is_same = match (&self.json, &got.json) {
            (Some(one), Some(other)) => is_equal(one, other),
            (None, None) => (&self.text, &self.data) == (&got.text, &got.data),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_same {
            parts.push("body".to_owned());
        } else if self.data.is_some() {
            compare_header("content-length", self, got, &mut parts);
        }
        if !is_empty {
            compare_header("content-type", self, got, &mut parts);
        }
        for name in COMPARED {
            compare_header(name, self, got, &mut parts);
        }
        (!parts.is_empty()).then_some(parts)
    }
}

fn compare_header(name: &str, one: &Response, other: &Response, parts: &mut Vec<String>) {
    if one.headers.get(name) != other.headers.get(name) {
        parts.push(format!("header {name}"));
    }
}

/// Equal, also where a number is written with a fraction of zero.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| is_equal(value, other))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        (one, other) => one == other,
    }
}
