//! `[log]`: what is written to standard error.

use super::Violation;
use serde::{Deserialize, Deserializer, Serialize};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl<'de> Deserialize<'de> for LogFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::enum_value::enum_value(deserializer, &[("text", Self::Text), ("json", Self::Json)])
    }
}

/// Settings of the log.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Whether each request gets a line when it is answered.
    pub access: bool,
    /// What is logged: a level, or targets with levels, as `tracing_subscriber` reads them.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            access: true,
            level: "info".to_owned(),
        }
    }
}

impl Log {
    /// What is wrong with this section.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        match self.level.parse::<tracing_subscriber::EnvFilter>() {
            Ok(_) => Vec::new(),
            Err(_) => vec![Violation::new(
                "log.level",
                "must be error, warn, info, debug, trace or off, or a list such as \
                 `info,hyper=debug`",
            )],
        }
    }
}
