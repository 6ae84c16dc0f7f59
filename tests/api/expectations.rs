//! `Expect: 100-continue`: the gateway asks for a body when it reads it, after it has checked token and length.

use rstest::rstest;
use std::time::Duration;
use test_support::client::RawClient;
use test_support::{FakeGlance, TestGateway};

const BODY: &str = r#"{"metadata": {"k": "v"}}"#;

fn head(token: &str, length: &str) -> String {
    format!(
        "POST /v2.1/images/x/metadata HTTP/1.1\r\nHost: x\r\n{token}Content-Type: application/json\r\n\
         Expect: 100-continue\r\n{length}\r\n"
    )
}

fn with_wire(check: impl FnOnce(RawClient)) {
    let glance = FakeGlance::start(Duration::ZERO);
    let url = glance.url();
    let settings = [
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", url.as_str()),
    ];
    let gateway = TestGateway::start(&settings);
    check(RawClient::connect(gateway.base()).unwrap());
}

#[rstest]
#[case::length(&format!("Content-Length: {}\r\n", BODY.len()), BODY.to_owned())]
#[case::chunks("Transfer-Encoding: chunked\r\n", format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len()))]
fn a_body_that_is_wanted_is_asked_for(#[case] framing: &str, #[case] body: String) {
    with_wire(|mut wire| {
        for _ in 0..2 {
            wire.send(head("X-Auth-Token: t\r\n", framing)).unwrap();
            let interim = wire.receive().unwrap();
            assert_eq!(interim.status_line, "HTTP/1.1 100 Continue");
            assert_eq!(interim.headers, []);
            wire.send(&body).unwrap();
            let answer = wire.receive().unwrap();
            assert_eq!((answer.status, answer.is_last()), (200, false));
        }
    });
}

#[rstest]
#[case::no_token("", "Content-Length: 24\r\n", 401)]
#[case::no_token_with_chunks("", "Transfer-Encoding: chunked\r\n", 401)]
#[case::too_large("X-Auth-Token: t\r\n", "Content-Length: 200000\r\n", 413)]
fn a_head_that_is_refused_asks_for_no_body(
    #[case] token: &str,
    #[case] framing: &str,
    #[case] status: u16,
) {
    with_wire(|mut wire| {
        wire.send(head(token, framing)).unwrap();
        let answer = wire.receive().unwrap();
        assert_eq!((answer.status, answer.is_last()), (status, true));
        assert!(wire.is_closed());
    });
}

#[test]
fn a_body_that_came_along_is_not_asked_for() {
    with_wire(|mut wire| {
        let length = format!("Content-Length: {}\r\n", BODY.len());
        wire.send(head("X-Auth-Token: t\r\n", &length) + BODY)
            .unwrap();
        let answer = wire.receive().unwrap();
        assert_eq!((answer.status, answer.is_last()), (200, false));
    });
}
