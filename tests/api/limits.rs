//! Clients that are slow, silent or too many.

use std::io::Read;
use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_support::TestGateway;
use test_support::client::{RawClient, Response, get};

use rstest::rstest;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const IMAGES: &str = "/v2.1/images";

fn fault(answer: &Response) -> (u16, String, Option<&str>) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let name = body.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(body[&name]["code"], answer.status);
    (answer.status, name, answer.header("retry-after"))
}

/// A Glance with one image, and a gateway in front of it.
async fn in_front_of(
    answer: ResponseTemplate,
    settings: &[(&str, &str)],
) -> (MockServer, TestGateway) {
    let glance = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&glance).await;
    let uri = glance.uri();
    let mut all = vec![
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", uri.as_str()),
    ];
    all.extend_from_slice(settings);
    let gateway = TestGateway::start(&all);
    (glance, gateway)
}

#[test]
fn half_a_head_is_a_408() {
    let gateway = TestGateway::start(&[("SERVER__HEAD_TIMEOUT", "300ms")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send("GET /v2.1/images HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    let answer = wire.receive().unwrap();
    assert_eq!((answer.status, answer.is_last()), (408, true));
    assert!(wire.is_closed());
}

#[rstest]
#[case::stops("GET /v2.1/images HTTP/1.1\r\nHo", Duration::from_secs(3600))]
#[case::byte_by_byte("GET /v2.1/images HTTP/1.1\r\nX: ", Duration::from_millis(20))]
fn half_a_head_later_on_closes_the_connection(#[case] sent: &str, #[case] pause: Duration) {
    let gateway = TestGateway::start(&[("SERVER__HEAD_TIMEOUT", "300ms")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    wire.send(get(IMAGES)).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
    wire.send(sent).unwrap();
    let started = Instant::now();
    if pause < Duration::from_secs(1) {
        // Sooner or later the other end is gone.
        while wire.send("x").is_ok() {
            assert!(started.elapsed() < Duration::from_secs(60));
            sleep(pause);
        }
    } else {
        assert!(wire.is_closed());
    }
    assert!(
        started.elapsed() >= Duration::from_millis(250),
        "cut too soon"
    );
}

#[test]
fn a_head_that_is_sent_slowly_but_in_time_is_answered() {
    let gateway = TestGateway::start(&[("SERVER__HEAD_TIMEOUT", "20s")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    for _ in 0..3 {
        for piece in get(IMAGES).as_bytes().chunks(20) {
            wire.send(piece).unwrap();
            sleep(Duration::from_millis(10));
        }
        assert_eq!(wire.receive().unwrap().status, 200);
    }
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    let gateway = TestGateway::start(&[("SERVER__BODY_TIMEOUT", "300ms")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let head =
        "POST /v2.1/images/x/metadata HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"me";
    wire.send(head).unwrap();
    let answer = wire.receive().unwrap();
    assert_eq!(fault(&answer), (408, "computeFault".into(), None));
    assert!(answer.is_last() && wire.is_closed());
}

#[test]
fn a_silent_connection_is_closed() {
    let gateway = TestGateway::start(&[("SERVER__KEEP_ALIVE", "300ms")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    for _ in 0..2 {
        wire.send(get(IMAGES)).unwrap();
        let answer = wire.receive().unwrap();
        assert_eq!((answer.status, answer.is_last()), (200, false));
    }
    let started = Instant::now();
    assert!(wire.is_closed());
    assert!(
        started.elapsed() >= Duration::from_millis(250),
        "cut too soon"
    );
}

/// Far more than sockets buffer.
fn huge_image() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"id": "x", "huge": "x".repeat(20 << 20)}))
}

/// A socket that buffers little, so that its reader's pace is the server's.
fn narrow(gateway: &TestGateway) -> RawClient {
    let wire = RawClient::connect(gateway.base()).unwrap();
    socket2::SockRef::from(wire.stream())
        .set_recv_buffer_size(16 << 10)
        .unwrap();
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_cut_off() {
    let settings = [("SERVER__WRITE_TIMEOUT", "1s")];
    let (_glance, gateway) = in_front_of(huge_image(), &settings).await;
    let mut wire = narrow(&gateway);
    wire.send(get("/v2.1/images/x")).unwrap();
    let mut first = [0; 100];
    wire.stream().read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK"));
    sleep(Duration::from_secs(4));
    // What was on its way may still come; the rest never does.
    let mut rest = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(more @ 1..) = wire.stream().read(&mut buffer) {
        rest += more;
    }
    assert!(rest < 20 << 20, "all {rest} bytes came");
    // Others are none the worse.
    let mut other = RawClient::connect(gateway.base()).unwrap();
    other.send(get("/v2.1/images/x")).unwrap();
    assert!(other.receive().unwrap().body.len() > 20 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_gets_everything() {
    // Both times are shorter than the answer takes.
    let settings = [
        ("SERVER__WRITE_TIMEOUT", "2s"),
        ("SERVER__KEEP_ALIVE", "1s"),
    ];
    let (_glance, gateway) = in_front_of(huge_image(), &settings).await;
    let mut wire = narrow(&gateway);
    wire.send(get("/v2.1/images/x")).unwrap();
    let started = Instant::now();
    let mut all = 0;
    let mut buffer = vec![0; 512 << 10];
    while all < 20 << 20 {
        let more = wire.stream().read(&mut buffer).unwrap();
        assert!(more > 0, "cut off after {all} bytes");
        all += more;
        let due = Duration::from_secs(4) * u32::try_from(all >> 10).unwrap() / (20 << 10);
        sleep(due.saturating_sub(started.elapsed()));
    }
    assert!(started.elapsed() > Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_refused_at_once_and_the_operator_still_answered() {
    let admin = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let slow = ResponseTemplate::new(200)
        .set_body_json(json!({"id": "x"}))
        .set_delay(Duration::from_secs(3));
    let settings = [
        ("SERVER__MAX_IN_FLIGHT", "2"),
        ("ADMIN__LISTEN", admin.as_str()),
    ];
    let (glance, gateway) = in_front_of(slow, &settings).await;
    let mut inside: Vec<RawClient> = (0..2)
        .map(|_| RawClient::connect(gateway.base()).unwrap())
        .collect();
    for wire in &mut inside {
        wire.send(get("/v2.1/images/x")).unwrap();
    }
    while glance.received_requests().await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut outside = RawClient::connect(gateway.base()).unwrap();
    for path in ["/v2.1/images/x", "/v2.1/images/x", "/"] {
        outside.send(get(path)).unwrap();
        let answer = outside.receive().unwrap();
        assert_eq!(
            fault(&answer),
            (503, "serviceUnavailable".into(), Some("5"))
        );
        assert!(answer.header("x-openstack-request-id").is_some());
    }
    let mut operator = RawClient::connect(&admin).unwrap();
    operator.send(get("/healthcheck")).unwrap();
    assert_eq!(operator.receive().unwrap().status, 200);
    operator.send(get("/metrics")).unwrap();
    let numbers = operator.receive().unwrap().text();
    assert!(
        numbers.contains("nova_image_proxy_http_requests_rejected_total 3\n"),
        "{numbers}"
    );
    for line in [
        "connections_open 3\n",
        "connections_limit 10000\n",
        "connections_accepted_total 3\n",
        "connections_timed_out_total 0\n",
        "late_requests_total 0\n",
    ] {
        let line = format!("nova_image_proxy_{line}");
        assert!(numbers.contains(&line), "{line}{numbers}");
    }
    for wire in &mut inside {
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    outside.send(get("/v2.1/images/x")).unwrap();
    assert_eq!(outside.receive().unwrap().status, 200);
}

#[test]
fn one_connection_too_many_waits_for_its_turn() {
    let settings = [("SERVER__MAX_CONNECTIONS", "2"), ("SERVER__WORKERS", "1")];
    let gateway = TestGateway::start(&settings);
    let mut inside: Vec<RawClient> = (0..2)
        .map(|_| RawClient::connect(gateway.base()).unwrap())
        .collect();
    for wire in &mut inside {
        wire.send(get(IMAGES)).unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    let mut outside = RawClient::connect(gateway.base()).unwrap();
    outside.send(get(IMAGES)).unwrap();
    outside
        .stream()
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(outside.receive().is_err(), "let in");
    inside.pop();
    outside
        .stream()
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(outside.receive().unwrap().status, 200);
}

#[rstest]
#[case(300, 200)]
#[case(301, 414)]
fn a_target_has_a_longest_length(#[case] length: usize, #[case] status: u16) {
    let gateway = TestGateway::start(&[("SERVER__MAX_URI", "300")]);
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let start = "/v2.1/images?name=";
    wire.send(get(&format!("{start}{}", "x".repeat(length - start.len()))))
        .unwrap();
    let answer = wire.receive().unwrap();
    assert_eq!((answer.status, answer.is_last()), (status, false));
    if status != 200 {
        assert_eq!(fault(&answer).1, "computeFault");
    }
}
