//! The access log: one line for each request, whatever it holds.

use crate::telemetry::{glance, keystone, series};
use nova_image_proxy::config::LogFormat;
use nova_image_proxy::telemetry::log_writer::{FlushGuard, LogWriter};
use nova_image_proxy::telemetry::logging::notice;
use reqwest::Client;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use test_support::TestGateway;

/// A place to write to, which can be shut for a while.
#[derive(Clone, Default)]
struct Paper(Arc<Desk>);

#[derive(Default)]
struct Desk {
    written: Mutex<Vec<u8>>,
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Paper {
    fn shut(&self, shut: bool) {
        *self.0.shut.lock().unwrap() = shut;
        self.0.opened.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.written.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    fn sink(&self, limit: usize) -> (LogWriter, FlushGuard) {
        let notice = |lost| notice(LogFormat::Json, lost);
        LogWriter::start(self.clone(), limit, notice).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shut = self.0.shut.lock().unwrap();
        drop(self.0.opened.wait_while(shut, |shut| *shut).unwrap());
        self.0.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Asks for `path`, and gives the id of the request.
async fn ask(gateway: &TestGateway, path: &str, agent: &[u8], global: &str) -> String {
    let answer = Client::new()
        .get(format!("{}{path}", gateway.base()))
        .header("X-Auth-Token", "a-token")
        .header("X-OpenStack-Nova-API-Version", "2.35")
        .header("User-Agent", HeaderValue::from_bytes(agent).unwrap())
        .header("X-OpenStack-Request-ID", global)
        .header("traceparent", TRACE)
        .header("tracestate", "a=1")
        .send()
        .await
        .unwrap();
    let id = &answer.headers()["x-openstack-request-id"];
    id.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_request_is_a_line_whatever_it_holds() {
    let (keystone, glance) = (keystone().await, glance(Duration::from_millis(100)).await);
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let settings = [
        ("KEYSTONE__AUTH_URL", keystone.url()),
        ("GLANCE__ENDPOINTS", glance.uri()),
        ("LOG__FORMAT", "json".to_owned()),
        // It is not about access lines.
        ("LOG__LEVEL", "off".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let gateway = TestGateway::logging(&settings, log);
    let global = "req-11111111-2222-4333-8444-555555555555";
    let odd = b"\"}\t\\ \xff\x80\x9b[31m {\"status\":200}".as_slice();
    let long = "x".repeat(3000);
    let mut ids = Vec::new();
    for (path, agent, global) in [
        (
            "/v2.1/abc/images/11111111-2222-4333-8444-555555555555?secret=query",
            b"client/1.0".as_slice(),
            global,
        ),
        (
            "/v2.1/images/%0a%0d%1b%22,%22status%22:200",
            odd,
            "not-an-id\" x=\"",
        ),
        (&format!("/v2.1/images/{long}"), long.as_bytes(), ""),
    ] {
        ids.push(ask(&gateway, path, agent, global).await);
    }
    drop(gateway);
    drop(flush);
    let lines = paper.lines();
    assert!(
        lines
            .iter()
            .all(|line| line.is_ascii() && line.len() < 8000)
    );
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let logged: Vec<_> = lines
        .iter()
        .map(|line| line["request_id"].as_str().unwrap())
        .collect();
    assert_eq!(logged, ids);

    let [first, second, third] = &lines[..] else {
        panic!("{lines:#?}");
    };
    for (name, value) in [
        ("level", json!("INFO")),
        ("target", json!("access")),
        ("global_request_id", json!(global)),
        ("trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
        ("service", json!("nova-image-proxy")),
        ("message", json!("GET /images/{image_id} 200")),
        ("project_id", json!("abc")),
        ("user_id", json!("a-user")),
        ("method", json!("GET")),
        ("route", json!("/images/{image_id}")),
        (
            "path",
            json!("/v2.1/abc/images/11111111-2222-4333-8444-555555555555"),
        ),
        ("status", json!(200)),
        ("cache", json!("miss")),
        ("microversion", json!("2.35")),
        ("api", json!("compute")),
        ("client", json!("127.0.0.1")),
        ("user_agent", json!("client/1.0")),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert!(first["client_port"].as_u64().unwrap() > 0);
    assert!(first["response_bytes"].as_u64().unwrap() > 100, "{first}");
    assert_eq!(first["proxy"], Value::Null);
    let time = first["timestamp"].as_str().unwrap();
    let age = chrono::Utc::now() - time.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(age < chrono::TimeDelta::minutes(5), "{time}");
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    // Keystone's answer takes no time to speak of, Glance's a tenth of a second.
    let upstream = number(first, "upstream_us");
    assert!(
        (100_000..=number(first, "duration_us")).contains(&upstream),
        "{first}"
    );

    assert_eq!(second["status"], 404);
    assert_eq!(second["path"], "/v2.1/images/%0a%0d%1b%22,%22status%22:200");
    let latin_1: String = odd.iter().copied().map(char::from).collect();
    assert_eq!(second["user_agent"], latin_1);
    assert_eq!(second["global_request_id"], Value::Null);

    for name in ["path", "user_agent"] {
        let cut = third[name].as_str().unwrap();
        assert!(cut.ends_with('\u{2026}') && cut.len() < 600, "{cut}");
    }
}

#[tokio::test]
async fn a_line_of_text_says_the_same() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let gateway = TestGateway::logging(&[], log);
    let answer = Client::new()
        .get(format!("{}/v2.1/images", gateway.base()))
        .header("User-Agent", "a \"quoted\" one")
        .send();
    let id = answer.await.unwrap().headers()["x-openstack-request-id"].clone();
    drop(gateway);
    drop(flush);
    let lines = paper.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (time, rest) = lines[0].split_at(27);
    assert!(
        time.parse::<chrono::DateTime<chrono::Utc>>().is_ok(),
        "{time}"
    );
    let begin = format!(
        "  INFO access: GET /images 200 request_id={} client=127.0.0.1 client_port=",
        id.to_str().unwrap()
    );
    assert!(rest.starts_with(&begin), "{rest}");
    let middle = " method=\"GET\" api=compute route=\"/images\" path=\"/v2.1/images\" status=200 \
                  response_bytes=";
    assert!(rest.contains(middle), "{rest}");
    assert!(
        rest.contains(" microversion=2.1 cache=miss upstream_us="),
        "{rest}"
    );
    assert!(
        rest.ends_with(" user_agent=\"a \\\"quoted\\\" one\""),
        "{rest}"
    );
}

#[tokio::test]
async fn a_trace_is_passed_on_to_keystone_and_glance() {
    let (keystone, glance) = (keystone().await, glance(Duration::ZERO).await);
    let gateway = TestGateway::start(&[
        ("KEYSTONE__AUTH_URL", &keystone.url()),
        ("GLANCE__ENDPOINTS", &glance.uri()),
    ]);
    ask(&gateway, "/v2.1/images", b"client", "").await;
    let to_glance = glance.received_requests().await.unwrap();
    let to_keystone = keystone.requests().await;
    for request in to_glance.iter().chain(&to_keystone) {
        assert_eq!(request.headers["traceparent"], TRACE, "{request:?}");
        assert_eq!(request.headers["tracestate"], "a=1");
    }
    assert!(!to_glance.is_empty() && !to_keystone.is_empty());
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_logged_and_the_proxy_too() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let settings = [
        ("LOG__FORMAT", "json"),
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let gateway = TestGateway::logging(&settings, log);
    let request = Client::new()
        .get(format!("{}/v2.1/images", gateway.base()))
        .header("X-Forwarded-For", "192.0.2.1, 203.0.113.9");
    assert_eq!(request.send().await.unwrap().status(), 200);
    drop(gateway);
    drop(flush);
    let line: Value = serde_json::from_str(&paper.lines()[0]).unwrap();
    assert_eq!(line["client"], "203.0.113.9");
    assert_eq!(line["proxy"], "127.0.0.1");
    assert_eq!(line["client_port"], Value::Null);
}

#[tokio::test]
async fn probes_get_no_line_and_are_counted() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let gateway = TestGateway::logging(&[("LOG__FORMAT", "oslo")], log);
    for (path, agent) in [
        ("/", "kube-probe/1.30"),
        ("/v2.1/", "osa-proxy-healthcheck"),
        ("/v2.1/images", "kube-probe/1.30"),
        ("/", "curl/8"),
    ] {
        let url = format!("{}{path}", gateway.base());
        let request = Client::new().get(url).header("User-Agent", agent);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let counted: f64 = series(&gateway)
        .await
        .iter()
        .filter(|(name, _)| name.starts_with("http_requests_total"))
        .map(|(_, count)| count)
        .sum();
    assert!((counted - 4.0).abs() < f64::EPSILON, "{counted}");
    drop(gateway);
    drop(flush);
    let lines = paper.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("\"GET /v2.1/images\" status: 200 len: "),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("agent: \"curl/8\""), "{lines:?}");
}

#[tokio::test]
async fn the_access_log_can_be_switched_off() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let gateway = TestGateway::logging(&[("LOG__ACCESS", "false")], log);
    let answer = reqwest::get(format!("{}/v2.1/images", gateway.base())).await;
    assert_eq!(answer.unwrap().status(), 200);
    drop(gateway);
    drop(flush);
    assert_eq!(paper.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_its_losses_are_counted() {
    let paper = Paper::default();
    paper.shut(true);
    let (log, flush) = paper.sink(16 << 10);
    let gateway = TestGateway::logging(&[("LOG__FORMAT", "json")], log);
    let client = Client::new();
    let mut requests = 0;
    let lost = |series: HashMap<String, f64>| series["log_lines_dropped_total"];
    while lost(series(&gateway).await) < 20.0 {
        for _ in 0..10 {
            let answer = client
                .get(gateway.base())
                .header("User-Agent", "x".repeat(250));
            assert_eq!(answer.send().await.unwrap().status(), 200);
            requests += 1;
        }
        assert!(requests < 10_000, "nothing is lost");
    }
    let lost = lost(series(&gateway).await);
    paper.shut(false);
    drop(gateway);
    drop(flush);
    let lines: Vec<Value> = paper
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (notices, access): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["level"] == "WARN");
    let told: u64 = notices
        .iter()
        .map(|line| line["lines"].as_u64().unwrap())
        .sum();
    assert_eq!(access.len() + usize::try_from(told).unwrap(), requests);
    assert!((lost - f64::from(u32::try_from(told).unwrap())).abs() < f64::EPSILON);
}
