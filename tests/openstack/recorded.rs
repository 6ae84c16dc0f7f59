//! Nova's recorded answers, asked for again.

use std::collections::{BTreeMap, HashMap};

use crate::gateway;
use crate::stack::Stack;
use test_support::replay::{Case, Cloud, Deviations, cases, replay};

const UNCACHED: &[(&str, &str)] = &[("CACHE__ENABLED", "false")];

pub fn cloud(stack: &Stack, base: &str) -> Cloud {
    let users = ["admin", "demo", "alt"].map(str::to_owned);
    let projects: HashMap<_, _> = users
        .iter()
        .map(|name| (name.clone(), stack.project(name).to_owned()))
        .collect();
    let mut tokens: HashMap<_, _> = users
        .into_iter()
        .map(|name| (name.clone(), stack.token(&name)))
        .collect();
    tokens.insert("unscoped".to_owned(), stack.unscoped_token("demo"));
    Cloud::new(
        base,
        stack.image(),
        stack.identity_public(),
        tokens,
        projects,
    )
}

fn replay_through_the_gateway(
    settings: &[(&str, &str)],
    rounds: usize,
    wanted: impl Fn(&Case) -> bool,
) {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let cases = cases();
    let expected = Deviations::load().expected(&cases);
    let gateway = gateway::start(stack, settings);
    let wanted: Vec<_> = cases.iter().filter(|case| wanted(case)).collect();
    for _ in 0..rounds {
        replay(&cloud(stack, gateway.base()), &wanted, &expected);
    }
    let log = gateway.log();
    for user in ["admin", "demo", "alt"] {
        assert!(
            !log.contains(&stack.token(user)),
            "the gateway logged a token of {user}"
        );
    }
}

#[test]
fn every_recorded_read_is_answered_as_nova_did() {
    replay_through_the_gateway(UNCACHED, 1, |case| !case.is_write());
}

#[test]
fn every_recorded_write_is_answered_as_nova_did_and_leaves_the_same_in_glance() {
    replay_through_the_gateway(UNCACHED, 1, Case::is_write);
}

/// Reads, twice, so that what can be kept is given from the cache the second time; the replay on the
/// embedded Glance (`tests/api/recorded.rs`) has the writes too.
#[test]
fn with_the_cache_on_the_answers_are_the_same() {
    let cached = [("CACHE__TTL", "1m")];
    let wanted = |case: &Case| !case.is_write() && !case.makes_images_behind_a_list();
    replay_through_the_gateway(&cached, 2, wanted);
}

/// Of how many cases one is asked of Nova itself.
pub fn sample() -> usize {
    std::env::var("REPLAY_NOVA_EVERY").map_or(8, |text| text.parse().unwrap())
}

/// Without any deviation: shows that the recording, the services and the comparison are sound. A sample
/// of every eighth case shows that too; `make reference` sets `REPLAY_NOVA_EVERY=1` for all of them.
#[test]
fn nova_itself_still_gives_the_recorded_answers() {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let base = stack
        .compute()
        .expect("this stack was started without Nova; use --with-nova");
    let cases = cases();
    let expected: BTreeMap<_, _> = cases
        .iter()
        .map(|case| (case.name.as_str(), case.recorded()))
        .collect();
    let sample: Vec<_> = cases.iter().step_by(sample()).collect();
    replay(&cloud(stack, base), &sample, &expected);
}

#[test]
fn every_listed_deviation_is_one() {
    Deviations::load().expected(&cases());
}
