//! `[admin]`: the operator's port.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Settings of the admin listener.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port of `/healthcheck`; none when unset.
    pub listen: Option<SocketAddr>,
}
