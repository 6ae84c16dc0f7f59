//! What operators see: readiness, metrics, the access log.

use crate::gateway::Gateway;
use crate::keystone::{StandIn, scoped};
use nova_image_proxy::config::LogFormat;
use nova_image_proxy::telemetry::logging::notice;
use nova_image_proxy::telemetry::sink::{Flush, Sink};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const IMAGE: &str = "/v2.1/images/an-image";
const PATIENCE: Duration = Duration::from_secs(30);

async fn glance(delay: Duration) -> MockServer {
    let server = MockServer::start().await;
    let image = json!({"id": "an-image", "status": "active"});
    for (wanted, body) in [
        ("/v2/images/an-image", image.clone()),
        ("/v2/images", json!({"images": [image]})),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(path(wanted))
            .respond_with(answer.set_delay(delay))
            .mount(&server)
            .await;
    }
    server
}

async fn keystone() -> StandIn {
    let tokens = [("a-token", scoped("a-user", "abc", &["member"]))];
    let tokens = tokens.map(|(token, says)| (token.to_owned(), says));
    StandIn::start(HashMap::from(tokens)).await
}

fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn behind(keystone: &str, glance: &str) -> Gateway {
    Gateway::start(&[("KEYSTONE__URL", keystone), ("GLANCE__ENDPOINTS", glance)])
}

async fn ready(gateway: &Gateway) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/ready", gateway.admin()))
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The series, without comments, each with its number.
async fn series(gateway: &Gateway) -> HashMap<String, f64> {
    let answer = reqwest::get(format!("{}/metrics", gateway.admin()))
        .await
        .unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap()).collect();
    let found: HashMap<_, _> = pairs
        .iter()
        .map(|(name, number)| {
            let name = name.strip_prefix("nova_image_proxy_").unwrap();
            (name.to_owned(), number.parse().unwrap())
        })
        .collect();
    assert_eq!(found.len(), pairs.len(), "a series came twice: {text}");
    found
}

#[tokio::test]
async fn ready_says_which_service_is_away_and_why() {
    let (keystone, glance) = (keystone().await.url(), glance(Duration::ZERO).await);
    let nobody = unused_address();
    let (status, report) = ready(&behind(&keystone, &glance.uri())).await;
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");

    let gateway = behind(&keystone, &nobody);
    let (status, report) = ready(&gateway).await;
    assert_eq!((status, &report["ready"]), (503, &json!(false)), "{report}");
    assert_eq!(report["checks"][0]["service"], "keystone");
    assert_eq!(report["checks"][0]["ready"], true);
    assert_eq!(report["checks"][1]["endpoint"], format!("{nobody}/"));
    let reason = report["checks"][1]["reason"].as_str().unwrap();
    assert!(reason.starts_with("cannot connect"), "{reason}");
    // The process is up all the same.
    let health = reqwest::get(format!("{}/healthcheck", gateway.admin())).await;
    assert_eq!(health.unwrap().status(), 200);

    let (status, report) = ready(&behind(&nobody, &glance.uri())).await;
    assert_eq!(
        (status, &report["checks"][0]["ready"]),
        (503, &json!(false))
    );
    assert_eq!(report["checks"][1]["ready"], true);
}

#[tokio::test]
async fn a_glance_that_comes_back_is_noticed_and_asked_once_a_second() {
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(502))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let gateway = Gateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &server.uri()),
    ]);
    let started = Instant::now();
    let (status, report) = ready(&gateway).await;
    assert_eq!(status, 503);
    assert_eq!(report["checks"][0]["reason"], "it answered 502");
    while ready(&gateway).await.0 != 200 {
        assert!(started.elapsed() < PATIENCE, "Glance is back");
    }
    let asked = server.received_requests().await.unwrap().len() as u64;
    let most = 2 + started.elapsed().as_secs();
    assert!((2..=most).contains(&asked), "{asked} of {most}");
}

