//! Invalid responses of Glance: whatever it sends, clients get a response in Nova's form, in time, and their tokens
//! go to the configured Glance only.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{self, Response};
use test_support::fake_server::ReceivedRequest;
use test_support::{FakeServer, GatewayProcess, Reply, TestGateway, gateway_command};

use serde_json::{Value, json};

use table::{Case, Expected, cases};

mod table;

/// One call to Glance may take so long here.
const CALL: &str = "3s";
/// No request takes longer: a call and, where that is allowed, two more of which none is slow.
const PATIENCE: Duration = Duration::from_secs(30);
const IMAGE: &str = r#"{"id": "x", "name": "n", "status": "active"}"#;
const LIST: &str = r#"{"images": []}"#;

/// The cases in which the connection ends before the answer does.
const BROKEN_OFF: [&str; 11] = [
    "too-long",
    "no-last-chunk",
    "no-chunk",
    "chunk-overflow",
    "endless-chunk-extension",
    "endless-trailers",
    "close-at-once",
    "close-in-status",
    "close-in-head",
    "close-before-body",
    "close-in-body",
];

/// A Glance that responds properly unless the path has the number of a case: `/v2/images/case-r-007` or
/// `…&name=case-r-007`. With `case-w-007`, only the response to a change is the case's.
fn glance() -> FakeServer {
    let cases = cases();
    FakeServer::scripted(move |request| {
        let of_case = |mark: &str| {
            let number = request.path.split_once(mark)?.1.get(..3)?;
            let case = &cases[number.parse::<usize>().unwrap()];
            Some(case.about(&format!("{mark}{number}")))
        };
        let of_writes = if request.method == "GET" {
            None
        } else {
            of_case("case-w-")
        };
        of_case("case-r-")
            .or(of_writes)
            .unwrap_or_else(|| proper(request))
    })
}

fn proper(request: &ReceivedRequest) -> Reply {
    match request.path.strip_prefix("/v2/images/") {
        Some(id) => Reply::json(200, IMAGE.replace("\"x\"", &format!("\"{id}\""))),
        None => Reply::json(200, LIST),
    }
}

fn start(glance: &FakeServer, settings: &[(&str, &str)]) -> TestGateway {
    let url = glance.url();
    let mut all = vec![
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", url.as_str()),
        ("GLANCE__TIMEOUT", CALL),
        ("GLANCE__MAX_ANSWER", "4194304"),
        ("CACHE__ENABLED", "false"),
        ("LOG__ACCESS", "false"),
    ];
    all.extend(settings);
    TestGateway::start(&all)
}

fn ask(base: &str, method: &str, path: &str, body: Option<&str>) -> Response {
    let started = Instant::now();
    let answer = client::ask(base, method, path, &[("X-Auth-Token", "secret")], body);
    let duration = started.elapsed();
    assert!(duration < PATIENCE, "{method} {path}: {duration:?}");
    answer
}

fn get(base: &str, path: &str) -> Response {
    ask(base, "GET", path, None)
}

fn assert_expected(what: &str, response: Expected, answer: &Response) {
    let fault =
        |name: &str, code: u16, message: &str| json!({name: {"code": code, "message": message}});
    let (status, expected, retry_after) = match response {
        Expected::Ok => (200, None, None),
        Expected::BadGateway => (
            502,
            Some(fault(
                "computeFault",
                502,
                "The image service gave an answer that cannot be used.",
            )),
            None,
        ),
        Expected::Unavailable => (
            503,
            Some(fault(
                "serviceUnavailable",
                503,
                "The image service is temporarily unavailable.",
            )),
            Some("5"),
        ),
    };
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    if let Some(expected) = expected {
        assert_eq!(answer.json(), expected, "{what}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json; charset=UTF-8"),
            "{what}"
        );
    }
    assert_eq!(answer.header("retry-after"), retry_after, "{what}");
    assert!(
        answer
            .header("x-openstack-request-id")
            .unwrap()
            .starts_with("req-"),
        "{what}"
    );
    assert_eq!(
        answer.header("openstack-api-version"),
        Some("compute 2.1"),
        "{what}"
    );
}

/// Runs `check` for each number up to `count`, a few at a time.
fn for_each(count: usize, check: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    check(number);
                }
            });
        }
    });
}

