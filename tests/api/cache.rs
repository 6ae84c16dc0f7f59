//! The answer cache, from outside: a Glance that is slow, or late, or gone, behind the gateway.

use rstest::rstest;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use test_support::TestGateway;
use test_support::client::{self, RawClient, Response};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const ID: &str = "11111111-2222-4333-8444-555555555555";
const SHOW: &str = "/v2.1/images/11111111-2222-4333-8444-555555555555";
const ITEM: &str = "/v2.1/images/11111111-2222-4333-8444-555555555555/metadata/n";
const LIST: &str = "/v2.1/images/detail";

/// A Glance with one image, whose property `n` is all that ever changes.
#[derive(Clone)]
struct OneImage(Arc<Mutex<State>>);

struct State {
    n: String,
    status: &'static str,
    /// How long reads and writes take to answer.
    read_delay: Duration,
    write_delay: Duration,
    /// How long after its arrival a write is carried out.
    lands_after: Duration,
    /// What is answered instead of anything else.
    refuse_with: Option<u16>,
}

impl OneImage {
    async fn start() -> (Self, MockServer) {
        let glance = Self(Arc::new(Mutex::new(State {
            n: "old".to_owned(),
            status: "active",
            read_delay: Duration::ZERO,
            write_delay: Duration::ZERO,
            lands_after: Duration::ZERO,
            refuse_with: None,
        })));
        let server = MockServer::start().await;
        let answers = Mock::given(any()).respond_with(glance.clone());
        answers.mount(&server).await;
        (glance, server)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl Respond for OneImage {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        if let Some(status) = state.refuse_with {
            return ResponseTemplate::new(status);
        }
        let image = |n: &str| {
            let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
            json!({
                "id": ID, "name": "i", "status": state.status, "n": n,
                "created_at": "2026-01-01T00:00:00Z", "updated_at": now,
            })
        };
        if request.method == "PATCH" {
            let ops: serde_json::Value = request.body_json().unwrap();
            let n = ops[0]["value"].as_str().unwrap().to_owned();
            let answer = ResponseTemplate::new(200).set_body_json(image(&n));
            let answer = answer.set_delay(state.write_delay);
            if state.lands_after.is_zero() {
                state.n = n;
            } else {
                let (late, after) = (self.clone(), state.lands_after);
                thread::spawn(move || {
                    thread::sleep(after);
                    late.set(|state| state.n = n);
                });
            }
            return answer;
        }
        let answer = if request.url.path() == "/v2/images" {
            json!({"images": [image(&state.n)]})
        } else {
            image(&state.n)
        };
        ResponseTemplate::new(200)
            .set_body_json(answer)
            .set_delay(state.read_delay)
    }
}

fn gateway(glance: &MockServer, settings: &[(&str, &str)]) -> TestGateway {
    let uri = glance.uri();
    let usual = [
        ("AUTH__MODE", "none"),
        ("GLANCE__ENDPOINTS", uri.as_str()),
        ("CACHE__TTL", "1h"),
    ];
    TestGateway::start(&[&usual, settings].concat())
}

async fn calls(glance: &MockServer) -> usize {
    glance.received_requests().await.unwrap().len()
}

fn source(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or("none")
}

fn n(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let image = if body["images"].is_array() {
        &body["images"][0]
    } else {
        &body["image"]
    };
    image["metadata"]["n"].as_str().unwrap().to_owned()
}

fn write(client: &mut RawClient, n: &str) -> u16 {
    client.put(ITEM, &json!({"meta": {"n": n}})).status
}

const HIT: &str = "nova-image-proxy; hit";
const MISS: &str = "nova-image-proxy; fwd=miss";
const BYPASS: &str = "nova-image-proxy; fwd=bypass; detail=write-pending";

#[tokio::test]
async fn a_read_is_answered_again_without_glance_and_a_write_ends_that() {
    let (_, server) = OneImage::start().await;
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    for path in [SHOW, LIST] {
        let first = client.get(path);
        assert_eq!(source(&first), MISS);
        let second = client.get(path);
        assert_eq!(source(&second), HIT);
        assert_eq!(first.body, second.body);
    }
    assert_eq!(calls(&server).await, 2);
    assert_eq!(write(&mut client, "new"), 200);
    for path in [SHOW, LIST] {
        let after = client.get(path);
        assert_eq!((source(&after), n(&after).as_str()), (MISS, "new"));
    }
}

#[tokio::test]
async fn what_a_link_shows_is_part_of_what_is_asked() {
    let (_, server) = OneImage::start().await;
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    assert_eq!(source(&client.get(SHOW)), MISS);
    for path in [SHOW.replace("v2.1", "v2"), SHOW.replace("v2.1", "v2.1/abc")] {
        let answer = client.get(&path);
        assert_eq!(source(&answer), MISS, "{path}");
        let link = answer.json()["image"]["links"][0]["href"].clone();
        assert!(link.as_str().unwrap().ends_with(&path), "{link}");
    }
}

#[tokio::test]
async fn with_the_cache_off_every_read_asks_glance_and_no_header_speaks_of_a_cache() {
    let (_, server) = OneImage::start().await;
    let gateway = gateway(&server, &[("CACHE__ENABLED", "false")]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    for _ in 0..3 {
        assert_eq!(source(&client.get(SHOW)), "none");
    }
    assert_eq!(calls(&server).await, 3);
}

#[tokio::test]
async fn an_image_that_is_coming_into_being_is_looked_at_again_after_a_second() {
    let (glance, server) = OneImage::start().await;
    glance.set(|state| state.status = "saving");
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    let started = Instant::now();
    assert_eq!(client.get(SHOW).json()["image"]["status"], "SAVING");
    glance.set(|state| state.status = "active");
    while client.get(SHOW).json()["image"]["status"] != "ACTIVE" {
        assert!(started.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(20));
    }
    // It is a finished image now, and is kept for as long as any other.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(source(&client.get(SHOW)), HIT);
}

#[tokio::test]
async fn a_thousand_clients_with_the_same_question_cost_glance_one_call() {
    let (glance, server) = OneImage::start().await;
    glance.set(|state| state.read_delay = Duration::from_millis(800));
    let gateway = gateway(&server, &[]);
    let mut clients: Vec<_> = (0..1001)
        .map(|_| RawClient::connect(gateway.base()).unwrap())
        .collect();
    // The one that begins the call leaves before its answer is there.
    let mut first = clients.remove(0);
    first.send_request(&client::Request::get(LIST)).unwrap();
    while calls(&server).await == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(first);
    for client in &mut clients {
        client.send_request(&client::Request::get(LIST)).unwrap();
    }
    for client in &mut clients {
        assert_eq!(n(&client.receive().unwrap()), "old");
    }
    assert_eq!(calls(&server).await, 1);
}

#[tokio::test]
async fn a_write_that_overtakes_a_slow_read_is_seen_by_the_next_one() {
    let (glance, server) = OneImage::start().await;
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    glance.set(|state| state.read_delay = Duration::from_millis(700));
    let mut slow = [SHOW, LIST].map(|path| {
        let mut slow = RawClient::connect(gateway.base()).unwrap();
        slow.send_request(&client::Request::get(path)).unwrap();
        slow
    });
    while calls(&server).await < 2 {
        thread::sleep(Duration::from_millis(1));
    }
    glance.set(|state| state.read_delay = Duration::ZERO);
    assert_eq!(write(&mut client, "new"), 200);
    // Neither joins the read from before, nor later is given what that one brought.
    for path in [SHOW, LIST] {
        assert_eq!(n(&client.get(path)), "new");
    }
    for slow in &mut slow {
        assert_eq!(n(&slow.receive().unwrap()), "old");
    }
    for path in [SHOW, LIST] {
        assert_eq!(n(&client.get(path)), "new");
    }
}

#[tokio::test]
async fn a_write_whose_client_leaves_is_seen_when_it_is_done() {
    let (glance, server) = OneImage::start().await;
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    for path in [SHOW, LIST] {
        assert_eq!(n(&client.get(path)), "old");
    }
    glance.set(|state| {
        state.write_delay = Duration::from_millis(300);
        state.lands_after = Duration::from_millis(200);
    });
    let mut leaver = RawClient::connect(gateway.base()).unwrap();
    let before = calls(&server).await;
    let body = json!({"meta": {"n": "new"}}).to_string();
    let write = client::Request {
        method: "PUT",
        path: ITEM,
        headers: vec![("Content-Type", "application/json")],
        body: Some(body.as_bytes()),
    };
    leaver.send_request(&write).unwrap();
    // The write's own read, and its PATCH.
    while calls(&server).await < before + 2 {
        thread::sleep(Duration::from_millis(1));
    }
    drop(leaver);
    let patience = Instant::now() + Duration::from_secs(20);
    for path in [SHOW, LIST] {
        while n(&client.get(path)) != "new" {
            assert!(Instant::now() < patience, "{path} is stale");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn a_write_that_times_out_and_lands_late_is_seen_as_soon_as_it_lands() {
    let (glance, server) = OneImage::start().await;
    let gateway = gateway(&server, &[("GLANCE__TIMEOUT", "2s")]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    for path in [SHOW, LIST] {
        assert_eq!(n(&client.get(path)), "old");
    }
    glance.set(|state| {
        state.write_delay = Duration::from_secs(30);
        state.lands_after = Duration::from_secs(4);
    });
    assert_eq!(write(&mut client, "new"), 503);
    let sources: Vec<_> = (0..20)
        .flat_map(|_| {
            thread::sleep(Duration::from_millis(10));
            [SHOW, LIST].map(|path| source(&client.get(path)).to_owned())
        })
        .collect();
    assert!(sources.iter().all(|source| source == BYPASS), "{sources:?}");
    while glance.0.lock().unwrap().n != "new" {
        thread::sleep(Duration::from_millis(10));
    }
    for path in [SHOW, LIST] {
        assert_eq!(n(&client.get(path)), "new", "{path}");
    }
}

#[rstest]
#[case("10m", 200)]
#[case("0s", 503)]
#[tokio::test]
async fn an_answer_past_its_time_is_given_while_glance_fails_where_the_operator_wants_it(
    #[case] stale_if_error: &str,
    #[case] status: u16,
) {
    let (glance, server) = OneImage::start().await;
    let settings = [
        ("CACHE__TTL", "100ms"),
        ("CACHE__STALE_IF_ERROR", stale_if_error),
    ];
    let gateway = gateway(&server, &settings);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    assert_eq!(n(&client.get(LIST)), "old");
    thread::sleep(Duration::from_millis(150));
    glance.set(|state| state.refuse_with = Some(503));
    let answer = client.get(LIST);
    assert_eq!(answer.status, status);
    if status == 200 {
        let marked = "nova-image-proxy; fwd=stale; detail=stale-if-error";
        assert_eq!((source(&answer), n(&answer).as_str()), (marked, "old"));
    }
    assert_eq!(client.get(SHOW).status, 503, "never asked before");
    // Glance is back, and is asked.
    glance.set(|state| {
        state.refuse_with = None;
        state.n = "new".to_owned();
    });
    let answer = client.get(LIST);
    assert_eq!((source(&answer), n(&answer).as_str()), (MISS, "new"));
}

#[tokio::test]
async fn without_keystone_a_token_has_its_own_answers_until_glance_refuses_it() {
    let (glance, server) = OneImage::start().await;
    let gateway = gateway(&server, &[("AUTH__MODE", "passthrough")]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    let mut ask = |token: &str, path: &str| {
        client.exchange(&client::Request {
            headers: vec![("X-Auth-Token", token)],
            ..client::Request::get(path)
        })
    };
    assert_eq!(source(&ask("one", SHOW)), MISS);
    assert_eq!(source(&ask("one", SHOW)), HIT);
    assert_eq!(source(&ask("other", SHOW)), MISS);
    glance.set(|state| state.refuse_with = Some(401));
    assert_eq!(ask("one", LIST).status, 401);
    assert_eq!(ask("one", SHOW).status, 401, "its answers are gone");
    assert_eq!(source(&ask("other", SHOW)), HIT);
}

#[tokio::test]
async fn keystone_is_asked_again_about_a_token_that_glance_refuses() {
    let (glance, server) = OneImage::start().await;
    let keystone = crate::telemetry::keystone().await;
    let url = keystone.url();
    let settings = [
        ("AUTH__MODE", "keystone"),
        ("KEYSTONE__AUTH_URL", url.as_str()),
    ];
    let gateway = gateway(&server, &settings);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    let mut ask = |path: &str| {
        client
            .exchange(&client::Request {
                headers: vec![("X-Auth-Token", "a-token")],
                ..client::Request::get(path)
            })
            .status
    };
    assert_eq!((ask(SHOW), ask(LIST)), (200, 200));
    assert_eq!(keystone.validations().await, 1);
    glance.set(|state| state.refuse_with = Some(401));
    assert_eq!(ask(ITEM), 401);
    glance.set(|state| state.refuse_with = None);
    assert_eq!(ask(ITEM), 200);
    assert_eq!(keystone.validations().await, 2);
}

#[tokio::test]
async fn errors_are_not_kept() {
    let (glance, server) = OneImage::start().await;
    let gateway = gateway(&server, &[]);
    let mut client = RawClient::connect(gateway.base()).unwrap();
    for status in [404, 403, 503, 500] {
        glance.set(|state| state.refuse_with = Some(status));
        assert_ne!(client.get(SHOW).status, 200);
    }
    glance.set(|state| state.refuse_with = None);
    assert_eq!(client.get(SHOW).status, 200);
}
