//! `[keystone]`: the identity service.

use super::Violation;
use super::types::range::check;
use super::types::{duration, enum_value, string_list};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use strum::{EnumString, IntoStaticStr, VariantNames};
use url::Url;

const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// The interfaces of an endpoint in a service catalog. `publicURL` and its like, as catalogs of the
/// Identity API v2 spelled them, mean the same; keystoneauth accepts both.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, EnumString, IntoStaticStr, Serialize, VariantNames,
)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// For all clients.
    #[default]
    #[strum(to_string = "public", serialize = "publicURL")]
    Public,
    /// For the cloud's own services.
    #[strum(to_string = "internal", serialize = "internalURL")]
    Internal,
    /// For administrators.
    #[strum(to_string = "admin", serialize = "adminURL")]
    Admin,
}

impl Interface {
    /// The interface's name in a service catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Settings of token validation and of the service catalog.
///
/// Without credentials a token validates itself. With a user's password, or with an application
/// credential, the gateway validates tokens with a token of its own.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keystone {
    /// Keystone as the gateway reaches it, with or without `/v3`.
    pub auth_url: Option<Url>,
    /// Keystone as clients reach it, named in every 401; `auth_url` when absent.
    pub www_authenticate_uri: Option<Url>,
    /// Longest time for one validation, including the authentication of the gateway itself.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The region whose image endpoint is taken from a catalog; any when absent.
    pub region_name: Option<String>,
    /// The interface of the image endpoint that is taken from a catalog.
    #[serde(deserialize_with = "enum_value::deserialize")]
    pub interface: Interface,
    /// Roles that make a token good as a service token; one of them suffices.
    #[serde(deserialize_with = "string_list::deserialize")]
    pub service_token_roles: Vec<String>,
    /// The user to authenticate as.
    pub username: Option<String>,
    /// The user's password.
    #[serde(serialize_with = "super::masked")]
    pub password: Option<SecretString>,
    /// A file that holds the user's password; it is read at every authentication.
    pub password_file: Option<PathBuf>,
    /// The name of the user's domain; `Default` when neither name nor id is given.
    pub user_domain_name: Option<String>,
    /// The id of the user's domain.
    pub user_domain_id: Option<String>,
    /// The project to authenticate for.
    pub project_name: Option<String>,
    /// The name of the project's domain; `Default` when neither name nor id is given.
    pub project_domain_name: Option<String>,
    /// The id of the project's domain.
    pub project_domain_id: Option<String>,
    /// The id of the application credential to authenticate with.
    pub application_credential_id: Option<String>,
    /// The application credential's secret.
    #[serde(serialize_with = "super::masked")]
    pub application_credential_secret: Option<SecretString>,
    /// A file that holds the application credential's secret; read at every authentication.
    pub application_credential_secret_file: Option<PathBuf>,
}

impl Default for Keystone {
    fn default() -> Self {
        Self {
            auth_url: None,
            www_authenticate_uri: None,
            timeout: Duration::from_secs(5),
            region_name: None,
            interface: Interface::Public,
            service_token_roles: vec!["service".to_owned()],
            username: None,
            password: None,
            password_file: None,
            user_domain_name: None,
            user_domain_id: None,
            project_name: None,
            project_domain_name: None,
            project_domain_id: None,
            application_credential_id: None,
            application_credential_secret: None,
            application_credential_secret_file: None,
        }
    }
}

impl Keystone {
    /// The URI that a 401 names in `WWW-Authenticate`: `www_authenticate_uri`, or else `auth_url`.
    #[must_use]
    pub fn authenticate_uri(&self) -> Option<&str> {
        let url = self
            .www_authenticate_uri
            .as_ref()
            .or(self.auth_url.as_ref())?;
        Some(url.as_str().trim_end_matches('/'))
    }

    /// Everything in this section that is not allowed, but for the contents of secret files
    /// ([`Keystone::unreadable_secret`]).
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let www_authenticate_uri = self.www_authenticate_uri.as_ref();
        let checks = [
            super::check_url("keystone.auth_url", self.auth_url.as_ref()),
            super::check_url("keystone.www_authenticate_uri", www_authenticate_uri),
            check("keystone.timeout", self.timeout, MIN_TIMEOUT..=MAX_TIMEOUT),
        ];
        let mut violations: Vec<Violation> = checks.into_iter().flatten().collect();
        violations.extend(self.validate_credentials());
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: serde_json::Value) -> Keystone {
        serde_json::from_value(json).unwrap()
    }

    fn keys(settings: &Keystone) -> Vec<&'static str> {
        let violations = settings.validate();
        violations.iter().map(|violation| violation.key).collect()
    }

    #[test]
    fn the_defaults_are_allowed_and_have_no_credentials() {
        let settings = Keystone::default();
        assert_eq!(keys(&settings), [""; 0]);
        assert!(settings.credentials().is_none());
    }

    #[test]
    fn urls_with_secrets_or_leftovers_are_refused_without_repeating_them() {
        for url in [
            "http://user:hunter2@k/v3",
            "http://user@k/v3",
            "ftp://k/v3",
            "unix:/run/keystone",
            "http://k/v3?x=1",
            "http://k/v3#x",
        ] {
            let settings = read(json!({"auth_url": url, "www_authenticate_uri": url}));
            assert_eq!(
                keys(&settings),
                ["keystone.auth_url", "keystone.www_authenticate_uri"],
                "{url}"
            );
            assert!(!format!("{:?}", settings.validate()).contains("hunter2"));
        }
    }

    #[test]
    fn an_interface_has_two_spellings_and_one_name() {
        for word in ["internal", "internalURL"] {
            let interface = read(json!({"interface": word})).interface;
            assert_eq!(
                (interface, interface.as_str()),
                (Interface::Internal, "internal")
            );
        }
        let error = serde_json::from_value::<Keystone>(json!({"interface": "InternalURL"}));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("is not one of public, internal, admin"),
            "{error}"
        );
    }

    #[test]
    fn a_401_names_the_public_url_or_else_the_url() {
        let private = json!({"auth_url": "http://k:5000/"});
        assert_eq!(read(private).authenticate_uri(), Some("http://k:5000"));
        let both =
            json!({"auth_url": "http://k", "www_authenticate_uri": "https://public/identity/v3"});
        assert_eq!(
            read(both).authenticate_uri(),
            Some("https://public/identity/v3")
        );
        assert_eq!(Keystone::default().authenticate_uri(), None);
    }
}
