//! The credentials that tokens are validated with, and the sources of their secrets.

use super::{Keystone, Violation};
use secrecy::SecretString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const MAX_SECRET_FILE_BYTES: u64 = 64 << 10;
/// The domain that every cloud has, and that clients assume.
const DEFAULT_DOMAIN: &str = "Default";

/// Where a secret is found.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// In the settings themselves.
    Inline(SecretString),
    /// In a file of its own.
    File(PathBuf),
}

impl SecretSource {
    /// The secret. A line break at the end of a file is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, is not UTF-8 or is longer than 64 KiB.
    pub fn read(&self) -> io::Result<SecretString> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let mut text = String::new();
                let file = File::open(path)?.take(MAX_SECRET_FILE_BYTES + 1);
                BufReader::new(file).read_to_string(&mut text)?;
                if text.len() as u64 > MAX_SECRET_FILE_BYTES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let secret = text.trim_end_matches(['\n', '\r']);
                if secret.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
                }
                Ok(SecretString::from(secret))
            }
        }
    }
}

/// A domain by its id or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// The gateway's own credentials.
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
    /// An application credential, which implies its user and project.
    ApplicationCredential {
        /// Its id.
        id: String,
        /// Its secret.
        secret: SecretSource,
    },
}

impl Keystone {
    /// The credentials to validate tokens with; `None` lets every token validate itself.
    ///
    /// An incomplete set is `None` as well: [`Keystone::validate`] names what is missing.
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

    /// A violation by the setting that names a file from which no secret can be read.
    #[must_use]
    pub fn unreadable_secret(&self) -> Option<Violation> {
        let (key, source) = match self.credentials()? {
            Credentials::Password { password, .. } => ("keystone.password_file", password),
            Credentials::ApplicationCredential { secret, .. } => {
                ("keystone.application_credential_secret_file", secret)
            }
        };
        let error = source.read().err()?;
        let message = format!("must be a file with a secret: {error}");
        Some(Violation::new(key, message))
    }

    /// Everything in the keys of the credentials that is not allowed.
    pub(super) fn validate_credentials(&self) -> Vec<Violation> {
        let of_user = self.username.is_some()
            || self.project_name.is_some()
            || self.password.is_some()
            || self.password_file.is_some();
        let of_application = self.application_credential_id.is_some()
            || self.application_credential_secret.is_some()
            || self.application_credential_secret_file.is_some();
        let mut violations = self.validate_domains();
        if of_user && of_application {
            violations.push(Violation::new(
                "keystone.application_credential_id",
                "must not be set beside a user: the gateway has one set of credentials",
            ));
        } else if of_user {
            violations.extend(check_given("keystone.username", self.username.as_ref()));
            violations.extend(check_given(
                "keystone.project_name",
                self.project_name.as_ref(),
            ));
            violations.extend(check_secret(
                "keystone.password",
                self.password.as_ref(),
                self.password_file.as_deref(),
            ));
        } else if of_application {
            violations.extend(check_given(
                "keystone.application_credential_id",
                self.application_credential_id.as_ref(),
            ));
            violations.extend(check_secret(
                "keystone.application_credential_secret",
                self.application_credential_secret.as_ref(),
                self.application_credential_secret_file.as_deref(),
            ));
        }
        violations
    }

    fn validate_domains(&self) -> Vec<Violation> {
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
        let twice = domains
            .into_iter()
            .filter(|(_, id, name)| id.is_some() && name.is_some());
        twice
            .map(|(key, ..)| Violation::new(key, "must not be set beside the domain's name"))
            .collect()
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

fn check_secret(
    key: &'static str,
    inline: Option<&SecretString>,
    file: Option<&Path>,
) -> Option<Violation> {
    let message = match (inline, file) {
        (Some(_), Some(_)) => "must not be set beside the file that holds it",
        (None, None) => {
            "must be set with the other credentials, here or in a file (the same name with `_file`)"
        }
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(Violation::new(key, message))
}

fn check_given(key: &'static str, value: Option<&String>) -> Option<Violation> {
    let is_missing = value.is_none_or(String::is_empty);
    is_missing.then(|| Violation::new(key, "must be set with the other credentials"))
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
    fn a_user_needs_a_password_and_a_project() {
        assert_eq!(
            keys(&read(json!({"username": "gateway"}))),
            ["keystone.project_name", "keystone.password"]
        );
        assert_eq!(
            keys(&read(json!({"password": "x"}))),
            ["keystone.username", "keystone.project_name"]
        );
    }

    #[test]
    fn a_secret_is_given_once() {
        let settings = read(json!({
            "username": "gateway", "project_name": "service",
            "password": "x", "password_file": "/run/secret",
        }));
        assert_eq!(keys(&settings), ["keystone.password"]);
    }

    #[test]
    fn two_kinds_of_credentials_are_one_too_many() {
        let settings = read(json!({
            "username": "gateway", "project_name": "service", "password": "x",
            "application_credential_id": "y", "application_credential_secret": "z",
        }));
        assert_eq!(keys(&settings), ["keystone.application_credential_id"]);
    }

    #[test]
    fn a_domain_is_named_once_and_is_default_when_it_is_not() {
        let settings = read(json!({
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

        let twice = read(json!({"user_domain_id": "a", "user_domain_name": "A"}));
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
        let settings = read(json!({
            "password": "hunter2", "application_credential_secret": "hunter2",
        }));
        assert!(!format!("{settings:?} {:?}", settings.validate()).contains("hunter2"));
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!(written["password"], "***");
        assert_eq!(written["application_credential_secret"], "***");
        let credentials = read(json!({
            "username": "u", "project_name": "p", "password": "hunter2",
        }))
        .credentials();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
