//! `[glance]`: the image service behind the gateway.

use super::Violation;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;
use url::Url;

/// Which Glance answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GlanceMode {
    /// An existing Glance, at `glance.endpoints` or where the caller's catalog says.
    External,
    /// The small Glance inside this process.
    Embedded,
}

impl<'de> Deserialize<'de> for GlanceMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::enum_value::enum_value(
            deserializer,
            &[("external", Self::External), ("embedded", Self::Embedded)],
        )
    }
}

/// Settings of the calls to Glance.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Glance {
    /// `external` or `embedded`; see [`super::Settings`] for the default.
    pub mode: Option<GlanceMode>,
    /// Base URLs of one Glance, with or without `/v2`: requests are spread over them. The first
    /// one stands for all of them in links.
    #[serde(deserialize_with = "super::string_list::deserialize")]
    pub endpoints: Vec<Url>,
    /// Images asked for in one page; Glance itself gives at most 1000.
    pub page_size: u64,
    /// The longest list that is answered; a longer one gets a fault, not a cut list.
    pub max_images: u64,
    /// Longest time for one call, its whole answer included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Longest wait for a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Largest answer taken from Glance for one call, in bytes.
    pub max_answer: usize,
    /// Calls under way at once; more wait for their turn.
    pub max_in_flight: usize,
    /// Calls that wait for their turn; more fail at once.
    pub max_queue: usize,
    /// How often one call that may be repeated is sent again at most; 0 for never.
    pub retries: u32,
    /// Failures in a row after which an endpoint is left out, where there are others.
    pub eject_after: u32,
    /// How long it is left out at first; each failed trial doubles that.
    #[serde(with = "humantime_serde")]
    pub eject_for: Duration,
    /// The longest time it is left out before the next trial.
    #[serde(with = "humantime_serde")]
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
    /// What is wrong with this section.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        if !self.endpoints.iter().all(super::is_plain_http) {
            violations.push(Violation::new("glance.endpoints", super::PLAIN_URL));
        }
        if !(1..=1000).contains(&self.page_size) {
            violations.push(Violation::new("glance.page_size", "must be from 1 to 1000"));
        }
        if self.max_images == 0 {
            violations.push(Violation::new("glance.max_images", "must be at least 1"));
        }
        if self.max_answer < 4096 {
            violations.push(Violation::new(
                "glance.max_answer",
                "must be at least 4096 bytes",
            ));
        }
        for (key, value) in [
            ("glance.timeout", self.timeout),
            ("glance.connect_timeout", self.connect_timeout),
            ("glance.eject_for", self.eject_for),
        ] {
            if value.is_zero() {
                violations.push(Violation::new(key, "must be longer than zero"));
            }
        }
        violations.extend(self.merge_checks());
        violations
    }

    fn merge_checks(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (key, value, range) in [
            ("glance.max_in_flight", self.max_in_flight, 1..=10_000),
            ("glance.max_queue", self.max_queue, 0..=1_000_000),
            ("glance.retries", self.retries as usize, 0..=10),
            ("glance.eject_after", self.eject_after as usize, 1..=1000),
        ] {
            if !range.contains(&value) {
                let message = format!("must be from {} to {}", range.start(), range.end());
                violations.push(Violation::new(key, message));
            }
        }
        if self.eject_at_most < self.eject_for {
            violations.push(Violation::new(
                "glance.eject_at_most",
                "must not be shorter than glance.eject_for",
            ));
        }
        violations
    }
}