#[test]
fn every_invalid_response_is_the_right_fault_and_no_write_is_repeated_blindly() {
    let glance = glance();
    let gateway = start(&glance, &[]);
    let base = gateway.base();
    let cases = cases();
    let checked = Mutex::new(BTreeSet::new());
    for_each(cases.len(), |number| {
        let Case { name, expected, .. } = &cases[number];
        let check = |operation: &str, answer: &Response| {
            assert_expected(&format!("{name}: {operation}"), *expected, answer);
            checked
                .lock()
                .unwrap()
                .insert((number, operation.to_owned()));
        };
        check(
            "list",
            &get(base, &format!("/v2.1/images?name=case-r-{number:03}")),
        );
        check(
            "show",
            &get(base, &format!("/v2.1/images/case-r-{number:03}")),
        );
        check(
            "metadata",
            &get(base, &format!("/v2.1/images/case-r-{number:03}/metadata")),
        );
        let body = Some(r#"{"metadata": {"a": "b"}}"#);
        let path = format!("/v2.1/images/case-w-{number:03}/metadata");
        check("write", &ask(base, "POST", &path, body));
        let token = ("x-auth-token".to_owned(), "secret".to_owned());
        let received = glance.received();
        let changes = received.iter().filter(|request| {
            let path = format!("/v2/images/case-w-{number:03}");
            request.method == "PATCH" && request.path == path && request.headers.contains(&token)
        });
        // Where the connection broke, the image is read again, and the change, which is not there, sent once more.
        let expected = 1 + usize::from(BROKEN_OFF.contains(name));
        assert_eq!(changes.count(), expected, "{name}");
    });
    assert_expected(
        "afterwards",
        Expected::Ok,
        &get(base, "/v2.1/images/detail"),
    );
    assert_expected("afterwards", Expected::Ok, &get(base, "/v2.1/images/x"));
    let checked = checked.into_inner().unwrap().len();
    println!("{checked} invalid responses, each reported as it should be");
    assert_eq!(checked, 4 * cases.len());
}

/// Odd images are shown as well as they can be.
#[test]
fn images_of_the_wrong_types_are_shown_all_the_same() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let images = [
        "{}".to_owned(),
        r#"{"id": null, "name": null, "status": null, "size": null, "updated_at": null}"#.into(),
        r#"{"id": 5, "name": [1], "status": {}, "size": "x", "min_ram": [], "min_disk": {},
            "created_at": 12, "updated_at": "never", "tags": 7, "color": null, "n": 1e999}"#
            .into(),
        r#"{"id": "\ud800", "name": "\u0000", "block_device_mapping": 5, "mappings": "[["}"#.into(),
        format!(r#"{{"id": "x", "deep": {deep}, "block_device_mapping": "{deep}"}}"#),
    ];
    let kept = images.clone();
    let server = FakeServer::scripted(move |request| match request.path.rsplit_once('/') {
        Some((_, number)) if number.parse::<usize>().is_ok() => {
            let fields = kept[number.parse::<usize>().unwrap()]
                .strip_suffix('}')
                .unwrap();
            let comma = if fields == "{" { "" } else { ", " };
            Reply::json(200, format!(r#"{fields}{comma}"id": "{number}"}}"#))
        }
        Some(_) | None => Reply::json(200, format!(r#"{{"images": [{}]}}"#, kept.join(", "))),
    });
    let gateway = start(&server, &[]);
    for path in ["/v2.1/images", "/v2.1/images/detail"] {
        let answer = get(gateway.base(), path);
        assert_expected(path, Expected::Ok, &answer);
        let all = answer.text().matches("\"links\"").count();
        assert_eq!(all, images.len(), "{path}: {}", answer.text());
    }
    for number in 0..images.len() {
        let path = format!("/v2.1/images/{number}");
        assert_expected(&path, Expected::Ok, &get(gateway.base(), &path));
        let path = format!("{path}/metadata");
        assert_expected(&path, Expected::Ok, &get(gateway.base(), &path));
    }
}

#[test]
fn a_million_properties_and_a_property_of_ten_mebibytes_are_shown() {
    let mut million = r#"{"id": "million""#.to_owned();
    for number in 0..1_000_000 {
        write!(million, r#","k{number}":"v""#).unwrap();
    }
    million.push('}');
    let large = format!(r#"{{"id": "large", "large": "{}"}}"#, "y".repeat(10 << 20));
    let server = FakeServer::scripted(move |request| {
        let image = if request.path.ends_with("million") {
            &million
        } else {
            &large
        };
        Reply::json(200, image)
    });
    let gateway = start(
        &server,
        &[
            ("GLANCE__TIMEOUT", "30s"),
            ("GLANCE__MAX_ANSWER", "67108864"),
        ],
    );
    let path = "/v2.1/images/million/metadata";
    let answer = get(gateway.base(), path);
    assert_expected(path, Expected::Ok, &answer);
    assert_eq!(
        answer.text().matches(":\"v\"").count() + answer.text().matches(": \"v\"").count(),
        1_000_000
    );
    let answer = get(gateway.base(), "/v2.1/images/large/metadata/large");
    assert_eq!(
        answer.json()["meta"]["large"].as_str().unwrap().len(),
        10 << 20
    );
}

/// A list whose `next` is none of Glance's business.
#[test]
fn a_next_is_a_marker_and_nothing_else() {
    let elsewhere = FakeServer::scripted(proper);
    let other = elsewhere.url();
    let page = |next: &Value| json!({"images": [{"id": "a"}], "next": next}).to_string();
    let circle = [
        json!("/v2/images?marker=a"),
        json!("/v2/images"),
        json!(format!("{other}/v2/images?marker=a")),
        json!("//evil/v2/images?marker=a"),
        json!("file:///etc/passwd?marker=a"),
        json!("?marker=%2e%2e%2f%00&marker=b"),
        json!(""),
        json!(5),
        json!({"href": "x"}),
        json!([]),
    ];
    for next in circle {
        let body = page(&next);
        let server = FakeServer::scripted(move |_| Reply::json(200, &body));
        let gateway = start(&server, &[]);
        let answer = get(gateway.base(), "/v2.1/images");
        assert_expected(&next.to_string(), Expected::BadGateway, &answer);
        assert_eq!(server.received().len(), 2, "{next}");
    }
    assert!(elsewhere.received().is_empty());
}

#[test]
fn a_list_that_never_ends_ends_at_the_bound() {
    let count = AtomicUsize::new(0);
    let server = FakeServer::scripted(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let next = format!("/v2/images?marker={number}");
        Reply::json(
            200,
            json!({"images": [{"id": number}], "next": next}).to_string(),
        )
    });
    let gateway = start(&server, &[("GLANCE__MAX_IMAGES", "1000")]);
    let answer = get(gateway.base(), "/v2.1/images");
    let message =
        "The list has more than 1000 images. Ask for a part of it, with limit and marker.";
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.json(),
        json!({"overLimit": {"code": 413, "message": message}})
    );
    // The page after the bound may have been requested ahead.
    let calls = server.received().len();
    assert!((1001..=1002).contains(&calls), "{calls}");
}

#[test]
fn a_redirect_is_never_followed_and_the_token_stays() {
    let elsewhere = FakeServer::scripted(proper);
    let target = elsewhere.url();
    let server = FakeServer::scripted(move |request| {
        let status = request
            .path
            .rsplit_once(['/', '-'])
            .unwrap()
            .1
            .parse()
            .unwrap();
        Reply::json_with(
            status,
            &format!("Location: {target}{}\r\n", request.path),
            LIST,
        )
    });
    let gateway = start(&server, &[]);
    let base = gateway.base();
    for status in [300, 301, 302, 303, 305, 307, 308] {
        let path = format!("/v2.1/images/{status}");
        assert_expected(&path, Expected::BadGateway, &get(base, &path));
        assert_expected(
            &path,
            Expected::BadGateway,
            &get(base, &format!("/v2.1/images?name=x-{status}")),
        );
        let deletion = ask(base, "DELETE", &path, None);
        assert_expected(&path, Expected::BadGateway, &deletion);
    }
    assert!(elsewhere.received().is_empty());
    assert_eq!(server.received().len(), 3 * 7);
}

/// An error's words are quoted, but not all of a flood of them.
#[test]
fn an_error_page_is_quoted_in_part() {
    let flood = "<h1>x</h1>\n\u{0}\u{7f}ü".repeat(1 << 18);
    let server = FakeServer::scripted(move |_| Reply::json(400, &flood));
    let gateway = start(&server, &[]);
    let answer = get(gateway.base(), "/v2.1/images/x");
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 10_000, "{}", answer.body.len());
    assert_eq!(answer.json()["badRequest"]["code"], 400);
}

/// A Glance, or a proxy before it, that takes no URI of this length.
#[test]
fn a_uri_that_is_too_long_for_glance_is_a_414() {
    let server = FakeServer::scripted(|_| {
        Reply::json(414, "<html><body>Request-URI Too Long</body></html>")
    });
    let gateway = start(&server, &[]);
    let list = get(gateway.base(), "/v2.1/images?name=x");
    let message = "The URI of the request is too long.";
    assert_eq!(list.status, 414, "{}", list.text());
    let expected = json!({"computeFault": {"code": 414, "message": message}});
    assert_eq!(list.json(), expected);
}

#[test]
fn an_explanation_is_passed_on_without_html_escapes() {
    let page =
        "<html><body><h1>400 Bad Request</h1>\nC can&#x27;t be &lt;so&gt;<br /></body></html>";
    let server = FakeServer::scripted(move |_| Reply::json(400, page));
    let gateway = start(&server, &[]);
    let shown = get(gateway.base(), "/v2.1/images/x");
    assert_eq!(
        shown.json()["badRequest"]["message"],
        "HTTP 400 Bad Request: C can't be <so>"
    );
}

/// Each connection is closed a moment after its answer, without a `Connection: close`, as uWSGI's
/// `http-socket` does: a request that is sent on it then is never read.
#[test]
fn a_thousand_writes_succeed_where_glance_closes_each_connection_silently() {
    let writes = 1000;
    let glance = FakeServer::scripted(|_| {
        let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", IMAGE.len());
        Reply::ThenSilentClose(
            [head.as_bytes(), IMAGE.as_bytes()].concat(),
            Duration::from_millis(2),
        )
    });
    let gateway = start(&glance, &[]);
    let failed = AtomicUsize::new(0);
    for_each(writes, |number| {
        let body = format!(r#"{{"metadata": {{"a": "{number}"}}}}"#);
        let written = ask(
            gateway.base(),
            "POST",
            "/v2.1/images/x/metadata",
            Some(&body),
        );
        failed.fetch_add(usize::from(written.status != 200), Ordering::Relaxed);
    });
    assert_eq!(failed.into_inner(), 0, "of {writes}");
    let received = glance.received();
    let patches = received.iter().filter(|request| request.method == "PATCH");
    assert_eq!(patches.count(), writes);
}

/// Error bodies and pages that would take fifty times their size when parsed.
#[test]
fn large_errors_and_pages_of_tiny_images_cost_little_memory() {
    let tiny = "{},".repeat(3 << 20);
    let page = format!(r#"{{"images": [{tiny}{{}}]}}"#);
    let error = format!(r#"{{"details": [{tiny}{{}}], "message": "no"}}"#);
    let server = FakeServer::scripted(move |request| {
        if request.path.starts_with("/v2/images/") {
            Reply::json(400, &error)
        } else {
            Reply::json(200, &page)
        }
    });
    let url = server.url();
    let gateway = GatewayProcess::start(
        gateway_command!(),
        &[
            ("AUTH__MODE", "passthrough"),
            ("GLANCE__ENDPOINTS", &url),
            ("CACHE__ENABLED", "false"),
            ("LOG__ACCESS", "false"),
            ("LOG__LEVEL", "error"),
        ],
    );
    let before = gateway.memory();
    for _ in 0..3 {
        let shown = get(gateway.base(), "/v2.1/images/x");
        assert_eq!(shown.status, 400);
        let list = get(gateway.base(), "/v2.1/images");
        assert_expected("a page longer than requested", Expected::BadGateway, &list);
    }
    let peak = gateway.peak_memory();
    // The page as received, and what its buffer leaves behind as it grows.
    assert!(peak < before + 64 * 1024, "{before} → {peak} KiB");
}

/// All cases at once, many times, against a process of its own: what it may hold is bounded.
#[test]
fn invalid_responses_cost_bounded_memory_and_leave_no_connections_behind() {
    let glance = glance();
    let url = glance.url();
    let gateway = GatewayProcess::start(
        gateway_command!(),
        &[
            ("AUTH__MODE", "passthrough"),
            ("GLANCE__ENDPOINTS", &url),
            ("GLANCE__TIMEOUT", CALL),
            ("CACHE__ENABLED", "false"),
            ("GLANCE__MAX_ANSWER", "4194304"),
            ("GLANCE__MAX_IN_FLIGHT", "8"),
            ("LOG__ACCESS", "false"),
            ("LOG__LEVEL", "error"),
        ],
    );
    let base = gateway.base();
    assert_expected("before", Expected::Ok, &get(base, "/v2.1/images"));
    let (before, descriptors) = (gateway.memory(), gateway.descriptors());
    let cases = cases();
    let count = cases.len();
    let rounds = 3;
    for_each(rounds * count, |number| {
        let number = number % count;
        let answer = get(base, &format!("/v2.1/images/case-r-{number:03}"));
        assert_expected(cases[number].name, cases[number].expected, &answer);
    });
    let (peak, after) = (gateway.peak_memory(), gateway.memory());
    println!(
        "{} cases: memory {before} KiB before, {peak} KiB at most, {after} KiB after",
        rounds * count
    );
    // Eight answers of four MiB at once, each while its buffer grows, and what the allocator keeps.
    assert!(peak < before + 128 * 1024, "{before} → {peak} KiB");
    let waited = Instant::now();
    while gateway.descriptors() > descriptors + 8 {
        assert!(
            waited.elapsed() < PATIENCE,
            "{} of {descriptors}",
            gateway.descriptors()
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}