#[tokio::test]
async fn requests_calls_and_tokens_are_counted() {
    let (keystone, glance) = (keystone().await, glance(Duration::ZERO).await);
    let gateway = behind(&keystone.url(), &glance.uri());
    let client = Client::new();
    for (token, path, version, status) in [
        ("a-token", IMAGE, "2.1", 200),
        ("a-token", IMAGE, "2.35", 200),
        ("a-token", "/v2.1/images", "2.36", 404),
        ("a-token", "/v2/images", "2.99", 200),
        ("a-token", "/v2.1/no/such", "2.1", 404),
        ("no-token", IMAGE, "2.1", 401),
        ("no-token", IMAGE, "2.1", 401),
    ] {
        let answer = client
            .get(format!("{}{path}", gateway.base()))
            .header("X-Auth-Token", token)
            .header("X-OpenStack-Nova-API-Version", version)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let series = series(&gateway).await;
    let image = "route=\"/images/{image_id}\",method=\"GET\"";
    let keystone = keystone.url();
    let glance = glance.uri();
    for (name, number) in [
        (
            format!("requests_total{{{image},status=\"200\",version=\"2.1-2.35\"}}"),
            2.0,
        ),
        (
            format!("requests_total{{{image},status=\"401\",version=\"none\"}}"),
            2.0,
        ),
        (
            "requests_total{route=\"/images\",method=\"GET\",status=\"404\",version=\"2.36-2.38\"}"
                .into(),
            1.0,
        ),
        (
            "requests_total{route=\"/images\",method=\"GET\",status=\"200\",version=\"v2\"}".into(),
            1.0,
        ),
        (
            "requests_total{route=\"unknown\",method=\"GET\",status=\"404\",version=\"none\"}"
                .into(),
            1.0,
        ),
        ("requests_in_flight".into(), 0.0),
        (
            format!("upstream_call_seconds_count{{endpoint=\"{glance}\",outcome=\"2xx\"}}"),
            3.0,
        ),
        (
            format!("upstream_call_seconds_count{{endpoint=\"{keystone}\",outcome=\"2xx\"}}"),
            1.0,
        ),
        (
            format!("upstream_call_seconds_count{{endpoint=\"{keystone}\",outcome=\"4xx\"}}"),
            1.0,
        ),
        ("token_lookups_total{outcome=\"hit\"}".into(), 4.0),
        ("token_lookups_total{outcome=\"miss\"}".into(), 2.0),
        ("token_lookups_total{outcome=\"refused\"}".into(), 1.0),
        ("token_validations_total".into(), 2.0),
        ("log_lines_lost_total".into(), 0.0),
        (
            format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
            1.0,
        ),
    ] {
        assert_eq!(series.get(&name), Some(&number), "{name} in {series:#?}");
    }
    let timed: f64 = series
        .iter()
        .filter(|(name, _)| name.starts_with("request_seconds_count"))
        .map(|(_, count)| count)
        .sum();
    assert!((timed - 7.0).abs() < f64::EPSILON, "{timed}");
}

async fn be_hostile(gateway: &Gateway, rounds: std::ops::Range<u32>) {
    let client = Client::new();
    for n in rounds {
        let methods = ["GET", "DELETE", "OPTIONS", "HEAD"].map(str::to_owned);
        let methods = methods.into_iter().chain([format!("HOSTILE{n}")]);
        for method in methods {
            for path in [
                format!("/hostile-{n}"),
                format!("/v2.1/images/hostile-{n}"),
                format!("/v2.1/images/hostile-{n}/metadata/hostile-{n}"),
                format!("/v2.1/{n:x}/images?hostile={n}"),
                format!("/v2.1/hostile-{n}/hostile"),
            ] {
                for version in [
                    format!("2.{n}"),
                    format!("hostile-{n}"),
                    "latest".to_owned(),
                ] {
                    let method = Method::from_bytes(method.as_bytes()).unwrap();
                    let answer = client
                        .request(method, format!("{}{path}", gateway.base()))
                        .header("X-Auth-Token", format!("hostile-{n}"))
                        .header("X-OpenStack-Nova-API-Version", version)
                        .header("User-Agent", format!("hostile-{n}"))
                        .header("X-OpenStack-Request-ID", format!("hostile-{n}"))
                        .send();
                    drop(answer.await.unwrap());
                }
            }
        }
    }
}

#[tokio::test]
async fn no_client_can_make_the_metrics_grow() {
    let glance = glance(Duration::ZERO).await;
    let gateway = Gateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &glance.uri()),
    ]);
    // Version 2.1, the two gates, and versions beyond the highest.
    for n in [1, 36, 39, 500] {
        be_hostile(&gateway, n..n + 1).await;
    }
    let before = series(&gateway).await;
    be_hostile(&gateway, 510..520).await;
    let after = series(&gateway).await;
    let buckets = |name: &str| name.contains("_bucket{");
    let names = |all: &HashMap<String, f64>| {
        let mut names: Vec<_> = all.keys().filter(|name| !buckets(name)).cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&before), names(&after));
    assert_eq!(before.len(), after.len());
    assert!(after.len() < 1500, "{}", after.len());
    assert!(
        after
            .keys()
            .all(|name| !name.to_lowercase().contains("hostile"))
    );
    let other: f64 = after
        .iter()
        .filter(|(name, _)| name.starts_with("requests_total") && name.contains("\"other\""))
        .map(|(_, count)| count)
        .sum();
    assert!((other - 14.0 * 15.0).abs() < f64::EPSILON, "{other}");
}

