//! `[admin]`: the operator's port.

use super::Violation;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::{Ipv4Addr, SocketAddr};

/// The word for no listener at all.
const OFF: &str = "off";

/// Settings of the admin listener.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port of health checks and metrics; none when `off`.
    #[serde(deserialize_with = "listen", serialize_with = "word")]
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
    /// What is wrong with this section, next to clients on `clients`.
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

fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == OFF {
        return Ok(None);
    }
    let message = "must be an address and port, such as 127.0.0.1:18774, or off";
    let address = text.parse().map_err(|_| D::Error::custom(message))?;
    Ok(Some(address))
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn word<S: Serializer>(listen: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match listen {
        Some(address) => address.serialize(serializer),
        None => OFF.serialize(serializer),
    }
}
