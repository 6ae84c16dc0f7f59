//! `keystone.*`: where Keystone is and with whose rights tokens are validated.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::Violation;

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const LARGEST_SECRET_FILE: u64 = 64 << 10;
/// The domain every cloud has, and the one clients assume.
const DEFAULT_DOMAIN: &str = "Default";

/// Which of an endpoint's interfaces is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// For everybody.
    #[default]
    Public,
    /// For the cloud's own services.
    Internal,
    /// For administrators.
    Admin,
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = [
            ("public", Self::Public),
            ("internal", Self::Internal),
            ("admin", Self::Admin),
            // As catalogs of the Identity API v2 spelled them; keystoneauth accepts both.
            ("publicURL", Self::Public),
            ("internalURL", Self::Internal),
            ("adminURL", Self::Admin),
        ];
        super::enum_value::enum_value(deserializer, &words)
    }
}

impl Interface {
    /// The interface's name in a service catalog.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

/// The `keystone` section.
///
/// Without credentials a token validates itself. With a user's password, or with an application
/// credential, the gateway validates tokens under its own name.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keystone {
    /// Keystone as the gateway reaches it, with or without `/v3`.
    pub auth_url: Option<Url>,
    /// Keystone as clients reach it, named to them in a 401. `auth_url` when absent.
    pub www_authenticate_uri: Option<Url>,
    /// How long one validation may take, authentication of the gateway itself included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The region whose image endpoint is taken from a catalog; any when absent.
    pub region_name: Option<String>,
    /// The interface that is taken from a catalog.
    pub interface: Interface,
    /// Roles one of which makes a token good as a service token.
    #[serde(deserialize_with = "super::string_list::deserialize")]
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

/// Where a secret is found.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// In the configuration itself.
    Inline(SecretString),
    /// In a file of its own.
    File(PathBuf),
}

impl SecretSource {
    /// The secret. A line break at the end of a file is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, is not UTF-8 or is larger than any secret.
    pub fn read(&self) -> io::Result<SecretString> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let mut text = String::new();
                let file = File::open(path)?.take(LARGEST_SECRET_FILE + 1);
                BufReader::new(file).read_to_string(&mut text)?;
                if text.len() as u64 > LARGEST_SECRET_FILE {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let secret = text.trim_end_matches(['\n', '\r']);
                if secret.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(SecretString::from(secret))
            }
        }
    }
}

/// A domain by whichever of its two names the operator gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// Under whose name tokens are validated.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A user of a project.
    Password {
        /// The user's name.
        username: String,
        /// The user's domain.
        user_domain: Domain,
        /// The user's password.
        password: SecretSource,
        /// The project's name.
        project_name: String,
        /// The project's domain.
        project_domain: Domain,
    },
    /// An application credential, which knows its user and project by itself.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: SecretSource,
    },
}

impl Keystone {
    /// The URI a 401 names in `WWW-Authenticate`: `www_authenticate_uri`, or else `auth_url`.
    #[must_use]
    pub fn authenticate_uri(&self) -> Option<&str> {
        let url = self
            .www_authenticate_uri
            .as_ref()
            .or(self.auth_url.as_ref())?;
        Some(url.as_str().trim_end_matches('/'))
    }

