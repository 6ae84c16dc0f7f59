//! The services started by `stack.py`, as tests see them.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use test_support::client::{self, IMAGE_PATCH, Request, Response, call, split};

use serde::Deserialize;
use serde_json::{Value, json};

/// What `stack.py` writes into `stack.json`.
#[derive(Debug, Deserialize)]
struct Description {
    dir: PathBuf,
    identity: String,
    identity_public: String,
    image: String,
    compute: Option<String>,
    password: String,
    users: HashMap<String, User>,
    projects: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct User {
    project: String,
}

/// One running stack. Users: `admin`, `demo`, `demo2`, `reader`, `alt`; see `content.py`.
#[derive(Debug)]
pub struct Stack {
    about: Description,
    tokens: Mutex<HashMap<(String, bool), String>>,
}

/// A service that is away; it comes back when this is dropped.
#[derive(Debug)]
pub struct Stopped<'s> {
    stack: &'s Stack,
    service: &'static str,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.stack.command("start", self.service);
    }
}

/// A service that is there beside the usual ones; it ends when this is dropped.
#[derive(Debug)]
pub struct Running<'s> {
    stack: &'s Stack,
    service: &'static str,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.stack.command("stop", self.service);
    }
}

static SHARED: LazyLock<Stack> = LazyLock::new(|| {
    let path = std::env::var("OPENSTACK_STACK").unwrap_or_else(|_| {
        panic!(
            "these tests need real OpenStack services and OPENSTACK_STACK naming their stack.json.\n\
             `make test` starts them, tests and stops them; `make stack` starts them to stay."
        )
    });
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("OPENSTACK_STACK={path}: {error}; start it: make stack"));
    Stack {
        about: serde_json::from_str(&text).unwrap(),
        tokens: Mutex::default(),
    }
});

impl Stack {
    /// The stack named by `OPENSTACK_STACK`.
    ///
    /// # Panics
    /// There is none. A test that needs the services fails without them; it is never skipped.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Waits until no other test holds the stack, and keeps the others out until the guard is dropped:
    /// an image that one test creates would show up in the lists of another, in any process.
    pub fn alone(&self) -> File {
        let file = File::create(self.about.dir.join("tests.lock")).unwrap();
        file.lock().unwrap();
        file
    }

    /// Takes a service away until the guard is dropped. Only for who holds the stack `alone`.
    pub fn stop(&self, service: &'static str) -> Stopped<'_> {
        self.command("stop", service);
        Stopped {
            stack: self,
            service,
        }
    }

    /// A second Glance on the same database, until the guard is dropped, and its URL.
    pub fn second_glance(&self) -> (Running<'_>, String) {
        self.start("glance2")
    }

    /// A Glance on the same database that closes each connection without saying so, as uWSGI's `http-socket`
    /// does; until the guard is dropped, and its URL.
    pub fn silently_closing_glance(&self) -> (Running<'_>, String) {
        self.start("glance-silent-close")
    }

    fn start(&self, service: &'static str) -> (Running<'_>, String) {
        let output = self.command("start", service);
        let url = output.trim().rsplit(' ').next().unwrap().to_owned();
        let running = Running {
            stack: self,
            service,
        };
        (running, url)
    }

    /// Ends a service as `kill -9` does.
    pub fn kill(&self, service: &'static str) {
        self.command("kill", service);
    }

    fn command(&self, command: &str, service: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openstack/stack.py");
        let output = Command::new("python3")
            .args([script, command, service, "--dir"])
            .arg(&self.about.dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command} {service}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Keystone's URL, with `/v3`.
    pub fn identity(&self) -> &str {
        &self.about.identity
    }

    /// Keystone's URL as clients are told it, without a version.
    pub fn identity_public(&self) -> &str {
        &self.about.identity_public
    }

    /// Glance's URL, without a version.
    pub fn image(&self) -> &str {
        &self.about.image
    }

    /// The URL of Nova's own API, without a version, if this stack runs it.
    pub fn compute(&self) -> Option<&str> {
        self.about.compute.as_deref()
    }

    /// The id of a project.
    pub fn project(&self, name: &str) -> &str {
        &self.about.projects[name]
    }

    /// A token for a user in its own project.
    pub fn token(&self, user: &str) -> String {
        self.cached_token(user, true)
    }

    /// A token without any scope.
    pub fn unscoped_token(&self, user: &str) -> String {
        self.cached_token(user, false)
    }

    fn cached_token(&self, user: &str, scoped: bool) -> String {
        let mut tokens = self.tokens.lock().unwrap();
        let token = tokens
            .entry((user.to_owned(), scoped))
            .or_insert_with(|| self.new_token(user, scoped));
        token.clone()
    }

    /// A token that no other test has; `revoke` it freely.
    pub fn new_token(&self, user: &str, scoped: bool) -> String {
        let domain = json!({"name": "Default"});
        let scope = if scoped {
            json!({"project": {"name": self.about.users[user].project, "domain": domain}})
        } else {
            json!("unscoped")
        };
        let who = json!({"name": user, "domain": domain, "password": self.about.password});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": who}},
            "scope": scope,
        }});
        let url = format!("{}/auth/tokens", self.about.identity);
        let answer = call(
            "POST",
            &url,
            None,
            "application/json",
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.header("x-subject-token").unwrap().to_owned()
    }

