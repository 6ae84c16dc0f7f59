//! The version documents. They need no token.

use super::microversion::Microversion;
use super::routes::ApiVersion;
use crate::util::{python_json, wsgi_path};
use serde_json::{Value, json};

/// The `updated` values of Nova 34.
const V2_UPDATED: &str = "2025-07-04T12:00:00Z";
const V21_UPDATED: &str = "2013-07-23T11:33:21Z";

struct Document {
    id: &'static str,
    status: &'static str,
    updated: &'static str,
    media_type: &'static str,
    version: String,
    min_version: String,
}

fn document(api: ApiVersion, max: Microversion) -> Document {
    match api {
        ApiVersion::V2 => Document {
            id: "v2.0",
            status: "DEPRECATED",
            updated: V2_UPDATED,
            media_type: "application/vnd.openstack.compute+json;version=2",
            version: String::new(),
            min_version: String::new(),
        },
        ApiVersion::V21 => Document {
            id: "v2.1",
            status: "CURRENT",
            updated: V21_UPDATED,
            media_type: "application/vnd.openstack.compute+json;version=2.1",
            version: max.to_string(),
            min_version: Microversion::MIN.to_string(),
        },
    }
}

fn self_link(root: &str, api: ApiVersion) -> Value {
    json!({ "rel": "self", "href": format!("{root}/{}/", api.segment()) })
}

fn media_types(document: &Document) -> Value {
    json!([{ "base": "application/json", "type": document.media_type }])
}

/// The body of `GET /`: both versions. `root` is scheme, host and path prefix.
#[must_use]
pub fn all(root: &str, max: Microversion) -> String {
    let versions = [ApiVersion::V2, ApiVersion::V21].map(|api| {
        let document = document(api, max);
        json!({
            "id": document.id, "status": document.status, "version": document.version,
            "min_version": document.min_version, "updated": document.updated,
            "links": [self_link(root, api)],
        })
    });
    python_json::to_string(&json!({ "versions": versions }))
}

/// The body of `GET /v2.1/` and `GET /v2/`: one version.
#[must_use]
pub fn one(root: &str, api: ApiVersion, max: Microversion) -> String {
    let document = document(api, max);
    python_json::to_string(&json!({ "version": {
        "id": document.id, "status": document.status, "version": document.version,
        "min_version": document.min_version, "updated": document.updated,
        "links": [
            self_link(root, api),
            { "rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/" },
        ],
        "media-types": media_types(&document),
    }}))
}

/// The body of the 300 for a path without a version: the same path under each version.
#[must_use]
pub fn choices(root: &str, path: &str, max: Microversion) -> String {
    let path = percent_encoding::utf8_percent_encode(path, wsgi_path::ENCODED).to_string();
    let choices = [ApiVersion::V2, ApiVersion::V21].map(|api| {
        let document = document(api, max);
        json!({
            "id": document.id, "status": document.status,
            "links": [{ "rel": "self", "href": format!("{root}/{}{path}", api.segment()) }],
            "media-types": media_types(&document),
        })
    });
    python_json::to_string(&json!({ "choices": choices }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Microversion = Microversion::new(2, 104);

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_the_current_api_has_microversions() {
        let all = parsed(&all("http://h/compute", MAX));
        assert_eq!(all["versions"][0]["version"], "");
        assert_eq!(all["versions"][1]["version"], "2.104");
        assert_eq!(all["versions"][1]["min_version"], "2.1");
        assert_eq!(
            all["versions"][1]["links"][0]["href"],
            "http://h/compute/v2.1/"
        );
        assert_eq!(
            parsed(&one("http://h", ApiVersion::V2, MAX))["version"]["id"],
            "v2.0"
        );
    }

    #[test]
    fn the_choices_repeat_the_path() {
        let choices = parsed(&choices("http://h", "/v3/a b/ü", MAX));
        assert_eq!(
            choices["choices"][1]["links"][0]["href"],
            "http://h/v2.1/v3/a%20b/%C3%BC"
        );
    }
}
