//! Who asks: two users with two roles and one more in `demo`, one in `alt`, one in a project of the
//! test's own, and an administrator.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::raw::{Answer, IMAGE_PATCH, call};
use crate::stack::Stack;

const TOKENS: usize = 4;
const PASSWORD: &str = "a-password-of-the-wall";

/// One user in one project, with several tokens.
#[derive(Debug)]
pub struct Caller {
    number: usize,
    name: String,
    project: String,
    may_write: bool,
    tokens: Vec<String>,
}

impl Caller {
    pub fn number(&self) -> usize {
        self.number
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn project(&self) -> &str {
        &self.project
    }

    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Whether Glance lets it change images of its project.
    pub fn may_write(&self) -> bool {
        self.may_write
    }

    pub fn is_admin(&self) -> bool {
        self.name == "admin"
    }
}

/// All of them. The project and user made for the test go when this does.
#[derive(Debug)]
pub struct Callers<'s> {
    stack: &'s Stack,
    all: Vec<Caller>,
    made: Vec<String>,
}

impl<'s> Callers<'s> {
    pub fn new(stack: &'s Stack) -> Self {
        let mut callers = Self {
            stack,
            all: Vec::new(),
            made: Vec::new(),
        };
        for name in ["demo", "demo2", "reader", "alt", "admin"] {
            let project = if matches!(name, "demo2" | "reader") {
                "demo"
            } else {
                name
            };
            let tokens = (0..TOKENS).map(|_| stack.new_token(name, true)).collect();
            callers.add(name, stack.project(project), tokens);
        }
        callers.add_third_project();
        callers
    }

    fn add(&mut self, name: &str, project: &str, tokens: Vec<String>) {
        self.all.push(Caller {
            number: self.all.len(),
            name: name.to_owned(),
            project: project.to_owned(),
            may_write: name != "reader",
            tokens,
        });
    }

    fn add_third_project(&mut self) {
        let name = format!("wall-{}", Uuid::new_v4());
        let project = json!({"project": {"name": name, "domain_id": "default"}});
        let project = self.make("project", &project);
        let user = json!({"user": {"name": name, "domain_id": "default", "password": PASSWORD}});
        let user = self.make("user", &user);
        let roles = self
            .identity("GET", "/roles?name=member", &Value::Null)
            .json();
        let role = roles["roles"][0]["id"].as_str().unwrap();
        let grant = format!("/projects/{project}/users/{user}/roles/{role}");
        assert_eq!(self.identity("PUT", &grant, &Value::Null).status, 204);
        let login = json!({"auth": {
            "identity": {"methods": ["password"],
                "password": {"user": {"id": user, "password": PASSWORD}}},
            "scope": {"project": {"id": project}},
        }});
        let token = |_| {
            let answer = self.identity("POST", "/auth/tokens", &login);
            answer.header("x-subject-token").unwrap().to_owned()
        };
        let tokens = (0..TOKENS).map(token).collect();
        self.add("third", &project, tokens);
    }

    fn make(&mut self, kind: &str, body: &Value) -> String {
        let answer = self.identity("POST", &format!("/{kind}s"), body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()[kind]["id"].as_str().unwrap().to_owned();
        self.made.push(format!("/{kind}s/{id}"));
        id
    }

    fn identity(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let url = format!("{}{path}", self.stack.identity());
        let token = self.stack.token("admin");
        call(
            method,
            &url,
            Some(&token),
            "application/json",
            body.as_bytes(),
        )
    }

    pub fn all(&self) -> &[Caller] {
        &self.all
    }

    pub fn stack(&self) -> &'s Stack {
        self.stack
    }

    pub fn named(&self, name: &str) -> &Caller {
        self.all.iter().find(|caller| caller.name == name).unwrap()
    }

    /// One call to Glance itself, as that caller.
    pub fn glance(&self, caller: &Caller, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" {
            IMAGE_PATCH
        } else {
            "application/json"
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let url = format!("{}/v2/images{path}", self.stack.image());
        call(method, &url, Some(&caller.tokens[0]), kind, body.as_bytes())
    }
}

impl Drop for Callers<'_> {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            self.identity("DELETE", path, &Value::Null);
        }
    }
}
