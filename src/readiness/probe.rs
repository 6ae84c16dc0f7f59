//! The result of one probe.

use serde::Serialize;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeOutcome {
    /// As it has to be.
    Ok,
    /// Wrong, but requests can be answered: one of several endpoints is away, say.
    Warn,
    /// Requests cannot be answered.
    Fail,
}

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// The name of the probe, such as `keystone.credentials`.
    pub name: &'static str,
    /// The URL of the probe, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How it ended.
    pub outcome: ProbeOutcome,
    /// The result, in words for an operator. It holds no secret.
    pub detail: String,
    /// The advice to an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

impl Probe {
    pub(super) fn ok(name: &'static str, target: Option<String>, detail: &str) -> Self {
        Self {
            name,
            target,
            outcome: ProbeOutcome::Ok,
            detail: detail.to_owned(),
            advice: None,
        }
    }

    pub(super) fn fail(
        name: &'static str,
        target: Option<String>,
        detail: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self {
            name,
            target,
            outcome: ProbeOutcome::Fail,
            detail: detail.into(),
            advice: Some(advice),
        }
    }

    /// The failure and its reason, in one line.
    pub(super) fn reason(&self) -> String {
        let target = self.target.as_deref().unwrap_or_default();
        let space = if target.is_empty() { "" } else { " " };
        format!("{}{space}{target}: {}", self.name, self.detail)
    }
}
