//! Where a replay happens: a service under test and the Glance behind it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::case::{Case, Normal, Recorded};
use super::normal::Placeholders;
use crate::raw::{self, Request};
use crate::stack::{IMAGE_PATCH, call};

/// What Glance says of an image and no two runs have in common.
const NOT_COMPARED: [&str; 12] = [
    "schema",
    "self",
    "file",
    "owner",
    "created_at",
    "updated_at",
    "id",
    "os_hash_value",
    "checksum",
    "stores",
    "os_hash_algo",
    "os_glance_import_task",
];

/// The service under test, Glance, and the tokens to use with both.
#[derive(Debug)]
pub struct Cloud {
    base: String,
    glance: String,
    tokens: HashMap<String, String>,
    projects: HashMap<String, String>,
    places: Placeholders,
}

impl Cloud {
    /// `base` and `glance` are `http://host:port`, `keystone` the public Keystone URL. Tokens are wanted
    /// for `admin`, `demo`, `alt` and `unscoped`, project ids for `admin`, `demo` and `alt`.
    pub fn new(
        base: &str,
        glance: &str,
        keystone: &str,
        mut tokens: HashMap<String, String>,
        projects: HashMap<String, String>,
    ) -> Self {
        let mut places = Placeholders::default();
        places.add(base, "base");
        places.add(raw::authority(base), "host");
        places.add(glance, "glance");
        places.add(keystone, "keystone");
        tokens.insert("bad".to_owned(), "gAAAAABnotarealtoken".to_owned());
        tokens.insert("empty".to_owned(), String::new());
        Self {
            base: base.to_owned(),
            glance: glance.to_owned(),
            tokens,
            projects,
            places,
        }
    }

    /// Sends a case's request and returns the answer, with placeholders, and the state it left.
    pub fn answer(&self, case: &Case) -> Recorded {
        let image = case
            .fresh_image
            .as_ref()
            .map(|fields| self.fresh_image(fields));
        let mut places = self.places.with(image.as_deref(), "img");
        for (name, id) in &self.projects {
            places.add(id, &format!("pid:{name}"));
        }
        let answer = self.send(case, image.as_deref().unwrap_or("{img}"), &places);
        let glance_after = image.map(|image| {
            let after = places.value(&self.glance_after(&image));
            self.remove(&image);
            after
        });
        Recorded {
            answer,
            glance_after,
        }
    }

    fn send(&self, case: &Case, image: &str, places: &Placeholders) -> Normal {
        let sent = &case.request;
        let mut path = sent
            .path
            .replace("{img}", image)
            .replace("{base}", &self.base);
        for (name, id) in &self.projects {
            path = path.replace(&format!("{{pid:{name}}}"), id);
        }
        let token = sent.user.as_deref().map(|user| self.tokens[user].as_str());
        let mut headers: Vec<_> = token
            .map(|token| ("X-Auth-Token", token))
            .into_iter()
            .collect();
        headers.extend(
            sent.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let body = sent.body();
        let request = Request {
            method: &sent.method,
            path: &path,
            headers,
            body: body.as_deref(),
        };
        match raw::send(&self.base, &request) {
            Ok(answer) => {
                let id = |name| answer.header(name);
                assert_eq!(
                    id("x-openstack-request-id"),
                    id("x-compute-request-id"),
                    "{}: the two request ids are one",
                    case.name
                );
                places.answer(&answer)
            }
            Err(error) => Normal {
                status: 0,
                headers: Vec::new(),
                body: json!(error.to_string()),
            },
        }
    }

    /// Creates the image a case works on: the usual one with `changes`, where null leaves a field out.
    fn fresh_image(&self, changes: &Map<String, Value>) -> String {
        let mut fields = json!({
            "name": "fresh", "container_format": "bare", "disk_format": "raw",
            "visibility": "private", "a": "1", "b": "2", "key with space": "sp", "ns:key": "co",
        });
        let fields = fields.as_object_mut().unwrap();
        for (name, value) in changes {
            match (name.as_str(), value) {
                ("props", Value::Object(properties)) => fields.extend(properties.clone()),
                (_, Value::Null) => drop(fields.remove(name)),
                (name, _) if name.starts_with('_') => {}
                (_, _) => drop(fields.insert(name.clone(), value.clone())),
            }
        }
        let user = changes
            .get("_user")
            .and_then(Value::as_str)
            .unwrap_or("demo");
        let created = self.glance("POST", user, "", Some(&json!(fields)));
        let image = created.1["id"].as_str().unwrap().to_owned();
        if let Some(data) = changes.get("_data").and_then(Value::as_str) {
            let url = format!("{}/v2/images/{image}/file", self.glance);
            let token = Some(self.tokens[user].as_str());
            let answer = call(
                "PUT",
                &url,
                token,
                "application/octet-stream",
                data.as_bytes(),
            );
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
        if changes.contains_key("_deactivate") {
            self.glance(
                "POST",
                "admin",
                &format!("/{image}/actions/deactivate"),
                None,
            );
        }
        if changes.contains_key("_deleted") {
            self.remove(&image);
        }
        image
    }

    fn glance_after(&self, image: &str) -> Value {
        let (status, mut record) = self.glance("GET", "admin", &format!("/{image}"), None);
        if status != 200 {
            return json!({"status_code": status});
        }
        let fields = record.as_object_mut().unwrap();
        fields.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
        if let Some(Value::Array(tags)) = fields.get_mut("tags") {
            // A set, in no order.
            tags.sort_by_key(Value::to_string);
        }
        json!({"status_code": status, "image": record})
    }

    fn remove(&self, image: &str) {
        let below = format!("/{image}");
        let (status, record) = self.glance("GET", "admin", &below, None);
        if status == 200 && record["protected"] == json!(true) {
            let change = json!([{"op": "replace", "path": "/protected", "value": false}]);
            self.glance("PATCH", "admin", &below, Some(&change));
        }
        if status == 200 {
            self.glance("DELETE", "admin", &below, None);
        }
    }

    /// # Panics
    /// Another image than the seeds is visible to one of the users.
    pub fn assert_only_seeds(&self) {
        for user in ["admin", "demo", "alt"] {
            let (_, list) = self.glance("GET", user, "?limit=1000&member_status=all", None);
            let images = list["images"].as_array().unwrap().iter();
            let strangers: Vec<_> = images
                .map(|image| image["id"].as_str().unwrap())
                .filter(|id| !id.contains("-5eed-4000-8000-"))
                .collect();
            assert!(
                strangers.is_empty(),
                "{user} sees more than the seeds: {strangers:?}"
            );
        }
    }

    /// One call below `/v2/images`; anything but success and 404 is a broken test.
    fn glance(&self, method: &str, user: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}/v2/images{path}", self.glance);
        let kind = if method == "PATCH" {
            IMAGE_PATCH
        } else {
            "application/json"
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = call(
            method,
            &url,
            Some(&self.tokens[user]),
            kind,
            body.as_bytes(),
        );
        assert!(
            answer.status < 400 || answer.status == 404,
            "{method} {url}: {}",
            answer.text()
        );
        (
            answer.status,
            serde_json::from_slice(&answer.body).unwrap_or(Value::Null),
        )
    }
}
