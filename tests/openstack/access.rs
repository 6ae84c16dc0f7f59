//! Tokens through the gateway, end to end: how long they count, where they lead, what goes on, and that
//! no secret is ever logged.

use std::time::{Duration, Instant};
use test_support::client::{self, Response};
use test_support::{FailingGlance, GatewayProcess};

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use serde_json::json;

use crate::gateway;
use crate::stack::Stack;
use crate::test_user::{PASSWORD, TestUser};

const LIST: &str = "/v2.1/images?limit=1";
const IMAGE: &str = "00000007-5eed-4000-8000-000000000007";
const TTL: Duration = Duration::from_secs(5);
const CATALOG: [(&str, &str); 2] = [("GLANCE__MODE", "external"), ("GLANCE__ENDPOINTS", "")];

fn get(gateway: &GatewayProcess, path: &str, headers: &[(&str, &str)]) -> Response {
    client::ask(gateway.base(), "GET", path, headers, None)
}

/// The log once it holds that text; what was written arrives here a moment later.
fn log_with(gateway: &GatewayProcess, text: &str) -> String {
    let started = Instant::now();
    loop {
        let log = gateway.log();
        if log.contains(text) {
            return log;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "no {text} in {log}"
        );
        std::thread::yield_now();
    }
}

fn status(gateway: &GatewayProcess, token: &str) -> u16 {
    get(gateway, LIST, &[("X-Auth-Token", token)]).status
}

#[rstest]
#[case("false")]
#[case("true")]
fn a_revoked_token_is_refused_after_the_token_ttl_at_the_latest(#[case] cache: &str) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let user = TestUser::in_project(stack, "demo", "member");
    let (token, other) = (user.token(), user.token());
    // Glance, which judges tokens as well, has no part in this.
    let stub = FailingGlance::start();
    stub.answer_lists_with(200);
    let settings = [
        ("AUTH__TOKEN_CACHE_TIME", "5s"),
        ("CACHE__ENABLED", cache),
        ("CACHE__TTL", "1m"),
        ("GLANCE__ENDPOINTS", &stub.url()),
    ];
    let gateway = gateway::start(stack, &settings);
    assert_eq!(
        (status(&gateway, &token), status(&gateway, &other)),
        (200, 200)
    );
    stack.revoke(&token);
    let revoked = Instant::now();
    let mut good = 0;
    loop {
        let sent = Instant::now();
        let status = status(&gateway, &token);
        if status == 401 {
            break;
        }
        assert_eq!(status, 200);
        good += 1;
        assert!(
            sent < revoked + TTL,
            "still good {:?} later",
            sent - revoked
        );
    }
    println!(
        "{good} times good after its revocation, refused {:?} later",
        revoked.elapsed()
    );
    assert!(good > 0, "Keystone was asked again before its time");
    for _ in 0..10 {
        assert_eq!(status(&gateway, &token), 401);
    }
    assert_eq!(status(&gateway, &other), 200);
}

#[test]
fn a_token_is_refused_from_the_second_it_expires() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let user = TestUser::in_project(stack, "demo", "member");
    let stub = FailingGlance::start();
    stub.answer_lists_with(200);
    let settings = [
        ("AUTH__TOKEN_CACHE_TIME", "1h"),
        ("GLANCE__ENDPOINTS", &stub.url()),
    ];
    let gateway = gateway::start(stack, &settings);
    let (token, end) = user.token_until(Utc::now() + TimeDelta::seconds(6));
    let end: DateTime<Utc> = end.parse().unwrap();
    let (mut good, mut refused) = (0, 0);
    while refused < 10 {
        let sent = Utc::now();
        let status = status(&gateway, &token);
        let answered = Utc::now();
        match status {
            200 => good += 1,
            401 => refused += 1,
            _ => panic!("{status}"),
        }
        assert!(
            status == 401 || sent < end,
            "still good {} later",
            sent - end
        );
        assert!(
            status == 200 || answered >= end,
            "refused {} before",
            end - answered
        );
    }
    println!("{good} times good until {end}, and never after");
    assert!(good > 0);
}

#[rstest]
#[case(None)]
#[case(Some("RegionOne"))]
fn glance_is_found_in_the_token_s_catalog(#[case] region: Option<&str>) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let mut settings = CATALOG.to_vec();
    settings.extend(region.map(|region| ("KEYSTONE__REGION_NAME", region)));
    let gateway = gateway::start(stack, &settings);
    let token = stack.token("demo");
    let answer = get(
        &gateway,
        &format!("/v2.1/images/{IMAGE}"),
        &[("X-Auth-Token", &token)],
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["image"]["id"], IMAGE);
    let alternate = answer.json()["image"]["links"][2]["href"].clone();
    assert_eq!(
        alternate,
        json!(format!("{}/images/{IMAGE}", stack.image()))
    );
    let unscoped = stack.unscoped_token("demo");
    assert_eq!(status(&gateway, &unscoped), 403);
}

