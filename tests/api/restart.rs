//! Stops and restarts of the real binary: what has begun is finished, and a socket that is handed
//! over loses no request.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{RawClient, get};
use test_support::{GatewayProcess, gateway_command};

use serde_json::json;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const IMAGE: &str = "/v2.1/images/e3bedded-0000-4000-8000-000000000001";

/// One on a port of its own, in front of `glance`.
fn in_front_of(glance: &MockServer, settings: &[(&str, &str)]) -> GatewayProcess {
    let uri = glance.uri();
    let mut all = vec![
        ("SERVER__LISTEN", "127.0.0.1:0"),
        ("AUTH__MODE", "passthrough"),
        ("GLANCE__ENDPOINTS", uri.as_str()),
    ];
    all.extend_from_slice(settings);
    GatewayProcess::spawn(gateway_command!(), &all)
}

/// A command for one that inherits `listener` as from systemd: as descriptor 3, with its number and the
/// process it is meant for in the environment.
fn command_on(listener: &TcpListener) -> Command {
    let mut shell = shell(r#"exec 3<&0 </dev/null; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$0""#);
    shell.stdin(OwnedFd::from(listener.try_clone().unwrap()));
    shell
}

/// A shell that runs `script`, whose `$0` is the gateway's binary, in the environment of the gateway.
fn shell(script: &str) -> Command {
    let program = gateway_command!();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// One that inherits `listener`.
fn on(listener: &TcpListener, settings: &[(&str, &str)]) -> GatewayProcess {
    GatewayProcess::spawn(command_on(listener), settings)
}

/// A number in the line about the end of the process.
fn reported(process: &GatewayProcess, name: &str) -> u64 {
    let log = process.log();
    let last = log
        .lines()
        .find(|line| line.contains(" stopped "))
        .expect(&log);
    let (_, rest) = last.split_once(&format!("{name}=")).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

async fn glance(delay: Duration) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200)
        .set_body_json(json!({"id": "x"}))
        .set_delay(delay);
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// A connection with a request that Glance has got.
async fn in_flight(process: &GatewayProcess, glance: &MockServer) -> RawClient {
    let mut wire = RawClient::connect(process.base()).unwrap();
    wire.send(get("/v2.1/images/x")).unwrap();
    while glance.received_requests().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_has_begun_and_closes_what_is_idle() {
    let glance = glance(Duration::from_secs(3)).await;
    for signal in ["TERM", "INT"] {
        glance.reset().await;
        let slow = ResponseTemplate::new(200)
            .set_body_json(json!({"id": "x"}))
            .set_delay(Duration::from_secs(3));
        Mock::given(any()).respond_with(slow).mount(&glance).await;
        let mut process = in_front_of(&glance, &[]);
        let mut idle = RawClient::connect(process.base()).unwrap();
        idle.send(get("/v2.1")).unwrap();
        assert!(!idle.receive().unwrap().is_last());
        let silent = RawClient::connect(process.base()).unwrap();
        let mut busy = in_flight(&process, &glance).await;
        process.signal("HUP");
        process.signal(signal);
        for mut wire in [idle, silent] {
            assert!(wire.is_closed());
        }
        let answer = busy.receive().unwrap();
        assert_eq!((answer.status, answer.is_last()), (200, true), "{signal}");
        assert!(busy.is_closed());
        drop(busy);
        assert!(process.wait().success(), "{signal}");
        assert!(process.log().contains("SIGHUP: nothing to reload"));
        assert_eq!(
            (
                reported(&process, "unfinished"),
                reported(&process, "late_requests")
            ),
            (0, 0)
        );
        assert!(
            RawClient::connect(process.base()).is_err(),
            "still listening"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_its_time_whatever_is_unanswered() {
    let glance = glance(Duration::from_secs(600)).await;
    let mut process = in_front_of(&glance, &[("SERVER__SHUTDOWN_TIMEOUT", "1s")]);
    let mut busy = in_flight(&process, &glance).await;
    process.signal("TERM");
    assert!(process.wait().success());
    assert_eq!(reported(&process, "unfinished"), 1);
    // It is told, or not even that.
    assert!(busy.receive().map_or(true, |answer| answer.status >= 500));
}

#[test]
fn an_address_in_use_is_an_error_that_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = gateway_command!();
    command.env("NOVA_IMAGE_PROXY__SERVER__LISTEN", &address);
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "off");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("server.listen: cannot listen on {address}")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let glance = glance(Duration::from_secs(600)).await;
    let settings = [("SERVER__SHUTDOWN_TIMEOUT", "1h")];
    let mut process = in_front_of(&glance, &settings);
    let _busy = in_flight(&process, &glance).await;
    process.signal("TERM");
    while !process.log().contains("finishing the requests in flight") {
        thread::sleep(Duration::from_millis(10));
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(1));
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_an_error_that_says_so() {
    let mut shell = shell(r#"exec 3</dev/null; exec env LISTEN_FDS=1 LISTEN_PID=$$ "$0""#);
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("handed over by LISTEN_FDS"), "{said}");
}

/// The rule is about the address that is listened on, whatever `server.listen` says.
#[test]
fn an_inherited_socket_that_others_reach_is_refused_without_tokens() {
    let public = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = public.local_addr().unwrap();
    let mut command = command_on(&public);
    command.env("NOVA_IMAGE_PROXY__ADMIN__LISTEN", "off");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("server.listen: must be a loopback address"),
        "{said}"
    );
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");

    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    on(&loopback, &[]);
    let meant = [
        ("AUTH__MODE", "none"),
        ("GLANCE__MODE", "embedded"),
        ("AUTH__ALLOW_ANONYMOUS", "true"),
    ];
    on(&public, &meant);
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU64,
    /// Connections that an answer said were over.
    closed: AtomicU64,
    /// Requests sent on a connection that ended without a byte of an answer.
    lost: AtomicU64,
    /// Anything else that went wrong.
    failed: AtomicU64,
}

impl Seen {
    /// One client: a request after the other on a connection, a new one when it is over.
    fn client(&self, base: &str, over: &AtomicBool) {
        let mut wire = None;
        while !over.load(Ordering::Relaxed) {
            let Ok(mut open) = wire.take().map_or_else(|| RawClient::connect(base), Ok) else {
                self.failed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let sent = open.send(get(IMAGE));
            match sent.and_then(|()| open.receive()) {
                Ok(answer) if answer.status == 200 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if answer.is_last() {
                        self.closed.fetch_add(1, Ordering::Relaxed);
                    } else {
                        wire = Some(open);
                    }
                }
                Ok(_) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Set when this is dropped, whatever the reason: clients must not outlive a failed test.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `RESTART_REQUESTS` asks for more than the usual 20,000.
#[test]
fn a_socket_that_is_handed_over_under_load_loses_no_request() {
    let requests = std::env::var("RESTART_REQUESTS").map_or(20_000, |text| text.parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = listener.local_addr().unwrap().to_string();
    let settings = [
        ("LOG__ACCESS", "false"),
        ("SERVER__WORKERS", "2"),
        // A client of this test may not get the processor for a while.
        ("SERVER__DRAIN_GRACE", "3s"),
    ];
    let (seen, over) = (Seen::default(), AtomicBool::new(false));
    let (mut hand_overs, mut late) = (0, 0);
    let started = Instant::now();
    thread::scope(|scope| {
        let mut current = on(&listener, &settings);
        let clients_stop = Set(&over);
        let clients: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| seen.client(&base, &over)))
            .collect();
        while hand_overs < 3 || seen.answered.load(Ordering::Relaxed) < requests {
            let next = on(&listener, &settings);
            current.signal("TERM");
            let status = current.wait();
            assert!(status.success(), "{status}:\n{}", current.log());
            late += reported(&current, "late_requests");
            assert_eq!(reported(&current, "unfinished"), 0);
            hand_overs += 1;
            current = next;
        }
        // Dropped before `current`, so that the last requests are answered too.
        drop(clients_stop);
        for client in clients {
            client.join().unwrap();
        }
    });
    println!(
        "{hand_overs} hand-overs in {:?}: {seen:?}, {late} too late",
        started.elapsed()
    );
    assert_eq!(seen.lost.into_inner(), 0, "requests without an answer");
    assert_eq!((seen.failed.into_inner(), late), (0, 0));
    assert!(seen.closed.into_inner() > 0, "no connection ever ended");
}
