//! Chaos between the gateway and Glance, under load.
//!
//! `CHAOS_SECONDS` is how long it lasts (a few seconds when absent); `CHAOS_SEED` repeats what happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{self, Request, Response};
use test_support::{GatewayProcess, gateway_command};

use embedded_glance::{EmbeddedGlance, Settings};
use proxy::{Mode, Proxy};
use serde_json::{Value, json};

mod proxy;

const CLIENTS: usize = 8;
/// A call to Glance takes no longer, a request neither.
const CALL: Duration = Duration::from_secs(1);
const REQUEST: Duration = Duration::from_secs(4);
/// What a busy machine adds to that.
const SLACK: Duration = Duration::from_secs(6);
/// When Glance works again, so do all requests after this long.
const WELL_AGAIN: Duration = Duration::from_secs(2);

/// One client's image, and what it knows of the item it writes.
struct Client {
    image: String,
    number: usize,
    /// The value that is surely there, and those that may have come after it.
    known: String,
    possible: Vec<String>,
}

/// What came of the requests, by operation and status.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<(&'static str, u16), usize>>);

impl Tally {
    fn add(&self, operation: &'static str, status: u16) {
        *self
            .0
            .lock()
            .unwrap()
            .entry((operation, status))
            .or_default() += 1;
    }

    fn sum(&self, which: impl Fn(u16) -> bool) -> usize {
        let tally = self.0.lock().unwrap();
        let counts = tally.iter().filter(|((_, status), _)| which(*status));
        counts.map(|(_, count)| count).sum()
    }
}

struct Gate<'g> {
    base: &'g str,
    images: usize,
    tally: Tally,
    slowest: Mutex<Duration>,
    /// When Glance was back, once it is.
    back: OnceLock<Instant>,
    /// How long after that the last of the requests failed that began after it.
    last_failure: Mutex<Duration>,
}

impl<'g> Gate<'g> {
    /// Before any trouble.
    fn before(gateway: &'g GatewayProcess) -> Self {
        let request = Request {
            method: "GET",
            path: "/v2.1/images",
            ..Request::default()
        };
        let list = client::send(gateway.base(), &request).unwrap().json();
        Self {
            base: gateway.base(),
            images: list["images"].as_array().unwrap().len(),
            tally: Tally::default(),
            slowest: Mutex::default(),
            back: OnceLock::new(),
            last_failure: Mutex::default(),
        }
    }

    /// What clients were told, in numbers.
    fn told(&self) -> String {
        let with = |status| self.tally.sum(|each| each == status);
        format!(
            "{} requests, all answered: {} well, {} with 502, {} with 503, the slowest after {:?}",
            self.tally.sum(|_| true),
            self.tally.sum(|status| status < 300),
            with(502),
            with(503),
            self.slowest.lock().unwrap()
        )
    }

    fn send(
        &self,
        operation: &'static str,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Response {
        let headers = body.map_or_else(Vec::new, |_| vec![("Content-Type", "application/json")]);
        let request = Request {
            method,
            path,
            headers,
            body: body.map(str::as_bytes),
        };
        let started = Instant::now();
        let answer = client::send(self.base, &request)
            .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"));
        let duration = started.elapsed();
        assert!(
            duration < REQUEST + SLACK,
            "{method} {path} took {duration:?}"
        );
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = duration.max(*slowest);
        if let Some(back) = self.back.get()
            && started > *back
            && answer.status >= 500
        {
            *self.last_failure.lock().unwrap() = back.elapsed();
        }
        self.tally.add(operation, answer.status);
        answer
    }

    /// A read: right, or a fault of Glance's.
    fn read(&self, client: &Client, kind: u32) {
        let path = match kind {
            0 => "/v2.1/images".to_owned(),
            1 => "/v2.1/images/detail".to_owned(),
            2 => format!("/v2.1/images/{}", client.image),
            _ => format!("/v2.1/images/{}/metadata", client.image),
        };
        let name = ["list", "detail", "show", "metadata"][kind as usize % 4];
        let answer = self.send(name, "GET", &path, None);
        if answer.status != 200 {
            return assert_fault(&path, &answer);
        }
        let body = answer.json();
        match kind {
            // Half a list is never sent.
            0 | 1 => assert_eq!(
                body["images"].as_array().unwrap().len(),
                self.images,
                "{path}"
            ),
            2 => assert_eq!(body["image"]["id"], json!(client.image), "{path}"),
            _ => assert!(
                client.may_be(&body["metadata"]["written"]),
                "{path}: {body}"
            ),
        }
    }

    /// A write, of which the client remembers what may have become of it.
    fn write(&self, client: &mut Client) {
        client.number += 1;
        let value = client.number.to_string();
        let body = format!(r#"{{"meta": {{"written": "{value}"}}}}"#);
        let path = format!("/v2.1/images/{}/metadata/written", client.image);
        let answer = self.send("write", "PUT", &path, Some(&body));
        if answer.status == 200 {
            client.known = value;
            client.possible.clear();
        } else {
            assert_fault(&path, &answer);
            client.possible.push(value);
        }
    }
}

impl Client {
    fn may_be(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|value| {
            value == self.known || self.possible.iter().any(|possible| possible == value)
        })
    }
}

fn assert_fault(path: &str, answer: &Response) {
    let name = match answer.status {
        502 => "computeFault",
        503 => "serviceUnavailable",
        status => panic!("{path}: {status} {}", answer.text()),
    };
    assert_eq!(answer.json()[name]["code"], json!(answer.status), "{path}");
}

