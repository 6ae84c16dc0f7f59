//! What clients are told while Keystone or Glance is away or talks nonsense.
//!
//! The two real services are stopped and started again; the statuses no healthy Glance gives come from
//! a stub. `tests/fixtures/nova_outage.jsonl.gz` holds what Nova answered to the same requests: where
//! the table below says nothing else, its answer is expected.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};
use test_support::FailingGlance;
use test_support::client::{self, Response};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::gateway;
use crate::stack::Stack;

const IMAGE: &str = "00000007-5eed-4000-8000-000000000007";
/// Nova takes three seconds to give up; nobody waits longer here.
const PATIENCE: Duration = Duration::from_secs(4);
const BACK: Duration = Duration::from_secs(20);

struct Operation {
    name: &'static str,
    method: &'static str,
    /// What follows `/v2.1/images`; `{}` is an image's id.
    path: &'static str,
    body: Option<&'static str>,
}

const fn operation(
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: Option<&'static str>,
) -> Operation {
    Operation {
        name,
        method,
        path,
        body,
    }
}

const ONE_ITEM: Option<&str> = Some(r#"{"metadata": {"z": "1"}}"#);

const OPERATIONS: [Operation; 10] = [
    operation("list", "GET", "", None),
    operation("detail", "GET", "/detail", None),
    operation("show", "GET", "/{}", None),
    operation("delete", "DELETE", "/{}", None),
    operation("meta_index", "GET", "/{}/metadata", None),
    operation("meta_show", "GET", "/{}/metadata/k", None),
    operation("meta_create", "POST", "/{}/metadata", ONE_ITEM),
    operation("meta_replace", "PUT", "/{}/metadata", ONE_ITEM),
    operation(
        "meta_update",
        "PUT",
        "/{}/metadata/z",
        Some(r#"{"meta": {"z": "1"}}"#),
    ),
    operation("meta_delete", "DELETE", "/{}/metadata/k", None),
];

impl Operation {
    fn send(&self, base: &str, image: &str, token: &str) -> Response {
        let path = format!("/v2.1/images{}", self.path.replace("{}", image));
        send(base, self.method, &path, token, self.body)
    }

    fn writes_metadata(&self) -> bool {
        self.name.starts_with("meta_") && self.method != "GET"
    }
}

/// # Panics
/// There is no answer, or only after longer than anybody waits.
fn send(base: &str, method: &str, path: &str, token: &str, body: Option<&str>) -> Response {
    let started = Instant::now();
    let answer = client::ask(base, method, path, &[("X-Auth-Token", token)], body);
    assert!(
        started.elapsed() < PATIENCE,
        "{method} {path}: {:?}",
        started.elapsed()
    );
    answer
}

fn assert_request_ids(answer: &Response) {
    let id = answer.header("x-openstack-request-id").unwrap();
    assert!(id.starts_with("req-") && id.len() == 40, "{id}");
    assert_eq!(answer.header("x-compute-request-id"), Some(id));
}

fn assert_unavailable(answer: &Response, message: &str) {
    let fault = json!({"serviceUnavailable": {"code": 503, "message": message}});
    assert_eq!((answer.status, answer.json()), (503, fault));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    assert_request_ids(answer);
}

fn assert_keystone_away(answer: &Response) {
    assert_unavailable(answer, "The Keystone service is temporarily unavailable.");
    assert_eq!(answer.header("openstack-api-version"), None);
}

/// Asks until the status is that one.
///
/// # Panics
/// It is not in time.
fn ask_until(status: u16, ask: impl Fn() -> Response) -> Duration {
    let started = Instant::now();
    loop {
        let answer = ask();
        if answer.status == status {
            return started.elapsed();
        }
        assert!(
            started.elapsed() < BACK,
            "still {} {}",
            answer.status,
            answer.text()
        );
    }
}

#[test]
fn while_keystone_is_away_known_tokens_go_on_and_others_are_told_to_wait() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let known = stack.new_token("demo", true);
    let cold = stack.new_token("alt", true);
    let gateway = gateway::start(stack, &[("CACHE__ENABLED", "false")]);
    let forgetful = gateway::start(
        stack,
        &[
            ("AUTH__TOKEN_CACHE_TIME", "2s"),
            ("CACHE__ENABLED", "false"),
        ],
    );
    let list = |token: &str| send(gateway.base(), "GET", "/v2.1/images?limit=1", token, None);
    let from_forgetful = || {
        send(
            forgetful.base(),
            "GET",
            "/v2.1/images?limit=1",
            &known,
            None,
        )
    };
    let before = list(&known);
    assert_eq!(before.status, 200);
    // Each of Glance's processes remembers tokens for itself.
    for _ in 0..30 {
        assert_eq!(list(&known).status, 200);
    }
    let away = stack.stop("keystone");
    for _ in 0..3 {
        let now = list(&known);
        assert_eq!((now.status, &now.body), (200, &before.body));
    }
    for path in [
        "/v2.1/images?limit=1",
        "/v2/images",
        "/v2.1/images/no-such/path",
    ] {
        assert_keystone_away(&send(gateway.base(), "GET", path, &cold, None));
    }
    assert_keystone_away(&send(gateway.base(), "GET", "/v2.1/images", "nope", None));
    assert_eq!(
        send(gateway.base(), "GET", "/v2.1/images", "", None).status,
        401
    );
    for path in ["/", "/v2.1", "/v2"] {
        assert_eq!(
            send(gateway.base(), "GET", path, &cold, None).status,
            200,
            "{path}"
        );
    }
    // A token is known no longer than its life in the gateway, Keystone or not.
    ask_until(503, from_forgetful);
    assert_eq!(list(&known).status, 200);
    drop(away);
    assert_eq!(list(&cold).status, 200);
    assert_eq!(list("nope").status, 401);
    assert_eq!(from_forgetful().status, 200);
}

#[test]
fn while_glance_is_away_everything_that_needs_it_is_told_to_wait() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let token = stack.token("demo");
    let gateway = gateway::start(stack, &[("CACHE__ENABLED", "false")]);
    let show = || {
        send(
            gateway.base(),
            "GET",
            &format!("/v2.1/images/{IMAGE}"),
            &token,
            None,
        )
    };
    let before = show();
    assert_eq!(before.status, 200);
    let away = stack.stop("glance");
    for operation in &OPERATIONS {
        let answer = operation.send(gateway.base(), IMAGE, &token);
        assert_unavailable(&answer, "The image service is temporarily unavailable.");
        assert_eq!(answer.header("openstack-api-version"), Some("compute 2.1"));
    }
    let bad_body = case("glance_down.bad_body");
    let body = bad_body["request"]["body"].as_str();
    let path = bad_body["request"]["path"].as_str().unwrap();
    let answer = send(gateway.base(), "POST", path, &token, body);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json(), bad_body["answer"]["body"]);
    assert_eq!(send(gateway.base(), "GET", "/", &token, None).status, 200);
    drop(away);
    let after = show();
    assert_eq!((after.status, after.body), (before.status, before.body));
}

