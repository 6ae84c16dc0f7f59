//! `[embedded]`: the Glance inside this process.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of the embedded Glance, used when `glance.mode = "embedded"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// The SQLite file that holds the images; without one they live as long as the process.
    pub database: Option<PathBuf>,
    /// Whether an empty store starts with a few sample images.
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
