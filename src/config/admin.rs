//! `[admin]`: the admin listener.

use super::types::address;
use super::{OFF, Violation};
use serde::{Deserialize, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};

/// Settings of the admin listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port of health checks and metrics; none when `off`.
    #[serde(
        deserialize_with = "address::deserialize_or_off",
        serialize_with = "or_off"
    )]
    pub listen: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 18774))),
        }
    }
}

impl Admin {
    /// Everything in this section that is not allowed beside a listener for clients on `clients`.
    #[must_use]
    pub fn validate(&self, clients: SocketAddr) -> Vec<Violation> {
        let same = |own: SocketAddr| own == clients && own.port() != 0;
        if self.listen.is_some_and(same) {
            let message = "must be another address than server.listen";
            return vec![Violation::new("admin.listen", message)];
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
