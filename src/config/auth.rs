//! `[auth]`: how requests are authenticated, and how long a validated token is remembered.

use super::Violation;
use super::types::range::{HOUR, check};
use super::types::{duration, enum_value};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{EnumString, VariantNames};

/// How a request is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, Serialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AuthMode {
    /// Keystone validates every token.
    Keystone,
    /// Glance alone judges the token; the gateway passes it on unread.
    Passthrough,
    /// No token is needed.
    None,
}

/// Settings of authentication.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How requests are authenticated; see [`super::Settings`] for the default.
    #[serde(deserialize_with = "enum_value::deserialize_some")]
    pub mode: Option<AuthMode>,
    /// Lets `mode = "none"` listen on an address that other machines can reach.
    pub allow_anonymous: bool,
    /// How long a validated token is remembered, and how long a revoked one can stay good. Zero
    /// validates every time.
    #[serde(with = "duration")]
    pub token_cache_time: Duration,
    /// How many validated tokens are remembered.
    pub token_cache_entries: u64,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: None,
            allow_anonymous: false,
            token_cache_time: Duration::from_secs(60),
            token_cache_entries: 10_000,
        }
    }
}

impl Auth {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let checks = [
            // A revoked token must not stay good for longer.
            check(
                "auth.token_cache_time",
                self.token_cache_time,
                Duration::ZERO..=HOUR,
            ),
            // Each takes a few hundred bytes at least.
            check(
                "auth.token_cache_entries",
                self.token_cache_entries,
                1..=1_000_000,
            ),
        ];
        checks.into_iter().flatten().collect()
    }
}
