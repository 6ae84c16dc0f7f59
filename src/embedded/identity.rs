//! Who calls. There is no Keystone here, so identities are a table given at start.

use std::collections::HashMap;

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

/// Tokens and whom they stand for.
#[derive(Default)]
pub(super) struct Identities {
    by_token: HashMap<String, Identity>,
}

impl Identities {
    pub(super) fn add(&mut self, token: String, identity: Identity) {
        self.by_token.insert(token, identity);
    }

    /// The caller behind a token; none sent means the default member, an unknown one nobody.
    pub(super) fn find(&self, token: Option<&[u8]>) -> Option<Identity> {
        let Some(token) = token else {
            return Some(Identity::member(DEFAULT_PROJECT, DEFAULT_USER));
        };
        self.by_token.get(std::str::from_utf8(token).ok()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_the_default_member_and_not_an_admin() {
        let caller = Identities::default().find(None).unwrap();
        assert_eq!(caller.project, DEFAULT_PROJECT);
        assert!(caller.has_role("member") && !caller.is_admin());
    }

    #[test]
    fn an_unknown_token_is_nobody() {
        let mut identities = Identities::default();
        identities.add("t".into(), Identity::admin("p", "u"));
        assert!(identities.find(Some(b"t")).unwrap().is_admin());
        assert_eq!(identities.find(Some(b"other")), None);
        assert_eq!(identities.find(Some(b"")), None);
    }
}
