//! Where a replay happens: a service under test and the Glance behind it.

use std::collections::HashMap;
use std::io;

use serde_json::{Map, Value, json};

use super::case::{Case, Normal, Recorded};
use super::normal::Placeholders;
use crate::client::{self, IMAGE_PATCH, Request, Response, call};

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
        places.add(client::authority(base), "host");
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
        let exchange = self.exchange(case);
        let answer = match &exchange.answer {
            Ok(answer) => {
                let id = |name| answer.header(name);
                assert_eq!(
                    id("x-openstack-request-id"),
                    id("x-compute-request-id"),
                    "{}: the two request ids are one",
                    case.name
                );
                exchange.places.answer(answer)
            }
            Err(error) => Normal {
                status: 0,
                headers: Vec::new(),
                body: json!(error.to_string()),
            },
        };
        let glance_after = exchange
            .image
            .as_ref()
            .map(|image| exchange.places.value(&self.glance_after(&image.id)));
        Recorded {
            answer,
            glance_after,
        }
    }

    /// Sends a case's request and returns the body as it came, but for placeholders; None when the
    /// connection ended without an answer.
    pub fn body(&self, case: &Case) -> Option<RawBody> {
        let exchange = self.exchange(case);
        let answer = exchange.answer.ok()?;
        Some(RawBody {
            status: answer.status,
            content_type: answer.header("content-type").map(str::to_owned),
            text: exchange.places.text(&answer.text()),
        })
    }

    fn exchange(&self, case: &Case) -> Exchange<'_> {
        let image = case
            .fresh_image
            .as_ref()
            .map(|fields| FreshImage::create(self, fields));
        let id = image.as_ref().map(|image| image.id.as_str());
        let mut places = self.places.with(id, "img");
        for (name, id) in &self.projects {
            places.add(id, &format!("pid:{name}"));
        }
        let answer = self.send(case, id.unwrap_or("{img}"));
        Exchange {
            image,
            places,
            answer,
        }
    }

    fn send(&self, case: &Case, image: &str) -> io::Result<Response> {
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
        client::send(&self.base, &request)
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

    /// Removes an image in any state. Nova's `location` starts a task in Glance that may hold the database
    /// at this moment, hence more than one try.
    fn remove(&self, image: &str) {
        const TRIES: usize = 20;
        let below = format!("/{image}");
        let url = format!("{}/v2/images{below}", self.glance);
        let token = Some(self.tokens["admin"].as_str());
        let gone = (0..TRIES).any(|_| {
            let status = call("DELETE", &url, token, "application/json", b"").status;
            if status == 403 {
                let change = json!([{"op": "replace", "path": "/protected", "value": false}]);
                self.glance("PATCH", "admin", &below, Some(&change));
            }
            matches!(status, 204 | 404)
        });
        assert!(gone, "cannot delete {url}");
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

/// A body as it came, but for placeholders.
#[derive(Debug, PartialEq, Eq)]
pub struct RawBody {
    pub status: u16,
    pub content_type: Option<String>,
    pub text: String,
}

/// A request of one case and what came back.
struct Exchange<'a> {
    image: Option<FreshImage<'a>>,
    places: Placeholders,
    answer: io::Result<Response>,
}

/// The image a case has to itself; it goes when the case is over, also when that panics.
struct FreshImage<'a> {
    cloud: &'a Cloud,
    id: String,
}

impl<'a> FreshImage<'a> {
    /// The usual image with `changes`, where null leaves a field out.
    fn create(cloud: &'a Cloud, changes: &Map<String, Value>) -> Self {
        let mut fields = json!({
            "name": "fresh", "container_format": "bare", "disk_format": "raw",
            "visibility": "private", "a": "1", "b": "2", "key with space": "sp", "ns:key": "co",
        });
        let map = fields.as_object_mut().unwrap();
        for (name, value) in changes {
            match (name.as_str(), value) {
                ("props", Value::Object(properties)) => map.extend(properties.clone()),
                (_, Value::Null) => drop(map.remove(name)),
                (name, _) if name.starts_with('_') => {}
                (_, _) => drop(map.insert(name.clone(), value.clone())),
            }
        }
        let user = changes
            .get("_user")
            .and_then(Value::as_str)
            .unwrap_or("demo");
        let (_, created) = cloud.glance("POST", user, "", Some(&fields));
        let image = Self {
            cloud,
            id: created["id"].as_str().unwrap().to_owned(),
        };
        image.advance(user, changes);
        image
    }

    /// Brings the image to the state the case wants.
    fn advance(&self, user: &str, changes: &Map<String, Value>) {
        if let Some(data) = changes.get("_data").and_then(Value::as_str) {
            let url = format!("{}/v2/images/{}/file", self.cloud.glance, self.id);
            let token = Some(self.cloud.tokens[user].as_str());
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
            let action = format!("/{}/actions/deactivate", self.id);
            self.cloud.glance("POST", "admin", &action, None);
        }
        if changes.contains_key("_deleted") {
            self.cloud.remove(&self.id);
        }
    }
}

impl Drop for FreshImage<'_> {
    fn drop(&mut self) {
        self.cloud.remove(&self.id);
    }
}
