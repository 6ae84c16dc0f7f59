use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const EJECTION: Ejection = Ejection {
    after: 3,
    first: Duration::from_secs(5),
    longest: Duration::from_secs(18),
};

/// A request that goes to the end at once.
fn ask(pool: &mut Pool, now: Instant, works: impl Fn(usize) -> bool) -> (Pick, Option<Change>) {
    let pick = pool.choose(now, &[], true).unwrap();
    let verdict = if works(pick.index) {
        Verdict::Good
    } else {
        Verdict::Bad
    };
    (pick, pool.done(pick, verdict, now))
}

/// A pool of `size` whose server 0 has just been left out.
fn with_first_out(size: usize, now: Instant) -> Pool {
    let mut pool = Pool::new(size, EJECTION);
    while pool.members[0].out.is_none() {
        ask(&mut pool, now, |index| index != 0);
    }
    pool
}

#[test]
fn equals_take_turns() {
    let mut pool = Pool::new(3, EJECTION);
    let now = Instant::now();
    let order: Vec<_> = (0..6)
        .map(|_| ask(&mut pool, now, |_| true).0.index)
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_one_with_the_least_to_do_is_asked() {
    let mut pool = Pool::new(2, EJECTION);
    let now = Instant::now();
    let slow = pool.choose(now, &[], true).unwrap();
    for _ in 0..3 {
        assert_ne!(ask(&mut pool, now, |_| true).0.index, slow.index);
    }
    pool.done(slow, Verdict::Good, now);
    assert_eq!(ask(&mut pool, now, |_| true).0.index, slow.index);
}

#[test]
fn failures_in_a_row_and_only_those_leave_a_server_out() {
    let now = Instant::now();
    let mut pool = Pool::new(2, EJECTION);
    for _ in 0..20 {
        for verdict in [Verdict::Bad, Verdict::Bad, Verdict::Good] {
            let pick = Pick {
                index: 0,
                trial: false,
            };
            pool.members[0].in_flight += 1;
            assert_eq!(pool.done(pick, verdict, now), None);
        }
    }
    let mut pool = Pool::new(2, EJECTION);
    let changes: Vec<_> = (0..12)
        .filter_map(|_| ask(&mut pool, now, |index| index != 0).1)
        .collect();
    assert_eq!(changes, [Change::Ejected(EJECTION.first)]);
    for _ in 0..5 {
        assert_eq!(ask(&mut pool, now + 4 * SECOND, |_| true).0.index, 1);
    }
}

#[test]
fn one_request_at_a_time_tries_a_server_that_may_be_back() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + EJECTION.first;
    // A request that cannot be repeated is no trial while another server works.
    assert_eq!(pool.choose(later, &[], false).unwrap().index, 1);
    let trial = pool.choose(later, &[], true).unwrap();
    assert_eq!(
        trial,
        Pick {
            index: 0,
            trial: true
        }
    );
    for _ in 0..3 {
        assert_eq!(ask(&mut pool, later, |_| true).0.index, 1);
    }
    assert_eq!(
        pool.done(trial, Verdict::Good, later),
        Some(Change::Readmitted)
    );
    let asked: Vec<_> = (0..4).map(|_| ask(&mut pool, later, |_| true).0).collect();
    assert!(
        asked.iter().any(|pick| pick.index == 0 && !pick.trial),
        "{asked:?}"
    );
}

#[test]
fn failed_trials_double_the_time_up_to_the_bound() {
    let mut now = Instant::now();
    let mut pool = with_first_out(2, now);
    for expected in [10, 18, 18] {
        let Some(out) = &pool.members[0].out else {
            panic!("it is out")
        };
        now = out.since + out.lasts;
        let (pick, change) = ask(&mut pool, now, |index| index != 0);
        assert!(pick.trial);
        assert_eq!(change, Some(Change::Ejected(expected * SECOND)));
    }
}

#[test]
fn a_trial_that_was_given_up_lets_the_next_one_try() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + EJECTION.first;
    let trial = pool.choose(later, &[], true).unwrap();
    assert_eq!(pool.done(trial, Verdict::Unknown, later), None);
    assert!(pool.choose(later, &[], true).unwrap().trial);
}

