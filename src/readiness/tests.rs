use super::*;
use crate::config;
use crate::keystone::Catalogs;
use crate::upstream::{ClientSettings, client, runtime};
use crate::util::recent_outcomes::WINDOW;
use futures_util::future::join_all;
use serde_json::{Value, json};
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A server that is Keystone and Glance at once, all in order.
async fn cloud() -> MockServer {
    let server = MockServer::start().await;
    let identity = json!({"version": {"id": "v3.14", "status": "stable"}});
    serve(
        &server,
        "/v3",
        ResponseTemplate::new(200).set_body_json(identity),
    )
    .await;
    let own = json!({"token": {"expires_at": "2100-01-01T00:00:00Z"}});
    let issued = ResponseTemplate::new(201)
        .insert_header("x-subject-token", "own")
        .set_body_json(own);
    Mock::given(method("POST"))
        .and(path("/v3/auth/tokens"))
        .respond_with(issued)
        .mount(&server)
        .await;
    serve(&server, "/v3/auth/tokens", ResponseTemplate::new(404)).await;
    serve(&server, "/versions", versions()).await;
    server
}

fn versions() -> ResponseTemplate {
    let glance = json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]});
    ResponseTemplate::new(200).set_body_json(glance)
}

async fn serve(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET"))
        .and(path(at))
        .respond_with(answer)
        .with_priority(10)
        .mount(server)
        .await;
}

/// Answers so from now on, whatever is served there otherwise.
async fn replace(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(at))
        .respond_with(answer)
        .with_priority(1)
        .mount(server)
        .await;
}

fn validator(url: &str, settings: Value, catalogs: Catalogs) -> TokenValidator {
    let mut settings: config::Keystone = serde_json::from_value(settings).unwrap();
    settings.auth_url = Some(url.parse().unwrap());
    let http = client(ClientSettings::default()).unwrap();
    TokenValidator::new(&settings, &config::Auth::default(), http, catalogs).unwrap()
}

fn with_credentials() -> Value {
    json!({"username": "gateway", "password": "hunter2", "project_name": "service"})
}

fn probes(keystone: Option<TokenValidator>, glances: &[&str]) -> Probes {
    let glances = glances.iter().map(|url| url.parse().unwrap()).collect();
    let client = client(ClientSettings::default()).unwrap();
    Probes::new(client, keystone, glances, Arc::default())
}

async fn report(probes: Probes) -> Report {
    let (runtime, spawner) = runtime::start(1).unwrap();
    let readiness = Arc::new(Readiness::new(probes, spawner));
    let report = readiness.report().await;
    drop(runtime);
    report
}

/// Of a gateway with credentials in front of `server` at these URLs.
async fn with(server: &MockServer, auth_url: &str, glance: &str) -> Report {
    let keystone = validator(
        &format!("{}{auth_url}", server.uri()),
        with_credentials(),
        Catalogs::NotWanted,
    );
    report(probes(
        Some(keystone),
        &[&format!("{}{glance}", server.uri())],
    ))
    .await
}

fn assert_not_ready(report: &Report, reason: &str, advice: &str) {
    assert!(!report.ready, "{report:?}");
    let text = report.reason.as_deref().unwrap();
    assert!(text.contains(reason), "{text}");
    let failed = |probe: &&Probe| probe.outcome == ProbeOutcome::Fail;
    let failed = report.probes.iter().find(failed).unwrap();
    assert!(failed.advice.unwrap().contains(advice), "{failed:?}");
}

