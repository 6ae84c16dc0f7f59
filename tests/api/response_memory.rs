//! Clients that do not read their lists: the memory of responses stays within its budget.

use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_support::TestGateway;
use test_support::client::{RawClient, get};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const LIMIT: f64 = 16.0 * 1024.0 * 1024.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// One metric of the gateway.
fn metric(gateway: &TestGateway, name: &str) -> f64 {
    let mut wire = RawClient::connect(gateway.admin()).unwrap();
    wire.send(get("/metrics")).unwrap();
    let text = wire.receive().unwrap().text();
    let start = format!("nova_image_proxy_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap().parse().unwrap()
}

/// Twelve clients ask for a list of some 4 MiB each, and read nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn unread_lists_are_bounded_and_others_are_told_to_come_back() {
    let glance = MockServer::start().await;
    let image = |number: usize| {
        json!({
            "id": format!("11111111-2222-4333-8444-{number:012}"),
            "status": "active",
            "text": "x".repeat(4000),
        })
    };
    let page = json!({"images": (0..1000).map(image).collect::<Vec<_>>()});
    let response = ResponseTemplate::new(200).set_body_json(&page);
    Mock::given(any())
        .respond_with(response)
        .mount(&glance)
        .await;
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &glance.uri()),
        ("CACHE__ENABLED", "false"),
        ("SERVER__MAX_RESPONSE_MEMORY", "16MiB"),
    ]);
    assert!((metric(&gateway, "response_memory_limit_bytes") - LIMIT).abs() < 1.0);
    let request =
        "GET /v2.1/images/detail?limit=1000 HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\n\r\n";
    let mut refused = 0;
    let mut unread = Vec::new();
    for _ in 0..12 {
        let mut wire = RawClient::connect(gateway.base()).unwrap();
        wire.send(request).unwrap();
        let mut start = [0; 12];
        // The head of the response is there; nothing more is read.
        while wire.stream().peek(&mut start).unwrap() < start.len() {}
        if start.ends_with(b"503") {
            let answer = wire.receive().unwrap();
            assert_eq!(answer.header("retry-after"), Some("5"));
            refused += 1;
        } else {
            assert!(start.ends_with(b"200"));
            unread.push(wire);
        }
        let used = metric(&gateway, "response_memory_bytes");
        assert!(used <= LIMIT, "{used}");
    }
    assert!(refused > 0 && unread.len() >= 3, "{refused} refused");
    assert!(metric(&gateway, "response_memory_bytes") > 0.0);
    drop(unread);
    let started = Instant::now();
    while metric(&gateway, "response_memory_bytes") > 0.0 {
        assert!(started.elapsed() < PATIENCE, "memory is not given back");
        sleep(Duration::from_millis(20));
    }
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send(request).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
}