#[test]
fn another_server_is_asked_after_a_failure_and_the_same_one_where_it_is_alone() {
    let now = Instant::now();
    let mut pool = Pool::new(3, EJECTION);
    let first = pool.choose(now, &[], true).unwrap().index;
    let second = pool.choose(now, &[first], true).unwrap().index;
    let third = pool.choose(now, &[first, second], true).unwrap().index;
    assert_eq!([first, second, third].iter().sum::<usize>(), 3);
    assert_eq!(
        Pool::new(1, EJECTION)
            .choose(now, &[0, 0], true)
            .unwrap()
            .index,
        0
    );
}

#[test]
fn a_retry_goes_back_to_a_server_that_works_rather_than_to_one_that_is_out() {
    let now = Instant::now();
    let mut pool = with_first_out(2, now);
    assert_eq!(pool.choose(now, &[1], true).unwrap().index, 1);
    assert_eq!(pool.choose(now, &[1, 1], true).unwrap().index, 0);
}

#[test]
fn with_all_of_them_out_the_one_that_failed_longest_ago_is_asked() {
    let start = Instant::now();
    let mut pool = Pool::new(3, EJECTION);
    for step in 0..20 {
        ask(&mut pool, start + step * SECOND / 100, |_| false);
    }
    assert!(pool.members.iter().all(|member| member.out.is_some()));
    let order: Vec<_> = (0..6)
        .map(|step| {
            ask(&mut pool, start + SECOND + step * SECOND / 100, |_| false)
                .0
                .index
        })
        .collect();
    assert_eq!(order[..3], order[3..]);
    // It is back long before its time is over, and one request finds that out.
    let (pick, change) = ask(&mut pool, start + 2 * SECOND, |_| true);
    assert_eq!((pick.trial, change), (false, Some(Change::Readmitted)));
}

#[test]
fn a_lone_server_is_never_left_out() {
    let mut pool = Pool::new(1, EJECTION);
    for _ in 0..100 {
        let (pick, change) = ask(&mut pool, Instant::now(), |_| false);
        assert_eq!(
            (pick, change),
            (
                Pick {
                    index: 0,
                    trial: false
                },
                None
            )
        );
    }
    assert_eq!(
        Pool::new(0, EJECTION).choose(Instant::now(), &[], true),
        None
    );
}

/// One step of an arbitrary history.
#[derive(Debug, Clone)]
enum Step {
    Ask { repeatable: bool, tried: Vec<usize> },
    Answer { which: usize, verdict: Verdict },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        3 => Just(Verdict::Bad),
        2 => Just(Verdict::Good),
        1 => Just(Verdict::Unknown)
    ];
    prop_oneof![
        4 => (any::<bool>(), prop::collection::vec(0_usize..5, 0..3))
            .prop_map(|(repeatable, tried)| Step::Ask { repeatable, tried }),
        4 => (any::<usize>(), verdict).prop_map(|(which, verdict)| Step::Answer { which, verdict }),
        1 => (0_u64..8000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: there is always somebody to ask, a server has one trial at most, is never
    /// out for longer than the bound, and nothing is counted as under way that is not.
    #[test]
    fn any_history_keeps_the_promises(
        size in 1_usize..5,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pool = Pool::new(size, EJECTION);
        let mut now = Instant::now();
        let mut under_way: Vec<Pick> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { repeatable, tried } => {
                    let pick = pool.choose(now, &tried, repeatable);
                    prop_assert!(pick.is_some());
                    under_way.extend(pick);
                }
                Step::Answer { which, verdict } if !under_way.is_empty() => {
                    let pick = under_way.swap_remove(which % under_way.len());
                    pool.done(pick, verdict, now);
                }
                Step::Answer { .. } => {}
                Step::Wait(millis) => now += Duration::from_millis(millis),
            }
            for (index, member) in pool.members.iter().enumerate() {
                let of_it = || under_way.iter().filter(|pick| pick.index == index);
                prop_assert_eq!(member.in_flight, of_it().count());
                if let Some(out) = &member.out {
                    prop_assert!(size > 1 && out.lasts <= EJECTION.longest);
                    prop_assert!(!out.trial || of_it().any(|pick| pick.trial));
                }
            }
        }
        // Once everything works again and the longest time is over, all are asked again.
        for pick in under_way {
            pool.done(pick, Verdict::Good, now);
        }
        now += EJECTION.longest;
        for _ in 0..2 * size {
            ask(&mut pool, now, |_| true);
        }
        prop_assert!(pool.members.iter().all(|member| member.out.is_none()));
    }
}
