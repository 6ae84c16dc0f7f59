//! Writes to an image: their queue, clients that leave, exchanges that break, and what a write of one
//! project does to the cache of another.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{self, Response};
use test_support::fake_keystone::scoped;
use test_support::fake_server::ReceivedRequest;
use test_support::{FakeKeystone, FakeServer, Reply, TestGateway};

use parking_lot::{Condvar, Mutex};
use rstest::rstest;
use serde_json::json;

const ID: &str = "11111111-2222-4333-8444-555555555555";
const OTHER: &str = "22222222-2222-4333-8444-555555555555";
const PATIENCE: Duration = Duration::from_secs(30);

/// Holds back those who pass until it is opened.
#[derive(Default)]
struct Barrier(Mutex<bool>, Condvar);

impl Barrier {
    fn pass(&self) {
        let mut open = self.0.lock();
        let until = Instant::now() + PATIENCE;
        // A test that failed opens nothing.
        while !*open && !self.1.wait_until(&mut open, until).timed_out() {}
    }

    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }
}

fn image(id: &str, owner: &str, n: &str) -> Reply {
    let image = json!({"id": id, "name": "i", "status": "active", "owner": owner, "n": n});
    Reply::json(200, image.to_string())
}

fn token(request: &ReceivedRequest) -> &str {
    let mut headers = request.headers.iter();
    let token = headers.find(|(name, _)| name == "x-auth-token");
    token.map_or("", |(_, value)| value)
}

fn until(what: &str, is_true: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn put(base: &str, token: &str, id: &str) -> Response {
    let path = format!("/v2.1/images/{id}/metadata/n");
    let headers = [("X-Auth-Token", token)];
    client::ask(
        base,
        "PUT",
        &path,
        &headers,
        Some(r#"{"meta": {"n": "new"}}"#),
    )
}

fn heard(glance: &FakeServer, method: &str) -> usize {
    let received = glance.received();
    received.iter().filter(|all| all.method == method).count()
}

/// One client's PATCH is under way; 250 others send 100 KB each and reset their connections.
#[test]
fn writes_of_clients_that_left_leave_the_queue_and_glance_hears_nothing_of_them() {
    let barrier = Arc::new(Barrier::default());
    let at_glance = Arc::clone(&barrier);
    let glance = FakeServer::scripted(move |request| {
        if request.method == "PATCH" {
            at_glance.pass();
            return image(ID, "p", "new");
        }
        image(ID, "p", "old")
    });
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
        ("NOVA__METADATA_ITEMS", "-1"),
    ]);
    let in_flight = || {
        let admin = gateway.admin();
        let metrics = client::ask(admin, "GET", "/metrics", &[], None).text();
        let name = "nova_image_proxy_http_requests_in_flight ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u64>().unwrap()
    };
    let base = gateway.base().to_owned();
    let first = thread::spawn(move || put(&base, "t", ID).status);
    until("no PATCH came", || heard(&glance, "PATCH") == 1);
    let items: serde_json::Map<_, _> = (0..200)
        .map(|number| (format!("{number:0>255}"), json!("v".repeat(255))))
        .collect();
    let body = json!({"metadata": items}).to_string();
    let request = format!(
        "PUT /v2.1/images/{ID}/metadata HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: t\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let address: SocketAddr = gateway
        .base()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let clients: Vec<_> = (0..250)
        .map(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            // A refused one may be closed while it sends.
            let _sent = client.write_all(request.as_bytes());
            client
        })
        .collect();
    until("nobody waits", || in_flight() > 20);
    for client in clients {
        let socket = socket2::SockRef::from(&client);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("writes of clients that left go on", || in_flight() == 1);
    let before = glance.received().len();
    barrier.open();
    assert_eq!(first.join().unwrap(), 200);
    assert_eq!(put(gateway.base(), "t", ID).status, 200);
    assert_eq!(glance.received().len(), before + 2);
}

#[test]
fn more_writes_than_may_wait_for_one_image_are_refused_and_other_images_are_free() {
    let barrier = Arc::new(Barrier::default());
    let at_glance = Arc::clone(&barrier);
    let glance = FakeServer::scripted(move |request| {
        let id = if request.path.ends_with(OTHER) {
            OTHER
        } else {
            ID
        };
        if request.method == "PATCH" && id == ID {
            at_glance.pass();
        }
        image(id, "p", "old")
    });
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
    ]);
    let refused = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let answer = put(gateway.base(), "t", ID);
                if answer.status == 503 {
                    assert!(answer.header("retry-after").is_some());
                    refused.fetch_add(1, Ordering::SeqCst);
                } else {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        until("nobody was refused", || {
            refused.load(Ordering::SeqCst) == 35
        });
        assert_eq!(put(gateway.base(), "t", OTHER).status, 200);
        barrier.open();
    });
    // One that is sent, and 64 that wait.
    assert_eq!(done.into_inner(), 65);
}

