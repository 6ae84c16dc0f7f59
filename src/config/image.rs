//! `[image]`: the listener for clients of the image API.

use super::types::address;
use super::types::duration;
use super::types::range::{DAY, MILLISECOND, check};
use super::{OFF, Violation};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where Glance listens by itself.
const DEFAULT_PORT: u16 = 9292;

/// Settings of the image listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Image {
    /// Where it listens.
    pub listen: ImageListen,
    /// A path before every route, such as `/image`; empty for none.
    pub path_prefix: String,
    /// Longest time in which a transfer does not move, and longest wait for a response to begin.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Most uploads and downloads of image data at a time; further ones get a 503.
    pub max_transfers: usize,
}

/// An address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageListen {
    /// Not set: 127.0.0.1:9292 with the embedded Glance, else no listener.
    #[default]
    Unset,
    /// No listener.
    Off,
    /// This address; port 0 takes a free one.
    At(SocketAddr),
}

impl ImageListen {
    /// The address, where there is a listener.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Unset | Self::Off => None,
            Self::At(address) => Some(address),
        }
    }

    /// Settles a listener that is not set.
    pub(super) fn resolve(&mut self, is_embedded: bool) {
        if *self == Self::Unset {
            let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
            *self = if is_embedded {
                Self::At(default)
            } else {
                Self::Off
            };
        }
    }
}

impl<'de> Deserialize<'de> for ImageListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = address::deserialize_or_off(deserializer)?;
        Ok(address.map_or(Self::Off, Self::At))
    }
}

impl Serialize for ImageListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unset | Self::Off => OFF.serialize(serializer),
            Self::At(address) => address.serialize(serializer),
        }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self {
            listen: ImageListen::Unset,
            path_prefix: String::new(),
            idle_timeout: Duration::from_secs(60),
            max_transfers: 32,
        }
    }
}

impl Image {
    /// Everything in this section that is not allowed beside a listener for compute clients on `compute`.
    #[must_use]
    pub fn validate(&self, compute: SocketAddr) -> Vec<Violation> {
        let checks = [
            super::server::check_path_prefix("image.path_prefix", &self.path_prefix),
            check("image.idle_timeout", self.idle_timeout, MILLISECOND..=DAY),
            check("image.max_transfers", self.max_transfers, 1..=100_000),
        ];
        let is_same = |own: SocketAddr| own == compute && own.port() != 0;
        let same = self.listen.address().is_some_and(is_same).then(|| {
            let message =
                "must be another address than server.listen: the paths of both APIs overlap";
            Violation::new("image.listen", message)
        });
        checks.into_iter().flatten().chain(same).collect()
    }
}
