//! `[nova]`: the API that is served.

use super::Problem;
use crate::nova::microversion::Version;
use serde::{Deserialize, Serialize};
use url::Url;

/// Settings of the compute API, with Nova's names and defaults where Nova has them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nova {
    /// The highest microversion advertised and accepted.
    pub max_microversion: Version,
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
            max_microversion: Version::new(2, 104),
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
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.max_microversion < Version::MIN || self.max_microversion.major() != 2 {
            problems.push(Problem::new(
                "nova.max_microversion",
                "must be 2.1 or a later 2.N",
            ));
        }
        if self.max_limit == 0 {
            problems.push(Problem::new("nova.max_limit", "must be at least 1"));
        }
        if self.metadata_items < -1 {
            problems.push(Problem::new(
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
                problems.push(Problem::new(key, super::PLAIN_HTTP));
            }
        }
        problems
    }
}