    /// Makes a token invalid.
    pub fn revoke(&self, token: &str) {
        assert_eq!(self.about_token("DELETE", token), 204);
    }

    /// What Keystone answers when asked about a token.
    pub fn verify(&self, token: &str) -> u16 {
        self.about_token("GET", token)
    }

    fn about_token(&self, method: &str, token: &str) -> u16 {
        let url = format!("{}/auth/tokens", self.about.identity);
        let (base, path) = split(&url);
        let admin = self.token("admin");
        let headers = vec![("X-Auth-Token", admin.as_str()), ("X-Subject-Token", token)];
        client::send(
            base,
            &Request {
                method,
                path,
                headers,
                body: None,
            },
        )
        .unwrap()
        .status
    }

    /// One call to Glance, such as `("GET", "demo", "/v2/images", None)`.
    pub fn glance(&self, method: &str, user: &str, path: &str, body: Option<&Value>) -> Response {
        let kind = if method == "PATCH" {
            IMAGE_PATCH
        } else {
            "application/json"
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let url = format!("{}{path}", self.about.image);
        call(method, &url, Some(&self.token(user)), kind, body.as_bytes())
    }

    /// Creates an image and returns its id.
    pub fn create_image(&self, user: &str, fields: &Value) -> String {
        let answer = self.glance("POST", user, "/v2/images", Some(fields));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Gives an image its data, which makes it active.
    pub fn upload(&self, user: &str, image: &str, data: &[u8]) {
        let url = format!("{}/v2/images/{image}/file", self.about.image);
        let answer = call(
            "PUT",
            &url,
            Some(&self.token(user)),
            "application/octet-stream",
            data,
        );
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// An image as Glance shows it to the administrator, None if it is gone.
    pub fn image_record(&self, image: &str) -> Option<Value> {
        let answer = self.glance("GET", "admin", &format!("/v2/images/{image}"), None);
        (answer.status == 200).then(|| answer.json())
    }

    /// Changes an image with a JSON Patch.
    pub fn patch_image(&self, user: &str, image: &str, patch: &Value) -> Response {
        self.glance("PATCH", user, &format!("/v2/images/{image}"), Some(patch))
    }

    /// Removes an image whatever its protection; one that is gone already is fine.
    pub fn remove_image(&self, image: &str) {
        let Some(record) = self.image_record(image) else {
            return;
        };
        if record["protected"] == json!(true) {
            let patch = json!([{"op": "replace", "path": "/protected", "value": false}]);
            self.patch_image("admin", image, &patch);
        }
        let answer = self.glance("DELETE", "admin", &format!("/v2/images/{image}"), None);
        assert!(matches!(answer.status, 204 | 404), "{}", answer.text());
    }
}
