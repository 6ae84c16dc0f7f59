//! `auth.*`: who may use the gateway, and how long an answer of Keystone counts.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::Violation;

/// Beyond this a revoked token would stay good for longer than anyone expects.
const LONGEST_TOKEN_CACHE_TIME: Duration = Duration::from_secs(3600);
/// Every entry costs a few hundred bytes at least.
const MOST_TOKEN_CACHE_ENTRIES: u64 = 1_000_000;

/// How a request proves who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Every token is validated with Keystone.
    Keystone,
    /// Glance alone judges the token; the gateway hands it on unread.
    Passthrough,
    /// No token is asked for.
    None,
}

impl<'de> Deserialize<'de> for AuthMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = [
            ("keystone", Self::Keystone),
            ("passthrough", Self::Passthrough),
            ("none", Self::None),
        ];
        super::enum_value::enum_value(deserializer, &words)
    }
}

/// The `auth` section.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How requests are authenticated; when absent, the rest of the configuration decides.
    pub mode: Option<AuthMode>,
    /// Confirms that `mode = "none"` is meant on an address that others can reach.
    pub allow_anonymous: bool,
    /// How long Keystone's answer for a token is believed, which is also how long a revoked token
    /// can stay good. Zero asks Keystone every time.
    #[serde(with = "humantime_serde")]
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
        let mut violations = Vec::new();
        if self.token_cache_time > LONGEST_TOKEN_CACHE_TIME {
            violations.push(Violation::new(
                "auth.token_cache_time",
                "must be at most 1h",
            ));
        }
        if !(1..=MOST_TOKEN_CACHE_ENTRIES).contains(&self.token_cache_entries) {
            violations.push(Violation::new(
                "auth.token_cache_entries",
                format!("must be between 1 and {MOST_TOKEN_CACHE_ENTRIES}"),
            ));
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(auth: &Auth) -> Vec<&'static str> {
        auth.validate()
            .into_iter()
            .map(|violation| violation.key)
            .collect()
    }

    #[test]
    fn the_defaults_are_allowed() {
        assert!(Auth::default().validate().is_empty());
    }

    #[test]
    fn every_value_out_of_bounds_is_named() {
        let auth = Auth {
            token_cache_time: Duration::from_secs(3601),
            token_cache_entries: 0,
            ..Auth::default()
        };
        assert_eq!(
            keys(&auth),
            ["auth.token_cache_time", "auth.token_cache_entries"]
        );
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let refused = serde_json::from_str::<Auth>(r#"{"tokenttl": "1s"}"#);
        assert!(refused.unwrap_err().to_string().contains("tokenttl"));
    }

    #[test]
    fn modes_and_durations_are_read_as_operators_write_them() {
        let auth: Auth =
            serde_json::from_str(r#"{"mode": "passthrough", "token_cache_time": "2m 5s"}"#)
                .unwrap();
        assert_eq!(auth.mode, Some(AuthMode::Passthrough));
        assert_eq!(auth.token_cache_time, Duration::from_secs(125));
    }
}
