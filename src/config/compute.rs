//! `[compute]`: the Nova behind the gateway.

use super::Violation;
use super::types::range::{DAY, MILLISECOND, check};
use super::types::{duration, string_list};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use url::Url;

/// Settings of the requests that are passed through to Nova.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compute {
    /// Base URLs of one Nova, with or without `/v2.1`: requests are spread over them. Without any, routes that are not
    /// the gateway's own do not exist.
    #[serde(deserialize_with = "string_list::deserialize")]
    pub endpoints: Vec<Url>,
    /// Longest wait for a connection.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time in which a transfer does not move, and longest wait for a response to begin.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Most requests at a time; further ones get a 503.
    pub max_in_flight: usize,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            max_in_flight: 256,
        }
    }
}

impl Compute {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let timeout = |key, value| check(key, value, MILLISECOND..=DAY);
        let checks = [
            timeout("compute.connect_timeout", self.connect_timeout),
            timeout("compute.idle_timeout", self.idle_timeout),
            check("compute.max_in_flight", self.max_in_flight, 1..=1_000_000),
        ];
        let mut urls = self.endpoints.iter();
        let url = urls.find_map(|url| super::check_url("compute.endpoints", Some(url)));
        checks.into_iter().flatten().chain(url).collect()
    }
}
