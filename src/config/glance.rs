//! `[glance]`: the image service behind the gateway.

use super::Violation;
use super::types::range::{DAY, MILLISECOND, check, check_size};
use super::types::{duration, enum_value, size, string_list};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{EnumString, VariantNames};
use url::Url;

/// Which Glance is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, Serialize, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum GlanceMode {
    /// A Glance of its own, at `glance.endpoints` or at the image endpoint of the token's catalog.
    External,
    /// The embedded one, inside this process.
    Embedded,
}

/// Settings of the calls to Glance.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Glance {
    /// `external` or `embedded`; see [`super::Settings`] for the default.
    #[serde(deserialize_with = "enum_value::deserialize_some")]
    pub mode: Option<GlanceMode>,
    /// Base URLs of one Glance, with or without `/v2`: calls are spread over them. Links name the
    /// first.
    #[serde(deserialize_with = "string_list::deserialize")]
    pub endpoints: Vec<Url>,
    /// Images in one page; Glance returns 1000 at most.
    pub page_size: u64,
    /// Most images in a list; a longer list is a fault.
    pub max_images: u64,
    /// Longest time for one call, including the whole response.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Longest wait for a connection.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Largest response to one call, in bytes.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_answer: usize,
    /// Most memory of Glance's responses that are received or in use, in bytes; a call beyond it fails.
    #[serde(deserialize_with = "size::deserialize")]
    pub max_response_memory: usize,
    /// Most calls at a time; further ones are queued.
    pub max_in_flight: usize,
    /// Most calls in the queue; further ones fail at once.
    pub max_queue: usize,
    /// Most retries of one idempotent call; 0 for none.
    pub retries: u32,
    /// Consecutive failures that eject an endpoint, where there are others.
    pub eject_after: u32,
    /// The first ejection time; each failed probe doubles it.
    #[serde(with = "duration")]
    pub eject_for: Duration,
    /// The longest ejection time.
    #[serde(with = "duration")]
    pub eject_at_most: Duration,
}

impl Default for Glance {
    fn default() -> Self {
        Self {
            mode: None,
            endpoints: Vec::new(),
            page_size: 1000,
            max_images: 100_000,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            max_answer: 64 << 20,
            max_response_memory: 256 << 20,
            max_in_flight: 64,
            max_queue: 1024,
            retries: 2,
            eject_after: 3,
            eject_for: Duration::from_secs(5),
            eject_at_most: Duration::from_secs(60),
        }
    }
}

impl Glance {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let checks = [
            check("glance.page_size", self.page_size, 1..=1000),
            check("glance.max_images", self.max_images, 1..=10_000_000),
            check("glance.timeout", self.timeout, MILLISECOND..=DAY),
            check(
                "glance.connect_timeout",
                self.connect_timeout,
                MILLISECOND..=DAY,
            ),
            check_size("glance.max_answer", self.max_answer, 4 << 10..=1 << 30),
            check_size(
                "glance.max_response_memory",
                self.max_response_memory,
                4 << 10..=1 << 40,
            ),
            check("glance.max_in_flight", self.max_in_flight, 1..=10_000),
            check("glance.max_queue", self.max_queue, 0..=1_000_000),
            check("glance.retries", self.retries, 0..=10),
            check("glance.eject_after", self.eject_after, 1..=1000),
            check("glance.eject_for", self.eject_for, MILLISECOND..=DAY),
            check(
                "glance.eject_at_most",
                self.eject_at_most,
                MILLISECOND..=DAY,
            ),
        ];
        let mut violations: Vec<Violation> = checks.into_iter().flatten().collect();
        let mut urls = self.endpoints.iter();
        violations.extend(urls.find_map(|url| super::check_url("glance.endpoints", Some(url))));
        if self.max_response_memory < self.max_answer {
            let message = "must not be smaller than glance.max_answer";
            violations.push(Violation::new("glance.max_response_memory", message));
        }
        if self.eject_at_most < self.eject_for {
            let message = "must not be shorter than glance.eject_for";
            violations.push(Violation::new("glance.eject_at_most", message));
        }
        violations
    }
}
