//! Settings: built-in defaults, then a TOML file, then the environment.
//!
//! Everything is read and checked once, at start. A setting that cannot be used stops the program
//! with a message that names the setting, where its value came from, and what is allowed.

mod admin;
mod auth;
mod cache;
pub mod embedded;
mod enum_value;
mod glance;
mod keystone;
mod log;
mod nova;
mod server;
mod string_list;
mod violation;

pub use admin::Admin;
pub use auth::{Auth, AuthMode};
pub use cache::{Cache, CacheIsolation};
pub use embedded::Embedded;
pub use glance::{Glance, GlanceMode};
pub use keystone::{Credentials, Domain, Interface, Keystone, SecretSource};
pub use log::{Log, LogFormat};
pub use nova::Nova;
pub use server::Server;
pub use violation::Violation;

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use thiserror::Error;
use url::Url;

/// The environment's names are `NOVA_IMAGE_PROXY__SECTION__KEY`.
const PREFIX: &str = "NOVA_IMAGE_PROXY";

/// What a URL in the settings must be.
const PLAIN_URL: &str =
    "must be an http:// or https:// URL with a host, without user, password, query or fragment";

/// All settings.
///
/// Two of them have defaults that depend on others, resolved by [`load`]: with neither a Keystone
/// URL nor a Glance endpoint, `auth.mode` is `none` and `glance.mode` is `embedded`; with a Keystone
/// URL `auth.mode` is `keystone`; with either, `glance.mode` is `external`. A Glance endpoint alone
/// leaves `auth.mode` open, and that is an error: an operator who forgot a key must not get an open
/// gateway, nor sample images.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The listener for legacy clients.
    pub server: Server,
    /// The API that is served.
    pub nova: Nova,
    /// Who judges tokens.
    pub auth: Auth,
    /// The identity service.
    pub keystone: Keystone,
    /// The image service.
    pub glance: Glance,
    /// The Glance inside this process.
    pub embedded: Embedded,
    /// Answers that are given again.
    pub cache: Cache,
    /// The log.
    pub log: Log,
    /// The operator's port.
    pub admin: Admin,
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file is missing, unreadable or not TOML.
    #[error("cannot read the settings: {0}")]
    Unreadable(String),
    /// A value has the wrong type, or a name is unknown.
    #[error("{key}{source_of_value}: {message}")]
    Value {
        /// The setting's full name as far as it is known.
        key: String,
        /// Where the value came from, or nothing.
        source_of_value: ValueSource,
        /// What is wrong.
        message: String,
    },
    /// Values that are well-formed but cannot be used, or not together.
    #[error("{}", lines(.0))]
    Invalid(Vec<(Violation, ValueSource)>),
}

/// Where a setting's value came from, as a suffix for a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueSource(Option<String>);

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(origin) => write!(f, " (from {origin})"),
            None => Ok(()),
        }
    }
}

fn lines(violations: &[(Violation, ValueSource)]) -> String {
    let mut lines = violations
        .iter()
        .map(|(violation, origin)| format!("{}{origin}: {}", violation.key, violation.message));
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |all, line| all + "\n" + &line)
}

/// Loads, layers, resolves and checks the settings.
///
/// `environment` is the process's own in `main`; tests pass their own.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, LoadError> {
    let names: HashMap<String, String> = environment
        .into_iter()
        .filter(|(name, _)| name.to_uppercase().starts_with(&format!("{PREFIX}__")))
        .collect();
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(
            config::File::from(path)
                .format(config::FileFormat::Toml)
                .required(true),
        );
    }
    let source = config::Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .ignore_empty(true)
        .source(Some(names));
    let layers = builder
        .add_source(source)
        .build()
        .map_err(|error| LoadError::Unreadable(error.to_string()))?;
    let values = config::Source::collect(&layers)
        .map_err(|error| LoadError::Unreadable(error.to_string()))?;
    let origin = |key: &str| ValueSource(source_of(&values, key));
    let mut settings: Settings =
        serde_path_to_error::deserialize(layers.clone()).map_err(|error| {
            let key = error.path().to_string();
            LoadError::Value {
                source_of_value: origin(&key),
                key,
                message: plain(error.inner()),
            }
        })?;
    settings.resolve();
    let violations = settings.validate();
    if violations.is_empty() {
        return Ok(settings);
    }
    Err(LoadError::Invalid(
        violations
            .into_iter()
            .map(|violation| (violation.clone(), origin(violation.key)))
            .collect(),
    ))
}