#[test]
fn a_catalog_without_glance_in_the_region_is_a_502_and_one_line_in_the_log() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let mut settings = CATALOG.to_vec();
    settings.push(("KEYSTONE__REGION_NAME", "Nowhere"));
    let gateway = gateway::start(stack, &settings);
    let answer = get(&gateway, LIST, &[("X-Auth-Token", &stack.token("demo"))]);
    let message = "The token's catalog has no usable endpoint of the image service.";
    let fault = json!({"computeFault": {"code": 502, "message": message}});
    assert_eq!((answer.status, answer.json()), (502, fault));
    let id = answer.header("x-openstack-request-id").unwrap();
    // What needs no Glance needs no catalog, and complains of none.
    let null = get(
        &gateway,
        "/v2.1/no/such",
        &[("X-Auth-Token", &stack.token("demo"))],
    );
    assert_eq!(null.status, 404);
    let log = log_with(&gateway, null.header("x-openstack-request-id").unwrap());
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains(id) && !line.contains(" access: "))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("no endpoint in keystone.region_name"),
        "{log}"
    );
    assert_eq!(
        log.matches("WARN").count() + log.matches("ERROR").count(),
        1,
        "{log}"
    );
}

#[test]
fn the_gateway_s_own_credentials_judge_the_tokens_of_others() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let service = TestUser::in_project(stack, "demo", "service");
    let settings = |password| {
        [
            ("KEYSTONE__USERNAME", service.name()),
            ("KEYSTONE__PASSWORD", password),
            ("KEYSTONE__PROJECT_NAME", "demo"),
            CATALOG[0],
            CATALOG[1],
        ]
    };
    let gateway = gateway::start(stack, &settings(PASSWORD));
    for (user, expected) in [("demo", 200), ("alt", 200)] {
        assert_eq!(status(&gateway, &stack.token(user)), expected);
    }
    let revoked = stack.new_token("alt", true);
    stack.revoke(&revoked);
    for token in ["nobody's", &revoked] {
        assert_eq!(status(&gateway, token), 401);
    }
    let mistaken = gateway::start(stack, &settings("a wrong password"));
    for token in [&stack.token("demo"), "nobody's"] {
        assert_eq!(status(&mistaken, token), 503);
    }
    log_with(&mistaken, "it refuses the credentials in keystone.*");
}

#[test]
fn headers_that_claim_an_identity_do_not_count_and_stay_here() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let stub = FailingGlance::start();
    stub.answer_lists_with(200);
    let gateway = gateway::start(stack, &[("GLANCE__ENDPOINTS", &stub.url())]);
    let (token, alt) = (stack.token("demo"), stack.project("alt"));
    let user = TestUser::in_project(stack, "demo", "service");
    let service = user.token();
    let global = "req-11111111-2222-4333-8444-555555555555";
    let claims = [
        ("X-Identity-Status", "Confirmed"),
        ("X-Project-Id", alt),
        ("X-Tenant-Id", alt),
        ("X-Project-Domain-Id", "default"),
        ("X-User-Id", "someone"),
        ("X-Roles", "admin"),
        ("X-Role", "admin"),
        ("X-Is-Admin-Project", "True"),
        ("X-Service-Catalog", "[]"),
        ("Cookie", "c=1"),
        ("Authorization", "Basic eDp5"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-OpenStack-Request-ID", global),
    ];
    let mut headers = vec![
        ("X-Auth-Token", token.as_str()),
        ("X-Service-Token", &service),
    ];
    headers.extend(claims);
    assert_eq!(get(&gateway, "/v2.1/images", &headers).status, 200);
    let received = stub.take_received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].method, "GET");
    assert_eq!(received[0].path.split('?').next(), Some("/v2/images"));
    let mut sent = received[0].headers.clone();
    sent.retain(|(name, _)| !["accept", "host", "user-agent"].contains(&name.as_str()));
    sent.sort();
    // The service token is no claim: it was validated, and Glance validates it again.
    let expected = [
        ("x-auth-token", token.as_str()),
        ("x-openstack-request-id", global),
        ("x-service-token", service.as_str()),
    ];
    assert_eq!(
        sent,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    // They are nobody's identity, with a token or without.
    assert_eq!(get(&gateway, "/v2.1/images", &claims).status, 401);
    let path = format!("/v2.1/{alt}/images");
    assert_eq!(get(&gateway, &path, &headers).status, 400);
    assert!(stub.take_received().is_empty());
}

fn own_credentials<'g>(own: &'g TestUser<'_>) -> [(&'static str, &'g str); 3] {
    [
        ("KEYSTONE__USERNAME", own.name()),
        ("KEYSTONE__PASSWORD", PASSWORD),
        ("KEYSTONE__PROJECT_NAME", "demo"),
    ]
}

