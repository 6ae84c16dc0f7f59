//! The embedded Glance asked for by name in a gateway whose tokens Keystone judges.

use std::collections::HashMap;
use test_support::client::{self, Request, Response};
use test_support::fake_keystone::{scoped, unscoped};
use test_support::{FakeKeystone, TestGateway};

use embedded_glance::{AuthenticationError, DEFAULT_PROJECT, EmbeddedGlance, Settings};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

const PUBLIC: &str = "e3bedded-0000-4000-8000-000000000001";
const PRIVATE: &str = "e3bedded-0000-4000-8000-000000000006";

async fn start() -> (FakeKeystone, TestGateway) {
    let member = ["member", "reader"];
    let mut limited = scoped("u1", DEFAULT_PROJECT, &member);
    limited["application_credential"] = json!({"id": "c", "name": "c", "access_rules": [
        {"id": "r", "service": "compute", "method": "GET", "path": "/v2.1/images/**"},
    ]});
    let mut system = unscoped("u4");
    system["system"] = json!({"all": true});
    system["roles"] = json!([{"id": "r", "name": "admin"}]);
    let tokens = HashMap::from([
        ("owner".to_owned(), scoped("u1", DEFAULT_PROJECT, &member)),
        (
            "reader".to_owned(),
            scoped("u2", DEFAULT_PROJECT, &["reader"]),
        ),
        ("stranger".to_owned(), scoped("u3", "other", &member)),
        ("admin".to_owned(), scoped("u4", "other", &["Admin"])),
        ("system".to_owned(), system),
        ("unscoped".to_owned(), unscoped("u1")),
        ("limited".to_owned(), limited),
    ]);
    let keystone = FakeKeystone::start(tokens).await;
    let url = keystone.url();
    let gateway = TestGateway::start(&[("GLANCE__MODE", "embedded"), ("KEYSTONE__AUTH_URL", &url)]);
    (keystone, gateway)
}

fn send(
    gateway: &TestGateway,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Response {
    let body = body.map(Value::to_string);
    let request = Request {
        method,
        path,
        headers: token
            .map(|token| ("X-Auth-Token", token))
            .into_iter()
            .collect(),
        body: body.as_deref().map(str::as_bytes),
    };
    client::send(gateway.base(), &request).unwrap()
}

fn shows(gateway: &TestGateway, token: Option<&str>, image: &str) -> u16 {
    let path = format!("/v2.1/images/{image}");
    send(gateway, token, "GET", &path, None).status
}

#[tokio::test]
async fn a_token_sees_what_its_project_and_roles_allow() {
    let (keystone, gateway) = start().await;
    for (token, public, private) in [
        (None, 401, 401),
        (Some("unknown"), 401, 401),
        (Some("unscoped"), 403, 403),
        // As a real Glance, whose policies are about projects.
        (Some("system"), 404, 404),
        (Some("stranger"), 200, 404),
        (Some("reader"), 200, 200),
        (Some("owner"), 200, 200),
        (Some("admin"), 200, 200),
    ] {
        assert_eq!(shows(&gateway, token, PUBLIC), public, "{token:?}");
        assert_eq!(shows(&gateway, token, PRIVATE), private, "{token:?}");
    }
    let list = send(&gateway, Some("stranger"), "GET", "/v2.1/images", None).json();
    assert_eq!(list["images"].as_array().unwrap().len(), 4, "{list}");
    let list = send(&gateway, Some("system"), "GET", "/v2.1/images", None);
    assert_eq!(list.status, 403, "{}", list.text());
    // Seven tokens, each asked about once: the gateway and its Glance share what they know.
    assert_eq!(keystone.validations().await, 7);
}

#[tokio::test]
async fn only_a_member_of_the_owner_and_an_admin_may_write() {
    let (_keystone, gateway) = start().await;
    let path = format!("/v2.1/images/{PRIVATE}/metadata");
    for (token, status) in [
        ("stranger", 404),
        ("reader", 403),
        ("owner", 200),
        ("admin", 200),
    ] {
        let body = json!({"metadata": {"by": token}});
        let answer = send(&gateway, Some(token), "POST", &path, Some(&body));
        assert_eq!(answer.status, status, "{token}: {}", answer.text());
        if status == 200 {
            assert_eq!(answer.json()["metadata"]["by"], token);
        }
    }
}

/// Its rules are about the compute API. A Glance that enforces access rules refuses it.
#[tokio::test]
async fn a_token_limited_to_compute_calls_is_not_good_for_glance() {
    let (_keystone, gateway) = start().await;
    assert_eq!(shows(&gateway, Some("limited"), PUBLIC), 401);
}

#[tokio::test]
async fn a_glance_whose_tokens_cannot_be_judged_is_unavailable() {
    let glance = EmbeddedGlance::builder(Settings::default())
        .authenticate_with(|_| async { Err(AuthenticationError::Unavailable) }.boxed())
        .start()
        .unwrap();
    let base = glance.endpoint().as_str().trim_end_matches('/');
    let mut request = Request {
        method: "GET",
        path: "/v2/images",
        ..Request::default()
    };
    assert_eq!(client::send(base, &request).unwrap().status, 401);
    request.headers = vec![("X-Auth-Token", "t")];
    assert_eq!(client::send(base, &request).unwrap().status, 503);
}
