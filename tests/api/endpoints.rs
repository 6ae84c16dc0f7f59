//! Two Glances on one database, of which one is killed; and two of which one lags behind the other.
//!
//! The Glances are the embedded ones of two more processes; each tells its address in the alternate
//! links of the images it shows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{self, Request, Response};
use test_support::fake_server::ReceivedRequest;
use test_support::{FakeServer, GatewayProcess, Reply, TestGateway, gateway_command};

use serde_json::{Value, json};

const CLIENTS: usize = 8;

/// A Glance that can be killed, and its address.
fn glance(database: &str) -> (GatewayProcess, String) {
    // Two processes may share a database, but not a folder for data.
    let data = format!("{database}.{:08x}", fastrand::u32(..));
    let process = GatewayProcess::start(
        gateway_command!(),
        &[
            ("EMBEDDED__DATABASE", database),
            ("EMBEDDED__DATA_DIR", &data),
            ("LOG__ACCESS", "false"),
        ],
    );
    let images = get(process.base(), "/v2.1/images/detail");
    let link = images.json()["images"][0]["links"][2]["href"].clone();
    let address = link.as_str().unwrap().split("/images/").next().unwrap();
    let address = address.to_owned();
    (process, address)
}

fn get(base: &str, path: &str) -> Response {
    let request = Request {
        method: "GET",
        path,
        ..Request::default()
    };
    client::send(base, &request).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn write(base: &str, image: &str, value: &str) -> Response {
    let body = format!(r#"{{"metadata": {{"written": "{value}"}}}}"#);
    let path = format!("/v2.1/images/{image}/metadata");
    let request = Request {
        method: "POST",
        path: &path,
        headers: vec![("Content-Type", "application/json")],
        body: Some(body.as_bytes()),
    };
    client::send(base, &request).unwrap()
}

#[test]
fn no_read_fails_when_one_of_two_glances_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("images.sqlite");
    let database = database.to_str().unwrap();
    let (mut first, first_at) = glance(database);
    let (second, second_at) = glance(database);
    let gateway = GatewayProcess::start(
        gateway_command!(),
        &[
            ("AUTH__MODE", "none"),
            ("GLANCE__ENDPOINTS", &format!("{first_at},{second_at}")),
            ("CACHE__ENABLED", "false"),
            ("LOG__ACCESS", "false"),
            ("LOG__LEVEL", "info"),
        ],
    );
    let base = gateway.base();
    let list = get(base, "/v2.1/images/detail").json();
    let image = own_image(&list);
    let paths = [
        "/v2.1/images".to_owned(),
        "/v2.1/images/detail".to_owned(),
        format!("/v2.1/images/{image}"),
        format!("/v2.1/images/{image}/metadata"),
    ];
    assert_eq!(write(base, &image, "before").status, 200);

    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let slowest = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (paths, stop, reads) = (&paths, &stop, &reads);
                scope.spawn(move || {
                    let mut slowest = Duration::ZERO;
                    for path in paths.iter().cycle().skip(client) {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let started = Instant::now();
                        let answer = get(base, path);
                        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                        slowest = slowest.max(started.elapsed());
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    slowest
                })
            })
            .collect();
        wait_for_more(&reads, 300, &stop);
        first.kill();
        wait_for_more(&reads, 600, &stop);
        // What is left serves writes too; nothing of them reaches the dead one.
        for number in 0..5 {
            let written = write(base, &image, &number.to_string());
            assert_eq!(written.status, 200, "{}", written.text());
        }
        stop.store(true, Ordering::Relaxed);
        let times = clients.into_iter().map(|client| client.join().unwrap());
        times.max().unwrap()
    });
    println!(
        "one of two Glances killed under {CLIENTS} clients: {} reads, 0 failed, the slowest {slowest:?}",
        reads.load(Ordering::Relaxed)
    );
    let log = gateway.log();
    assert!(
        log.contains("endpoint ejected") && log.contains(&first_at),
        "{log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    // Links name the first endpoint, whichever of them answers.
    let shown = get(base, &format!("/v2.1/images/{image}"));
    assert!(
        shown.text().contains(&format!("{first_at}/images/{image}")),
        "{}",
        shown.text()
    );
    drop(second);
    let gone = get(base, "/v2.1/images");
    assert_eq!(gone.status, 503, "{}", gone.text());
}

