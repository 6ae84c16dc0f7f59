use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const EJECTION: OutlierDetection = OutlierDetection {
    after: 3,
    first: Duration::from_secs(5),
    longest: Duration::from_secs(18),
};

/// A request that goes to the end at once.
fn ask(
    pool: &mut EndpointPool,
    now: Instant,
    works: impl Fn(usize) -> bool,
) -> (Selection, Option<EndpointEvent>) {
    let selection = pool.select(now, &[], true).unwrap();
    let call_result = if works(selection.index) {
        CallResult::Success
    } else {
        CallResult::Failure
    };
    (selection, pool.report(selection, call_result, now))
}

/// A pool of `size` whose server 0 has just been left out.
fn with_first_out(size: usize, now: Instant) -> EndpointPool {
    let mut pool = EndpointPool::new(size, EJECTION);
    while pool.endpoints[0].out.is_none() {
        ask(&mut pool, now, |index| index != 0);
    }
    pool
}

#[test]
fn equals_take_turns() {
    let mut pool = EndpointPool::new(3, EJECTION);
    let now = Instant::now();
    let order: Vec<_> = (0..6)
        .map(|_| ask(&mut pool, now, |_| true).0.index)
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_one_with_the_least_to_do_is_asked() {
    let mut pool = EndpointPool::new(2, EJECTION);
    let now = Instant::now();
    let slow = pool.select(now, &[], true).unwrap();
    for _ in 0..3 {
        assert_ne!(ask(&mut pool, now, |_| true).0.index, slow.index);
    }
    pool.report(slow, CallResult::Success, now);
    assert_eq!(ask(&mut pool, now, |_| true).0.index, slow.index);
}

#[test]
fn failures_in_a_row_and_only_those_leave_a_server_out() {
    let now = Instant::now();
    let mut pool = EndpointPool::new(2, EJECTION);
    for _ in 0..20 {
        for call_result in [
            CallResult::Failure,
            CallResult::Failure,
            CallResult::Success,
        ] {
            let selection = Selection {
                index: 0,
                probe: false,
            };
            pool.endpoints[0].in_flight += 1;
            assert_eq!(pool.report(selection, call_result, now), None);
        }
    }
    let mut pool = EndpointPool::new(2, EJECTION);
    let changes: Vec<_> = (0..12)
        .filter_map(|_| ask(&mut pool, now, |index| index != 0).1)
        .collect();
    assert_eq!(changes, [EndpointEvent::Ejected(EJECTION.first)]);
    for _ in 0..5 {
        assert_eq!(ask(&mut pool, now + 4 * SECOND, |_| true).0.index, 1);
    }
}

#[test]
fn one_request_at_a_time_tries_a_server_that_may_be_back() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + EJECTION.first;
    // A request that cannot be repeated is no probe while another server works.
    assert_eq!(pool.select(later, &[], false).unwrap().index, 1);
    let probe = pool.select(later, &[], true).unwrap();
    assert_eq!(
        probe,
        Selection {
            index: 0,
            probe: true
        }
    );
    for _ in 0..3 {
        assert_eq!(ask(&mut pool, later, |_| true).0.index, 1);
    }
    assert_eq!(
        pool.report(probe, CallResult::Success, later),
        Some(EndpointEvent::Readmitted)
    );
    let asked: Vec<_> = (0..4).map(|_| ask(&mut pool, later, |_| true).0).collect();
    assert!(
        asked
            .iter()
            .any(|selection| selection.index == 0 && !selection.probe),
        "{asked:?}"
    );
}

#[test]
fn failed_trials_double_the_time_up_to_the_bound() {
    let mut now = Instant::now();
    let mut pool = with_first_out(2, now);
    for expected in [10, 18, 18] {
        let Some(out) = &pool.endpoints[0].out else {
            panic!("it is out")
        };
        now = out.since + out.lasts;
        let (selection, change) = ask(&mut pool, now, |index| index != 0);
        assert!(selection.probe);
        assert_eq!(change, Some(EndpointEvent::Ejected(expected * SECOND)));
    }
}

#[test]
fn a_trial_that_was_given_up_lets_the_next_one_try() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + EJECTION.first;
    let probe = pool.select(later, &[], true).unwrap();
    assert_eq!(pool.report(probe, CallResult::Neutral, later), None);
    assert!(pool.select(later, &[], true).unwrap().probe);
}