    /// The credentials to validate tokens with; `None` lets every token validate itself.
    ///
    /// An incomplete set is `None` as well: [`Keystone::violations`] names what is missing.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        if let Some(id) = &self.application_credential_id {
            let secret = secret_source(
                self.application_credential_secret.as_ref(),
                self.application_credential_secret_file.as_deref(),
            )?;
            return Some(Credentials::ApplicationCredential {
                id: id.clone(),
                secret,
            });
        }
        Some(Credentials::Password {
            username: self.username.clone()?,
            user_domain: domain(self.user_domain_id.as_ref(), self.user_domain_name.as_ref()),
            password: secret_source(self.password.as_ref(), self.password_file.as_deref())?,
            project_name: self.project_name.clone()?,
            project_domain: domain(
                self.project_domain_id.as_ref(),
                self.project_domain_name.as_ref(),
            ),
        })
    }

    /// The setting that names a file from which no secret can be read.
    #[must_use]
    pub fn unreadable_secret(&self) -> Option<Violation> {
        let (key, source) = match self.credentials()? {
            Credentials::Password { password, .. } => ("keystone.password_file", password),
            Credentials::ApplicationCredential { secret, .. } => {
                ("keystone.application_credential_secret_file", secret)
            }
        };
        let error = source.read().err()?;
        Some(Violation::new(
            key,
            format!("must be a file with a secret: {error}"),
        ))
    }

    /// Everything in this section that is not allowed.
    #[must_use]
    pub fn validate(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        violations.extend(
            self.auth_url
                .as_ref()
                .and_then(|url| url_violation("keystone.auth_url", url)),
        );
        violations.extend(
            self.www_authenticate_uri
                .as_ref()
                .and_then(|url| url_violation("keystone.www_authenticate_uri", url)),
        );
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&self.timeout) {
            violations.push(Violation::new(
                "keystone.timeout",
                "must be between 10ms and 1m",
            ));
        }
        if self.service_token_roles.iter().any(String::is_empty) {
            violations.push(Violation::new(
                "keystone.service_token_roles",
                "must be a list of role names, none of them empty",
            ));
        }
        self.domain_problems(&mut violations);
        self.credential_problems(&mut violations);
        violations
    }

    fn domain_problems(&self, violations: &mut Vec<Violation>) {
        let domains = [
            (
                "keystone.user_domain_id",
                &self.user_domain_id,
                &self.user_domain_name,
            ),
            (
                "keystone.project_domain_id",
                &self.project_domain_id,
                &self.project_domain_name,
            ),
        ];
        for (key, id, name) in domains {
            if id.is_some() && name.is_some() {
                violations.push(Violation::new(
                    key,
                    "give the domain's id or its name, not both",
                ));
            }
        }
    }

    fn credential_problems(&self, violations: &mut Vec<Violation>) {
        let of_user = self.username.is_some()
            || self.project_name.is_some()
            || self.password.is_some()
            || self.password_file.is_some();
        let of_application = self.application_credential_id.is_some()
            || self.application_credential_secret.is_some()
            || self.application_credential_secret_file.is_some();
        if of_user && of_application {
            violations.push(Violation::new(
                "keystone.application_credential_id",
                "give an application credential or a user with a password, not both",
            ));
            return;
        }
        if of_user {
            require(violations, "keystone.username", self.username.as_ref());
            require(
                violations,
                "keystone.project_name",
                self.project_name.as_ref(),
            );
            violations.extend(secret_problem(
                "keystone.password",
                self.password.as_ref(),
                self.password_file.as_deref(),
            ));
        }
        if of_application {
            require(
                violations,
                "keystone.application_credential_id",
                self.application_credential_id.as_ref(),
            );
            violations.extend(secret_problem(
                "keystone.application_credential_secret",
                self.application_credential_secret.as_ref(),
                self.application_credential_secret_file.as_deref(),
            ));
        }
    }
}

fn domain(id: Option<&String>, name: Option<&String>) -> Domain {
    match (id, name) {
        (Some(id), _) => Domain::Id(id.clone()),
        (None, Some(name)) => Domain::Name(name.clone()),
        (None, None) => Domain::Name(DEFAULT_DOMAIN.to_owned()),
    }
}

fn secret_source(inline: Option<&SecretString>, file: Option<&Path>) -> Option<SecretSource> {
    match (inline, file) {
        (Some(secret), _) => Some(SecretSource::Inline(secret.clone())),
        (None, Some(path)) => Some(SecretSource::File(path.to_owned())),
        (None, None) => None,
    }
}

