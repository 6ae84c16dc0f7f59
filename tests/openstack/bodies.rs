//! Bodies of the gateway beside those of real Nova, byte by byte.
//!
//! The replays compare JSON values, which is blind to what old clients depend on: the charset, the
//! separators, the order of keys. Here Nova and the gateway answer the same requests now.

use crate::gateway;
use crate::recorded::{cloud, sample};
use crate::stack::Stack;
use test_support::replay::{Case, Cloud, Deviations, RawBody, cases, compare};

/// What may differ: cases of a listed deviation, and its text that reads otherwise everywhere.
fn compare_with_nova(wanted: impl Fn(&Case) -> bool, every: usize) -> usize {
    let stack = Stack::shared();
    let _alone = stack.alone();
    let base = stack
        .compute()
        .expect("this stack was started without Nova; use --with-nova");
    let gateway = gateway::start(stack, &[("CACHE__ENABLED", "false")]);
    let (nova, ours) = (cloud(stack, base), cloud(stack, gateway.base()));
    let deviations = Deviations::load();
    let listed = deviations.listed();
    let cases = cases();
    let wanted: Vec<_> = cases
        .iter()
        .filter(|case| wanted(case) && !listed.contains_key(case.name.as_str()))
        .step_by(every)
        .collect();
    compare(&ours, &wanted, |case| {
        let (mut expected, got) = (answer_of(&nova, case)?, ours.body(case));
        expected.text = deviations.everywhere(&expected.text);
        (Some(&expected) != got.as_ref()).then(|| {
            format!(
                "{}  {} {}\n   Nova    {expected:?}\n   gateway {got:?}",
                case.name, case.request.method, case.request.path
            )
        })
    });
    wanted.len()
}

/// Nova's response. Keystone on SQLite fails now and then when it has two writers, and Nova answers 503
/// then, so it is asked a few times.
fn answer_of(nova: &Cloud, case: &Case) -> Option<RawBody> {
    let is_unavailable =
        |body: &Option<RawBody>| body.as_ref().is_some_and(|body| body.status == 503);
    let mut body = nova.body(case);
    for _ in 0..5 {
        if !is_unavailable(&body) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        body = nova.body(case);
    }
    body
}

#[test]
fn every_recorded_read_has_nova_s_body_byte_by_byte() {
    let compared = compare_with_nova(|case| !case.is_write(), 1);
    println!("{compared} bodies of reads were compared with Nova's");
    assert!(compared > 700, "hardly anything was compared");
}

/// A sample, as each side changes an image of its own; `REPLAY_NOVA_EVERY=1` takes all.
#[test]
fn recorded_writes_have_nova_s_body_byte_by_byte() {
    let compared = compare_with_nova(Case::is_write, sample());
    println!("{compared} bodies of writes were compared with Nova's");
}
