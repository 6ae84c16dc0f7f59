//! `[nova]`: the API that is served.

use super::Violation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// Settings of the compute API, with Nova's names and defaults where Nova has them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nova {
    /// The highest microversion advertised and accepted, written `2.N`; this is the N.
    #[serde(deserialize_with = "minor", serialize_with = "as_version")]
    pub max_microversion: u64,
    /// Most images a list with a `next` link holds (Nova's `[api] max_limit`).
    pub max_limit: u64,
    /// Most metadata items an image may have; -1 for no limit (Nova's `[quota] metadata_items`).
    pub metadata_items: i64,
    /// Scheme, host and path that replace the request's own in links (Nova's
    /// `[api] compute_link_prefix`).
    pub compute_link_prefix: Option<Url>,
    /// The same for the alternate link, which points at Glance (Nova's `[api] glance_link_prefix`).
    pub glance_link_prefix: Option<Url>,
}

impl Default for Nova {
    fn default() -> Self {
        Self {
            max_microversion: 104,
            max_limit: 1000,
            metadata_items: 128,
            compute_link_prefix: None,
            glance_link_prefix: None,
        }
    }
}

impl Nova {
    /// What is wrong with this section.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if self.max_limit == 0 {
            violations.push(Violation::new("nova.max_limit", "must be at least 1"));
        }
        if self.metadata_items < -1 {
            violations.push(Violation::new(
                "nova.metadata_items",
                "must be -1 (no limit) or more",
            ));
        }
        for (key, prefix) in [
            ("nova.compute_link_prefix", &self.compute_link_prefix),
            ("nova.glance_link_prefix", &self.glance_link_prefix),
        ] {
            if prefix
                .as_ref()
                .is_some_and(|url| !super::is_plain_http(url))
            {
                violations.push(Violation::new(key, super::PLAIN_URL));
            }
        }
        violations
    }
}

fn minor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.strip_prefix("2.")
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0'))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not 2.1 or a later 2.N")))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_version<S: Serializer>(minor: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("2.{minor}"))
}
