//! Token validation by a real Keystone.
//!
//! Every test makes a user of its own, so that none sees another's tokens, and removes it again.

use std::fs::File;
use std::sync::Arc;

use nova_image_proxy::cache::{CacheIsolation, IsolationScope};
use nova_image_proxy::keystone::{
    Catalogs, Error, InvalidResponse, NoImageEndpoint, ScopeKind, Token, TokenValidator,
    Unavailable,
};
use nova_image_proxy::{config, upstream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

const PASSWORD: &str = "a-password-of-the-test";

/// The stack that `OPENSTACK_STACK` describes.
struct Stack {
    identity: String,
    image: String,
    password: String,
    /// For calls of the test itself.
    http: reqwest::Client,
    gateway_http: upstream::InstrumentedClient,
    /// Other tests take Keystone away for a while.
    _alone: File,
}

impl Stack {
    fn new() -> Self {
        let path = std::env::var("OPENSTACK_STACK").expect("OPENSTACK_STACK names a stack.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let stack: Value = serde_json::from_str(&text).unwrap();
        let field = |name: &str| stack[name].as_str().unwrap().to_owned();
        Self {
            identity: field("identity"),
            image: field("image"),
            password: field("password"),
            http: reqwest::Client::new(),
            gateway_http: upstream::client(upstream::ClientSettings::default()).unwrap(),
            _alone: crate::stack::Stack::shared().alone(),
        }
    }

    /// One call to Keystone's API; the answer's token, if any, and its JSON, or null.
    ///
    /// Keystone writes to sqlite here and answers 409 or 500 when two writers meet, so what a test
    /// needs before it starts is asked for again, with another body: a name can be used up.
    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: impl Fn() -> Value,
    ) -> (String, Value) {
        let mut last = String::new();
        for _ in 0..5 {
            let body = body();
            let request = self
                .http
                .request(method.clone(), format!("{}{path}", self.identity))
                .header("x-auth-token", token)
                .header("x-subject-token", token);
            let request = if body.is_null() {
                request
            } else {
                request.json(&body)
            };
            match request.send().await {
                Ok(answer) if is_done(&method, answer.status()) => {
                    let token = answer.headers().get("x-subject-token").cloned();
                    let token = token.map(|token| token.to_str().unwrap().to_owned());
                    let json = answer.json().await.unwrap_or_default();
                    return (token.unwrap_or_default(), json);
                }
                Ok(answer) => last = format!("{} {:?}", answer.status(), answer.text().await),
                Err(error) => last = error.to_string(),
            }
        }
        panic!("{method} {path}: {last}");
    }

    async fn authenticate(&self, identity: Value, scope: Option<Value>) -> String {
        let mut auth = json!({"identity": identity});
        if let Some(scope) = scope {
            auth["scope"] = scope;
        }
        let body = json!({"auth": auth});
        self.call("", Method::POST, "/auth/tokens", || body.clone())
            .await
            .0
    }

    /// A token of one of the stack's own users.
    async fn token(&self, user: &str, project: &str) -> String {
        let scope = json!({"project": {"name": project, "domain": {"name": "Default"}}});
        self.authenticate(password_of(user, &self.password), Some(scope))
            .await
    }

    /// A validator for this Keystone.
    fn keystone(&self, settings: Value, catalogs: Catalogs) -> TokenValidator {
        let mut settings: config::Keystone = serde_json::from_value(settings).unwrap();
        settings.auth_url = Some(settings.auth_url.unwrap_or(self.identity.parse().unwrap()));
        let auth = config::Auth::default();
        TokenValidator::new(&settings, &auth, self.gateway_http.clone(), catalogs).unwrap()
    }

    async fn validate(&self, token: &str) -> Result<Arc<Token>, Error> {
        let keystone = self.keystone(json!({}), Catalogs::NotWanted);
        keystone.validate(token).await
    }
}

/// Something that is gone already need not be removed.
fn is_done(method: &Method, status: StatusCode) -> bool {
    status.is_success() || (method == Method::DELETE && status == StatusCode::NOT_FOUND)
}

fn nothing() -> Value {
    Value::Null
}

fn password_of(user: &str, password: &str) -> Value {
    json!({"methods": ["password"], "password": {"user": {
        "name": user, "domain": {"name": "Default"}, "password": password}}})
}

/// A user of one test, with a role in the project `demo` and in the domain `Default`.
struct User<'s> {
    stack: &'s Stack,
    admin: String,
    id: String,
    name: String,
    project: String,
}