/// Images of the clients' own, made at Glance itself.
fn clients(glance: &str) -> Vec<Client> {
    let make = |number: usize| {
        let fields = json!({"name": format!("chaos {number}"), "written": "0",
            "disk_format": "raw", "container_format": "bare"});
        let url = format!("{glance}/v2/images");
        let made = client::call(
            "POST",
            &url,
            None,
            "application/json",
            fields.to_string().as_bytes(),
        );
        assert_eq!(made.status, 201, "{}", made.text());
        Client {
            image: made.json()["id"].as_str().unwrap().to_owned(),
            number: 0,
            known: "0".to_owned(),
            possible: Vec::new(),
        }
    };
    (0..CLIENTS).map(make).collect()
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().unwrap())
}

/// Has the clients ask until `stop`.
fn load(gate: &Gate, clients: &mut [Client], seed: u64, stop: &AtomicBool) {
    thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            let mut random = fastrand::Rng::with_seed(seed + number as u64);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match random.u32(0..6) {
                        kind @ 0..4 => gate.read(client, kind),
                        _ => gate.write(client),
                    }
                }
            });
        }
    });
}

/// Changes what happens to connections at random moments until `end`.
fn trouble(proxies: &mut [Proxy], seed: u64, end: Instant) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut changes = 0;
    while Instant::now() < end {
        let at = random.usize(0..proxies.len());
        let mode = match random.usize(0..Mode::TROUBLE.len() + 4) {
            number if number < Mode::TROUBLE.len() => Mode::TROUBLE[number],
            _ => Mode::Pass,
        };
        proxies[at].set(mode);
        changes += 1;
        thread::sleep(Duration::from_millis(random.u64(20..250)));
    }
    changes
}

/// Trouble while the clients ask, and then none while they go on; how many times it changed.
fn troubled_times(gate: &Gate, clients: &mut [Client], proxies: &mut [Proxy], seed: u64) -> usize {
    let lasts = Duration::from_secs(setting("CHAOS_SECONDS", 6));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let load = scope.spawn(move || load(gate, clients, seed, stop));
        let changes = trouble(proxies, seed, Instant::now() + lasts);
        for proxy in proxies {
            proxy.set(Mode::Pass);
        }
        gate.back.set(Instant::now()).unwrap();
        thread::sleep(WELL_AGAIN + Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        changes
    })
}

fn gateway(proxies: &[Proxy], cache: &str) -> GatewayProcess {
    let urls: Vec<_> = proxies.iter().map(Proxy::url).collect();
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    GatewayProcess::start(
        gateway_command!(),
        &[
            ("AUTH__MODE", "none"),
            ("GLANCE__ENDPOINTS", &urls.join(",")),
            ("GLANCE__TIMEOUT", &millis(CALL)),
            ("SERVER__REQUEST_TIMEOUT", &millis(REQUEST)),
            ("CACHE__ENABLED", cache),
            ("LOG__ACCESS", "false"),
            ("LOG__LEVEL", "warn"),
        ],
    )
}

fn chaos(endpoints: usize, cache: &str) {
    let seed = setting("CHAOS_SEED", fastrand::u64(0..1 << 32));
    println!("CHAOS_SEED={seed} for {endpoints} endpoints");
    let glance = EmbeddedGlance::start(&Settings::default()).unwrap();
    let at = glance.endpoint().as_str().trim_end_matches('/').to_owned();
    let mut clients = clients(&at);
    let mut proxies: Vec<_> = (0..endpoints).map(|_| Proxy::start(&at, seed)).collect();
    let gateway = gateway(&proxies, cache);
    let gate = Gate::before(&gateway);
    // Connections, threads and buffers that are there in good times too.
    for client in &clients {
        (0..4).for_each(|kind| gate.read(client, kind));
    }
    assert_eq!(gate.tally.sum(|status| status != 200), 0);
    let (memory, descriptors) = (gateway.memory(), gateway.descriptors());
    let changes = troubled_times(&gate, &mut clients, &mut proxies, seed);
    let settled = settle(&gateway, descriptors);
    let after = gateway.memory();

    let troubled: usize = proxies.iter().map(Proxy::troubled).sum();
    let last_failure = *gate.last_failure.lock().unwrap();
    println!(
        "{changes} changes, {troubled} exchanges troubled; {}; well again {last_failure:?} after \
         Glance's return; memory {memory} KiB before, {after} KiB after; descriptors {descriptors} \
         before, {settled} after",
        gate.told()
    );
    assert!(
        troubled > 0 && gate.tally.sum(|status| status >= 500) > 0,
        "no trouble"
    );
    assert!(
        last_failure < WELL_AGAIN,
        "still failing after {last_failure:?}"
    );
    assert!(after < memory + 32 * 1024, "{memory} → {after} KiB");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    // Only writes that were not confirmed may be lost.
    for client in &clients {
        gate.read(client, 3);
    }
}

/// Waits until no more descriptors are open than before, but for a few kept connections.
fn settle(gateway: &GatewayProcess, before: usize) -> usize {
    let started = Instant::now();
    loop {
        let now = gateway.descriptors();
        if now <= before + 4 {
            return now;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{before} → {now} descriptors"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_glance_behind_chaos_gives_faults_and_nothing_worse() {
    chaos(1, "false");
}

#[test]
fn two_endpoints_behind_chaos_and_kept_answers_give_faults_and_nothing_worse() {
    chaos(2, "true");
}
