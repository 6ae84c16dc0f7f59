//! Keystone's response to a validation, parsed into a [`Token`].

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access_rules::AccessRules;
use super::catalog::{CatalogService, EndpointFilter, NoImageEndpoint};
use super::error::InvalidResponse;
use super::token::{Identity, ScopeKind, Token, TokenScope};

#[derive(Deserialize)]
struct Body {
    token: TokenResponse,
}

#[derive(Deserialize)]
struct TokenResponse {
    expires_at: DateTime<Utc>,
    user: Reference,
    project: Option<Project>,
    domain: Option<Reference>,
    system: Option<IgnoredAny>,
    #[serde(default)]
    roles: Vec<Role>,
    is_admin_project: Option<bool>,
    application_credential: Option<ApplicationCredential>,
    catalog: Option<Vec<CatalogService>>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct Project {
    id: String,
    domain: Reference,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

#[derive(Deserialize)]
struct ApplicationCredential {
    access_rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
struct Rule {
    service: String,
    method: String,
    path: String,
}

/// Parses the body of a validation. With an `endpoint_filter`, the catalog is searched as well.
pub(super) fn token(
    body: &[u8],
    endpoint_filter: Option<&EndpointFilter>,
) -> Result<Token, InvalidResponse> {
    let Body { token } = serde_json::from_slice(body)?;
    let access_rules = token
        .application_credential
        .as_ref()
        .and_then(|credential| credential.access_rules.as_deref())
        .map(access_rules);
    let image_endpoint = match (endpoint_filter, token.catalog.as_deref()) {
        (None, _) => Err(NoImageEndpoint::NotRequested),
        (Some(_), None) => Err(NoImageEndpoint::NoCatalog),
        (Some(endpoint_filter), Some(catalog)) => endpoint_filter.image_endpoint(catalog),
    };
    Ok(Token {
        expires_at: token.expires_at,
        access_rules,
        image_endpoint,
        scope: scope(token)?,
    })
}

/// When the token in a response to an authentication expires.
pub(super) fn expiry(body: &[u8]) -> Result<DateTime<Utc>, InvalidResponse> {
    #[derive(Deserialize)]
    struct Body {
        token: Expiring,
    }
    #[derive(Deserialize)]
    struct Expiring {
        expires_at: DateTime<Utc>,
    }
    let Body { token } = serde_json::from_slice(body)?;
    Ok(token.expires_at)
}

/// Whether a body is an error in Keystone's own JSON.
pub(super) fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "error")]
        _error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(rename = "code")]
        _code: IgnoredAny,
    }
    serde_json::from_slice::<Body>(body).is_ok()
}

fn access_rules(rules: &[Rule]) -> AccessRules {
    AccessRules::new(
        rules
            .iter()
            .map(|rule| (&*rule.service, &*rule.method, &*rule.path)),
    )
}

fn scope(token: TokenResponse) -> Result<TokenScope, InvalidResponse> {
    let user_id = non_empty(token.user.id, "a user without an id")?;
    let roles = sorted(token.roles)?;
    let kind = match (&token.project, &token.domain, &token.system) {
        (Some(_), None, None) => ScopeKind::Project,
        (None, Some(_), None) => ScopeKind::Domain,
        (None, None, Some(_)) => ScopeKind::System,
        (None, None, None) => ScopeKind::Unscoped,
        (_, _, _) => return Err(InvalidResponse::Inconsistent("a token with two scopes")),
    };
    Ok(match token.project {
        Some(project) => TokenScope::Project(
            Identity {
                user_id,
                project_id: non_empty(project.id, "a project without an id")?,
                project_domain_id: non_empty(project.domain.id, "a domain without an id")?,
                roles,
                is_admin_project: token.is_admin_project.unwrap_or(true),
            }
            .into(),
        ),
        None => TokenScope::Other {
            kind,
            user_id,
            roles,
        },
    })
}

fn sorted(roles: Vec<Role>) -> Result<Box<[String]>, InvalidResponse> {
    let mut names = roles
        .into_iter()
        .map(|role| non_empty(role.name, "a role without a name"))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names.into_boxed_slice())
}