impl<'s> User<'s> {
    async fn new(stack: &'s Stack, role: &str) -> Self {
        let admin = stack.token("admin", "admin").await;
        let user = || {
            let name = format!("keystone-test-{}", Uuid::new_v4());
            json!({"user": {"name": name, "domain_id": "default", "password": PASSWORD}})
        };
        let (_, made) = stack.call(&admin, Method::POST, "/users", user).await;
        let made = |field: &str| made["user"][field].as_str().unwrap().to_owned();
        let (id, name) = (made("id"), made("name"));
        let role = Self::find(stack, &admin, "roles", role).await;
        let project = Self::find(stack, &admin, "projects", "demo").await;
        for place in [format!("projects/{project}"), "domains/default".to_owned()] {
            let path = format!("/{place}/users/{id}/roles/{role}");
            stack.call(&admin, Method::PUT, &path, nothing).await;
        }
        Self {
            stack,
            admin,
            id,
            name,
            project,
        }
    }

    async fn find(stack: &Stack, admin: &str, kind: &str, name: &str) -> String {
        let path = format!("/{kind}?name={name}");
        let (_, found) = stack.call(admin, Method::GET, &path, nothing).await;
        found[kind][0]["id"].as_str().unwrap().to_owned()
    }

    async fn token(&self, scope: Option<Value>) -> String {
        let identity = password_of(&self.name, PASSWORD);
        self.stack.authenticate(identity, scope).await
    }

    fn project_scope(&self) -> Value {
        json!({"project": {"id": self.project}})
    }

    /// An application credential; its id.
    async fn application_credential(&self, secret: &str, rules: Option<Value>) -> String {
        let token = self.token(Some(self.project_scope())).await;
        let path = format!("/users/{}/application_credentials", self.id);
        let body = || {
            let mut credential = json!({"name": Uuid::new_v4().to_string(), "secret": secret});
            if let Some(rules) = &rules {
                credential["access_rules"] = rules.clone();
            }
            json!({"application_credential": credential})
        };
        let (_, made) = self.stack.call(&token, Method::POST, &path, body).await;
        made["application_credential"]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Removes the application credentials one by one first: with the user they would leave rows
    /// behind in sqlite, which get in the way of later ones.
    async fn remove(self) {
        let path = format!("/users/{}/application_credentials", self.id);
        let (_, list) = self
            .stack
            .call(&self.admin, Method::GET, &path, nothing)
            .await;
        for credential in list["application_credentials"].as_array().unwrap() {
            let path = format!("{path}/{}", credential["id"].as_str().unwrap());
            self.stack
                .call(&self.admin, Method::DELETE, &path, nothing)
                .await;
        }
        let path = format!("/users/{}", self.id);
        self.stack
            .call(&self.admin, Method::DELETE, &path, nothing)
            .await;
    }
}

fn with_application_credential(id: &str, secret: &str) -> Value {
    json!({"methods": ["application_credential"],
        "application_credential": {"id": id, "secret": secret}})
}

#[tokio::test]
async fn a_project_token_is_who_keystone_says() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let secret = user.token(Some(user.project_scope())).await;
    let keystone = stack.keystone(json!({}), Catalogs::Wanted);
    let token = keystone.validate(&secret).await.unwrap();
    assert_eq!(token.scope_kind(), ScopeKind::Project);
    assert_eq!(token.project_id(), Some(user.project.as_str()));
    assert_eq!(token.user_id(), user.id);
    let identity = token.identity().unwrap();
    assert_eq!(identity.project_domain_id(), "default");
    assert!(
        identity.roles().contains(&"member".to_owned()),
        "{identity:?}"
    );
    assert!(identity.roles().is_sorted());
    assert!(!token.is_expired(chrono::Utc::now()));
    let endpoint = token.image_endpoint().unwrap().as_str();
    assert_eq!(endpoint.trim_end_matches('/'), stack.image);
    assert!(matches!(keystone.cached(&secret), Some(Ok(_))));
    user.remove().await;
}