/// Glance itself refuses a token that is limited to paths of the Compute API, unless a service
/// token speaks for it. What others have asked before changes nothing.
#[test]
fn a_token_limited_to_compute_paths_gets_the_same_answer_with_and_without_neighbours() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let user = TestUser::in_project(stack, "demo", "member");
    let rules = json!([{"service": "compute", "method": "GET", "path": "/v2.1/images"}]);
    let limited = user.limited_token(&rules);
    let own = TestUser::in_project(stack, "demo", "service");
    for (credentials, expected) in [(&own_credentials(&own)[..], 200), (&[][..], 401)] {
        let settings = [credentials, &[("CACHE__TTL", "1m")]].concat();
        let gateway = gateway::start(stack, &settings);
        assert_eq!(status(&gateway, &limited), expected);
        // The neighbour has the same project and roles, and no limit.
        assert_eq!(status(&gateway, &user.token()), 200);
        assert_eq!(status(&gateway, &limited), expected);
        let other = get(&gateway, "/v2.1/flavors", &[("X-Auth-Token", &limited)]);
        assert_eq!(other.status, 401);
    }
}

#[test]
fn an_expired_token_goes_on_with_a_service_token_as_far_as_glance() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let user = TestUser::in_project(stack, "demo", "member");
    let own = TestUser::in_project(stack, "demo", "service");
    let service = own.token();
    let gateway = gateway::start(stack, &own_credentials(&own));
    let end = Utc::now() + TimeDelta::seconds(20);
    let (token, _) = user.token_until(end);
    let with = |service: &[&str]| {
        let services = service.iter().map(|value| ("X-Service-Token", *value));
        let headers: Vec<_> = [("X-Auth-Token", token.as_str())]
            .into_iter()
            .chain(services)
            .collect();
        get(&gateway, LIST, &headers).status
    };
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[""]), 200);
    assert_eq!(with(&[&service, &service]), 401);
    while Utc::now() < end + TimeDelta::seconds(1) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(with(&[]), 401);
    assert_eq!(with(&[&service]), 200);
    let member = stack.token("demo");
    assert_eq!(with(&[&member]), 401);
    assert_eq!(with(&[]), 401);
}

/// Whatever is asked and whatever fails, at the most talkative level there is.
#[rstest]
#[case("text")]
#[case("json")]
#[case("oslo")]
fn no_secret_is_in_the_log_at_any_level(#[case] format: &str) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let own = TestUser::in_project(stack, "demo", "service");
    let service = own.token();
    let settings = [
        ("LOG__LEVEL", "trace"),
        ("LOG__FORMAT", format),
        ("KEYSTONE__USERNAME", own.name()),
        ("KEYSTONE__PASSWORD", PASSWORD),
        ("KEYSTONE__PROJECT_NAME", "demo"),
    ];
    let dead = [("GLANCE__ENDPOINTS", "http://127.0.0.1:9")];
    let wrong = [("KEYSTONE__PASSWORD", "Qw8-a-wrong-one-Mn2")];
    let demo = stack.new_token("demo", true);
    let bad = "gAAAAABnever-a-token-of-any-keystone-0123456789-0123456789";
    let secrets = [demo.as_str(), &service, bad, PASSWORD, wrong[0].1];
    for more in [&[][..], &dead, &wrong] {
        let gateway = gateway::start(stack, &[&settings, more].concat());
        ask_everything(&gateway, &demo, bad, &service);
        let last = get(&gateway, LIST, &[("X-Auth-Token", bad)]);
        let log = log_with(&gateway, last.header("x-openstack-request-id").unwrap());
        assert!(
            log.contains("TRACE") && log.len() > 10_000,
            "{} bytes",
            log.len()
        );
        assert!(!log.contains("lines were dropped"), "the log is not whole");
        for secret in secrets {
            assert!(!log.contains(secret), "{secret} was logged");
            // Nor a piece of it; Keystone's tokens all begin alike.
            let piece = secret.get(12..44).unwrap_or(secret);
            assert!(!log.contains(piece), "{piece} of {secret} was logged");
        }
        println!("{} bytes of {format} without a secret", log.len());
    }
}

fn ask_everything(gateway: &GatewayProcess, good: &str, bad: &str, service: &str) {
    let image = format!("/v2.1/images/{IMAGE}");
    for path in [LIST, "/v2.1/images/detail", &image, "/v2.1/no/such", "/"] {
        for headers in [
            &[("X-Auth-Token", good)][..],
            &[("X-Auth-Token", bad)],
            &[("X-Storage-Token", good)],
            &[("X-Auth-Token", good), ("X-Service-Token", service)],
            &[("X-Auth-Token", good), ("X-Service-Token", bad)],
            &[("X-Auth-Token", bad), ("X-Auth-Token", good)],
        ] {
            get(gateway, path, headers);
        }
    }
    let key = format!("{image}/metadata/no-such-key");
    let (base, token) = (gateway.base(), [("X-Auth-Token", good)]);
    client::ask(base, "DELETE", &key, &token, None);
    let metadata = format!("{image}/metadata");
    client::ask(base, "POST", &metadata, &token, Some("{"));
}
