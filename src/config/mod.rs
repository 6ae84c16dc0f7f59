//! Settings: built-in defaults, then TOML files, then the environment.
//!
//! Everything is read and checked once, at start. A setting that cannot be used stops the program
//! with a message that names the setting, the source of its value, and what is allowed.

mod admin;
mod auth;
mod cache;
mod compute;
mod credentials;
pub mod embedded;
mod environment;
mod glance;
mod image;
mod keystone;
mod load;
mod log;
mod nova;
mod server;
mod types;
mod validate;
mod violation;

pub use admin::Admin;
pub use auth::{Auth, AuthMode};
pub use cache::{Cache, CacheIsolation};
pub use compute::Compute;
pub use credentials::{Credentials, Domain, SecretSource};
pub use embedded::{Embedded, Identity};
pub use environment::{FILE_VARIABLE, from_process, ignored_variables};
pub use glance::{Glance, GlanceMode};
pub use image::{Image, ImageListen};
pub use keystone::{Interface, Keystone};
pub use load::{LoadError, ValueSource, load};
pub use log::{Log, LogFormat};
pub use nova::Nova;
pub use server::Server;
pub use violation::Violation;

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// The value for no listener at all.
const OFF: &str = "off";

/// All settings.
///
/// Two of them have defaults that depend on others, resolved by [`load`]. `auth.mode` is `keystone`
/// with `keystone.auth_url`. `glance.mode` is `external` with `keystone.auth_url` or
/// `glance.endpoints`. Without any settings file, and with nothing of `[auth]`, `[keystone]`, `[glance]`
/// and `[compute]` in the environment, they are `none` and `embedded`: sample images to try. In all other
/// cases a mode that is not set is an error, so that a forgotten key never opens the gateway.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The listener for clients.
    pub server: Server,
    /// The compute API's image routes.
    pub nova: Nova,
    /// The compute service that other routes are passed through to.
    pub compute: Compute,
    /// Authentication of requests.
    pub auth: Auth,
    /// The identity service.
    pub keystone: Keystone,
    /// The image service.
    pub glance: Glance,
    /// The listener for clients of the image API.
    pub image: Image,
    /// The Glance inside this process.
    pub embedded: Embedded,
    /// The identity service beside the embedded Glance.
    pub identity: Identity,
    /// The response cache.
    pub cache: Cache,
    /// The log.
    pub log: Log,
    /// The admin listener.
    pub admin: Admin,
}

/// Writes that a secret is set, never the secret.
#[expect(clippy::ref_option, reason = "serde calls it so")]
fn masked<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "***").serialize(serializer)
}

/// A violation when `url` is not one that a path can be appended to. The message does not repeat the
/// URL, which may hold a password.
fn check_url(key: &'static str, url: Option<&Url>) -> Option<Violation> {
    let is_base = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let message = "must be an http:// or https:// URL with a host, without user, password, query or \
                   fragment";
    url.is_some_and(|url| !is_base(url))
        .then(|| Violation::new(key, message))
}

#[cfg(test)]
mod tests;
