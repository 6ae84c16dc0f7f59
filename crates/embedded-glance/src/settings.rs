//! What the embedded Glance can be told.

use std::path::PathBuf;

/// Settings of an embedded Glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The SQLite file that holds the images. None keeps them in memory, for the life of the process.
    pub database: Option<PathBuf>,
    /// Whether an empty store starts with a few believable images.
    pub sample_images: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: None,
            sample_images: true,
        }
    }
}
