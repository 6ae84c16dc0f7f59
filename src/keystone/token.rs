//! A validated token: Keystone's description of the caller.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use url::Url;

use super::access_rules::AccessRules;
use super::catalog::NoImageEndpoint;

/// The kind of a token's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// A project.
    Project,
    /// A domain.
    Domain,
    /// The whole system.
    System,
    /// No scope; such a token only identifies the user.
    Unscoped,
}

/// A user in a project with roles: everything that Glance's policies depend on.
///
/// Only tokens with a project have one, and only validation makes one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub(super) user_id: String,
    pub(super) project_id: String,
    pub(super) project_domain_id: String,
    /// Sorted, each once.
    pub(super) roles: Box<[String]>,
    pub(super) is_admin_project: bool,
}

impl Identity {
    /// The user's id.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The project's id.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The id of the project's domain.
    #[must_use]
    pub fn project_domain_id(&self) -> &str {
        &self.project_domain_id
    }

    /// The names of the roles, sorted, each once.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the project is the cloud's administrative one; true where Keystone does not say, as
    /// other services take it.
    #[must_use]
    pub fn is_admin_project(&self) -> bool {
        self.is_admin_project
    }

    /// How much memory the identity takes, in bytes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let ids = self.user_id.len() + self.project_id.len() + self.project_domain_id.len();
        size_of::<Self>() + ids + roles_bytes(&self.roles)
    }
}

fn roles_bytes(roles: &[String]) -> usize {
    let names: usize = roles.iter().map(String::len).sum();
    names + size_of_val(roles)
}

/// The scope of a token, with its ids and roles.
#[derive(Debug)]
pub(super) enum TokenScope {
    Project(Arc<Identity>),
    Other {
        kind: ScopeKind,
        user_id: String,
        roles: Box<[String]>,
    },
}

/// A token that Keystone has accepted. It does not hold the token itself.
#[derive(Debug)]
pub struct Token {
    pub(super) expires_at: DateTime<Utc>,
    pub(super) scope: TokenScope,
    pub(super) access_rules: Option<AccessRules>,
    pub(super) image_endpoint: Result<Url, NoImageEndpoint>,
}

impl Token {
    /// When the token expires.
    #[must_use]
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// Whether the token has expired; it has from the very second of its expiry on.
    #[must_use]
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        now >= self.expires_at
    }

    /// The kind of the token's scope.
    #[must_use]
    pub fn scope_kind(&self) -> ScopeKind {
        match &self.scope {
            TokenScope::Project(_) => ScopeKind::Project,
            TokenScope::Other { kind, .. } => *kind,
        }
    }

    /// The user in a project; `None` for a token without a project.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        match &self.scope {
            TokenScope::Project(identity) => Some(identity),
            TokenScope::Other { .. } => None,
        }
    }

    /// The project's id; `None` for a token without a project.
    #[must_use]
    pub fn project_id(&self) -> Option<&str> {
        self.identity().map(|identity| identity.project_id())
    }

    /// The user's id.
    #[must_use]
    pub fn user_id(&self) -> &str {
        match &self.scope {
            TokenScope::Project(identity) => identity.user_id(),
            TokenScope::Other { user_id, .. } => user_id,
        }
    }

    /// The names of the roles, sorted, each once.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        match &self.scope {
            TokenScope::Project(identity) => identity.roles(),
            TokenScope::Other { roles, .. } => roles,
        }
    }

    /// Whether the token has one of `roles`. Case counts.
    #[must_use]
    pub fn has_any_role(&self, roles: &[String]) -> bool {
        self.roles().iter().any(|role| roles.contains(role))
    }

    /// Whether the token belongs to an application credential that access rules limit.
    #[must_use]
    pub fn has_access_rules(&self) -> bool {
        self.access_rules.is_some()
    }

    /// Whether the access rules of the token's application credential, if it has any, allow a
    /// request to the service of this type. `path` is the raw path, without the query.
    #[must_use]
    pub fn allows(&self, service_type: &str, method: &str, path: &str) -> bool {
        self.access_rules
            .as_ref()
            .is_none_or(|rules| rules.allow(service_type, method, path))
    }

    /// Glance's endpoint in the token's own catalog, without a version.
    ///
    /// # Errors
    /// When the catalog has none.
    pub fn image_endpoint(&self) -> Result<&Url, NoImageEndpoint> {
        self.image_endpoint.as_ref().map_err(|reason| *reason)
    }

    /// How much memory the token takes, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        let scope = match &self.scope {
            TokenScope::Project(identity) => identity.bytes(),
            TokenScope::Other { user_id, roles, .. } => user_id.len() + roles_bytes(roles),
        };
        let rules = self.access_rules.as_ref().map_or(0, AccessRules::bytes);
        let endpoint = self
            .image_endpoint
            .as_ref()
            .map_or(0, |url| url.as_str().len());
        size_of::<Self>() + scope + rules + endpoint
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keystone::testing;

    /// The weight of a token with these roles, and that of its identity.
    fn weight(project: &serde_json::Value, roles: &[&str]) -> (usize, usize) {
        let roles: Vec<_> = roles.iter().map(|name| json!({"name": name})).collect();
        let token = testing::token(json!({"project": project, "roles": roles}));
        let identity = token.identity().map_or(0, |identity| identity.bytes());
        (token.bytes(), identity)
    }

    #[test]
    fn a_token_weighs_its_roles_and_ids() {
        let more = 2 * size_of::<String>() + "member".len() + "reader".len();
        let project = json!({"id": "p1", "domain": {"id": "d1"}});
        let (none, none_of_it) = weight(&project, &[]);
        let (two, two_of_it) = weight(&project, &["member", "reader"]);
        assert_eq!((two - none, two_of_it - none_of_it), (more, more));
        let longer = json!({"id": "p1234", "domain": {"id": "d12"}});
        assert_eq!(weight(&longer, &[]).0 - none, 3 + 1);
        let (none, _) = weight(&json!(null), &[]);
        let (two, _) = weight(&json!(null), &["member", "reader"]);
        assert_eq!(two - none, more);
    }

    #[test]
    fn a_token_weighs_itself_its_rules_and_its_endpoint() {
        let own = size_of::<Token>();
        let plain = testing::token(json!({}));
        let identity = plain.identity().map_or(0, |identity| identity.bytes());
        assert_eq!(plain.bytes(), own + identity);
        let rules = json!([{"service": "compute", "method": "GET", "path": "/v2.1/images"}]);
        let limited = testing::token(json!({"application_credential": {"access_rules": rules}}));
        let rules = limited.access_rules.as_ref().map_or(0, AccessRules::bytes);
        assert!(rules > 0);
        assert_eq!(limited.bytes(), own + identity + rules);
        let catalog = json!([{"type": "image", "endpoints": [
            {"interface": "public", "url": "http://glance:9292", "region_id": "r"},
        ]}]);
        let found = testing::token(json!({"catalog": catalog}));
        let url = found.image_endpoint().map_or(0, |url| url.as_str().len());
        assert!(url > 0);
        assert_eq!(found.bytes(), own + identity + url);
        let unscoped = testing::token(json!({"project": null, "roles": []}));
        assert_eq!(unscoped.bytes(), own + "u1".len());
    }

    #[test]
    fn a_token_with_access_rules_is_limited() {
        let limited = json!({"application_credential": {"access_rules": []}});
        assert!(testing::token(limited).has_access_rules());
        assert!(!testing::token(json!({})).has_access_rules());
    }
}
