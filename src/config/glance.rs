//! `[glance]`: the image service behind the gateway.

use super::Problem;
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
        super::words::one_of(
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
    /// Base URLs of Glance, with or without `/v2`. This version asks the first one only.
    #[serde(deserialize_with = "super::list::deserialize")]
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
        }
    }
}

impl Glance {
    /// What is wrong with this section.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.endpoints.iter().all(super::is_plain_http) {
            problems.push(Problem::new("glance.endpoints", super::PLAIN_HTTP));
        }
        if !(1..=1000).contains(&self.page_size) {
            problems.push(Problem::new("glance.page_size", "must be from 1 to 1000"));
        }
        if self.max_images == 0 {
            problems.push(Problem::new("glance.max_images", "must be at least 1"));
        }
        if self.max_answer < 4096 {
            problems.push(Problem::new(
                "glance.max_answer",
                "must be at least 4096 bytes",
            ));
        }
        for (key, value) in [
            ("glance.timeout", self.timeout),
            ("glance.connect_timeout", self.connect_timeout),
        ] {
            if value.is_zero() {
                problems.push(Problem::new(key, "must be longer than zero"));
            }
        }
        problems
    }
}
