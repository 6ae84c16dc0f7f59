//! A build without the feature `embedded`. No value of these types exists: the settings are refused
//! before the gateway could start an embedded Glance.

use std::net::SocketAddr;
use url::Url;

use crate::config::Settings;
use crate::http::auth::AuthBackend;
use crate::upstream::runtime::Spawner;

/// A running embedded Glance, which this build cannot have.
pub enum EmbeddedGlance {}

/// Why the embedded Glance does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program was built without it.
    #[error("this build has no embedded Glance (cargo feature `embedded`)")]
    NotBuilt,
}

/// A running identity service, which this build cannot have.
pub enum Identity {}

impl Identity {
    /// Stops at once.
    #[expect(clippy::unused_async, reason = "the signature of the real one")]
    pub async fn stop(self) {
        match self {}
    }
}

/// No token does.
#[must_use]
pub fn names_caller(_: &str) -> bool {
    false
}

/// There is no Glance that it could go with.
pub fn start_identity(
    _: &Settings,
    glance: &EmbeddedGlance,
    _: Option<&str>,
    _: SocketAddr,
) -> Result<Option<Identity>, StartError> {
    match *glance {}
}

/// Empties a running Glance, of which there is none.
#[derive(Clone, Copy)]
pub struct Resetter;

/// The store could not be emptied.
#[derive(Debug, thiserror::Error)]
#[error("the embedded Glance could not be emptied")]
pub struct ResetError;

impl Resetter {
    /// Always fails.
    #[expect(clippy::unused_self, reason = "the signature of the real one")]
    pub fn reset(self) -> Result<(), ResetError> {
        Err(ResetError)
    }
}

/// Always fails.
pub fn start(_: &Settings, _: &AuthBackend, _: &Spawner) -> Result<EmbeddedGlance, StartError> {
    Err(StartError::NotBuilt)
}

impl EmbeddedGlance {
    /// The address without the version.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        match *self {}
    }

    /// The id of a sample image that every caller can see.
    #[must_use]
    pub fn sample_image(&self) -> Option<&str> {
        match *self {}
    }

    /// For emptying this one.
    #[must_use]
    pub fn resetter(&self) -> Resetter {
        match *self {}
    }

    /// Waits for the end.
    #[expect(clippy::unused_async, reason = "the signature of the real one")]
    pub async fn stop(self, _graceful: bool) {
        match self {}
    }
}
