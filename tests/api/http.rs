//! What a client sees of the front, whatever Glance does.

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use test_support::TestGateway;
use wiremock::matchers::{any, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const IMAGE: &str = "/v2.1/images/an-image";

async fn glance(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// A gateway that leaves tokens to Glance.
fn gateway(glance: &MockServer, settings: &[(&str, &str)]) -> TestGateway {
    let uri = glance.uri();
    let mut all = vec![
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", uri.as_str()),
    ];
    all.extend_from_slice(settings);
    TestGateway::start(&all)
}

async fn get(gateway: &TestGateway, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Client::new()
        .get(format!("{}{path}", gateway.base()))
        .header("X-Auth-Token", "a-token");
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

fn image() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"id": "an-image", "status": "active"}))
}

async fn links(response: Response) -> Vec<String> {
    let body: Value = response.json().await.unwrap();
    let links = body["image"]["links"].as_array().unwrap().clone();
    links
        .iter()
        .map(|link| link["href"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_path_prefix_is_part_of_every_route_and_link() {
    let glance = glance(image()).await;
    let gateway = gateway(&glance, &[("SERVER__PATH_PREFIX", "/compute")]);
    let found = get(
        &gateway,
        "/compute/v2.1/images/an-image",
        &[("Host", "cloud:1")],
    )
    .await;
    assert_eq!(
        links(found).await,
        [
            "http://cloud:1/compute/v2.1/images/an-image".to_owned(),
            "http://cloud:1/compute/images/an-image".to_owned(),
            format!("{}/images/an-image", glance.uri()),
        ]
    );
    assert_eq!(
        get(&gateway, IMAGE, &[]).await.status(),
        StatusCode::NOT_FOUND
    );
    let versions: Value = get(&gateway, "/compute", &[]).await.json().await.unwrap();
    let href = versions["versions"][1]["links"][0]["href"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(href.ends_with("/compute/v2.1/"), "{href}");
}

#[tokio::test]
async fn forwarded_headers_count_from_a_trusted_proxy_alone() {
    let glance = glance(image()).await;
    let headers = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "public.example"),
    ];
    let trusting = gateway(&glance, &[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8")]);
    let own = links(get(&trusting, IMAGE, &headers).await).await;
    assert_eq!(own[0], "https://public.example/v2.1/images/an-image");
    let wary = gateway(&glance, &[]);
    let own = links(get(&wary, IMAGE, &headers).await).await;
    assert_eq!(own[0], format!("{}{IMAGE}", wary.base()));
}

#[tokio::test]
async fn glance_sees_the_token_and_the_request_id_and_nothing_else_of_the_client_s() {
    let server = MockServer::start().await;
    let global = "req-11111111-2222-4333-8444-555555555555";
    Mock::given(method("GET"))
        .and(path("/v2/images/an-image"))
        .and(header("x-auth-token", "a-token"))
        .and(header("x-openstack-request-id", global))
        .respond_with(image())
        .mount(&server)
        .await;
    let gateway = gateway(&server, &[]);
    let spoofed = [
        ("X-OpenStack-Request-ID", global),
        ("X-Project-Id", "someone-else"),
        ("X-Roles", "admin"),
        ("X-Identity-Status", "Confirmed"),
        ("X-Service-Token", "service"),
        ("Cookie", "c=1"),
        ("Forwarded", "for=1.2.3.4"),
    ];
    let answer = get(&gateway, IMAGE, &spoofed).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let ids = answer.headers();
    assert_eq!(ids["x-openstack-request-id"], ids["x-compute-request-id"]);
    assert_ne!(ids["x-openstack-request-id"], global);
    let sent = &server.received_requests().await.unwrap()[0];
    let mut names: Vec<_> = sent.headers.keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept",
            "host",
            "user-agent",
            "x-auth-token",
            "x-openstack-request-id"
        ]
    );
}

async fn fault(response: Response) -> (u16, String, Option<String>, bool) {
    let status = response.status().as_u16();
    let retry = response
        .headers()
        .get("retry-after")
        .map(|v| v.to_str().unwrap().to_owned());
    let versioned = response.headers().contains_key("openstack-api-version");
    let body: Value = response.json().await.unwrap();
    let name = body.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(body[&name]["code"], status);
    (status, name, retry, versioned)
}

#[tokio::test]
async fn a_glance_that_does_not_answer_is_a_503_in_time() {
    let glance = glance(image().set_delay(Duration::from_secs(60))).await;
    for (setting, path) in [
        ("GLANCE__TIMEOUT", IMAGE),
        ("SERVER__REQUEST_TIMEOUT", IMAGE),
        ("SERVER__REQUEST_TIMEOUT", "/v2.1/images"),
    ] {
        let gateway = gateway(&glance, &[(setting, "300ms")]);
        let started = Instant::now();
        let fault = fault(get(&gateway, path, &[]).await).await;
        assert_eq!(
            fault,
            (503, "serviceUnavailable".into(), Some("5".into()), true),
            "{setting}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{setting} {path}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_glance_s_is_a_502() {
    let page = "<html><body>hello</body></html>";
    for (answer, path) in [
        (ResponseTemplate::new(200).set_body_string(page), IMAGE),
        (
            ResponseTemplate::new(200).set_body_string(page),
            "/v2.1/images",
        ),
        (
            ResponseTemplate::new(200).set_body_string("[]"),
            "/v2.1/images/detail",
        ),
        (
            ResponseTemplate::new(200).set_body_string("{\"images\": {}}"),
            "/v2.1/images",
        ),
        (ResponseTemplate::new(404), "/v2.1/images"),
        (
            ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"),
            IMAGE,
        ),
        (ResponseTemplate::new(500), IMAGE),
        (
            ResponseTemplate::new(200).set_body_bytes(vec![b' '; 10_000]),
            IMAGE,
        ),
    ] {
        let glance = glance(answer).await;
        let gateway = gateway(&glance, &[("GLANCE__MAX_ANSWER", "5000")]);
        let fault = fault(get(&gateway, path, &[]).await).await;
        assert_eq!(fault, (502, "computeFault".into(), None, true), "{path}");
    }
}

#[tokio::test]
async fn a_refusal_by_glance_makes_the_client_log_in_again() {
    let glance = glance(ResponseTemplate::new(401)).await;
    let gateway = gateway(
        &glance,
        &[("KEYSTONE__WWW_AUTHENTICATE_URI", "http://keystone.example")],
    );
    let answer = get(&gateway, IMAGE, &[]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Keystone uri=\"http://keystone.example\""
    );
}

#[tokio::test]
async fn a_body_is_refused_by_its_size_announced_or_not() {
    let glance = glance(image()).await;
    let gateway = gateway(&glance, &[("SERVER__MAX_BODY", "1000")]);
    let url = format!("{}{IMAGE}/metadata", gateway.base());
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(
        (0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 100])),
    ));
    for body in [reqwest::Body::from(vec![b' '; 1001]), chunked] {
        let request = Client::new()
            .post(&url)
            .header("X-Auth-Token", "a-token")
            .body(body);
        let fault = fault(request.send().await.unwrap()).await;
        assert_eq!(fault, (413, "overLimit".into(), None, false));
    }
    assert!(glance.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_beyond_the_bound_is_a_fault_and_not_cut() {
    let page = json!({"images": [{"id": "a"}, {"id": "b"}, {"id": "c"}]});
    let glance = glance(ResponseTemplate::new(200).set_body_json(page)).await;
    let gateway = gateway(&glance, &[("GLANCE__MAX_IMAGES", "2")]);
    let fault = fault(get(&gateway, "/v2.1/images", &[]).await).await;
    assert_eq!(fault, (413, "overLimit".into(), None, true));
}
