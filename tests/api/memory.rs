//! The memory of the process under clients and servers that try to fill it. The bounds are in docs/memory.md; the
//! figures that these tests print, too.

use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use test_support::client::{RawClient, Response, get};
use test_support::{FakeServer, GatewayProcess, Reply, TestGateway, gateway_command};

const ID: &str = "11111111-2222-4333-8444-555555555555";
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// Holds back those who pass until it is opened.
#[derive(Default)]
struct Barrier(Mutex<bool>, Condvar);

impl Barrier {
    fn pass(&self) {
        let open = self.0.lock().unwrap();
        let _open = self
            .1
            .wait_timeout_while(open, PATIENCE, |open| !*open)
            .unwrap();
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

fn until(what: &str, is_true: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(10));
    }
}

/// A process of its own before a Glance, and the address of its admin listener.
struct Subject {
    process: GatewayProcess,
    admin: String,
    /// Resident memory before the load, in KiB.
    before: u64,
}

impl Subject {
    fn start(glance: &FakeServer, settings: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = free.local_addr().unwrap().to_string();
        drop(free);
        let url = glance.url();
        let usual = [
            ("AUTH__MODE", "passthrough"),
            ("GLANCE__ENDPOINTS", url.as_str()),
            ("CACHE__ENABLED", "false"),
            ("LOG__ACCESS", "false"),
            ("LOG__LEVEL", "error"),
            ("ADMIN__LISTEN", admin.as_str()),
        ];
        let process = GatewayProcess::start(gateway_command!(), &[&usual, settings].concat());
        // Some requests first, so that what the libraries set up once is not counted.
        for _ in 0..20 {
            ask(process.base(), "/v2.1");
        }
        Self {
            before: process.memory(),
            process,
            admin,
        }
    }

    fn base(&self) -> &str {
        self.process.base()
    }

    fn metric(&self, name: &str) -> u64 {
        metric(&self.admin, name)
    }

