//! Bodies that no program writes, and texts that want to be a line of the log.

use std::fmt::Write as _;
use test_support::client::{RawClient, get};
use test_support::{GatewayProcess, gateway_command};

use rstest::rstest;
use serde_json::Value;

use super::{gateway, is_told, post, request};

fn many_keys() -> Vec<u8> {
    let mut body = String::from("{\"metadata\": {\"k\": \"\"");
    for number in 0..7000 {
        write!(body, ", \"k{number}\": 1").unwrap();
    }
    body.push_str("}}");
    body.into_bytes()
}

#[rstest]
#[case::deep("[".repeat(50_000).into_bytes(), 400)]
#[case::deep_and_closed(["[".repeat(40_000), "]".repeat(40_000)].concat().into_bytes(), 400)]
#[case::deep_objects("{\"a\":".repeat(20_000).into_bytes(), 400)]
#[case::repeated_keys(br#"{"metadata": {"a": 1}, "metadata": {"a": 1, "a": "2"}}"#.to_vec(), 404)]
#[case::huge_integer(format!("{{\"metadata\": {{\"a\": 1{}}}}}", "0".repeat(4000)).into(), 400)]
#[case::huger_integer(format!("{{\"metadata\": {{\"a\": 1{}}}}}", "0".repeat(9000)).into(), 400)]
#[case::huge_exponent(br#"{"metadata": {"a": 1e999999999}}"#.to_vec(), 400)]
#[case::tiny_exponent(br#"{"metadata": {"a": 1e-999999999}}"#.to_vec(), 400)]
#[case::half_a_pair(br#"{"metadata": {"a": "\ud800"}}"#.to_vec(), 400)]
#[case::a_pair(br#"{"metadata": {"a": "\ud83d\ude00"}}"#.to_vec(), 404)]
#[case::not_utf_8(b"{\"metadata\": {\"a\": \"\xff\"}}".to_vec(), 400)]
#[case::byte_order_mark(b"\xef\xbb\xbf{\"metadata\": {}}".to_vec(), 400)]
#[case::nul(b"{\"metadata\": {\"a\": \"\0\"}}".to_vec(), 400)]
#[case::more_behind(br#"{"metadata": {}} x"#.to_vec(), 400)]
#[case::many_keys(many_keys(), 400)]
fn json_from_hell_is_taken_or_refused(#[case] body: Vec<u8>, #[case] status: u16) {
    let gateway = gateway();
    let mut wire = RawClient::connect(gateway.base()).unwrap();
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    wire.send(post(&headers, &body)).unwrap();
    let answer = wire.receive().unwrap();
    assert_eq!(answer.status, status, "{}", answer.text());
    is_told("json", &answer);
    wire.send(get("/v2.1")).unwrap();
    assert_eq!(wire.receive().unwrap().status, 200);
}

#[test]
fn nothing_a_client_sends_forges_a_line_of_the_log() {
    for format in ["json", "text", "oslo"] {
        let settings = [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("LOG__FORMAT", format),
            ("LOG__LEVEL", "trace"),
        ];
        let mut process = GatewayProcess::spawn(gateway_command!(), &settings);
        let forged = "forged\\u000aforged%0d%0aforged";
        let headers = [
            "X-OpenStack-Request-ID: req-1\tforged",
            "OpenStack-API-Version: compute \u{85}forged\u{2028}forged",
            "X-Forwarded-For: forged\"} {\"level\":\"ERROR\"",
            "User-Agent: forged",
        ];
        let path = format!("/v2.1/images/{}", forged.replace('\\', "%5C"));
        let mut wire = RawClient::connect(process.base()).unwrap();
        for _ in 0..2 {
            let line = format!("GET {path} HTTP/1.1");
            wire.send(request(&line, (headers.join("\r\n") + "\r\n").as_bytes()))
                .unwrap();
            assert_eq!(wire.receive().unwrap().status, 400);
        }
        process.signal("TERM");
        assert!(process.wait().success());
        let log = process.log();
        let access: Vec<&str> = log.lines().filter(|line| line.contains("forged")).collect();
        assert_eq!(access.len(), 2, "{log}");
        for line in log.lines() {
            assert!(
                !line.bytes().any(|byte| byte.is_ascii_control()),
                "{line:?}"
            );
            if format == "json" {
                let event: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert_ne!(event["level"], "ERROR");
            }
        }
    }
}
