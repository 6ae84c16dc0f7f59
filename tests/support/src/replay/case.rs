//! The recorded cases, as the fixture holds them.

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One recorded request and Nova's answer to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub request: Sent,
    answer: Normal,
    /// What was changed of the usual image that is made for this case alone.
    pub fresh_image: Option<Map<String, Value>>,
    /// That image in Glance after the request.
    glance_after: Option<Value>,
}

/// A request; `{img}`, `{pid:NAME}` and `{base}` in its path stand for what the replay has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub method: String,
    pub path: String,
    /// Whose token it carries; none at all without a user.
    pub user: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    body: Option<String>,
    body_hex: Option<String>,
}

/// An answer in which ids, times, hosts and request ids are placeholders.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// 0 when the connection ended without an answer.
    pub status: u16,
    /// Lower-case names, sorted; those of the connection itself are left out.
    pub headers: Vec<(String, String)>,
    /// JSON where it parses as that, the text otherwise.
    pub body: Value,
}

/// An answer and what it left behind in Glance.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub answer: Normal,
    pub glance_after: Option<Value>,
}

impl Sent {
    pub fn body(&self) -> Option<Vec<u8>> {
        let hex = self.body_hex.as_deref().map(|hex| {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        });
        hex.or_else(|| self.body.as_deref().map(|body| body.as_bytes().to_vec()))
    }

    /// The parts of the path that follow `images`, if there is such a part.
    fn below_images(&self) -> Option<Vec<&str>> {
        let path = self.path.split('?').next()?;
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.by_ref().find(|part| *part == "images")?;
        Some(parts.collect())
    }
}

impl Case {
    pub fn recorded(&self) -> Recorded {
        Recorded {
            answer: self.answer.clone(),
            glance_after: self.glance_after.clone(),
        }
    }

    /// Whether this is one of the operations that change an image, successful or not.
    pub fn is_write(&self) -> bool {
        let below = self.request.below_images();
        matches!(
            (self.request.method.as_str(), below.as_deref()),
            ("DELETE", Some([_] | [_, "metadata", _]))
                | ("POST" | "PUT", Some([_, "metadata"]))
                | ("PUT", Some([_, "metadata", _]))
        )
    }

    /// Whether an image is made for it in Glance itself, of which a cached list knows nothing.
    pub fn makes_images_behind_a_list(&self) -> bool {
        let below = self.request.below_images();
        self.fresh_image.is_some() && matches!(below.as_deref(), Some([] | ["detail"]))
    }
}

/// All recorded cases, in the order they were recorded.
pub fn cases() -> Vec<Case> {
    let packed: &[u8] = include_bytes!("../../../fixtures/nova_reference.jsonl.gz");
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