#[tokio::test]
async fn two_users_with_the_same_rights_share_a_scope_unless_they_may_not() {
    let stack = Stack::new();
    let (one, other) = (
        User::new(&stack, "reader").await,
        User::new(&stack, "reader").await,
    );
    let member = User::new(&stack, "member").await;
    let mut tokens = Vec::new();
    for user in [&one, &other, &member] {
        let secret = user.token(Some(user.project_scope())).await;
        tokens.push(stack.validate(&secret).await.unwrap());
    }
    let [one_scope, other_scope, member_scope] = [0, 1, 2]
        .map(|number| IsolationScope::of(&tokens[number], CacheIsolation::Project).unwrap());
    assert_eq!(one_scope, other_scope);
    assert_ne!(one_scope, member_scope);
    assert_ne!(
        IsolationScope::of(&tokens[0], CacheIsolation::User),
        IsolationScope::of(&tokens[1], CacheIsolation::User)
    );
    for user in [one, other, member] {
        user.remove().await;
    }
}

#[tokio::test]
async fn tokens_without_a_project_are_told_apart() {
    let stack = Stack::new();
    let user = User::new(&stack, "reader").await;
    let role = User::find(&stack, &user.admin, "roles", "reader").await;
    let system_role = format!("/system/users/{}/roles/{role}", user.id);
    stack
        .call(&user.admin, Method::PUT, &system_role, nothing)
        .await;
    let cases = [
        (Some(json!("unscoped")), ScopeKind::Unscoped),
        (
            Some(json!({"domain": {"id": "default"}})),
            ScopeKind::Domain,
        ),
        (Some(json!({"system": {"all": true}})), ScopeKind::System),
    ];
    let keystone = stack.keystone(json!({}), Catalogs::Wanted);
    for (scope, kind) in cases {
        let secret = user.token(scope).await;
        let token = keystone.validate(&secret).await.unwrap();
        assert_eq!(token.scope_kind(), kind);
        assert_eq!(token.project_id(), None);
        assert!(IsolationScope::of(&token, CacheIsolation::Project).is_err());
        if kind == ScopeKind::Unscoped {
            assert_eq!(token.image_endpoint(), Err(NoImageEndpoint::NoCatalog));
            assert!(token.roles().is_empty());
        } else {
            assert!(token.image_endpoint().is_ok(), "{token:?}");
            assert!(token.has_any_role(&["reader".to_owned()]), "{token:?}");
        }
    }
    user.remove().await;
}

#[tokio::test]
async fn access_rules_of_an_application_credential_are_enforced() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let rules = json!([
        {"service": "compute", "method": "GET", "path": "/v2.1/images/{image_id}"},
        {"service": "compute", "method": "DELETE", "path": "/v2.1/images/*/metadata/**"},
        {"service": "image", "method": "GET", "path": "/v2/images"},
    ]);
    let limited = user.application_credential("s1", Some(rules)).await;
    let limited = with_application_credential(&limited, "s1");
    let secret = stack.authenticate(limited, None).await;
    let token = stack.validate(&secret).await.unwrap();
    assert_eq!(token.project_id(), Some(user.project.as_str()));
    assert!(token.allows("compute", "GET", "/v2.1/images/detail"));
    assert!(token.allows("compute", "DELETE", "/v2.1/images/a/metadata/b/c"));
    assert!(!token.allows("compute", "GET", "/v2.1/images"));
    assert!(!token.allows("compute", "GET", "/v2/images"));
    assert!(!token.allows("compute", "DELETE", "/v2.1/images/a"));

    let free = user.application_credential("s2", None).await;
    let secret = stack
        .authenticate(with_application_credential(&free, "s2"), None)
        .await;
    let token = stack.validate(&secret).await.unwrap();
    assert!(token.allows("compute", "DELETE", "/v2.1/images/a"));
    user.remove().await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_once_keystone_says_so() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let secret = user.token(Some(user.project_scope())).await;
    let keystone = stack.keystone(json!({}), Catalogs::NotWanted);
    assert!(keystone.validate(&secret).await.is_ok());
    stack
        .call(&secret, Method::DELETE, "/auth/tokens", nothing)
        .await;
    assert!(keystone.validate(&secret).await.is_ok());
    // Each of Keystone's processes has a cache of its own here, so some know it later than others.
    let mut outcome = keystone.validate(&secret).await;
    for _ in 0..200 {
        if outcome.is_err() {
            break;
        }
        keystone.forget(keystone.parse(&secret).unwrap());
        outcome = keystone.validate(&secret).await;
    }
    assert_eq!(outcome.unwrap_err(), Error::InvalidToken);
    assert!(matches!(keystone.cached(&secret), Some(Err(_))));
    user.remove().await;
}

