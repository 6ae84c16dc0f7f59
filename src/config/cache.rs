//! `[cache]`: the response cache.

use super::Violation;
use super::types::range::{DAY, HOUR, check, check_size};
use super::types::{duration, enum_value, size};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{EnumString, VariantNames};

/// Which callers share cached responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, Serialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum CacheIsolation {
    /// All callers with the same roles in the same project.
    #[default]
    Project,
    /// The same user only, for clouds whose Glance policies depend on users.
    User,
}

/// Settings of the response cache.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether responses are cached.
    pub enabled: bool,
    /// Memory for responses and their keys, in bytes.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_bytes: u64,
    /// How long a change made outside this process may stay unseen.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// Which callers share cached responses.
    #[serde(deserialize_with = "enum_value::deserialize")]
    pub isolation: CacheIsolation,
    /// How long beyond `ttl` a response is served while Glance fails; zero for never.
    #[serde(with = "duration")]
    pub stale_if_error: Duration,
    /// Responses with an image in a transitional status that was updated within this time live one
    /// second at most.
    #[serde(with = "duration")]
    pub transitional_window: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            max_bytes: 256 << 20,
            ttl: Duration::from_secs(2),
            isolation: CacheIsolation::Project,
            stale_if_error: Duration::ZERO,
            transitional_window: HOUR,
        }
    }
}

impl Cache {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let zero = Duration::ZERO;
        let checks = [
            // Less could hold no list of any size.
            check_size("cache.max_bytes", self.max_bytes, 1 << 20..=1 << 40),
            check("cache.ttl", self.ttl, zero..=HOUR),
            check("cache.stale_if_error", self.stale_if_error, zero..=DAY),
            check(
                "cache.transitional_window",
                self.transitional_window,
                zero..=DAY,
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}
