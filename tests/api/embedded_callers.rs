//! Callers that name themselves to the embedded Glance through the gateway, whose cache keeps them
//! apart; and a reset, after which nothing cached is served.

use serde_json::{Value, json};
use test_support::TestGateway;
use test_support::client::{Request, Response, ask, send};

const OWNER: &str = "project-a:user-a:member";
const STRANGER: &str = "project-b:user-b:member";

fn names(gateway: &TestGateway, token: Option<&str>) -> Vec<String> {
    let headers: Vec<(&str, &str)> = token
        .map(|token| ("X-Auth-Token", token))
        .into_iter()
        .collect();
    let answer = ask(gateway.base(), "GET", "/v2.1/images/detail", &headers, None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    let images = list["images"].as_array().unwrap();
    let name = |image: &Value| image["name"].as_str().unwrap_or_default().to_owned();
    images.iter().map(name).collect()
}

fn sees(gateway: &TestGateway, token: Option<&str>) -> bool {
    names(gateway, token).iter().any(|name| name == "secret")
}

/// The embedded Glance, which the links of images name. The list is cached, so it is that of a caller
/// of its own.
fn glance(gateway: &TestGateway) -> String {
    let headers = [("X-Auth-Token", "project-c:user-c:member")];
    let list = ask(gateway.base(), "GET", "/v2.1/images/detail", &headers, None).json();
    let link = list["images"][0]["links"][2]["href"].as_str().unwrap();
    link.split("/images/").next().unwrap().to_owned()
}

fn create(glance: &str) -> Response {
    let body = json!({"name": "secret", "visibility": "private"}).to_string();
    ask(
        glance,
        "POST",
        "/v2/images",
        &[("X-Auth-Token", OWNER)],
        Some(&body),
    )
}

#[test]
fn named_callers_are_kept_apart_and_a_reset_empties_the_cache() {
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "none"),
        ("GLANCE__MODE", "embedded"),
        ("IDENTITY__LISTEN", "127.0.0.1:0"),
        ("EMBEDDED__RESET", "true"),
        ("CACHE__TTL", "1h"),
    ]);
    assert_eq!(create(&glance(&gateway)).status, 201);
    for _ in 0..2 {
        assert!(sees(&gateway, Some(OWNER)));
        assert!(!sees(&gateway, Some(STRANGER)));
    }
    // What names no caller does not count: an admin of the default project, as without a token.
    assert!(sees(&gateway, Some("an-old-token")));
    let reset = Request {
        method: "POST",
        path: "/reset",
        ..Request::default()
    };
    assert_eq!(send(gateway.admin(), &reset).unwrap().status, 204);
    for token in [Some(OWNER), Some(STRANGER), None] {
        assert!(!sees(&gateway, token), "{token:?}");
    }
}
