//! The list of API versions. All of them are served at `/v2/`.

use serde_json::{Value, json};

/// The versions are 2.0 to this, as of a Glance with an image cache and named stores.
pub(super) const LATEST_MINOR: u8 = 18;

/// The document of `/` and `/versions`; links begin with `base`, such as `http://127.0.0.1:9292`.
pub(super) fn document(base: &str) -> Value {
    let version = |minor: u8| {
        let status = if minor == LATEST_MINOR {
            "CURRENT"
        } else {
            "SUPPORTED"
        };
        json!({
            "id": format!("v2.{minor}"),
            "status": status,
            "links": [{"rel": "self", "href": format!("{base}/v2/")}],
        })
    };
    let versions: Vec<Value> = (0..=LATEST_MINOR).rev().map(version).collect();
    json!({ "versions": versions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_comes_first_and_is_the_current_one() {
        let document = document("http://h");
        assert_eq!(document["versions"][0]["id"], "v2.18");
        assert_eq!(document["versions"][0]["status"], "CURRENT");
        assert_eq!(document["versions"][18]["id"], "v2.0");
        assert_eq!(document["versions"][18]["links"][0]["href"], "http://h/v2/");
    }
}
