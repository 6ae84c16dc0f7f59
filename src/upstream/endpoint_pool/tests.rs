use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const OUTLIERS: OutlierDetection = OutlierDetection {
    consecutive_failures: 3,
    base_ejection_time: Duration::from_secs(5),
    max_ejection_time: Duration::from_secs(18),
};

/// A read that ends at once.
fn ask(
    pool: &mut EndpointPool,
    now: Instant,
    works: impl Fn(usize) -> bool,
) -> (Selection, Option<EndpointEvent>) {
    let selection = pool.select(now, &[], true, None).unwrap();
    let call_result = if works(selection.index) {
        CallResult::Success
    } else {
        CallResult::Failure
    };
    (selection, pool.report(selection, call_result, now))
}

/// A pool of `size` whose endpoint 0 has just been ejected.
fn with_first_out(size: usize, now: Instant) -> EndpointPool {
    let mut pool = EndpointPool::new(size, OUTLIERS);
    while pool.endpoints[0].ejected.is_none() {
        ask(&mut pool, now, |index| index != 0);
    }
    pool
}

#[test]
fn equal_endpoints_take_turns() {
    let mut pool = EndpointPool::new(3, OUTLIERS);
    let now = Instant::now();
    let order: Vec<_> = (0..6)
        .map(|_| ask(&mut pool, now, |_| true).0.index)
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_least_loaded_endpoint_is_selected() {
    let mut pool = EndpointPool::new(2, OUTLIERS);
    let now = Instant::now();
    let slow = pool.select(now, &[], true, None).unwrap();
    for _ in 0..3 {
        assert_ne!(ask(&mut pool, now, |_| true).0.index, slow.index);
    }
    pool.report(slow, CallResult::Success, now);
    assert_eq!(ask(&mut pool, now, |_| true).0.index, slow.index);
}

#[test]
fn failures_in_a_row_and_only_those_eject_an_endpoint() {
    let now = Instant::now();
    let mut pool = EndpointPool::new(2, OUTLIERS);
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
    let mut pool = EndpointPool::new(2, OUTLIERS);
    let changes: Vec<_> = (0..12)
        .filter_map(|_| ask(&mut pool, now, |index| index != 0).1)
        .collect();
    assert_eq!(
        changes,
        [EndpointEvent::Ejected(OUTLIERS.base_ejection_time)]
    );
    for _ in 0..5 {
        assert_eq!(ask(&mut pool, now + 4 * SECOND, |_| true).0.index, 1);
    }
}

#[test]
fn one_read_at_a_time_probes_an_endpoint_whose_ejection_is_over() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + OUTLIERS.base_ejection_time;
    // A write goes to the endpoint that works.
    assert_eq!(pool.select(later, &[], false, None).unwrap().index, 1);
    let probe = pool.select(later, &[], true, None).unwrap();
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

/// A write cannot be sent elsewhere, so it is no probe and gets the whole time of a call; its success readmits.
#[test]
fn a_write_never_probes() {
    let start = Instant::now();
    let mut pool = EndpointPool::new(2, OUTLIERS);
    for step in 0..20 {
        ask(&mut pool, start + step * SECOND / 100, |_| false);
    }
    let later = start + 60 * SECOND;
    for call_result in [CallResult::Failure, CallResult::Success] {
        let write = pool.select(later, &[], false, None).unwrap();
        assert!(!write.probe);
        let expected = (call_result == CallResult::Success).then_some(EndpointEvent::Readmitted);
        assert_eq!(pool.report(write, call_result, later), expected);
    }
    assert!(pool.select(later, &[], true, None).unwrap().probe);
}

#[test]
fn a_preferred_endpoint_is_selected_unless_it_is_ejected_or_was_tried() {
    let now = Instant::now();
    let mut pool = EndpointPool::new(3, OUTLIERS);
    for _ in 0..5 {
        assert_eq!(pool.select(now, &[], true, Some(1)).unwrap().index, 1);
    }
    assert_ne!(pool.select(now, &[1], true, Some(1)).unwrap().index, 1);
    let mut pool = with_first_out(3, now);
    assert_ne!(pool.select(now, &[], true, Some(0)).unwrap().index, 0);
    assert!(pool.select(now, &[], true, Some(7)).is_some());
}

#[test]
fn failed_probes_double_the_ejection_time_up_to_the_bound() {
    let mut now = Instant::now();
    let mut pool = with_first_out(2, now);
    for expected in [10, 18, 18] {
        let Some(ejected) = &pool.endpoints[0].ejected else {
            panic!("it is ejected")
        };
        now = ejected.since + ejected.duration;
        let (selection, change) = ask(&mut pool, now, |index| index != 0);
        assert!(selection.probe);
        assert_eq!(change, Some(EndpointEvent::Ejected(expected * SECOND)));
    }
}

#[test]
fn a_canceled_probe_lets_the_next_read_probe() {
    let start = Instant::now();
    let mut pool = with_first_out(2, start);
    let later = start + OUTLIERS.base_ejection_time;
    let probe = pool.select(later, &[], true, None).unwrap();
    assert_eq!(pool.report(probe, CallResult::Neutral, later), None);
    assert!(pool.select(later, &[], true, None).unwrap().probe);
}

#[test]
fn a_retry_goes_to_another_endpoint_and_to_the_same_where_it_is_alone() {
    let now = Instant::now();
    let mut pool = EndpointPool::new(3, OUTLIERS);
    let first = pool.select(now, &[], true, None).unwrap().index;
    let second = pool.select(now, &[first], true, None).unwrap().index;
    let third = pool
        .select(now, &[first, second], true, None)
        .unwrap()
        .index;
    assert_eq!([first, second, third].iter().sum::<usize>(), 3);
    assert_eq!(
        EndpointPool::new(1, OUTLIERS)
            .select(now, &[0, 0], true, None)
            .unwrap()
            .index,
        0
    );
}

#[test]
fn a_retry_goes_back_to_a_working_endpoint_rather_than_to_an_ejected_one() {
    let now = Instant::now();
    let mut pool = with_first_out(2, now);
    assert_eq!(pool.select(now, &[1], true, None).unwrap().index, 1);
    assert_eq!(pool.select(now, &[1, 1], true, None).unwrap().index, 0);
}

#[test]
fn with_all_ejected_the_one_that_failed_longest_ago_is_selected() {
    let start = Instant::now();
    let mut pool = EndpointPool::new(3, OUTLIERS);
    for step in 0..20 {
        ask(&mut pool, start + step * SECOND / 100, |_| false);
    }
    assert!(
        pool.endpoints
            .iter()
            .all(|endpoint| endpoint.ejected.is_some())
    );
    let order: Vec<_> = (0..6)
        .map(|step| {
            ask(&mut pool, start + SECOND + step * SECOND / 100, |_| false)
                .0
                .index
        })
        .collect();
    assert_eq!(order[..3], order[3..]);
    // It is back before its ejection time is over, and the next call readmits it.
    let (selection, change) = ask(&mut pool, start + 2 * SECOND, |_| true);
    assert_eq!(
        (selection.probe, change),
        (false, Some(EndpointEvent::Readmitted))
    );
}

#[test]
fn a_lone_endpoint_is_never_ejected() {
    let mut pool = EndpointPool::new(1, OUTLIERS);
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
        EndpointPool::new(0, OUTLIERS).select(Instant::now(), &[], true, None),
        None
    );
}

