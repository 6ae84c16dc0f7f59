//! Who calls. Glance has tokens judged by Keystone's middleware; here whoever starts it says how:
//! not at all, by a table, or by asking a judge.

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

/// Why nobody is behind a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoIdentity {
    /// The token is not valid.
    #[error("the token is not valid")]
    Refused,
    /// Whoever judges tokens cannot say now.
    #[error("tokens cannot be judged now")]
    Unavailable,
}

/// The judgement of a token, once it is there.
pub type Judgement = BoxFuture<'static, Result<Identity, NoIdentity>>;

/// Judges the tokens of requests.
pub(super) type Judge = Box<dyn Fn(&str) -> Judgement + Send + Sync>;

/// Tokens and whom they stand for.
#[derive(Default)]
pub(super) struct Identities {
    by_token: HashMap<String, Identity>,
    judge: Option<Judge>,
}

impl Identities {
    pub(super) fn add(&mut self, token: String, identity: Identity) {
        self.by_token.insert(token, identity);
    }

    pub(super) fn ask(&mut self, judge: Judge) {
        self.judge = Some(judge);
    }

    /// The caller behind a token. Without a token that is the default member, but nobody where
    /// tokens are judged.
    pub(super) async fn find(&self, token: Option<&[u8]>) -> Result<Identity, NoIdentity> {
        let Some(token) = token else {
            return match self.judge {
                None => Ok(Identity::member(DEFAULT_PROJECT, DEFAULT_USER)),
                Some(_) => Err(NoIdentity::Refused),
            };
        };
        let token = std::str::from_utf8(token).map_err(|_| NoIdentity::Refused)?;
        match (self.by_token.get(token), &self.judge) {
            (Some(identity), _) => Ok(identity.clone()),
            (None, Some(judge)) => judge(token).await,
            (None, None) => Err(NoIdentity::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn no_token_is_the_default_member_and_not_an_admin() {
        let caller = Identities::default().find(None).await.unwrap();
        assert_eq!(caller.project, DEFAULT_PROJECT);
        assert!(caller.has_role("member") && !caller.is_admin());
    }

    #[tokio::test]
    async fn an_unknown_token_is_nobody() {
        let mut identities = Identities::default();
        identities.add("t".into(), Identity::admin("p", "u"));
        assert!(identities.find(Some(b"t")).await.unwrap().is_admin());
        for token in [&b"other"[..], b"", b"\xff"] {
            let found = identities.find(Some(token)).await;
            assert_eq!(found, Err(NoIdentity::Refused));
        }
    }

    #[tokio::test]
    async fn a_judge_has_the_last_word() {
        let mut identities = Identities::default();
        identities.ask(Box::new(|token| {
            let judgement = match token {
                "t" => Ok(Identity::member("p", "u")),
                _ => Err(NoIdentity::Unavailable),
            };
            async move { judgement }.boxed()
        }));
        assert_eq!(identities.find(Some(b"t")).await.unwrap().project, "p");
        let other = identities.find(Some(b"other")).await;
        assert_eq!(other, Err(NoIdentity::Unavailable));
        assert_eq!(identities.find(None).await, Err(NoIdentity::Refused));
    }
}
