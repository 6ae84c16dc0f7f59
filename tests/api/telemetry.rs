//! Readiness and metrics, on the admin listener.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use test_support::fake_keystone::scoped;
use test_support::{FakeKeystone, TestGateway};
use tokio::io::AsyncWriteExt as _;
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const IMAGE: &str = "/v2.1/images/11111111-2222-4333-8444-555555555555";
const PATIENCE: Duration = Duration::from_secs(30);

/// A Glance with one image.
pub async fn glance(delay: Duration) -> MockServer {
    let server = MockServer::start().await;
    let id = "11111111-2222-4333-8444-555555555555";
    let image = json!({"id": id, "status": "active"});
    for (wanted, body) in [
        (format!("/v2/images/{id}"), image.clone()),
        ("/v2/images".to_owned(), json!({"images": [image]})),
        (
            "/versions".to_owned(),
            json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]}),
        ),
    ] {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(path(wanted))
            .respond_with(answer.set_delay(delay))
            .mount(&server)
            .await;
    }
    server
}

/// A Keystone that knows one token.
pub async fn keystone() -> FakeKeystone {
    let tokens = [("a-token", scoped("a-user", "abc", &["member"]))];
    let tokens = tokens.map(|(token, says)| (token.to_owned(), says));
    FakeKeystone::start(HashMap::from(tokens)).await
}

fn unused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn behind(keystone: &str, glance: &str) -> TestGateway {
    TestGateway::start(&[
        ("KEYSTONE__AUTH_URL", keystone),
        ("GLANCE__ENDPOINTS", glance),
    ])
}

async fn ready(gateway: &TestGateway) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/ready", gateway.admin()))
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The series, without comments, each with its number.
pub async fn series(gateway: &TestGateway) -> HashMap<String, f64> {
    let answer = Client::new()
        .get(format!("{}/metrics", gateway.admin()))
        .header(
            "Accept",
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        )
        .send()
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
            let own = name.strip_prefix("nova_image_proxy_");
            let name = own.or_else(|| name.starts_with("process_").then_some(*name));
            (name.unwrap().to_owned(), number.parse().unwrap())
        })
        .collect();
    assert_eq!(found.len(), pairs.len(), "a series came twice: {text}");
    found
}

fn probe<'r>(report: &'r Value, name: &str) -> &'r Value {
    let probes = report["probes"].as_array().unwrap();
    let found = probes.iter().find(|probe| probe["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report}"))
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
    assert_eq!(probe(&report, "keystone.identity")["outcome"], "ok");
    let versions = probe(&report, "glance.versions");
    assert_eq!(versions["target"], format!("{nobody}/versions"));
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("cannot connect"), "{reason}");
    // The process is up all the same.
    let health = reqwest::get(format!("{}/healthcheck", gateway.admin())).await;
    assert_eq!(health.unwrap().status(), 200);

    let (status, report) = ready(&behind(&nobody, &glance.uri())).await;
    assert_eq!(status, 503);
    assert_eq!(probe(&report, "keystone.identity")["outcome"], "fail");
    assert_eq!(probe(&report, "glance.versions")["outcome"], "ok");
}

#[tokio::test]
async fn the_gateways_own_address_as_glance_is_not_ready() {
    let own = unused_address();
    let listen = own.trim_start_matches("http://").to_owned();
    for glance in [own.clone(), format!("{own}/v2.1")] {
        let gateway = TestGateway::start(&[
            ("AUTH__MODE", "passthrough"),
            ("SERVER__LISTEN", &listen),
            ("GLANCE__ENDPOINTS", &glance),
        ]);
        let (status, report) = ready(&gateway).await;
        assert_eq!(status, 503, "{report}");
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains("perhaps this gateway itself"), "{reason}");
    }
}

#[tokio::test]
async fn requests_that_all_miss_glance_end_readiness() {
    let glance = MockServer::start().await;
    let versions = json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]});
    let versions = ResponseTemplate::new(200).set_body_json(versions);
    Mock::given(path("/versions"))
        .respond_with(versions)
        .mount(&glance)
        .await;
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &glance.uri()),
    ]);
    assert_eq!(ready(&gateway).await.0, 200);
    // A proxy that sends only the version document to Glance.
    let away = ResponseTemplate::new(302).insert_header("location", "https://login.example/");
    Mock::given(any()).respond_with(away).mount(&glance).await;
    for _ in 0..16 {
        let url = format!("{}{IMAGE}", gateway.base());
        let answer = Client::new().get(url).header("X-Auth-Token", "a").send();
        assert_eq!(answer.await.unwrap().status(), 502);
    }
    let started = Instant::now();
    loop {
        let (status, report) = ready(&gateway).await;
        if status == 503 {
            let reason = report["reason"].as_str().unwrap();
            assert!(reason.contains("it answered 302"), "{reason}");
            break;
        }
        assert!(started.elapsed() < PATIENCE, "still ready");
    }
}

