//! Isolation: which callers share cached responses.
//!
//! A scope is the first part of every cache key. Two requests share responses only if their scopes
//! are equal, so equality and hash here keep one project's images from another project.
//!
//! Scopes are compared by their parts and not by a digest of them: equality is exact without an
//! argument about hashes, there is no encoding to get wrong, and it costs a few short comparisons.
//! A scope is made from a validated token, from the keyed digest of a token that only Glance judges,
//! or for a gateway without authentication; scopes of the three kinds are never equal.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::outcome::NoCacheReason;
use crate::config::CacheIsolation;
use crate::keystone::{Identity, Token, TokenDigest};

/// The callers that share a cached response.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IsolationScope(Kind);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    Project(SameProject),
    User(SameUser),
    Token(TokenDigest),
    Anonymous,
}

impl IsolationScope {
    /// The scope of a validated token, or why responses to it are never cached.
    pub fn of(token: &Token, isolation: CacheIsolation) -> Result<Self, NoCacheReason> {
        // Glance decides on such a token by more than its project and roles, so the response must not
        // depend on what the cache holds.
        if token.has_access_rules() {
            return Err(NoCacheReason::AccessRules);
        }
        let identity = token.identity().ok_or(NoCacheReason::TokenWithoutProject)?;
        let identity = Arc::clone(identity);
        Ok(Self(match isolation {
            CacheIsolation::Project => Kind::Project(SameProject(identity)),
            CacheIsolation::User => Kind::User(SameUser(identity)),
        }))
    }

    /// The scope of a token that only Glance judges: equal for the same token alone.
    #[must_use]
    pub fn for_opaque_token(digest: TokenDigest) -> Self {
        Self(Kind::Token(digest))
    }

    /// The only scope of a gateway without authentication.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Kind::Anonymous)
    }

    /// The digest of a token that only Glance judges; `None` for every other scope.
    #[must_use]
    pub fn opaque_token(&self) -> Option<TokenDigest> {
        match &self.0 {
            Kind::Token(digest) => Some(*digest),
            Kind::Project(_) | Kind::User(_) | Kind::Anonymous => None,
        }
    }

    /// The memory that the scope keeps alive, roughly, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let behind = match &self.0 {
            Kind::Project(SameProject(identity)) | Kind::User(SameUser(identity)) => {
                identity.bytes()
            }
            Kind::Token(_) | Kind::Anonymous => 0,
        };
        size_of::<Self>() + behind
    }
}

impl fmt::Debug for IsolationScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Project(SameProject(identity)) => return write_project(f, "project", identity),
            Kind::User(SameUser(identity)) => return write_project(f, "user in project", identity),
            Kind::Token(_) => "token",
            Kind::Anonymous => "anonymous",
        };
        write!(f, "IsolationScope({kind})")
    }
}

fn write_project(f: &mut fmt::Formatter<'_>, kind: &str, identity: &Identity) -> fmt::Result {
    write!(f, "IsolationScope({kind} {})", identity.project_id())
}

/// Equal when everything but the user is.
#[derive(Clone)]
struct SameProject(Arc<Identity>);

impl SameProject {
    fn parts(&self) -> (&str, &str, &[String], bool) {
        let identity = &*self.0;
        (
            identity.project_id(),
            identity.project_domain_id(),
            identity.roles(),
            identity.is_admin_project(),
        )
    }
}

impl PartialEq for SameProject {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.parts() == other.parts()
    }
}

impl Eq for SameProject {}

impl Hash for SameProject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// Equal when everything is, the user too.
#[derive(Clone)]
struct SameUser(Arc<Identity>);

impl PartialEq for SameUser {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for SameUser {}

impl Hash for SameUser {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::keystone::DigestKey;
    use crate::keystone::testing;

    /// The deciding values, in plain form.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Parts {
        user: String,
        project: String,
        domain: String,
        roles: Vec<String>,
        admin_project: Option<bool>,
    }

