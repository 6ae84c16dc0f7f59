//! `[embedded]`: the Glance inside this process, and `[identity]`: the identity service beside it.

use super::types::address;
use super::{OFF, Violation};
use serde::{Deserialize, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Settings of the embedded Glance, used when `glance.mode = "embedded"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// The SQLite file that holds the images; without one they live as long as the process.
    pub database: Option<PathBuf>,
    /// The folder for the data of images. Without one it is `DATABASE.data` beside the database, or a
    /// temporary folder.
    pub data_dir: Option<PathBuf>,
    /// Whether an empty store starts with a few sample images.
    pub sample_images: bool,
    /// Whether an upload is refused when its data is not in the image's disk format, or unsafe.
    pub inspect_formats: bool,
    /// Whether `POST /reset` on the admin listener empties the store.
    pub reset: bool,
    /// Whether the identity service of `[identity]` runs; without a value, when its port is free.
    /// It runs with `auth.mode = none` only.
    pub identity: Option<bool>,
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            database: None,
            data_dir: None,
            sample_images: true,
            inspect_formats: true,
            reset: false,
            identity: None,
        }
    }
}

/// Settings of the identity service beside the embedded Glance.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Its address and port, on loopback; none when `off`.
    #[serde(
        deserialize_with = "address::deserialize_or_off",
        serialize_with = "or_off"
    )]
    pub listen: Option<SocketAddr>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 5000))),
        }
    }
}

impl Identity {
    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let is_remote = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
        if self.listen.is_some_and(is_remote) {
            let message = "must be a loopback address, or off: the identity service takes any \
                           password";
            return vec![Violation::new("identity.listen", message)];
        }
        Vec::new()
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn or_off<S: Serializer>(listen: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match listen {
        Some(address) => address.serialize(serializer),
        None => OFF.serialize(serializer),
    }
}