/// An image that anybody may change here.
fn own_image(list: &Value) -> String {
    let images = list["images"].as_array().unwrap();
    images[0]["id"].as_str().unwrap().to_owned()
}

/// Lets the clients go on until so many more reads are done, or one of them has failed.
fn wait_for_more(reads: &AtomicUsize, more: usize, stop: &AtomicBool) {
    let (target, started) = (reads.load(Ordering::Relaxed) + more, Instant::now());
    while reads.load(Ordering::Relaxed) < target {
        if started.elapsed() > Duration::from_secs(60) {
            stop.store(true, Ordering::Relaxed);
            panic!("the clients are stuck");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A Glance with the images `newest`, …, 0, in this order, which responds 400 to a marker it does not know.
fn paging_glance(newest: usize) -> impl Fn(&ReceivedRequest) -> Reply {
    move |request| {
        let (_, query) = request.path.split_once('?').unwrap();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|pair| pair.0 == name).map(|pair| pair.1);
            values.next().map(|value| value.parse::<usize>().unwrap())
        };
        let start = match value("marker") {
            None => newest + 1,
            Some(marker) if marker <= newest => marker,
            Some(_) => return Reply::json(400, "<html><body>marker not found</body></html>"),
        };
        let end = start.saturating_sub(value("limit").unwrap());
        let images: Vec<_> = (end..start)
            .rev()
            .map(|n| json!({"id": n.to_string()}))
            .collect();
        let mut page = json!({"images": images});
        if end > 0 {
            page["next"] = json!(format!("/v2/images?marker={end}"));
        }
        Reply::json(200, page.to_string())
    }
}

fn gateway_to(first: &FakeServer, second: &FakeServer) -> TestGateway {
    TestGateway::start(&[
        ("AUTH__MODE", "none"),
        (
            "GLANCE__ENDPOINTS",
            &format!("{},{}", first.url(), second.url()),
        ),
        ("GLANCE__PAGE_SIZE", "10"),
        ("CACHE__ENABLED", "false"),
        ("LOG__ACCESS", "false"),
    ])
}

#[test]
fn each_list_comes_from_one_endpoint_so_one_that_lags_fails_none() {
    let [ahead, behind] = [49, 34].map(|newest| FakeServer::scripted(paging_glance(newest)));
    let gateway = gateway_to(&ahead, &behind);
    let mut lengths = Vec::new();
    for _ in 0..10 {
        let list = get(gateway.base(), "/v2.1/images");
        assert_eq!(list.status, 200, "{}", list.text());
        let list = list.json();
        let ids = list["images"].as_array().unwrap().iter();
        let ids: Vec<usize> = ids
            .map(|image| image["id"].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(ids, (0..ids.len()).rev().collect::<Vec<_>>());
        lengths.push(ids.len());
    }
    assert!(
        lengths.contains(&50) && lengths.contains(&35),
        "{lengths:?}"
    );
}

/// The endpoint that began the list fails, and the other one knows none of the images shown: nobody can tell how
/// many are missing between.
#[test]
fn a_list_is_not_continued_by_an_endpoint_that_knows_none_of_its_images() {
    let calls = AtomicUsize::new(0);
    let whole = paging_glance(49);
    let failing = FakeServer::scripted(move |request| {
        if calls.fetch_add(1, Ordering::Relaxed) == 0 {
            whole(request)
        } else {
            Reply::json(503, "")
        }
    });
    let behind = FakeServer::scripted(paging_glance(34));
    let gateway = gateway_to(&failing, &behind);
    let list = get(gateway.base(), "/v2.1/images");
    assert_eq!(list.status, 503, "{}", list.text());
    let list = get(gateway.base(), "/v2.1/images");
    assert_eq!(list.status, 200, "{}", list.text());
}