    impl Parts {
        fn token(&self) -> Token {
            let roles: Vec<_> = self
                .roles
                .iter()
                .map(|name| json!({"name": name}))
                .collect();
            testing::token(json!({
                "user": {"id": self.user},
                "project": {"id": self.project, "domain": {"id": self.domain}},
                "roles": roles,
                "is_admin_project": self.admin_project,
            }))
        }

        fn scope(&self, isolation: CacheIsolation) -> IsolationScope {
            IsolationScope::of(&self.token(), isolation).unwrap()
        }

        fn without_user(&self) -> (&str, &str, BTreeSet<&String>, bool) {
            let roles = self.roles.iter().collect();
            let admin_project = self.admin_project.unwrap_or(true);
            (&self.project, &self.domain, roles, admin_project)
        }
    }

    /// Few letters, so that equal parts and parts that only look equal when joined are common.
    fn parts() -> impl Strategy<Value = Parts> {
        let id = || "[ab,]{1,2}";
        let roles = prop::collection::vec(id(), 0..4);
        (id(), id(), id(), roles, any::<Option<bool>>()).prop_map(
            |(user, project, domain, roles, admin_project)| Parts {
                user,
                project,
                domain,
                roles,
                admin_project,
            },
        )
    }

    /// Distinct in a set is distinct by equality and hash together, as in the cache.
    fn alike(one: &IsolationScope, other: &IsolationScope) -> bool {
        let count = HashSet::from([one.clone(), other.clone()]).len();
        assert_eq!(count == 1, one == other);
        count == 1
    }

    proptest! {
        #[test]
        fn a_project_scope_is_shared_exactly_with_the_same_rights_in_the_same_project(
            one in parts(),
            other in parts(),
        ) {
            prop_assert_eq!(
                alike(&one.scope(CacheIsolation::Project), &other.scope(CacheIsolation::Project)),
                one.without_user() == other.without_user()
            );
        }

        #[test]
        fn a_user_scope_is_shared_exactly_with_oneself(one in parts(), other in parts()) {
            prop_assert_eq!(
                alike(&one.scope(CacheIsolation::User), &other.scope(CacheIsolation::User)),
                one.user == other.user && one.without_user() == other.without_user()
            );
        }

        #[test]
        fn one_differing_part_is_enough(one in parts(), which in 0..5) {
            let mut other = one.clone();
            match which {
                0 => other.project.push('x'),
                1 => other.domain.push('x'),
                2 => other.roles.push("x".to_owned()),
                3 => other.admin_project = Some(!one.admin_project.unwrap_or(true)),
                _ => other.user.push('x'),
            }
            let shared = alike(&one.scope(CacheIsolation::Project), &other.scope(CacheIsolation::Project));
            prop_assert_eq!(shared, which == 4);
            prop_assert!(!alike(&one.scope(CacheIsolation::User), &other.scope(CacheIsolation::User)));
        }

        #[test]
        fn neither_the_order_of_roles_nor_their_number_matters(
            one in parts(),
            order in any::<prop::sample::Index>(),
        ) {
            let mut other = one.clone();
            if !one.roles.is_empty() {
                other.roles.rotate_left(order.index(one.roles.len()));
                other.roles.push(one.roles[0].clone());
            }
            for isolation in [CacheIsolation::Project, CacheIsolation::User] {
                prop_assert!(alike(&one.scope(isolation), &other.scope(isolation)));
            }
        }

        #[test]
        fn opaque_tokens_share_with_the_same_token_only(one in "[ab]{1,3}", other in "[ab]{1,3}") {
            let key = DigestKey::random().unwrap();
            prop_assert_eq!(
                alike(&IsolationScope::for_opaque_token(key.digest(&one)), &IsolationScope::for_opaque_token(key.digest(&other))),
                one == other
            );
        }
    }