/// A place to write to, which can be shut for a while.
#[derive(Clone, Default)]
struct Paper(Arc<(Mutex<(bool, Vec<u8>)>, Condvar)>);

impl Paper {
    fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().0 = shut;
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.0.lock().unwrap().1.clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    fn sink(&self, limit: usize) -> (Sink, Flush) {
        let notice = |lost| notice(LogFormat::Json, lost);
        Sink::start(self.clone(), limit, notice).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (paper, opened) = &*self.0;
        let mut paper = opened
            .wait_while(paper.lock().unwrap(), |(shut, _)| *shut)
            .unwrap();
        paper.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_request_is_a_line_whatever_it_holds() {
    let (keystone, glance) = (keystone().await, glance(Duration::from_millis(100)).await);
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let settings = [
        ("KEYSTONE__URL", keystone.url()),
        ("GLANCE__ENDPOINTS", glance.uri()),
        ("LOG__FORMAT", "json".to_owned()),
        // It is not about access lines.
        ("LOG__LEVEL", "off".to_owned()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::logging(&settings, log);
    let global = "req-11111111-2222-4333-8444-555555555555";
    let odd = b"\"}\t\\ \xff\x80\x9b[31m {\"status\":200}".as_slice();
    let long = "x".repeat(3000);
    let mut ids = Vec::new();
    for (path, agent, global) in [
        (
            "/v2.1/abc/images/an-image?secret=query",
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
        let answer = Client::new()
            .get(format!("{}{path}", gateway.base()))
            .header("X-Auth-Token", "a-token")
            .header("X-OpenStack-Nova-API-Version", "2.35")
            .header(
                "User-Agent",
                reqwest::header::HeaderValue::from_bytes(agent).unwrap(),
            )
            .header("X-OpenStack-Request-ID", global)
            .send()
            .await
            .unwrap();
        ids.push(
            answer.headers()["x-openstack-request-id"]
                .to_str()
                .unwrap()
                .to_owned(),
        );
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
        ("global_id", json!(global)),
        ("project", json!("abc")),
        ("user", json!("a-user")),
        ("method", json!("GET")),
        ("route", json!("/images/{image_id}")),
        ("path", json!("/v2.1/abc/images/an-image")),
        ("status", json!(200)),
        ("version", json!("2.35")),
        ("user_agent", json!("client/1.0")),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert!(first["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    let time = first["timestamp"].as_str().unwrap();
    let age = chrono::Utc::now() - time.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(age < chrono::TimeDelta::minutes(5), "{time}");
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    // Keystone's answer takes no time to speak of, Glance's a tenth of a second.
    let upstream = number(first, "upstream_microseconds");
    assert!(
        (100_000..=number(first, "microseconds")).contains(&upstream),
        "{first}"
    );

    assert_eq!(second["status"], 404);
    assert_eq!(second["path"], "/v2.1/images/%0a%0d%1b%22,%22status%22:200");
    let latin_1: String = odd.iter().copied().map(char::from).collect();
    assert_eq!(second["user_agent"], latin_1);
    assert_eq!(second["global_id"], Value::Null);

    for name in ["path", "user_agent"] {
        let cut = third[name].as_str().unwrap();
        assert!(cut.ends_with('\u{2026}') && cut.len() < 600, "{cut}");
    }
}

#[tokio::test]
async fn a_line_of_text_says_the_same() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let gateway = Gateway::logging(&[], log);
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
        "  INFO access: request_id={} client=127.0.0.1:",
        id.to_str().unwrap()
    );
    assert!(rest.starts_with(&begin), "{rest}");
    let middle = " method=\"GET\" route=\"/images\" path=\"/v2.1/images\" status=200 version=2.1 \
                  upstream_microseconds=";
    assert!(rest.contains(middle), "{rest}");
    assert!(
        rest.ends_with(" user_agent=\"a \\\"quoted\\\" one\""),
        "{rest}"
    );
}

#[tokio::test]
async fn the_access_log_can_be_switched_off() {
    let paper = Paper::default();
    let (log, flush) = paper.sink(1 << 20);
    let gateway = Gateway::logging(&[("LOG__ACCESS", "false")], log);
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
    let gateway = Gateway::logging(&[("LOG__FORMAT", "json")], log);
    let client = Client::new();
    let mut requests = 0;
    let lost = |series: HashMap<String, f64>| series["log_lines_lost_total"];
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