async fn keystone() -> FakeKeystone {
    let tokens = ["a", "b"].map(|name| {
        let token = scoped(name, &format!("project-{name}"), &["member"]);
        (format!("token-{name}"), token)
    });
    FakeKeystone::start(HashMap::from(tokens)).await
}

fn in_front_of(glance: &FakeServer, keystone: &FakeKeystone) -> TestGateway {
    TestGateway::start(&[
        ("AUTH__MODE", "keystone"),
        ("KEYSTONE__AUTH_URL", keystone.url().as_str()),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
        ("CACHE__TTL", "1h"),
    ])
}

/// Glance takes its time to say that the strangers cannot see the image; its owner writes meanwhile.
#[tokio::test]
async fn nobody_waits_for_writes_of_callers_who_cannot_see_the_image() {
    let barrier = Arc::new(Barrier::default());
    let at_glance = Arc::clone(&barrier);
    let glance = FakeServer::scripted(move |request| {
        if token(request) == "token-a" {
            at_glance.pass();
            return Reply::json(404, "no image");
        }
        image(ID, "project-b", "old")
    });
    let keystone = keystone().await;
    let gateway = in_front_of(&glance, &keystone);
    thread::scope(|scope| {
        let strangers: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| put(gateway.base(), "token-a", ID).status))
            .collect();
        until("the strangers do not ask", || heard(&glance, "GET") == 20);
        assert_eq!(put(gateway.base(), "token-b", ID).status, 200);
        barrier.open();
        for stranger in strangers {
            assert_eq!(stranger.join().unwrap(), 404);
        }
    });
    assert_eq!(heard(&glance, "PATCH"), 1);
}

/// The writers see the image of another project, and Glance takes its time to forbid their writes.
#[tokio::test]
async fn an_owner_waits_for_one_write_of_another_project_at_most() {
    let barrier = Arc::new(Barrier::default());
    let at_glance = Arc::clone(&barrier);
    let glance = FakeServer::scripted(move |request| match (&*request.method, token(request)) {
        ("PATCH", "token-a") => {
            at_glance.pass();
            Reply::json(403, "not yours")
        }
        _ => image(ID, "project-b", "old"),
    });
    let keystone = keystone().await;
    let gateway = in_front_of(&glance, &keystone);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(put(gateway.base(), "token-a", ID).status, 403));
        }
        until("the others do not write", || {
            heard(&glance, "GET") == 20 && heard(&glance, "PATCH") == 1
        });
        let owner = scope.spawn(|| put(gateway.base(), "token-b", ID).status);
        until("the owner does not ask", || heard(&glance, "GET") == 21);
        barrier.open();
        assert_eq!(owner.join().unwrap(), 200);
    });
    let received = glance.received();
    let mut patches = received.iter().filter(|all| all.method == "PATCH");
    let before = patches.position(|patch| token(patch) == "token-b");
    // The one under way, and the one that waited before the owner came.
    assert!(before.unwrap() <= 2, "{before:?}");
}

/// A Glance that breaks the exchange of the first PATCH or DELETE off, before or after it acts.
fn breaking(acts: bool) -> FakeServer {
    let (broken, written) = (AtomicBool::new(false), AtomicBool::new(false));
    FakeServer::scripted(move |request| {
        if request.method == "GET" {
            let n = if written.load(Ordering::SeqCst) {
                "new"
            } else {
                "old"
            };
            return image(ID, "p", n);
        }
        let first = !broken.swap(true, Ordering::SeqCst);
        if !first || acts {
            written.store(true, Ordering::SeqCst);
        }
        if first {
            return Reply::Bytes(Vec::new());
        }
        image(ID, "p", "new")
    })
}