    /// Prints the figures, and fails where memory grew by `limit` MiB or more.
    fn assert_growth_below(&self, limit: u64, load: &str) {
        let Self {
            process, before, ..
        } = self;
        let (peak, after) = (process.peak_memory(), process.memory());
        println!("{load}: memory {before} KiB before, {peak} KiB at most, {after} KiB after");
        assert!(
            peak < before + limit * 1024,
            "{load}: {before} → {peak} KiB"
        );
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
}

fn metric(admin: &str, name: &str) -> u64 {
    let text = ask(admin, "/metrics").text();
    let start = format!("nova_image_proxy_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap().parse().unwrap()
}

fn ask(base: &str, path: &str) -> Response {
    let mut wire = RawClient::connect(base).unwrap();
    wire.send(get(path)).unwrap();
    wire.receive().unwrap()
}

fn image(id: &str) -> String {
    json!({"id": id, "name": "i", "status": "active", "owner": "p"}).to_string()
}

/// A connection whose client's side buffers little: what is unread stays with the gateway.
fn narrow(base: &str) -> TcpStream {
    let address: SocketAddr = base.trim_start_matches("http://").parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// A list whose page is some 4 MiB long: more than the kernel takes from the gateway.
fn large_page() -> String {
    let image = |number: usize| {
        json!({
            "id": format!("11111111-2222-4333-8444-{number:012}"),
            "status": "active",
            "text": "x".repeat(4000),
        })
    };
    json!({"images": (0..1000).map(image).collect::<Vec<_>>()}).to_string()
}

/// A `PUT` of some 100 KB to the metadata of an image.
fn large_write(id: &str) -> String {
    let items: serde_json::Map<_, _> = (0..200)
        .map(|number| (format!("{number:0>255}"), json!("v".repeat(255))))
        .collect();
    let body = json!({"metadata": items}).to_string();
    format!(
        "PUT /v2.1/images/{id}/metadata HTTP/1.1\r\nHost: gateway\r\nX-Auth-Token: t\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A Glance that answers no PATCH until the barrier is open.
fn held_up(barrier: &Arc<Barrier>) -> FakeServer {
    let barrier = Arc::clone(barrier);
    FakeServer::scripted(move |request| {
        if request.method == "PATCH" {
            barrier.pass();
        }
        let id = request.path.rsplit('/').next().unwrap_or_default();
        Reply::json(200, image(id))
    })
}

/// One write is with Glance; the others wait for their turn, and their clients leave after 20 ms.
#[test]
fn a_thousand_aborted_writes_leave_nothing_behind() {
    const WRITES: usize = 1000;
    let barrier = Arc::default();
    let glance = held_up(&barrier);
    let subject = Subject::start(&glance, &[("NOVA__METADATA_ITEMS", "-1")]);
    let request = large_write(ID);
    let mut first = RawClient::connect(subject.base()).unwrap();
    first.send(&request).unwrap();
    let patches = || {
        let received = glance.received();
        received.iter().filter(|all| all.method == "PATCH").count()
    };
    until("no PATCH came", || patches() == 1);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..WRITES / 20 {
                    let mut wire = RawClient::connect(subject.base()).unwrap();
                    // A refused one may be closed while it sends.
                    let _sent = wire.send(&request);
                    sleep(Duration::from_millis(20));
                    let socket = socket2::SockRef::from(wire.stream());
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
        }
    });
    until("writes of clients that left go on", || {
        subject.metric("http_requests_in_flight") == 1
    });
    let heard = glance.received().len();
    barrier.open();
    assert_eq!(first.receive().unwrap().status, 200);
    assert_eq!(
        ask(subject.base(), &format!("/v2.1/images/{ID}")).status,
        200
    );
    assert_eq!((patches(), glance.received().len()), (1, heard + 1));
    assert_eq!(subject.metric("request_memory_bytes"), 0);
    subject.assert_growth_below(64, "1000 aborted writes of 100 KB");
}

#[test]
fn a_hundred_lists_read_at_a_byte_a_second_stay_within_the_budget() {
    let page = large_page();
    let glance = FakeServer::scripted(move |_| Reply::json(200, &page));
    let settings = [
        ("SERVER__MAX_RESPONSE_MEMORY", "64MiB"),
        ("GLANCE__MAX_RESPONSE_MEMORY", "64MiB"),
        ("GLANCE__MAX_ANSWER", "8MiB"),
    ];
    let subject = Subject::start(&glance, &settings);
    let (served, refused, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..100 {
            let (subject, served, refused) = (&subject, &served, &refused);
            scope.spawn(move || {
                sleep(number * Duration::from_millis(50));
                let mut stream = narrow(subject.base());
                let path = format!("/v2.1/images/detail?name={number}");
                stream.write_all(get(&path).as_bytes()).unwrap();
                let mut start = [0; 12];
                stream.read_exact(&mut start).unwrap();
                match &start[9..] {
                    b"200" => served.fetch_add(1, Ordering::Relaxed),
                    b"503" => refused.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{}", String::from_utf8_lossy(other)),
                };
                for _ in 0..10 {
                    sleep(Duration::from_secs(1));
                    stream.read_exact(&mut [0]).unwrap();
                }
            });
        }
        let all_began = || served.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed) == 100;
        let look = || {
            let bytes = subject.metric("response_memory_bytes");
            most.fetch_max(bytes, Ordering::Relaxed);
            assert!(subject.metric("upstream_memory_bytes") <= 64 * MIB);
        };
        until("lists do not begin", || {
            look();
            all_began()
        });
        // All are unread but for their heads.
        look();
    });
    let (served, refused) = (served.into_inner(), refused.into_inner());
    let most = most.into_inner();
    assert!(
        served >= 10 && refused >= 10,
        "{served} served, {refused} refused"
    );
    assert!(most > 32 * MIB && most <= 64 * MIB, "{most}");
    let load = format!("100 lists of 4 MiB at a byte a second ({served} served, {refused} 503)");
    subject.assert_growth_below(256, &load);
}

#[test]
fn errors_of_64_mib_cost_64_kib_each() {
    const LENGTH: usize = 64 << 20;
    let glance = FakeServer::scripted(|request| {
        let status = match &*request.method {
            "PATCH" | "DELETE" => 409,
            _ if request.path.contains('?') => 500,
            _ => 400,
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {LENGTH}\r\n\r\n"
        );
        Reply::Endless(head.into_bytes(), vec![b'['; 64 << 10])
    });
    let subject = Subject::start(&glance, &[]);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(ask(subject.base(), "/v2.1/images").status, 502);
                    let show = ask(subject.base(), &format!("/v2.1/images/{ID}"));
                    assert_eq!(show.status, 400);
                    let mut wire = RawClient::connect(subject.base()).unwrap();
                    let request = get(&format!("/v2.1/images/{ID}")).replacen("GET", "DELETE", 1);
                    wire.send(request).unwrap();
                    assert_eq!(wire.receive().unwrap().status, 409);
                }
            });
        }
    });
    assert_eq!(subject.metric("upstream_memory_bytes"), 0);
    subject.assert_growth_below(48, "480 errors of 64 MiB, 16 at a time");
}

