//! `[cache]`: answers that are given again.

use super::Problem;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Settings of the answer cache.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Whether answers are kept. This version keeps none: it takes the key and says so at start.
    pub enabled: bool,
    /// How long a change made outside this process may stay unseen.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: false,
            ttl: Duration::from_secs(2),
        }
    }
}

impl Cache {
    /// What is wrong with this section.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        if self.ttl > Duration::from_secs(3600) {
            return vec![Problem::new("cache.ttl", "must be at most 1h")];
        }
        Vec::new()
    }
}
