//! What the embedded Glance can be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Settings of an embedded Glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Whether another free port is taken when that of `listen` is not free.
    pub any_port_if_taken: bool,
    /// The SQLite file that holds the images. None keeps them in memory, for the life of the process.
    pub database: Option<PathBuf>,
    /// The folder for the data of images. None is a folder beside the database, named after it with
    /// `.data` behind, or a temporary one where the database is in memory.
    pub data_dir: Option<PathBuf>,
    /// Whether an upload is refused when its data is not in the image's disk format, or unsafe.
    pub inspect_formats: bool,
    /// The address of the identity service that a caller without a token is sent to, without `/v3`.
    pub www_authenticate_uri: Option<String>,
    /// Whether an empty store starts with a few believable images.
    pub sample_images: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            any_port_if_taken: false,
            database: None,
            data_dir: None,
            inspect_formats: true,
            www_authenticate_uri: None,
            sample_images: true,
        }
    }
}
