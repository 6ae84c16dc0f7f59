//! A Keystone that knows a few tokens.

use std::collections::HashMap;

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Answers validations; a token is valid while it asks about itself and is in the table.
pub struct FakeKeystone(MockServer);

impl FakeKeystone {
    /// Knows these tokens, each with what Keystone says of it: a [`scoped`] or an [`unscoped`] one.
    pub async fn start(tokens: HashMap<String, Value>) -> Self {
        let server = MockServer::start().await;
        let answer = move |request: &Request| {
            let header = |name| {
                request
                    .headers
                    .get(name)
                    .map(|value| value.to_str().unwrap())
            };
            let subject = header("X-Subject-Token").unwrap_or_default();
            let known = |token: Option<&str>| token.and_then(|token| tokens.get(token));
            match (known(header("X-Auth-Token")), known(Some(subject))) {
                (None, _) => refusal(401),
                (Some(_), None) => refusal(404),
                (Some(_), Some(token)) => ResponseTemplate::new(200)
                    .insert_header("X-Subject-Token", subject)
                    .set_body_json(json!({"token": token})),
            }
        };
        Mock::given(method("GET"))
            .and(path("/v3/auth/tokens"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let identity = json!({"version": {"id": "v3.14", "status": "stable", "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]}});
        Mock::given(method("GET"))
            .and(path("/v3"))
            .respond_with(ResponseTemplate::new(200).set_body_json(identity))
            .mount(&server)
            .await;
        Self(server)
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.0.uri()
    }

    /// The requests that came.
    pub async fn requests(&self) -> Vec<Request> {
        self.0.received_requests().await.unwrap()
    }

    /// How many validations were asked for.
    pub async fn validations(&self) -> usize {
        let requests = self.0.received_requests().await.unwrap();
        let validations = requests
            .iter()
            .filter(|it| it.url.path() == "/v3/auth/tokens");
        validations.count()
    }
}

fn refusal(status: u16) -> ResponseTemplate {
    let error = json!({"error": {"code": status, "message": "x", "title": "x"}});
    ResponseTemplate::new(status).set_body_json(error)
}

/// A token of `user` in `project`, good for an hour.
pub fn scoped(user: &str, project: &str, roles: &[&str]) -> Value {
    let mut token = unscoped(user);
    let roles: Vec<_> = roles
        .iter()
        .map(|name| json!({"id": name, "name": name}))
        .collect();
    token["project"] = json!({"id": project, "name": project, "domain": domain()});
    token["roles"] = json!(roles);
    token
}

/// A token that only says who the user is.
pub fn unscoped(user: &str) -> Value {
    let expires = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    json!({
        "methods": ["password"],
        "user": {"id": user, "name": user, "domain": domain()},
        "expires_at": expires.to_rfc3339(),
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "audit_ids": ["x"],
    })
}

fn domain() -> Value {
    json!({"id": "default", "name": "Default"})
}
