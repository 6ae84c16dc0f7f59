//! Many connections that send a byte now and then, in another process than the gateway, while others
//! work. `SLOW_CLIENTS` says how many; with it set, what the others see is compared too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_support::client::{RawClient, get};
use test_support::{GatewayProcess, gateway_command};

const IMAGE: &str = "/v2.1/images/e3bedded-0000-4000-8000-000000000001";
/// Requests of each of the four clients in one measurement.
const REQUESTS: usize = 500;

/// The times of all requests of four clients, sorted.
fn measure(base: &str) -> Vec<Duration> {
    let client = || {
        let mut wire = RawClient::connect(base).unwrap();
        let request = |_| {
            let started = Instant::now();
            wire.send(get(IMAGE)).unwrap();
            assert_eq!(wire.receive().unwrap().status, 200);
            started.elapsed()
        };
        (0..REQUESTS).map(request).collect::<Vec<_>>()
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let times = clients.into_iter().map(|client| client.join().unwrap());
        times.collect::<Vec<_>>().concat()
    });
    times.sort_unstable();
    times
}

fn told(what: &str, times: &[Duration]) -> Duration {
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what}: median {median:?}, p99 {p99:?}");
    p99
}

/// Each of `slow` sends a byte now and then, each of them about once a second.
fn drip(slow: &mut [RawClient], over: &AtomicBool) {
    let share = slow.len().div_ceil(20);
    while !over.load(Ordering::Relaxed) {
        for some in slow.chunks_mut(share) {
            for wire in some {
                wire.send("x").unwrap();
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn slow_connections_do_not_slow_others() {
    let wanted: Option<usize> = std::env::var("SLOW_CLIENTS")
        .ok()
        .map(|text| text.parse().unwrap());
    let settings = [
        ("SERVER__LISTEN", "127.0.0.1:0"),
        ("LOG__ACCESS", "false"),
        ("SERVER__HEAD_TIMEOUT", "1h"),
    ];
    let process = GatewayProcess::spawn(gateway_command!(), &settings);
    measure(process.base());
    let without = told("without them", &measure(process.base()));
    let connect = |number| {
        let mut wire = RawClient::connect(process.base()).unwrap();
        // Every other one has asked something before.
        if number % 2 == 0 {
            wire.send(get("/v2.1")).unwrap();
            assert_eq!(wire.receive().unwrap().status, 200);
        }
        wire.send("GET /v2.1 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            .unwrap();
        wire
    };
    let mut slow: Vec<RawClient> = (0..wanted.unwrap_or(300)).map(connect).collect();
    let over = AtomicBool::new(false);
    let with = thread::scope(|scope| {
        scope.spawn(|| drip(&mut slow, &over));
        let with = told(
            &format!("with {}", wanted.unwrap_or(300)),
            &measure(process.base()),
        );
        over.store(true, Ordering::Relaxed);
        with
    });
    for wire in &mut slow {
        wire.send("\r\n\r\n").unwrap();
        assert_eq!(wire.receive().unwrap().status, 200);
    }
    drop(slow);
    let after = told("afterwards", &measure(process.base()));
    if wanted.is_some() {
        assert!(
            with <= 2 * without.max(after),
            "slow clients slow the others"
        );
    }
}
