//! `[cache]`: answers that are given again.

use super::Violation;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Who shares cached answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheIsolation {
    /// Everybody who has the same roles in the same project.
    #[default]
    Project,
    /// Only the same user, for clouds whose Glance policies look at users.
    User,
}

impl<'de> Deserialize<'de> for CacheIsolation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::enum_value::enum_value(
            deserializer,
            &[("project", Self::Project), ("user", Self::User)],
        )
    }
}

/// Settings of the answer cache.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether answers are kept.
    pub enabled: bool,
    /// Memory for answers and their keys, in bytes.
    pub max_bytes: u64,
    /// How long a change made outside this process may stay unseen.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// `project` or `user`.
    pub isolation: CacheIsolation,
    /// How long beyond `ttl` an answer is still given while Glance fails; zero for never.
    #[serde(with = "humantime_serde")]
    pub stale_if_error: Duration,
    /// An image that is still coming into being and was updated within this time makes its answers
    /// live one second at most.
    #[serde(with = "humantime_serde")]
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
            transitional_window: Duration::from_secs(3600),
        }
    }
}

/// Longest life of an answer, fresh or stale.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Below this no list of any size could be kept.
const LEAST_BYTES: u64 = 1 << 20;

impl Cache {
    /// What is wrong with this section.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if self.ttl > Duration::from_secs(3600) {
            violations.push(Violation::new("cache.ttl", "must be at most 1h"));
        }
        if self.stale_if_error > LONGEST {
            violations.push(Violation::new(
                "cache.stale_if_error",
                "must be at most 1day",
            ));
        }
        if self.transitional_window > LONGEST {
            let key = "cache.transitional_window";
            violations.push(Violation::new(key, "must be at most 1day"));
        }
        if self.max_bytes < LEAST_BYTES {
            violations.push(Violation::new(
                "cache.max_bytes",
                "must be at least 1048576",
            ));
        }
        violations
    }
}