/// One step of an arbitrary history of calls.
#[derive(Debug, Clone)]
enum Step {
    Ask {
        read: bool,
        preferred: Option<usize>,
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
        4 => (any::<bool>(), prop::option::of(0_usize..5), prop::collection::vec(0_usize..5, 0..3))
            .prop_map(|(read, preferred, tried)| Step::Ask { read, preferred, tried }),
        4 => (any::<usize>(), call_result).prop_map(|(which, call_result)| Step::Response { which, call_result }),
        1 => (0_u64..8000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Any history: an endpoint is always selected, has one probe at most and no write for a probe, is never
    /// ejected for longer than the maximum, and its calls under way are counted exactly.
    #[test]
    fn any_history_keeps_the_promises(
        size in 1_usize..5,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pool = EndpointPool::new(size, OUTLIERS);
        let mut now = Instant::now();
        let mut under_way: Vec<Selection> = Vec::new();
        for step in steps {
            match step {
                Step::Ask { read, preferred, tried } => {
                    let selection = pool.select(now, &tried, read, preferred);
                    prop_assert!(selection.is_some_and(|selection| read || !selection.probe));
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
                if let Some(ejected) = &endpoint.ejected {
                    prop_assert!(size > 1 && ejected.duration <= OUTLIERS.max_ejection_time);
                    prop_assert!(!ejected.probing || of_it().any(|selection| selection.probe));
                }
            }
        }
        // When all work again and the longest ejection is over, all are selected again.
        for selection in under_way {
            pool.report(selection, CallResult::Success, now);
        }
        now += OUTLIERS.max_ejection_time;
        for _ in 0..2 * size {
            ask(&mut pool, now, |_| true);
        }
        prop_assert!(pool.endpoints.iter().all(|endpoint| endpoint.ejected.is_none()));
    }
}
