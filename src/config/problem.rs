//! What is wrong with one setting.

use std::fmt;

/// A setting whose value is not allowed.
///
/// Sections collect all of theirs, so that an operator sees every mistake at the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The full name of the setting, such as `keystone.timeout`.
    pub key: &'static str,
    /// What is allowed. Never holds the value: it may be a secret.
    pub message: String,
}

impl Problem {
    /// A problem with `key`; `message` says what is allowed.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
