//! Text that cannot be the id of an image: no operation takes it further than the gateway.

use rstest::rstest;
use serde_json::json;
use test_support::{TestGateway, client};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const ID: &str = "11111111-2222-4333-8444-555555555555";
const OPERATIONS: [(&str, &str, Option<&str>); 8] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/metadata", None),
    ("POST", "/metadata", Some(r#"{"metadata": {"k": "v"}}"#)),
    ("PUT", "/metadata", Some(r#"{"metadata": {"k": "v"}}"#)),
    ("GET", "/metadata/k", None),
    ("PUT", "/metadata/k", Some(r#"{"meta": {"k": "v"}}"#)),
    ("DELETE", "/metadata/k", None),
];

async fn glance(body: serde_json::Value) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(body);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn gateway(glance: &MockServer, cache: &str) -> TestGateway {
    TestGateway::start(&[
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", glance.uri().as_str()),
        ("CACHE__ENABLED", cache),
        ("CACHE__TTL", "1h"),
    ])
}

#[rstest]
#[case::encoded_slash("11111111-2222-4333-8444-555555555555%2Fmembers")]
#[case::a_tag("11111111-2222-4333-8444-555555555555%2Ftags%2Fgold")]
#[case::a_project("11111111-2222-4333-8444-555555555555%2fmembers%2fp1")]
#[case::dot_segments("..%2F..%2Fv3%2Fusers")]
#[case::dot_dot("%2e%2e")]
#[case::dot(".")]
#[case::encoded_twice("a%252Ftags%252Fgold")]
#[case::query("a%3Fvisibility=public")]
#[case::fragment("a%23b")]
#[case::backslash("a%5Cb")]
#[case::semicolon("a;b")]
#[case::blank("a%20")]
#[case::nul("a%00")]
#[case::no_utf8("a%ff")]
#[case::beyond_ascii("%C3%BC")]
#[tokio::test]
async fn what_no_image_can_have_as_its_id_is_a_404_without_a_call(#[case] id: &str) {
    let glance = glance(json!({"id": ID, "name": "n", "status": "active"})).await;
    for cache in ["true", "false"] {
        let gateway = gateway(&glance, cache);
        for (method, below, body) in OPERATIONS {
            let path = format!("/v2.1/images/{id}{below}");
            let answer = client::ask(gateway.base(), method, &path, &[], body);
            let expected = json!({"itemNotFound": {"code": 404, "message": "Image not found."}});
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            assert_eq!(answer.json(), expected, "{method} {path}");
        }
    }
    assert!(glance.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_id_has_255_characters_at_most() {
    let long = "x".repeat(255);
    let glance = glance(json!({"id": long, "name": "n", "status": "active"})).await;
    let gateway = gateway(&glance, "true");
    let show = |id: &str| {
        let path = format!("/v2.1/images/{id}");
        client::ask(gateway.base(), "GET", &path, &[], None).status
    };
    assert_eq!(show(&long), 200);
    assert_eq!(show(&format!("{long}x")), 404);
    assert_eq!(glance.received_requests().await.unwrap().len(), 1);
}

#[rstest]
#[case::members(json!({"members": [], "schema": "/v2/schemas/members"}))]
#[case::null(json!({"id": null}))]
#[case::another(json!({"id": "11111111-2222-4333-8444-555555555556", "name": "n"}))]
#[tokio::test]
async fn a_document_that_is_not_the_image_s_is_a_502(#[case] document: serde_json::Value) {
    let glance = glance(document).await;
    let gateway = gateway(&glance, "true");
    for (method, below, body) in OPERATIONS {
        if (method, below) == ("DELETE", "") {
            continue;
        }
        let path = format!("/v2.1/images/{ID}{below}");
        let answer = client::ask(gateway.base(), method, &path, &[], body);
        assert_eq!(answer.status, 502, "{method} {path}: {}", answer.text());
    }
    let heard = glance.received_requests().await.unwrap();
    assert!(heard.iter().all(|request| request.method == "GET"));
}
