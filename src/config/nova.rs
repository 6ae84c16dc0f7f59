//! `[nova]`: the compute API's image routes, with Nova's names and defaults where Nova has them.

use super::Violation;
use super::types::range::check;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use url::Url;

/// The largest integer of Nova's own settings.
const MAX_INTEGER: u64 = i32::MAX as u64;

/// Settings of the compute API.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nova {
    /// The highest microversion advertised and accepted, written `2.N`; this is the N. Absent: the one of the Nova
    /// behind the gateway, or 2.104.
    #[serde(
        deserialize_with = "deserialize_minor",
        serialize_with = "serialize_minor"
    )]
    pub max_microversion: Option<u64>,
    /// Most images in a list with a `next` link (Nova's `[api] max_limit`).
    pub max_limit: u64,
    /// Most metadata items of an image; -1 for no limit (Nova's `[quota] metadata_items`).
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
            max_microversion: None,
            max_limit: 1000,
            metadata_items: 128,
            compute_link_prefix: None,
            glance_link_prefix: None,
        }
    }
}

impl Nova {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let link_prefix = |key, url: &Option<Url>| super::check_url(key, url.as_ref());
        let checks = [
            check("nova.max_limit", self.max_limit, 1..=MAX_INTEGER),
            check(
                "nova.metadata_items",
                self.metadata_items,
                -1..=i64::from(i32::MAX),
            ),
            link_prefix("nova.compute_link_prefix", &self.compute_link_prefix),
            link_prefix("nova.glance_link_prefix", &self.glance_link_prefix),
        ];
        checks.into_iter().flatten().collect()
    }
}

fn deserialize_minor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(MicroversionVisitor).map(Some)
}

/// Takes text only: as a number, 2.90 would be 2.9.
struct MicroversionVisitor;

impl Visitor<'_> for MicroversionVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text such as \"2.90\" (a number would lose its last zero)")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        text.strip_prefix("2.")
            .filter(|minor| (1..=4).contains(&minor.len()) && !minor.starts_with('0'))
            .filter(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|minor| minor.parse().ok())
            .ok_or_else(|| E::custom(format!("`{text}` is not 2.1 or a later 2.N, such as 2.90")))
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn serialize_minor<S: Serializer>(minor: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match minor {
        Some(minor) => serializer.collect_str(&format_args!("2.{minor}")),
        None => serializer.serialize_none(),
    }
}