#[test]
fn another_server_is_asked_after_a_failure_and_the_same_one_where_it_is_alone() {
    let now = Instant::now();
    let mut pool = EndpointPool::new(3, EJECTION);
    let first = pool.select(now, &[], true).unwrap().index;
    let second = pool.select(now, &[first], true).unwrap().index;
    let third = pool.select(now, &[first, second], true).unwrap().index;
    assert_eq!([first, second, third].iter().sum::<usize>(), 3);
    assert_eq!(
        EndpointPool::new(1, EJECTION)
            .select(now, &[0, 0], true)
            .unwrap()
            .index,
        0
    );
}

#[test]
fn a_retry_goes_back_to_a_server_that_works_rather_than_to_one_that_is_out() {
    let now = Instant::now();
    let mut pool = with_first_out(2, now);
    assert_eq!(pool.select(now, &[1], true).unwrap().index, 1);
    assert_eq!(pool.select(now, &[1, 1], true).unwrap().index, 0);
}

#[test]
fn with_all_of_them_out_the_one_that_failed_longest_ago_is_asked() {
    let start = Instant::now();
    let mut pool = EndpointPool::new(3, EJECTION);
    for step in 0..20 {
        ask(&mut pool, start + step * SECOND / 100, |_| false);
    }
    assert!(pool.endpoints.iter().all(|endpoint| endpoint.out.is_some()));
    let order: Vec<_> = (0..6)
        .map(|step| {
            ask(&mut pool, start + SECOND + step * SECOND / 100, |_| false)
                .0
                .index
        })
        .collect();
    assert_eq!(order[..3], order[3..]);
    // It is back long before its time is over, and one request finds that out.
    let (selection, change) = ask(&mut pool, start + 2 * SECOND, |_| true);
    assert_eq!(
        (selection.probe, change),
        (false, Some(EndpointEvent::Readmitted))
    );
}

#[test]
fn a_lone_server_is_never_left_out() {
    let mut pool = EndpointPool::new(1, EJECTION);
    for _ in 0..100 {
        let (selection, change) = ask(&mut pool, Instant::now(), |_| false);
        assert_eq!(
            (selection, change),
            (
                Selection {
                    index: 0,
                    probe: false
                },
                None
            )
        );
    }
    assert_eq!(
        EndpointPool::new(0, EJECTION).select(Instant::now(), &[], true),
        None
    );
}

/// One step of an arbitrary history.
#[derive(Debug, Clone)]
enum Step {
    Ask {
        repeatable: bool,
        tried: Vec<usize>,
    },
    Response {
        which: usize,
        call_result: CallResult,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let call_result = prop_oneof![
        3 => Just(CallResult::Failure),
        2 => Just(CallResult::Success),
        1 => Just(CallResult::Neutral)
    ];
    prop_oneof![
        4 => (any::<bool>(), prop::collection::vec(0_usize..5, 0..3))
            .prop_map(|(repeatable, tried)| Step::Ask { repeatable, tried }),
        4 => (any::<usize>(), call_result).prop_map(|(which, call_result)| Step::Response { which, call_result }),
        1 => (0_u64..8000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: there is always somebody to ask, a server has one probe at most, is never
    /// out for longer than the bound, and nothing is counted as under way that is not.
    #[test]
    fn any_history_keeps_the_promises(
        size in 1_usize..5,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pool = EndpointPool::new(size, EJECTION);
        let mut now = Instant::now();
        let mut under_way: Vec<Selection> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { repeatable, tried } => {
                    let selection = pool.select(now, &tried, repeatable);
                    prop_assert!(selection.is_some());
                    under_way.extend(selection);
                }
                Step::Response { which, call_result } if !under_way.is_empty() => {
                    let selection = under_way.swap_remove(which % under_way.len());
                    pool.report(selection, call_result, now);
                }
                Step::Response { .. } => {}
                Step::Wait(millis) => now += Duration::from_millis(millis),
            }
            for (index, endpoint) in pool.endpoints.iter().enumerate() {
                let of_it = || under_way.iter().filter(|selection| selection.index == index);
                prop_assert_eq!(endpoint.in_flight, of_it().count());
                if let Some(out) = &endpoint.out {
                    prop_assert!(size > 1 && out.lasts <= EJECTION.longest);
                    prop_assert!(!out.probe || of_it().any(|selection| selection.probe));
                }
            }
        }
        // Once everything works again and the longest time is over, all are asked again.
        for selection in under_way {
            pool.report(selection, CallResult::Success, now);
        }
        now += EJECTION.longest;
        for _ in 0..2 * size {
            ask(&mut pool, now, |_| true);
        }
        prop_assert!(pool.endpoints.iter().all(|endpoint| endpoint.out.is_none()));
    }
}