#[tokio::test]
async fn a_glance_that_comes_back_is_noticed_and_asked_once_a_second() {
    let server = glance(Duration::ZERO).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(502))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&server)
        .await;
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &server.uri()),
    ]);
    let started = Instant::now();
    let (status, report) = ready(&gateway).await;
    assert_eq!(status, 503);
    assert_eq!(
        probe(&report, "glance.versions")["detail"],
        "it answered 502"
    );
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
    let gateway = TestGateway::start(&[
        ("KEYSTONE__AUTH_URL", &keystone.url()),
        ("GLANCE__ENDPOINTS", &glance.uri()),
        ("CACHE__ENABLED", "false"),
    ]);
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
    let image = "api=\"compute\",route=\"/images/{image_id}\",method=\"GET\"";
    let keystone = keystone.url();
    let glance = glance.uri();
    for (name, number) in [
        (
            format!("http_requests_total{{{image},status=\"200\",microversion=\"2.1-2.35\"}}"),
            2.0,
        ),
        (
            format!("http_requests_total{{{image},status=\"401\",microversion=\"none\"}}"),
            2.0,
        ),
        (
            "http_requests_total{api=\"compute\",route=\"/images\",method=\"GET\",status=\"404\",microversion=\"2.36-2.38\"}"
                .into(),
            1.0,
        ),
        (
            "http_requests_total{api=\"compute\",route=\"/images\",method=\"GET\",status=\"200\",microversion=\"v2\"}".into(),
            1.0,
        ),
        (
            "http_requests_total{api=\"compute\",route=\"unknown\",method=\"GET\",status=\"404\",microversion=\"none\"}"
                .into(),
            1.0,
        ),
        ("http_requests_in_flight".into(), 0.0),
        (
            format!("upstream_request_duration_seconds_count{{upstream_service=\"glance\",upstream=\"{glance}\",outcome=\"2xx\"}}"),
            3.0,
        ),
        (
            format!("upstream_request_duration_seconds_count{{upstream_service=\"keystone\",upstream=\"{keystone}\",outcome=\"2xx\"}}"),
            1.0,
        ),
        (
            format!("upstream_request_duration_seconds_count{{upstream_service=\"keystone\",upstream=\"{keystone}\",outcome=\"4xx\"}}"),
            1.0,
        ),
        ("token_cache_lookups_total{outcome=\"hit\"}".into(), 4.0),
        ("token_cache_lookups_total{outcome=\"miss\"}".into(), 2.0),
        ("token_cache_lookups_total{outcome=\"refused\"}".into(), 1.0),
        ("token_validations_total".into(), 2.0),
        ("log_lines_dropped_total".into(), 0.0),
        (
            format!("upstream_up{{upstream_service=\"glance\",upstream=\"{glance}\"}}"),
            1.0,
        ),
    ] {
        assert_eq!(series.get(&name), Some(&number), "{name} in {series:#?}");
    }
    let timed: f64 = series
        .iter()
        .filter(|(name, _)| name.starts_with("http_request_duration_seconds_count"))
        .map(|(_, count)| count)
        .sum();
    assert!((timed - 7.0).abs() < f64::EPSILON, "{timed}");
}

#[tokio::test]
async fn answers_from_memory_are_told_apart() {
    let glance = glance(Duration::ZERO).await;
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &glance.uri()),
        ("CACHE__ENABLED", "true"),
        ("CACHE__TTL", "1h"),
    ]);
    for _ in 0..3 {
        let url = format!("{}{IMAGE}", gateway.base());
        let request = Client::new().get(url).header("X-Auth-Token", "a-token");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let series = series(&gateway).await;
    for (outcome, number) in [("miss", 1.0), ("hit", 2.0)] {
        let image = "api=\"compute\",route=\"/images/{image_id}\",method=\"GET\"";
        let timed = format!("http_request_duration_seconds_count{{{image},cache=\"{outcome}\"}}");
        assert_eq!(series.get(&timed), Some(&number), "{series:#?}");
        let counted = format!("response_cache_lookups_total{{outcome=\"{outcome}\"}}");
        assert_eq!(series.get(&counted), Some(&number), "{series:#?}");
    }
    assert!(series["response_cache_size_bytes"] > 0.0, "{series:#?}");
    assert!(
        (series["response_cache_entries"] - 1.0).abs() < f64::EPSILON,
        "{series:#?}"
    );
}

async fn be_hostile(gateway: &TestGateway, rounds: std::ops::Range<u32>) {
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
    let gateway = TestGateway::start(&[
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
        .filter(|(name, _)| name.starts_with("http_requests_total") && name.contains("\"other\""))
        .map(|(_, count)| count)
        .sum();
    assert!((other - 14.0 * 15.0).abs() < f64::EPSILON, "{other}");
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_counted_too() {
    let glance = glance(Duration::from_secs(60)).await;
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", &glance.uri()),
        ("GLANCE__TIMEOUT", "3s"),
    ]);
    let address = gateway.base().trim_start_matches("http://");
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {IMAGE} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let started = Instant::now();
    while (series(&gateway).await["http_requests_in_flight"] - 1.0).abs() > f64::EPSILON {
        assert!(started.elapsed() < PATIENCE, "no request in flight");
    }
    // One that only closes its side may still want the answer; this one resets the connection.
    let linger = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(client);
    let abandoned = "http_requests_total{api=\"compute\",route=\"/images/{image_id}\",method=\"GET\",\
                     status=\"abandoned\",microversion=\"2.1-2.35\"}";
    loop {
        let series = series(&gateway).await;
        // The call to Glance goes on and counts as long as it lasts.
        if series.get(abandoned) == Some(&1.0)
            && series["http_requests_in_flight"].abs() < f64::EPSILON
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{series:#?}");
    }
}