#[tokio::test]
async fn what_keystone_does_not_know_is_refused() {
    let stack = Stack::new();
    let own = json!({"username": "nova", "password": stack.password, "project_name": "service"});
    for settings in [json!({}), own] {
        let keystone = stack.keystone(settings, Catalogs::NotWanted);
        for token in ["bogus", &"a".repeat(4096), "gAAAAABn-no-such-token"] {
            assert_eq!(
                keystone.validate(token).await.unwrap_err(),
                Error::InvalidToken
            );
        }
    }
}

#[tokio::test]
async fn a_service_token_needs_the_service_role() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let service = User::new(&stack, "service").await;
    let keystone = stack.keystone(json!({}), Catalogs::NotWanted);
    let secret = user.token(Some(user.project_scope())).await;
    let member = keystone.validate(&secret).await.unwrap();
    let secret = service.token(Some(service.project_scope())).await;
    let service_token = keystone.validate(&secret).await.unwrap();
    assert!(keystone.authorizes(
        &member,
        Some(&service_token),
        "compute",
        "GET",
        "/v2.1/images"
    ));
    assert!(!keystone.authorizes(&member, Some(&member), "compute", "GET", "/v2.1/images"));
    user.remove().await;
    service.remove().await;
}

#[tokio::test]
async fn the_gateways_own_credentials_validate_the_tokens_of_others() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let service = User::new(&stack, "service").await;
    let credential = service.application_credential("s", None).await;
    let secret = user.token(Some(user.project_scope())).await;
    for own in [
        json!({"username": service.name, "password": PASSWORD, "project_name": "demo"}),
        json!({"application_credential_id": credential, "application_credential_secret": "s"}),
    ] {
        let keystone = stack.keystone(own, Catalogs::Wanted);
        let token = keystone.validate(&secret).await.unwrap();
        assert_eq!(token.user_id(), user.id);
        let endpoint = token.image_endpoint().unwrap().as_str();
        assert_eq!(endpoint.trim_end_matches('/'), stack.image);
    }
    user.remove().await;
    service.remove().await;
}

#[tokio::test]
async fn wrong_credentials_of_the_gateways_refuse_nobodys_token() {
    let stack = Stack::new();
    let user = User::new(&stack, "member").await;
    let secret = user.token(Some(user.project_scope())).await;
    let wrong = json!({"username": user.name, "password": "wrong", "project_name": "demo"});
    let powerless = json!({"username": user.name, "password": PASSWORD, "project_name": "demo"});
    let other = stack.token("alt", "alt").await;
    for (own, token, expected) in [
        (wrong, &secret, Unavailable::CredentialsRefused),
        (powerless, &other, Unavailable::Forbidden),
    ] {
        let keystone = stack.keystone(own, Catalogs::NotWanted);
        let error = keystone.validate(token).await.unwrap_err();
        assert_eq!(error, Error::Unavailable(expected));
    }
    user.remove().await;
}

#[tokio::test]
async fn a_url_that_is_not_keystones_is_told_from_a_bad_token() {
    let stack = Stack::new();
    let secret = stack.token("demo", "demo").await;
    let beside = stack.identity.replace("/v3", "/nothing-here");
    let keystone = stack.keystone(json!({"auth_url": beside}), Catalogs::NotWanted);
    let error = keystone.validate(&secret).await.unwrap_err();
    assert_eq!(error, Error::InvalidResponse(InvalidResponse::Status(404)));

    let unversioned = stack.identity.replace("/v3", "");
    let keystone = stack.keystone(json!({"auth_url": unversioned}), Catalogs::NotWanted);
    assert!(keystone.validate(&secret).await.is_ok());
}