/// What a client is told of a status of Glance's.
struct Told {
    status: u16,
    fault: &'static str,
    /// `{code}` and `{id}` are put in.
    message: &'static str,
    retry_after: Option<&'static str>,
}

const WORDS: &str = "HTTP {code} X{code} Xstub says {code}";
const NONSENSE: &str = "The image service gave an answer that cannot be used.";

const fn told(status: u16, fault: &'static str, message: &'static str) -> Told {
    Told {
        status,
        fault,
        message,
        retry_after: None,
    }
}

/// The deviations `upstream-down` and `upstream-faults`, and what Nova itself says for the rest.
fn rule(code: u16, operation: &Operation) -> Told {
    match (code, operation.name) {
        (400, _) => told(400, "badRequest", WORDS),
        (401, _) => told(
            401,
            "error",
            "The request you have made requires authentication.",
        ),
        (403, "list" | "detail" | "show") => told(403, "forbidden", WORDS),
        (403, "delete") => told(403, "forbidden", "You are not allowed to delete the image."),
        (403, _) => told(403, "forbidden", "Not authorized for image {id}."),
        (404, "list" | "detail") | (405 | 410 | 500 | 502, _) => {
            told(502, "computeFault", NONSENSE)
        }
        (404, _) => told(404, "itemNotFound", "Image not found."),
        (409, _) => told(409, "conflictingRequest", WORDS),
        (413 | 429, _) => Told {
            retry_after: Some("7"),
            ..told(code, "overLimit", WORDS)
        },
        (503, _) => Told {
            retry_after: Some("5"),
            ..told(
                503,
                "serviceUnavailable",
                "The image service is temporarily unavailable.",
            )
        },
        _ => panic!("no rule for {code}"),
    }
}