#[test]
fn hosts_of_every_length_cost_nothing() {
    let images: Vec<_> = (0..100)
        .map(|number| json!({"id": format!("11111111-2222-4333-8444-{number:012}")}))
        .collect();
    let page = json!({"images": images}).to_string();
    let glance = FakeServer::scripted(move |_| Reply::json(200, &page));
    let subject = Subject::start(&glance, &[]);
    let lengths = (1..=300)
        .chain((300..=100_000).step_by(487))
        .chain([100_000]);
    let mut count = 0;
    for length in lengths {
        let mut wire = RawClient::connect(subject.base()).unwrap();
        let host = "h".repeat(length);
        wire.send(get("/v2.1/images/detail").replacen("gateway", &host, 1))
            .unwrap();
        let answer = wire.receive().unwrap();
        let expected = if length <= 261 { 200 } else { 400 };
        assert_eq!(answer.status, expected, "{length}");
        count += 1;
    }
    subject.assert_growth_below(32, &format!("{count} hosts of up to 100,000 bytes"));
}

#[test]
fn unfinished_heads_cost_a_quarter_of_a_mebibyte_each() {
    const CONNECTIONS: u64 = 300;
    let glance = FakeServer::scripted(|_| Reply::json(200, image(ID)));
    let subject = Subject::start(&glance, &[("SERVER__HEAD_TIMEOUT", "10m")]);
    let unfinished = format!(
        "GET /v2.1/images/{ID} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\nX-Long: {}",
        "x".repeat(120_000)
    );
    let mut wires: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut wire = RawClient::connect(subject.base()).unwrap();
            wire.send(&unfinished).unwrap();
            wire
        })
        .collect();
    // Beyond 128 KiB of a head there is an answer at once.
    wires[0].send("x".repeat(20_000)).unwrap();
    assert_eq!(wires[0].receive().unwrap().status, 431);
    for wire in &mut wires[1..] {
        wire.send("\r\n\r\n").unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    let load = format!("{CONNECTIONS} unfinished heads of 120 KB");
    subject.assert_growth_below(CONNECTIONS / 4, &load);
}

