//! Users that a test makes for itself, as the stack's own are everybody's.

use serde_json::{Value, json};
use test_support::client::{Response, call};
use uuid::Uuid;

use crate::stack::Stack;

/// One that no log line holds by chance.
pub const PASSWORD: &str = "Pq7-not-in-any-log-Zx3";

/// A user with one role in one project. It goes when this is dropped, with its project if that was
/// made for it and with its application credentials.
#[derive(Debug)]
pub struct TestUser<'s> {
    stack: &'s Stack,
    id: String,
    name: String,
    project: String,
    made: Vec<String>,
}

impl<'s> TestUser<'s> {
    /// In the project with that name.
    pub fn in_project(stack: &'s Stack, project: &str, role: &str) -> Self {
        Self::make(stack, Some(stack.project(project)), role)
    }

    /// In a project of its own.
    pub fn in_own_project(stack: &'s Stack, role: &str) -> Self {
        Self::make(stack, None, role)
    }

    fn make(stack: &'s Stack, project: Option<&str>, role: &str) -> Self {
        let name = format!("test-user-{}", Uuid::new_v4());
        let mut made = Self {
            stack,
            id: String::new(),
            name: name.clone(),
            project: String::new(),
            made: Vec::new(),
        };
        made.project = project.map_or_else(
            || made.create("project", &json!({"name": name, "domain_id": "default"})),
            str::to_owned,
        );
        let user = json!({"name": name, "domain_id": "default", "password": PASSWORD});
        made.id = made.create("user", &user);
        let roles = made.as_admin("GET", &format!("/roles?name={role}"), &Value::Null);
        let role = roles.json()["roles"][0]["id"].as_str().unwrap().to_owned();
        let grant = format!("/projects/{}/users/{}/roles/{role}", made.project, made.id);
        assert_eq!(made.as_admin("PUT", &grant, &Value::Null).status, 204);
        made
    }

    fn create(&mut self, kind: &str, fields: &Value) -> String {
        let answer = self.as_admin("POST", &format!("/{kind}s"), &json!({kind: fields}));
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()[kind]["id"].as_str().unwrap().to_owned();
        self.made.push(format!("/{kind}s/{id}"));
        id
    }

    fn as_admin(&self, method: &str, path: &str, body: &Value) -> Response {
        self.identity(method, path, &self.stack.token("admin"), body)
    }

    fn identity(&self, method: &str, path: &str, token: &str, body: &Value) -> Response {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let url = format!("{}{path}", self.stack.identity());
        call(
            method,
            &url,
            Some(token),
            "application/json",
            body.as_bytes(),
        )
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of its project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// A new token for its project.
    pub fn token(&self) -> String {
        let user = json!({"id": self.id, "password": PASSWORD});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let scope = json!({"project": {"id": self.project}});
        self.log_in(&json!({"auth": {"identity": identity, "scope": scope}}))
            .0
    }

    /// A token that is good until then, and when Keystone says that is.
    pub fn token_until(&self, end: chrono::DateTime<chrono::Utc>) -> (String, String) {
        let end = end.format("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
        self.application_credential_token(&json!({"expires_at": end}))
    }

    /// A token that these access rules limit.
    pub fn limited_token(&self, rules: &Value) -> String {
        self.application_credential_token(&json!({"access_rules": rules}))
            .0
    }

    fn application_credential_token(&self, fields: &Value) -> (String, String) {
        let path = format!("/users/{}/application_credentials", self.id);
        let mut credential = fields.clone();
        credential["name"] = json!(Uuid::new_v4().to_string());
        credential["secret"] = json!(PASSWORD);
        let credential = json!({"application_credential": credential});
        let made = self.identity("POST", &path, &self.token(), &credential);
        assert_eq!(made.status, 201, "{}", made.text());
        let id = &made.json()["application_credential"]["id"];
        let (token, about) = self.log_in(&json!({"auth": {"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": id, "secret": PASSWORD},
        }}}));
        (
            token,
            about["token"]["expires_at"].as_str().unwrap().to_owned(),
        )
    }

    fn log_in(&self, body: &Value) -> (String, Value) {
        let answer = self.identity("POST", "/auth/tokens", "", body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        (
            answer.header("x-subject-token").unwrap().to_owned(),
            answer.json(),
        )
    }

    /// Removed with the user they would leave rows behind in sqlite, which get in the way of others.
    fn remove_application_credentials(&self) {
        let path = format!("/users/{}/application_credentials", self.id);
        let list = self.as_admin("GET", &path, &Value::Null).json();
        for credential in list["application_credentials"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let path = format!("{path}/{}", credential["id"].as_str().unwrap_or_default());
            self.as_admin("DELETE", &path, &Value::Null);
        }
    }
}

impl Drop for TestUser<'_> {
    fn drop(&mut self) {
        self.remove_application_credentials();
        for path in self.made.iter().rev() {
            self.as_admin("DELETE", path, &Value::Null);
        }
    }
}