fn secret_problem(
    key: &'static str,
    inline: Option<&SecretString>,
    file: Option<&Path>,
) -> Option<Violation> {
    match (inline, file) {
        (Some(_), Some(_)) => Some(Violation::new(
            key,
            "give the secret itself or the file that holds it, not both",
        )),
        (None, None) => Some(Violation::new(
            key,
            "is needed with the other credentials, here or in a file (the same name with `_file`)",
        )),
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn require(violations: &mut Vec<Violation>, key: &'static str, value: Option<&String>) {
    if value.is_none_or(String::is_empty) {
        violations.push(Violation::new(key, "is needed with the other credentials"));
    }
}

fn url_violation(key: &'static str, url: &Url) -> Option<Violation> {
    (!super::is_plain_http(url)).then(|| Violation::new(key, super::PLAIN_URL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Keystone {
        serde_json::from_value(json).unwrap()
    }

    fn keys(settings: &Keystone) -> Vec<&'static str> {
        settings
            .validate()
            .into_iter()
            .map(|violation| violation.key)
            .collect()
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
            let settings = read(serde_json::json!({"auth_url": url, "www_authenticate_uri": url}));
            assert_eq!(
                keys(&settings),
                ["keystone.auth_url", "keystone.www_authenticate_uri"],
                "{url}"
            );
            assert!(!format!("{:?}", settings.validate()).contains("hunter2"));
        }
    }

    #[test]
    fn a_401_names_the_public_url_or_else_the_url() {
        let private = serde_json::json!({"auth_url": "http://k:5000/"});
        assert_eq!(read(private).authenticate_uri(), Some("http://k:5000"));
        let both = serde_json::json!({"auth_url": "http://k", "www_authenticate_uri": "https://public/identity/v3"});
        assert_eq!(
            read(both).authenticate_uri(),
            Some("https://public/identity/v3")
        );
        assert_eq!(Keystone::default().authenticate_uri(), None);
    }

    #[test]
    fn a_user_needs_a_password_and_a_project() {
        assert_eq!(
            keys(&read(serde_json::json!({"username": "gateway"}))),
            ["keystone.project_name", "keystone.password"]
        );
        assert_eq!(
            keys(&read(serde_json::json!({"password": "x"}))),
            ["keystone.username", "keystone.project_name"]
        );
    }

    #[test]
    fn a_secret_is_given_once() {
        let settings = read(serde_json::json!({
            "username": "gateway", "project_name": "service",
            "password": "x", "password_file": "/run/secret",
        }));
        assert_eq!(keys(&settings), ["keystone.password"]);
    }

    #[test]
    fn two_kinds_of_credentials_are_one_too_many() {
        let settings = read(serde_json::json!({
            "username": "gateway", "project_name": "service", "password": "x",
            "application_credential_id": "y", "application_credential_secret": "z",
        }));
        assert_eq!(keys(&settings), ["keystone.application_credential_id"]);
    }

    #[test]
    fn a_domain_is_named_once_and_is_default_when_it_is_not() {
        let settings = read(serde_json::json!({
            "username": "gateway", "project_name": "service", "password": "x",
            "user_domain_id": "abc",
        }));
        let Some(Credentials::Password {
            user_domain,
            project_domain,
            ..
        }) = settings.credentials()
        else {
            panic!("no password credentials in {settings:?}");
        };
        assert_eq!(user_domain, Domain::Id("abc".to_owned()));
        assert_eq!(project_domain, Domain::Name("Default".to_owned()));

        let twice = read(serde_json::json!({"user_domain_id": "a", "user_domain_name": "A"}));
        assert_eq!(keys(&twice), ["keystone.user_domain_id"]);
    }

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_break() {
        use secrecy::ExposeSecret;
        use std::io::Write;

        let mut file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::File(file.path().to_owned());
        assert_eq!(
            source.read().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        file.write_all(b" hunter2 \r\n").unwrap();
        assert_eq!(source.read().unwrap().expose_secret(), " hunter2 ");
        file.write_all("x".repeat(64 << 10).as_bytes()).unwrap();
        assert_eq!(
            source.read().unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        let missing = SecretSource::File(file.path().join("missing"));
        assert!(missing.read().is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = read(serde_json::json!({
            "password": "hunter2", "application_credential_secret": "hunter2",
        }));
        assert!(!format!("{settings:?} {:?}", settings.validate()).contains("hunter2"));
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["password"], "***");
        assert_eq!(written["application_credential_secret"], "***");
        let credentials = read(serde_json::json!({
            "username": "u", "project_name": "p", "password": "hunter2",
        }))
        .credentials();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