/// Rejects empty ids: two users with an empty id would share one cache scope.
fn non_empty(id: String, missing: &'static str) -> Result<String, InvalidResponse> {
    if id.is_empty() {
        return Err(InvalidResponse::Inconsistent(missing));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Interface;
    use crate::keystone::testing::{body, merged};

    fn read(json: &Value) -> Result<Token, InvalidResponse> {
        token(json.to_string().as_bytes(), None)
    }

    #[test]
    fn a_project_token_is_read_whole() {
        let token = read(&body()).unwrap();
        assert_eq!(token.expires_at().to_rfc3339(), "2026-01-01T12:00:00+00:00");
        assert_eq!(token.scope_kind(), ScopeKind::Project);
        assert_eq!(token.project_id(), Some("p1"));
        assert_eq!(token.user_id(), "u1");
        let identity = token.identity().unwrap();
        assert_eq!(identity.project_domain_id(), "d1");
        assert_eq!(identity.roles(), ["member", "reader"]);
        assert!(identity.is_admin_project());
        assert!(token.allows("compute", "DELETE", "/anything"));
        assert_eq!(token.image_endpoint(), Err(NoImageEndpoint::NotRequested));
    }

    #[rstest]
    #[case(json!({"project": null, "domain": {"id": "d1", "name": "D"}}), ScopeKind::Domain)]
    #[case(json!({"project": null, "system": {"all": true}}), ScopeKind::System)]
    #[case(json!({"project": null, "roles": []}), ScopeKind::Unscoped)]
    fn tokens_without_a_project_have_no_identity(#[case] change: Value, #[case] kind: ScopeKind) {
        let token = read(&merged(change)).unwrap();
        assert_eq!(token.scope_kind(), kind);
        assert!(token.identity().is_none());
        assert_eq!(token.project_id(), None);
        assert_eq!(token.user_id(), "u1");
    }

    #[test]
    fn roles_are_sorted_and_each_counts_once() {
        let roles = json!([{"name": "b"}, {"name": "a"}, {"name": "b", "id": "2"}]);
        let token = read(&merged(json!({"roles": roles}))).unwrap();
        assert_eq!(token.roles(), ["a", "b"]);
        assert!(token.has_any_role(&["x".to_owned(), "b".to_owned()]));
        assert!(!token.has_any_role(&["B".to_owned()]));
        assert!(!token.has_any_role(&[]));
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"application_credential": {"id": "a", "name": "n", "restricted": true}}), true)]
    #[case(json!({"application_credential": {"access_rules": null}}), true)]
    #[case(json!({"application_credential": {"access_rules": []}}), false)]
    #[case(json!({"application_credential": {"access_rules": [
        {"id": "r", "service": "compute", "method": "GET", "path": "/v2.1/images"}]}}), true)]
    #[case(json!({"application_credential": {"access_rules": [
        {"id": "r", "service": "compute", "method": "GET", "path": "/v2.1/servers"}]}}), false)]
    fn only_rules_that_are_there_limit_a_token(#[case] change: Value, #[case] permitted: bool) {
        let token = read(&merged(change)).unwrap();
        assert_eq!(token.allows("compute", "GET", "/v2.1/images"), permitted);
    }

    #[test]
    fn the_catalog_is_searched_when_it_is_wanted() {
        let endpoint_filter = EndpointFilter {
            region: None,
            interface: Interface::Public,
        };
        let without = token(body().to_string().as_bytes(), Some(&endpoint_filter)).unwrap();
        assert_eq!(without.image_endpoint(), Err(NoImageEndpoint::NoCatalog));
        let catalog = json!({"catalog": [{"type": "image", "endpoints": [
            {"interface": "public", "region_id": "R", "url": "http://g:9292/v2"}]}]});
        let with = token(
            merged(catalog).to_string().as_bytes(),
            Some(&endpoint_filter),
        )
        .unwrap();
        assert_eq!(with.image_endpoint().unwrap().as_str(), "http://g:9292/");
    }

    #[rstest]
    #[case(json!({"expires_at": null}))]
    #[case(json!({"expires_at": "soon"}))]
    #[case(json!({"expires_at": "2026-01-01T12:00:00"}))]
    #[case(json!({"expires_at": 1_767_268_800}))]
    #[case(json!({"user": null}))]
    #[case(json!({"user": {"id": ""}}))]
    #[case(json!({"user": {"id": 7}}))]
    #[case(json!({"project": {"id": "p1"}}))]
    #[case(json!({"project": {"id": "", "domain": {"id": "d1"}}}))]
    #[case(json!({"project": {"id": "p1", "domain": {"id": ""}}}))]
    #[case(json!({"project": []}))]
    #[case(json!({"domain": {"id": "d1"}}))]
    #[case(json!({"system": {"all": true}}))]
    #[case(json!({"roles": null}))]
    #[case(json!({"roles": "admin"}))]
    #[case(json!({"roles": [{"name": ""}]}))]
    #[case(json!({"roles": [{"id": "1"}]}))]
    #[case(json!({"is_admin_project": "yes"}))]
    #[case(json!({"application_credential": {"access_rules": {}}}))]
    #[case(json!({"application_credential": {"access_rules": [{"service": "compute"}]}}))]
    #[case(json!({"catalog": {}}))]
    fn a_token_of_the_wrong_shape_is_nonsense(#[case] change: Value) {
        assert!(read(&merged(change)).is_err());
    }

    #[rstest]
    #[case("", "truncated")]
    #[case("{\"token\": {", "truncated")]
    #[case("<html>", "syntax")]
    #[case("{}", "shape")]
    #[case("[]", "shape")]
    #[case("null", "shape")]
    #[case("{\"token\": {}, \"token\": {}}", "shape")]
    fn the_error_says_where_and_not_what(#[case] text: &str, #[case] expected: &str) {
        let Err(InvalidResponse::MalformedToken { kind, .. }) = token(text.as_bytes(), None) else {
            panic!("{text} was read as a token");
        };
        assert_eq!(kind, expected);
    }

    #[test]
    fn an_error_does_not_repeat_the_answer() {
        let error = read(&merged(json!({"expires_at": "hunter2"}))).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