const CODES: [u16; 12] = [400, 401, 403, 404, 405, 409, 410, 413, 429, 500, 502, 503];

impl Told {
    fn assert(&self, what: &str, code: u16, image: &str, answer: &Response) {
        let message = self
            .message
            .replace("{code}", &code.to_string())
            .replace("{id}", image);
        let mut fault = json!({"code": self.status, "message": message});
        if let (413 | 429, Some(after)) = (self.status, self.retry_after) {
            fault["retryAfter"] = json!(after);
        }
        if self.status == 401 {
            fault["title"] = json!("Unauthorized");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(
                challenge.starts_with("Keystone uri="),
                "{what}: {challenge}"
            );
        }
        let fault = json!({self.fault: fault});
        assert_eq!(
            (answer.status, answer.json()),
            (self.status, fault),
            "{what}"
        );
        assert_eq!(answer.header("retry-after"), self.retry_after, "{what}");
        assert_request_ids(answer);
        if self.status != 401 {
            assert_eq!(
                answer.header("openstack-api-version"),
                Some("compute 2.1"),
                "{what}"
            );
        }
    }
}

#[test]
fn every_status_of_glances_is_told_as_what_it_means() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let stub = FailingGlance::start();
    let gateway = gateway::start(
        stack,
        &[
            ("GLANCE__ENDPOINTS", &stub.url()),
            ("CACHE__ENABLED", "false"),
        ],
    );
    let token = stack.token("demo");
    let mut told = BTreeSet::new();
    for code in CODES {
        stub.answer_lists_with(code);
        for operation in &OPERATIONS {
            let kinds: &[_] = if operation.writes_metadata() {
                &[('e', "_write_fails"), ('f', "")]
            } else {
                &[('f', "")]
            };
            for (kind, fails) in kinds {
                let image = format!("{kind}0000{code}-0000-4000-8000-000000000000");
                let what = format!("stub.{code}.{}{fails}", operation.name);
                let answer = operation.send(gateway.base(), &image, &token);
                rule(code, operation).assert(&what, code, &image, &answer);
                told.insert(what);
            }
        }
    }
    println!("{} faults of Glance's were told as they should", told.len());
    let recorded: BTreeSet<_> = cases()
        .iter()
        .map(|case| case["name"].as_str().unwrap().to_owned())
        .filter(|name| name.starts_with("stub.") && name != "stub.200.show")
        .collect();
    assert!(
        recorded.len() > 40 && recorded.is_subset(&told),
        "{recorded:?}"
    );
}

#[test]
fn an_image_of_the_stubs_is_shown_as_nova_showed_it() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let stub = FailingGlance::start();
    let gateway = gateway::start(
        stack,
        &[
            ("GLANCE__ENDPOINTS", &stub.url()),
            ("CACHE__ENABLED", "false"),
        ],
    );
    let shown = case("stub.200.show");
    let path = shown["request"]["path"].as_str().unwrap();
    let answer = send(gateway.base(), "GET", path, &stack.token("demo"), None);
    let text = answer.text();
    let text = text
        .replace(gateway.base(), "{{base}}")
        .replace(&stub.url(), "{{glance}}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((answer.status, &body), (200, &shown["answer"]["body"]));
}

fn cases() -> Vec<Value> {
    let packed = include_bytes!("../fixtures/nova_outage.jsonl.gz");
    let mut text = String::new();
    GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn case(name: &str) -> Value {
    cases()
        .into_iter()
        .find(|case| case["name"] == name)
        .unwrap()
}