#[tokio::test]
async fn a_cloud_in_order_is_ready() {
    let server = cloud().await;
    for (auth_url, glance) in [("", ""), ("/v3/", "/v2.9/")] {
        let report = with(&server, auth_url, glance).await;
        assert!(report.ready, "{report:?}");
        let names: Vec<_> = report.probes.iter().map(|probe| probe.name).collect();
        let expected = [
            "keystone.identity",
            "keystone.credentials",
            "keystone.recent",
            "glance.versions",
            "glance.recent",
        ];
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_wrong_path_in_keystones_url_is_not_ready() {
    let server = cloud().await;
    let report = with(&server, "/idenity", "").await;
    assert_not_ready(&report, "keystone.identity", "keystone.auth_url");
    assert!(report.reason.unwrap().contains("404"));
}

#[tokio::test]
async fn another_service_at_keystones_url_is_not_ready() {
    let server = cloud().await;
    replace(&server, "GET", "/v3", versions()).await;
    let report = with(&server, "", "").await;
    assert_not_ready(&report, "Identity API v3", "keystone.auth_url");
}

#[tokio::test]
async fn a_wrong_password_is_not_ready() {
    let server = cloud().await;
    replace(
        &server,
        "POST",
        "/v3/auth/tokens",
        ResponseTemplate::new(401),
    )
    .await;
    let report = with(&server, "", "").await;
    assert_not_ready(&report, "keystone.credentials", "password");
}

#[tokio::test]
async fn a_missing_role_is_not_ready_and_is_named() {
    let server = cloud().await;
    replace(
        &server,
        "GET",
        "/v3/auth/tokens",
        ResponseTemplate::new(403),
    )
    .await;
    let report = with(&server, "", "").await;
    assert_not_ready(&report, "403", "the user needs role service on its project");
}

#[tokio::test]
async fn a_wrong_prefix_of_glances_url_is_not_ready() {
    let server = cloud().await;
    let report = with(&server, "", "/imgae").await;
    assert_not_ready(
        &report,
        "/imgae/versions: it answered 404",
        "glance.endpoints",
    );
    // Glance itself answers so at each path that it does not know.
    let choices = json!({"versions": [{"id": "v2.16", "status": "CURRENT", "links": []}]});
    let choices = ResponseTemplate::new(300).set_body_json(choices);
    serve(&server, "/imgae/versions", choices).await;
    let report = with(&server, "", "/imgae").await;
    assert_not_ready(
        &report,
        "/imgae/versions: it answered 300",
        "glance.endpoints",
    );
}

#[tokio::test]
async fn a_compute_api_as_glance_is_not_ready() {
    let server = cloud().await;
    let answer = versions().insert_header("x-compute-request-id", "req-1");
    replace(&server, "GET", "/versions", answer).await;
    let report = with(&server, "", "").await;
    assert_not_ready(&report, "perhaps this gateway itself", "glance.endpoints");
}

fn catalog(region: &str, url: &str) -> ResponseTemplate {
    let catalog = json!({"catalog": [{"type": "image", "endpoints": [
        {"interface": "public", "region_id": region, "url": url}]}]});
    ResponseTemplate::new(200).set_body_json(crate::keystone::testing::merged(catalog))
}

#[tokio::test]
async fn a_typo_in_the_region_is_not_ready_and_glance_is_asked_where_the_catalog_says() {
    let server = cloud().await;
    for (region, glance, ready) in [("One", "", true), ("Two", "", false), ("One", "/x", false)] {
        let mut settings = with_credentials();
        settings["region_name"] = json!(region);
        let validations = catalog("One", &format!("{}{glance}", server.uri()));
        let validations = validations.insert_header("x-subject-token", "own");
        let _scope = Mock::given(method("GET"))
            .and(path("/v3/auth/tokens"))
            .and(wiremock::matchers::header_exists("x-subject-token"))
            .respond_with(validations)
            .with_priority(1)
            .mount_as_scoped(&server)
            .await;
        let keystone = validator(&server.uri(), settings, Catalogs::Wanted);
        let report = report(probes(Some(keystone), &[])).await;
        assert_eq!(report.ready, ready, "{region}{glance}: {report:?}");
        if region == "Two" {
            assert_not_ready(&report, "keystone.catalog", "keystone.region_name");
        }
    }
}

#[tokio::test]
async fn without_credentials_nothing_known_yet_is_ready_and_real_failures_count() {
    let server = cloud().await;
    let settings = json!({"region_name": "Two"});
    replace(
        &server,
        "GET",
        "/v3/auth/tokens",
        catalog("One", "http://glance"),
    )
    .await;
    let keystone = validator(&server.uri(), settings, Catalogs::Wanted);
    let first = report(probes(Some(keystone.clone()), &[])).await;
    assert!(first.ready, "{first:?}");
    for number in 0..WINDOW {
        // The tokens of the fixture are of an earlier year, which is for this test no matter.
        let _outcome = keystone.validate(&format!("t{number}")).await;
    }
    let then = report(probes(Some(keystone), &[])).await;
    assert_not_ready(&then, "keystone.region_name", "keystone");
}

#[tokio::test]
async fn real_requests_that_all_miss_glance_are_not_ready() {
    let server = cloud().await;
    let outcomes = Arc::new(RecentOutcomes::default());
    for _ in 0..WINDOW {
        outcomes.record(Err("it answered 302 as Glance never does".to_owned()));
    }
    let client = client(ClientSettings::default()).unwrap();
    let glances = vec![server.uri().parse().unwrap()];
    let report = report(Probes::new(client, None, glances, outcomes)).await;
    assert_not_ready(&report, "glance.recent", "glance.endpoints");
}

#[tokio::test]
async fn one_glance_of_several_is_enough_and_the_others_are_warned_of() {
    let server = cloud().await;
    let (up, down) = (server.uri(), format!("{}/away", server.uri()));
    let report = report(probes(None, &[&down, &up])).await;
    assert!(report.ready, "{report:?}");
    assert_eq!(report.probes[0].outcome, ProbeOutcome::Warn);
    assert_eq!(report.probes[1].outcome, ProbeOutcome::Ok);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_ready_and_the_answer_comes_in_time() {
    let slow = MockServer::start().await;
    let answer = versions().set_delay(Duration::from_secs(60));
    Mock::given(any()).respond_with(answer).mount(&slow).await;
    let keystone = validator(&slow.uri(), with_credentials(), Catalogs::NotWanted);
    let started = Instant::now();
    let report = report(probes(Some(keystone), &[&slow.uri()])).await;
    assert!(started.elapsed() < MAX_WAIT + Duration::from_millis(500));
    assert_not_ready(&report, "no complete response in time", "look at Keystone");
}

#[tokio::test]
async fn concurrent_checks_share_one_run_and_a_report_lives_a_second() {
    let server = MockServer::start().await;
    let answer = versions().set_delay(Duration::from_millis(50));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let (runtime, spawner) = runtime::start(1).unwrap();
    let readiness = Arc::new(Readiness::new(probes(None, &[&server.uri()]), spawner));
    // One caller leaves at once; the others receive what it began.
    let leaving = timeout(Duration::from_millis(5), readiness.report()).await;
    assert!(leaving.is_err());
    let reports = join_all((0..20).map(|_| readiness.report())).await;
    assert!(reports.iter().all(|report| report.ready));
    assert!(readiness.report().await.ready);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    tokio::time::sleep(REPORT_TTL).await;
    assert!(readiness.report().await.ready);
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
    readiness.stop();
    assert!(!readiness.report().await.ready);
    drop(runtime);
}
