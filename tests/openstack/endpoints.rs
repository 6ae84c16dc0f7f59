//! Real Glances behind the gateway: two on one database, one of which is killed while clients read; and one whose
//! server closes each connection without saying so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{self, Request};

use serde_json::json;

use crate::gateway;
use crate::stack::Stack;

const CLIENTS: usize = 6;
const LONG: Duration = Duration::from_secs(60);

#[test]
fn no_read_fails_when_one_of_two_glances_is_killed_and_it_is_asked_again_when_it_is_back() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let (_second, second) = stack.second_glance();
    let endpoints = format!("{second},{}", stack.image());
    let settings = [
        ("GLANCE__ENDPOINTS", endpoints.as_str()),
        ("GLANCE__EJECT_FOR", "500ms"),
        ("CACHE__ENABLED", "false"),
        ("LOG__ACCESS", "false"),
    ];
    let gateway = gateway::start(stack, &settings);
    let token = stack.token("demo");
    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let read = || {
        let request = Request {
            method: "GET",
            path: "/v2.1/images/detail?limit=5",
            headers: vec![("X-Auth-Token", &token)],
            body: None,
        };
        let answer = client::send(gateway.base(), &request).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        reads.fetch_add(1, Ordering::Relaxed);
    };
    // Each waits for what it needs, and says so when it never comes.
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !done() {
            if started.elapsed() > LONG {
                stop.store(true, Ordering::Relaxed);
                panic!("no {what} in time: {}", gateway.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    let more = |more: usize| {
        let target = reads.load(Ordering::Relaxed) + more;
        until("reads", &|| reads.load(Ordering::Relaxed) >= target);
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    read();
                }
            });
        }
        more(60);
        stack.kill("glance2");
        more(60);
        until("ejection", &|| gateway.log().contains("endpoint ejected"));
        let (_back, again) = stack.second_glance();
        assert_eq!(again, second);
        until("return", &|| gateway.log().contains("endpoint readmitted"));
        more(60);
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "one of two real Glances killed and started again under {CLIENTS} clients: {} reads, 0 failed",
        reads.load(Ordering::Relaxed)
    );
}

/// Metadata writes through a Glance in uWSGI's `http-socket` mode; more with `SILENT_CLOSE_WRITES`.
#[test]
fn metadata_writes_and_reads_succeed_where_glance_closes_each_connection_silently() {
    let writes: usize =
        std::env::var("SILENT_CLOSE_WRITES").map_or(200, |number| number.parse().unwrap());
    let stack = Stack::shared();
    let _alone = stack.alone();
    let (_running, url) = stack.silently_closing_glance();
    let settings = [
        ("GLANCE__ENDPOINTS", url.as_str()),
        ("CACHE__ENABLED", "false"),
        ("LOG__ACCESS", "false"),
    ];
    let gateway = gateway::start(stack, &settings);
    let token = stack.token("demo");
    let image = stack.create_image("demo", &json!({"name": "written", "visibility": "private"}));
    let send = |method: &str, path: &str, body: Option<&str>| {
        let request = Request {
            method,
            path,
            headers: vec![
                ("X-Auth-Token", &token),
                ("Content-Type", "application/json"),
            ],
            body: body.map(str::as_bytes),
        };
        client::send(gateway.base(), &request).unwrap()
    };
    let metadata = format!("/v2.1/images/{image}/metadata");
    let mut failed = Vec::new();
    for number in 0..writes {
        let body = json!({"meta": {"written": number.to_string()}}).to_string();
        let written = send("PUT", &format!("{metadata}/written"), Some(&body));
        let read = send("GET", &metadata, None);
        for answer in [&written, &read] {
            if answer.status != 200 {
                failed.push(format!("{number}: {}", answer.text()));
            }
        }
        if read.status == 200 {
            assert_eq!(read.json()["metadata"]["written"], number.to_string());
        }
    }
    stack.remove_image(&image);
    println!(
        "{writes} writes and reads through http-socket: {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
}
