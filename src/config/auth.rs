//! `[auth]`
use super::Problem;
use serde::{Deserialize, Serialize};

/// Who judges a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// k
    Keystone,
    /// p
    Passthrough,
    /// n
    None,
}

/// Settings
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// mode
    pub mode: Option<AuthMode>,
    /// anon
    pub allow_anonymous: bool,
}
impl Auth {
    /// What is wrong with this section.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
}
