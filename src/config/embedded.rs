//! `[embedded]`: the Glance that the gateway carries for runs without a cloud.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the embedded Glance; they count only when `glance.mode = "embedded"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// The SQLite file that holds the images. None keeps them in memory, for the life of the process.
    pub database: Option<PathBuf>,
    /// Whether an empty store starts with a few believable images.
    pub sample_images: bool,
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            database: None,
            sample_images: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keys_mean_memory_and_sample_images() {
        let section: Embedded = serde_json::from_str("{}").unwrap();
        assert_eq!(
            section,
            Embedded {
                database: None,
                sample_images: true
            }
        );
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<Embedded>(r#"{"databse": "x"}"#).is_err());
    }
}