/// Where the value of `key` (`section.name`) came from.
fn source_of(values: &config::Map<String, config::Value>, key: &str) -> Option<String> {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let value = values.get(section)?;
    let config::ValueKind::Table(table) = &value.kind else {
        return value.origin().map(str::to_owned);
    };
    table.get(name)?.origin().map(str::to_owned)
}

/// The part of a `ConfigError` that says what is wrong; key and origin are said by [`LoadError`].
fn plain(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Type {
            unexpected,
            expected,
            ..
        } => {
            format!("found {unexpected}, expected {expected}")
        }
        config::ConfigError::At { error, .. } => plain(error),
        other => other.to_string(),
    }
}

impl Settings {
    fn resolve(&mut self) {
        let alone = self.keystone.auth_url.is_none() && self.glance.endpoints.is_empty();
        if self.auth.mode.is_none() {
            self.auth.mode = if self.keystone.auth_url.is_some() {
                Some(AuthMode::Keystone)
            } else if self.glance.endpoints.is_empty() {
                Some(AuthMode::None)
            } else {
                None
            };
        }
        if self.glance.mode.is_none() {
            let embedded = alone && self.auth.mode == Some(AuthMode::None);
            self.glance.mode = Some(if embedded {
                GlanceMode::Embedded
            } else {
                GlanceMode::External
            });
        }
    }

    fn validate(&self) -> Vec<Violation> {
        let mut violations = self.server.validate();
        violations.extend(self.nova.validate());
        violations.extend(self.auth.validate());
        violations.extend(self.keystone.validate());
        violations.extend(self.glance.validate());
        violations.extend(self.cache.validate());
        violations.extend(self.log.validate());
        violations.extend(self.admin.validate(self.server.listen));
        violations.extend(self.cross_checks());
        violations
    }

    /// Rules that more than one section takes part in.
    fn cross_checks(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let embedded = self.glance.mode == Some(GlanceMode::Embedded);
        match self.auth.mode {
            None => violations.push(Violation::new(
                "auth.mode",
                "must be set when glance.endpoints is: keystone (with keystone.auth_url), passthrough \
                 or none",
            )),
            Some(AuthMode::Keystone) if self.keystone.auth_url.is_none() => violations.push(Violation::new(
                "keystone.auth_url",
                "must be set for auth.mode = keystone, such as http://keystone:5000/v3",
            )),
            Some(AuthMode::Passthrough) if embedded => violations.push(Violation::new(
                "glance.mode",
                "embedded cannot judge tokens, so it does not go with auth.mode = passthrough",
            )),
            Some(AuthMode::None)
                if !self.server.listen.ip().is_loopback() && !self.auth.allow_anonymous =>
            {
                violations.push(Violation::new(
                    "server.listen",
                    "must be a loopback address with auth.mode = none, which lets everybody in; \
                     set auth.allow_anonymous = true to mean it",
                ));
            }
            Some(AuthMode::Keystone | AuthMode::Passthrough | AuthMode::None) => {}
        }
        let unread = self.auth.mode == Some(AuthMode::Passthrough);
        if unread && self.cache.enabled && !self.cache.stale_if_error.is_zero() {
            violations.push(Violation::new(
                "cache.stale_if_error",
                "does not go with auth.mode = passthrough: while Glance fails nobody could tell \
                 whether the token is still good",
            ));
        }
        if embedded && !cfg!(feature = "embedded") {
            violations.push(Violation::new(
                "glance.mode",
                "this build has no embedded Glance (cargo feature `embedded`); name a Keystone or a \
                 Glance in keystone.auth_url or glance.endpoints",
            ));
        }
        if embedded && !self.glance.endpoints.is_empty() {
            violations.push(Violation::new(
                "glance.endpoints",
                "must be empty with glance.mode = embedded",
            ));
        }
        let catalog = self.auth.mode == Some(AuthMode::Keystone);
        if !embedded && self.glance.endpoints.is_empty() && !catalog && self.auth.mode.is_some() {
            violations.push(Violation::new(
                "glance.endpoints",
                "must name a Glance, such as http://glance:9292 (only auth.mode = keystone can \
                 take it from the token's catalog)",
            ));
        }
        violations
    }
}

/// Writes that a secret is set, never the secret.
#[expect(clippy::ref_option, reason = "serde calls it so")]
fn masked<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "***").serialize(serializer)
}

/// Whether `url` is what [`PLAIN_URL`] says.
fn is_plain_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests;