#[rstest]
#[case::it_was_carried_out(true, 1)]
#[case::it_was_not(false, 2)]
fn a_patch_whose_exchange_broke_is_read_again_and_sent_again_only_if_needed(
    #[case] acts: bool,
    #[case] patches: usize,
) {
    let glance = breaking(acts);
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
    ]);
    let written = put(gateway.base(), "t", ID);
    assert_eq!(written.status, 200, "{}", written.text());
    assert_eq!(heard(&glance, "PATCH"), patches);
    assert_eq!(heard(&glance, "GET"), 2);
}

#[test]
fn a_delete_whose_exchange_broke_is_not_sent_again() {
    let glance = breaking(true);
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
    ]);
    let path = format!("/v2.1/images/{ID}");
    let deleted = client::ask(
        gateway.base(),
        "DELETE",
        &path,
        &[("X-Auth-Token", "t")],
        None,
    );
    assert_eq!(deleted.status, 503);
    assert_eq!(heard(&glance, "DELETE"), 1);
}

const OPERATIONS: [(&str, &str, Option<&str>); 10] = [
    ("GET", "", None),
    ("GET", "/detail", None),
    ("GET", "/ID", None),
    ("DELETE", "/ID", None),
    ("GET", "/ID/metadata", None),
    ("POST", "/ID/metadata", Some(r#"{"metadata": {"n": "v"}}"#)),
    ("PUT", "/ID/metadata", Some(r#"{"metadata": {"n": "v"}}"#)),
    ("GET", "/ID/metadata/n", None),
    ("PUT", "/ID/metadata/n", Some(r#"{"meta": {"n": "v"}}"#)),
    ("DELETE", "/ID/metadata/n", None),
];

/// All operations of one project with all kinds of ids, where Glance refuses its reads or its writes.
#[rstest]
#[case(400, true)]
#[case(401, true)]
#[case(403, true)]
#[case(404, true)]
#[case(409, true)]
#[case(413, true)]
#[case(429, true)]
#[case(500, false)]
#[case(501, false)]
#[case(503, false)]
#[tokio::test]
async fn what_one_project_does_leaves_the_cache_of_another_full(
    #[case] status: u16,
    #[case] refuses: bool,
) {
    let refuses_reads = Arc::new(AtomicBool::new(true));
    let reads = Arc::clone(&refuses_reads);
    let glance = FakeServer::scripted(move |request| {
        let read = request.method == "GET";
        if token(request) == "token-a" && (!read || reads.load(Ordering::SeqCst)) {
            return Reply::json(status, "{}");
        }
        match request.path.strip_prefix("/v2/images/") {
            Some(id) => image(id, "project-b", "old"),
            None => Reply::json(200, r#"{"images": []}"#),
        }
    });
    let keystone = keystone().await;
    let gateway = in_front_of(&glance, &keystone);
    let ask = |token: &str, method: &str, path: &str, body: Option<&str>| {
        let path = format!("/v2.1/images{path}");
        client::ask(
            gateway.base(),
            method,
            &path,
            &[("X-Auth-Token", token)],
            body,
        )
    };
    let shows = [
        format!("/{ID}"),
        format!("/{ID}/metadata"),
        format!("/{ID}/metadata/n"),
    ];
    let lists = [
        String::new(),
        "/detail".to_owned(),
        "/detail?limit=5".to_owned(),
    ];
    let all = || shows.iter().chain(&lists);
    let source = |path: &str| {
        let answer = ask("token-b", "GET", path, None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("cache-status").unwrap_or_default().to_owned()
    };
    for path in all() {
        source(path);
        assert_eq!(source(path), "nova-image-proxy; hit");
    }
    for refused in [true, false] {
        refuses_reads.store(refused, Ordering::SeqCst);
        for id in [
            ID,
            OTHER,
            "odd",
            "ID",
            "..",
            "a%2Fb",
            &"x".repeat(255),
            &"x".repeat(256),
        ] {
            for (method, path, body) in OPERATIONS {
                ask("token-a", method, &path.replace("ID", id), body);
                for path in all().filter(|_| refuses) {
                    let doing = format!("{method} {path} {id}");
                    assert_eq!(source(path), "nova-image-proxy; hit", "{doing}");
                }
            }
        }
    }
    // What Glance may have carried out is read again, and cached again at once.
    for path in all() {
        source(path);
        assert_eq!(source(path), "nova-image-proxy; hit", "{path}");
    }
}
