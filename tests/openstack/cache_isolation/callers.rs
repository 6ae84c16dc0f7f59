//! Who asks: two users with two roles and one more in `demo`, one in `alt`, one in a project of the
//! test's own, and an administrator.

use serde_json::Value;
use test_support::client::{IMAGE_PATCH, Response, call};

use crate::stack::Stack;
use crate::test_user::TestUser;

const TOKENS: usize = 4;

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

/// All of them.
#[derive(Debug)]
pub struct Callers<'s> {
    stack: &'s Stack,
    all: Vec<Caller>,
    user: TestUser<'s>,
}

impl<'s> Callers<'s> {
    pub fn new(stack: &'s Stack) -> Self {
        let mut callers = Self {
            stack,
            all: Vec::new(),
            user: TestUser::in_own_project(stack, "member"),
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
        let tokens = (0..TOKENS).map(|_| callers.user.token()).collect();
        let project = callers.user.project().to_owned();
        callers.add("third", &project, tokens);
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
    pub fn glance(&self, caller: &Caller, method: &str, path: &str, body: &Value) -> Response {
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
