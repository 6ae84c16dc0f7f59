//! Authentication of callers. The program that starts the embedded Glance chooses how: not at all, by
//! a table of tokens, or by a validator such as Keystone.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use thiserror::Error;

/// The project of a caller that sends no token.
pub const DEFAULT_PROJECT: &str = "e3bedded000000000000000000000001";
/// The user of a caller that sends no token.
pub const DEFAULT_USER: &str = "e3bedded0000000000000000000000a1";

/// A caller, as Keystone would describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The project the call is scoped to.
    pub project: String,
    /// The user's id.
    pub user: String,
    /// Role names, in lower case.
    pub roles: Vec<String>,
}

impl Identity {
    /// A user with the roles that Keystone's `member` implies.
    #[must_use]
    pub fn member(project: &str, user: &str) -> Self {
        let roles = vec!["member".to_owned(), "reader".to_owned()];
        Self {
            project: project.to_owned(),
            user: user.to_owned(),
            roles,
        }
    }

    /// A user with the roles that Keystone's `admin` implies.
    #[must_use]
    pub fn admin(project: &str, user: &str) -> Self {
        let mut identity = Self::member(project, user);
        identity.roles.push("admin".to_owned());
        identity
    }

    /// Reads `PROJECT:USER:ROLE[,ROLE]`, the token by which a caller names itself where nothing
    /// validates tokens. A role brings those that Keystone's default roles imply; there may be none.
    #[must_use]
    pub fn parse(token: &str) -> Option<Self> {
        let mut parts = token.splitn(3, ':');
        let (project, user, roles) = (parts.next()?, parts.next()?, parts.next()?);
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= 255
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        // A token without a project is an unscoped one.
        let is_scoped = is_name(project) || (project.is_empty() && roles.is_empty());
        if !is_scoped || !is_name(user) || roles.contains(':') {
            return None;
        }
        let mut all: Vec<String> = Vec::new();
        for role in roles
            .split(',')
            .map(str::trim)
            .filter(|role| !role.is_empty())
        {
            let role = role.to_lowercase();
            let implied: &[&str] = match role.as_str() {
                "admin" => &["member", "reader"],
                "member" => &["reader"],
                _ => &[],
            };
            for role in std::iter::once(role.as_str()).chain(implied.iter().copied()) {
                if !all.iter().any(|own| own == role) {
                    all.push(role.to_owned());
                }
            }
        }
        Some(Self {
            project: project.to_owned(),
            user: user.to_owned(),
            roles: all,
        })
    }

    pub(super) fn is_admin(&self) -> bool {
        self.has_role("admin")
    }

    pub(super) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    /// The project of this caller owns the thing.
    pub(super) fn owns(&self, owner: Option<&str>) -> bool {
        owner == Some(self.project.as_str())
    }
}

/// Why a token could not be resolved to an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthenticationError {
    /// The token is not valid.
    #[error("the token is not valid")]
    InvalidToken,
    /// The validator cannot be reached now.
    #[error("tokens cannot be validated now")]
    Unavailable,
}

/// The future result of a token validation.
pub type Authentication = BoxFuture<'static, Result<Identity, AuthenticationError>>;

/// Validates the tokens of requests.
pub(super) type Validator = Box<dyn Fn(&str) -> Authentication + Send + Sync>;

/// Resolves tokens to identities.
#[derive(Default)]
pub(super) struct Authenticator {
    by_token: HashMap<String, Identity>,
    validator: Option<Validator>,
}

impl Authenticator {
    pub(super) fn add(&mut self, token: String, identity: Identity) {
        self.by_token.insert(token, identity);
    }

    /// Whether callers name themselves.
    pub(super) fn is_open(&self) -> bool {
        self.validator.is_none()
    }

    pub(super) fn validate_with(&mut self, validator: Validator) {
        self.validator = Some(validator);
    }

    /// The caller of a token. Where no validator is set, a caller without a token is an admin of the
    /// default project, and a token may name another caller; see [`Identity::parse`].
    pub(super) async fn authenticate(
        &self,
        token: Option<&[u8]>,
    ) -> Result<Identity, AuthenticationError> {
        let Some(token) = token else {
            return match self.validator {
                None => Ok(Identity::admin(DEFAULT_PROJECT, DEFAULT_USER)),
                Some(_) => Err(AuthenticationError::InvalidToken),
            };
        };
        let token = std::str::from_utf8(token).map_err(|_| AuthenticationError::InvalidToken)?;
        match (self.by_token.get(token), &self.validator) {
            (Some(identity), _) => Ok(identity.clone()),
            (None, Some(validator)) => validator(token).await,
            (None, None) => Identity::parse(token).ok_or(AuthenticationError::InvalidToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn no_token_is_an_admin_of_the_default_project() {
        let caller = Authenticator::default().authenticate(None).await.unwrap();
        assert_eq!(caller.project, DEFAULT_PROJECT);
        assert!(caller.is_admin());
    }

    #[test]
    fn a_token_may_name_its_caller() {
        let caller = Identity::parse("p:u:Admin").unwrap();
        assert_eq!((caller.project.as_str(), caller.user.as_str()), ("p", "u"));
        assert_eq!(caller.roles, ["admin", "member", "reader"]);
        assert_eq!(Identity::parse("p:u:reader").unwrap().roles, ["reader"]);
        assert_eq!(
            Identity::parse("p:u:x,member").unwrap().roles,
            ["x", "member", "reader"]
        );
        let unscoped = Identity::parse(":u:").unwrap();
        assert!(unscoped.project.is_empty() && unscoped.roles.is_empty());
        for token in [
            "",
            "p",
            "p:u",
            "::",
            ":u:admin",
            "p::admin",
            "p:u:a:b",
            "p q:u:admin",
        ] {
            assert_eq!(Identity::parse(token), None, "{token}");
        }
    }

    #[tokio::test]
    async fn an_unknown_token_is_nobody() {
        let mut authenticator = Authenticator::default();
        authenticator.add("t".into(), Identity::admin("p", "u"));
        assert!(
            authenticator
                .authenticate(Some(b"t"))
                .await
                .unwrap()
                .is_admin()
        );
        for token in [&b"other"[..], b"", b"\xff"] {
            let found = authenticator.authenticate(Some(token)).await;
            assert_eq!(found, Err(AuthenticationError::InvalidToken));
        }
    }

    #[tokio::test]
    async fn the_validator_has_the_last_word() {
        let mut authenticator = Authenticator::default();
        authenticator.validate_with(Box::new(|token| {
            let result = match token {
                "t" => Ok(Identity::member("p", "u")),
                _ => Err(AuthenticationError::Unavailable),
            };
            async move { result }.boxed()
        }));
        assert_eq!(
            authenticator
                .authenticate(Some(b"t"))
                .await
                .unwrap()
                .project,
            "p"
        );
        let other = authenticator.authenticate(Some(b"other")).await;
        assert_eq!(other, Err(AuthenticationError::Unavailable));
        assert_eq!(
            authenticator.authenticate(None).await,
            Err(AuthenticationError::InvalidToken)
        );
    }
}
