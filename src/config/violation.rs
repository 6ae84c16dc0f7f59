//! One mistake in the settings.

use std::fmt;

/// A setting that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The setting's full name, such as `server.listen`.
    pub key: &'static str,
    /// What is allowed; never a secret's value.
    pub message: String,
}

impl Violation {
    /// A violation by the setting `key`.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