    /// Equality alone isolates; but scopes with one hash would make every lookup a search.
    #[test]
    fn scopes_spread_over_the_table() {
        use std::hash::{BuildHasher, RandomState};
        let hasher = RandomState::new();
        for isolation in [CacheIsolation::Project, CacheIsolation::User] {
            let hashes: HashSet<u64> = (0..100)
                .map(|number| {
                    let project = json!({"id": number.to_string(), "domain": {"id": "d"}});
                    let token = testing::token(json!({"project": project}));
                    hasher.hash_one(IsolationScope::of(&token, isolation).unwrap())
                })
                .collect();
            assert!(hashes.len() > 90, "{}", hashes.len());
        }
    }

    #[test]
    fn only_opaque_tokens_have_a_digest_and_each_its_own() {
        let key = DigestKey::random().unwrap();
        let digest =
            |token: &str| IsolationScope::for_opaque_token(key.digest(token)).opaque_token();
        assert!(digest("one").is_some());
        assert_eq!(digest("one"), digest("one"));
        assert_ne!(digest("one"), digest("other"));
        let token = testing::token(json!({}));
        for scope in [
            IsolationScope::anonymous(),
            IsolationScope::of(&token, CacheIsolation::Project).unwrap(),
            IsolationScope::of(&token, CacheIsolation::User).unwrap(),
        ] {
            assert_eq!(scope.opaque_token(), None);
        }
    }

    #[test]
    fn kinds_of_scope_are_never_equal() {
        let token = testing::token(json!({}));
        let key = DigestKey::random().unwrap();
        let scopes = [
            IsolationScope::of(&token, CacheIsolation::Project).unwrap(),
            IsolationScope::of(&token, CacheIsolation::User).unwrap(),
            IsolationScope::for_opaque_token(key.digest("t")),
            IsolationScope::anonymous(),
        ];
        assert_eq!(HashSet::from(scopes).len(), 4);
        assert!(alike(
            &IsolationScope::anonymous(),
            &IsolationScope::anonymous()
        ));
    }

    #[test]
    fn the_memory_of_a_scope_is_its_own_and_that_of_its_identity() {
        let token = testing::token(json!({}));
        let own = size_of::<IsolationScope>();
        assert_eq!(IsolationScope::anonymous().bytes(), own);
        let behind = token.identity().unwrap().bytes();
        assert!(behind > 1);
        for isolation in [CacheIsolation::Project, CacheIsolation::User] {
            assert_eq!(
                IsolationScope::of(&token, isolation).unwrap().bytes(),
                own + behind
            );
        }
    }

    #[test]
    fn tokens_without_a_project_have_no_scope() {
        for change in [
            json!({"project": null}),
            json!({"project": null, "domain": {"id": "d1"}}),
            json!({"project": null, "system": {"all": true}}),
        ] {
            let token = testing::token(change);
            for isolation in [CacheIsolation::Project, CacheIsolation::User] {
                assert_eq!(
                    IsolationScope::of(&token, isolation),
                    Err(NoCacheReason::TokenWithoutProject)
                );
            }
        }
    }

    #[test]
    fn tokens_that_access_rules_limit_have_no_scope() {
        let rule =
            json!({"id": "r", "service": "compute", "method": "GET", "path": "/v2.1/images"});
        for rules in [json!([rule]), json!([])] {
            let credential = json!({"id": "c", "restricted": true, "access_rules": rules});
            let token = testing::token(json!({"application_credential": credential}));
            assert_eq!(
                IsolationScope::of(&token, CacheIsolation::Project),
                Err(NoCacheReason::AccessRules)
            );
        }
    }

    #[test]
    fn a_scope_shows_no_token() {
        let key = DigestKey::random().unwrap();
        let scope = IsolationScope::for_opaque_token(key.digest("gAAAAABhunter2"));
        assert_eq!(format!("{scope:?}"), "IsolationScope(token)");
        let token = testing::token(json!({}));
        let scope = IsolationScope::of(&token, CacheIsolation::User).unwrap();
        assert_eq!(format!("{scope:?}"), "IsolationScope(user in project p1)");
    }
}