/// The parsed form of an image takes a multiple of its JSON, while one thread works on it.
#[test]
fn an_image_of_tiny_properties_costs_sixteen_times_its_length() {
    const LENGTH: u64 = 8 * MIB;
    let tiny = r#""a":1,"#.repeat(usize::try_from(LENGTH).unwrap() / 6);
    let image = format!(r#"{{{tiny}"id":"{ID}"}}"#);
    let glance = FakeServer::scripted(move |_| Reply::json(200, &image));
    let subject = Subject::start(&glance, &[]);
    for _ in 0..3 {
        assert_eq!(
            ask(subject.base(), &format!("/v2.1/images/{ID}")).status,
            200
        );
    }
    let load = "an image of 8 MiB with 1,400,000 properties";
    subject.assert_growth_below(16 * LENGTH / MIB, load);
}

/// Writes to different images, each with its body in memory, while Glance takes its time.
#[test]
fn bodies_of_requests_stay_within_their_budget() {
    const LIMIT: u64 = 2 * MIB;
    let barrier = Arc::default();
    let glance = held_up(&barrier);
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
        ("NOVA__METADATA_ITEMS", "-1"),
        ("SERVER__MAX_REQUEST_MEMORY", "2MiB"),
    ]);
    let limit = metric(gateway.admin(), "request_memory_limit_bytes");
    assert_eq!(limit, LIMIT);
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for number in 0..20 {
        let id = format!("11111111-2222-4333-8444-{number:012}");
        let mut wire = RawClient::connect(gateway.base()).unwrap();
        wire.send(large_write(&id)).unwrap();
        let stream = wire.stream();
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let patches = || {
            let received = glance.received();
            received.iter().filter(|all| all.method == "PATCH").count()
        };
        let is_refused = || stream.peek(&mut [0]).is_ok();
        until("nothing happens", || {
            patches() > waiting.len() || is_refused()
        });
        let refuses = is_refused();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if refuses {
            let answer = wire.receive().unwrap();
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (503, Some("5"))
            );
            refused += 1;
        } else {
            waiting.push(wire);
        }
        assert!(metric(gateway.admin(), "request_memory_bytes") <= LIMIT);
    }
    assert!(waiting.len() >= 3 && refused >= 3, "{refused} refused");
    assert!(metric(gateway.admin(), "request_memory_bytes") > LIMIT / 2);
    barrier.open();
    for wire in &mut waiting {
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    until("memory is not given back", || {
        metric(gateway.admin(), "request_memory_bytes") == 0
    });
}

/// Images of 3 MiB that arrive but for their end.
#[test]
fn responses_of_glance_stay_within_their_budget() {
    const LIMIT: u64 = 4 * MIB;
    let barrier = Arc::<Barrier>::default();
    let at_glance = Arc::clone(&barrier);
    let image = json!({"id": ID, "status": "active", "text": "x".repeat(3 << 20)}).to_string();
    let glance = FakeServer::start(move |_, mut stream| {
        let length = image.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let (start, end) = image.split_at(length - 1);
        stream.write_all(start.as_bytes())?;
        at_glance.pass();
        stream.write_all(end.as_bytes())
    });
    let gateway = TestGateway::start(&[
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", glance.url().as_str()),
        ("GLANCE__MAX_ANSWER", "4MiB"),
        ("GLANCE__MAX_RESPONSE_MEMORY", "4MiB"),
        ("CACHE__ENABLED", "false"),
    ]);
    let used = || metric(gateway.admin(), "upstream_memory_bytes");
    assert_eq!(
        metric(gateway.admin(), "upstream_memory_limit_bytes"),
        LIMIT
    );
    let path = format!("/v2.1/images/{ID}");
    let mut first = RawClient::connect(gateway.base()).unwrap();
    first.send(get(&path)).unwrap();
    until("no response arrives", || used() > 3 * MIB);
    let refused = ask(gateway.base(), &path);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(used() <= LIMIT);
    barrier.open();
    assert_eq!(first.receive().unwrap().status, 200);
    until("memory is not given back", || used() == 0);
    assert_eq!(ask(gateway.base(), &path).status, 200);
}

#[test]
fn one_connection_too_many_to_the_admin_listener_waits_for_its_turn() {
    let gateway = TestGateway::start(&[]);
    let mut inside: Vec<_> = (0..128)
        .map(|_| RawClient::connect(gateway.admin()).unwrap())
        .collect();
    // They are accepted in order: the last one is answered when all are.
    for wire in [127, 0] {
        inside[wire].send(get("/healthcheck")).unwrap();
        assert_eq!(inside[wire].receive().unwrap().status, 200);
    }
    let mut outside = RawClient::connect(gateway.admin()).unwrap();
    outside.send(get("/healthcheck")).unwrap();
    let wait = |time| outside.stream().set_read_timeout(Some(time)).unwrap();
    wait(Duration::from_millis(300));
    assert!(outside.stream().peek(&mut [0]).is_err(), "let in");
    wait(PATIENCE);
    inside.pop();
    assert_eq!(outside.receive().unwrap().status, 200);
}
