//! No answer ever shows an image to somebody who could not see it by asking Glance.
//!
//! Callers of three projects, with two users and two roles in one of them, and an administrator, send
//! mixed requests through one gateway, while images appear, vanish, and change who may see them. Glance
//! is asked directly, as every caller, after each change. Every answer of the gateway must be, to the
//! item, what that caller's Glance held at some moment in the time the request duration.
//!
//! With the cache on, a change made outside the gateway may stay unseen for `cache.ttl`, one made through
//! it may not; nothing else is let through. `ISOLATION_REQUESTS` is how many requests are sent (2,000),
//! half of them to a gateway with the cache on; `ISOLATION_SEED` repeats the choices of an earlier run.

mod callers;
mod history;
mod mutations;
mod request;
mod rng;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use test_support::GatewayProcess;

use crate::gateway;
use crate::stack::Stack;
use callers::Callers;
use history::{Epoch, History};
use mutations::Mutator;
use request::{Request, Seen};
use rng::Rng;
use rstest::rstest;

const WORKERS: usize = 8;
const TTL: Duration = Duration::from_millis(500);
/// The changes between two of which, on average, half as many requests are sent.
const REQUESTS_PER_CHANGE: usize = 50;

#[test]
fn nobody_is_shown_what_glance_would_not_show_them() {
    compare_with_glance(Duration::ZERO, &[("CACHE__ENABLED", "false")]);
}

#[rstest]
#[case("project")]
#[case("user")]
fn nobody_is_shown_what_glance_would_not_show_them_with_the_cache_on(#[case] isolation: &str) {
    let ttl = format!("{}ms", TTL.as_millis());
    compare_with_glance(
        TTL,
        &[("CACHE__ISOLATION", isolation), ("CACHE__TTL", &ttl)],
    );
}

/// What was asked and what came of it, for the last lines of the test's output.
#[derive(Default)]
struct Tally {
    answers: BTreeMap<(&'static str, String), usize>,
    images: usize,
    refused_though_there: usize,
    several_states: usize,
    failures: Vec<String>,
}

struct Trial<'a> {
    callers: &'a Callers<'a>,
    gateway: &'a GatewayProcess,
    history: &'a History,
    ttl: Duration,
    wanted: usize,
    asked: AtomicUsize,
    tally: Mutex<Tally>,
}

fn compare_with_glance(ttl: Duration, settings: &[(&str, &str)]) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let wanted = number("ISOLATION_REQUESTS").unwrap_or(2000).div_ceil(3);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = number("ISOLATION_SEED").unwrap_or(u64::from(clock.unwrap().subsec_nanos()));
    println!("{wanted} requests, cache.ttl={ttl:?}, ISOLATION_SEED={seed}");
    let gateway = gateway::start(stack, settings);
    let callers = Callers::new(stack);
    let history = History::default();
    let trial = Trial {
        callers: &callers,
        gateway: &gateway,
        history: &history,
        ttl,
        wanted: usize::try_from(wanted).unwrap(),
        asked: AtomicUsize::new(0),
        tally: Mutex::default(),
    };
    let started = Instant::now();
    let mut mutator = Mutator::new(&callers, &gateway, &history, Rng::new(seed));
    thread::scope(|scope| {
        let workers: Vec<_> = (1..=WORKERS as u64)
            .map(|number| {
                let (trial, rng) = (&trial, Rng::new(seed ^ (number << 32)));
                scope.spawn(move || trial.ask(rng))
            })
            .collect();
        let all_done = || workers.iter().all(thread::ScopedJoinHandle::is_finished);
        while !all_done() {
            let until = mutator.step() + trial.asked.load(Ordering::Relaxed);
            while trial.asked.load(Ordering::Relaxed) < until && !all_done() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let changes = mutator.changes();
    drop(mutator);
    report(
        trial.tally.into_inner().unwrap(),
        trial.wanted,
        changes,
        started.elapsed(),
        seed,
    );
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

impl Trial<'_> {
    /// Sends requests until enough were sent by all workers together, or some were answered wrongly.
    fn ask(&self, mut rng: Rng) {
        while self.asked.fetch_add(1, Ordering::Relaxed) < self.wanted {
            let caller = &self.callers.all()[rng.below(self.callers.all().len())];
            let newest = self.history.newest();
            let request = Request::any(&mut rng, self.callers, caller, &newest);
            let token = rng.one_of(caller.tokens());
            let sent = Instant::now();
            let answer = request.send(self.gateway.base(), token);
            let seen = request.read(&answer);
            let image = request.image();
            let epochs = self.history.possible(sent, Instant::now(), self.ttl, image);
            let expected: Vec<Seen> = epochs
                .iter()
                .map(|epoch| request.expected(caller, epoch))
                .collect();
            let mut tally = self.tally.lock().unwrap();
            tally.count(&request, &seen, &epochs, &expected);
            if !expected.contains(&seen) {
                let changes: Vec<_> = epochs.iter().map(|epoch| &epoch.change().what).collect();
                tally.failures.push(format!(
                    "{} asked {request:?}\n  and was told {} {seen:?}\n  instead of {expected:?}\n  \
                     after {changes:?}",
                    caller.name(),
                    answer.status,
                ));
            }
            if tally.failures.len() > 4 {
                break;
            }
        }
    }
}

impl Tally {
    fn count(&mut self, request: &Request, seen: &Seen, epochs: &[Epoch], expected: &[Seen]) {
        let of_kind = (request.kind(), seen.summary());
        *self.answers.entry(of_kind).or_default() += 1;
        self.images += seen.images();
        let there = |epoch: &Epoch| request.image().is_some_and(|image| epoch.holds(image));
        if seen.is_not_found() && epochs.iter().all(there) {
            self.refused_though_there += 1;
        }
        if expected.iter().any(|other| *other != expected[0]) {
            self.several_states += 1;
        }
    }
}

/// # Panics
/// An answer was wrong, or the run was one in which no answer could have been.
fn report(tally: Tally, wanted: usize, changes: usize, duration: Duration, seed: u64) {
    let asked: usize = tally.answers.values().sum();
    println!(
        "{asked} answers compared with Glance's own during {changes} changes in {:.1} s; {} images in \
         them; {} times an image that was there was kept from its caller; {} answers could be either \
         of two, as the change was under way",
        duration.as_secs_f64(),
        tally.images,
        tally.refused_though_there,
        tally.several_states,
    );
    for ((kind, answer), count) in &tally.answers {
        println!("{count:>8} {kind}: {answer}");
    }
    let failures = tally.failures;
    assert!(
        failures.is_empty(),
        "ISOLATION_SEED={seed}\n{}",
        failures.join("\n")
    );
    assert_eq!(asked, wanted);
    assert!(
        changes >= wanted / 200,
        "there were too few changes: {changes}"
    );
    assert!(
        tally.refused_though_there >= wanted / 100,
        "too little was kept from anybody"
    );
    assert!(tally.images >= wanted, "too little was shown");
}
