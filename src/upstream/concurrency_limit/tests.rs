use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

fn limit(max_in_flight: usize, max_queued: usize) -> Arc<ConcurrencyLimit> {
    let metrics = LoadBalancerMetrics::default();
    Arc::new(ConcurrencyLimit::new(max_in_flight, max_queued, metrics))
}

fn key(project: &str) -> FairnessKey {
    FairnessKey::new(project)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_key_get_permits_in_order() {
    let limit = limit(1, 10);
    let first = limit.acquire(key("a"), soon()).await.unwrap();
    let (order, mut turns) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..5 {
        let (limit, order) = (Arc::clone(&limit), order.clone());
        tokio::spawn(async move {
            let _permit = limit.acquire(key("a"), soon()).await.unwrap();
            order.send(number).unwrap();
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(limit.metrics.queued.get(), 5);
    drop((first, order));
    for number in 0..5 {
        assert_eq!(turns.recv().await, Some(number));
    }
    assert_eq!(turns.recv().await, None);
    assert_eq!(
        (
            limit.metrics.queued.get(),
            limit.metrics.in_flight.get(),
            limit.state.lock().in_flight
        ),
        (0, 0, 0)
    );
}

/// Three hundred calls of one project wait when another project's three come, one after the other, as the
/// pages of a list do.
#[tokio::test(start_paused = true)]
async fn the_calls_of_one_project_do_not_delay_another_project() {
    let limit = limit(1, 1000);
    let first = limit.acquire(key("busy"), soon()).await.unwrap();
    let (order, mut turns) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..300 {
        let (limit, order) = (Arc::clone(&limit), order.clone());
        tokio::spawn(async move {
            let _permit = limit.acquire(key("busy"), soon()).await.unwrap();
            order.send("busy").unwrap();
        });
        tokio::task::yield_now().await;
    }
    {
        let (limit, order) = (Arc::clone(&limit), order.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                let _permit = limit.acquire(key("quiet"), soon()).await.unwrap();
                order.send("quiet").unwrap();
            }
        });
        tokio::task::yield_now().await;
    }
    drop((first, order));
    let mut served = Vec::new();
    while let Some(project) = turns.recv().await {
        served.push(project);
    }
    assert_eq!(served.len(), 303);
    let last = served.iter().rposition(|project| *project == "quiet");
    assert!(last.unwrap() < 10, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_fails_at_once_and_a_queued_call_at_its_deadline() {
    let limit = limit(1, 1);
    let permit = limit.acquire(key("a"), soon()).await.unwrap();
    let queued = {
        let limit = Arc::clone(&limit);
        tokio::spawn(async move { limit.acquire(key("a"), soon()).await.err() })
    };
    tokio::task::yield_now().await;
    let started = Instant::now();
    for project in ["a", "b"] {
        let error = limit.acquire(key(project), soon()).await.err();
        assert_eq!(error, Some(Overloaded::QueueFull), "{project}");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(queued.await.unwrap(), Some(Overloaded::QueueTimeout));
    assert_eq!(limit.metrics.rejected.get(), 2);
    drop(permit);
    assert!(limit.acquire(key("a"), soon()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queue_filled_by_one_project_has_room_for_another() {
    let limit = limit(1, 4);
    let permit = limit.acquire(key("busy"), soon()).await.unwrap();
    let call = |project: &'static str| {
        let limit = Arc::clone(&limit);
        tokio::spawn(async move { limit.acquire(key(project), soon()).await.map(drop) })
    };
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(call("busy"));
        tokio::task::yield_now().await;
    }
    let quiet = call("quiet");
    tokio::task::yield_now().await;
    assert_eq!(
        busy.pop().unwrap().await.unwrap(),
        Err(Overloaded::QueueFull)
    );
    drop(permit);
    assert_eq!(quiet.await.unwrap(), Ok(()));
    for call in busy {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!(limit.state.lock().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_canceled_call_leaves_the_queue() {
    let limit = limit(1, 1);
    let _permit = limit.acquire(key("a"), soon()).await.unwrap();
    for _ in 0..3 {
        let limit = Arc::clone(&limit);
        let queued = tokio::spawn(async move { limit.acquire(key("a"), soon()).await.is_ok() });
        tokio::task::yield_now().await;
        queued.abort();
        assert!(queued.await.unwrap_err().is_cancelled());
    }
    assert_eq!(limit.metrics.queued.get(), 0);
    assert_eq!(limit.metrics.rejected.get(), 0);
    assert_eq!(limit.state.lock().queue.len(), 0);
}

/// The permit is handed to a call that is canceled before it runs again.
#[tokio::test(start_paused = true)]
async fn a_permit_handed_to_a_canceled_call_is_not_lost() {
    let limit = limit(1, 2);
    let permit = limit.acquire(key("a"), soon()).await.unwrap();
    let slot = limit.permit_or_slot(key("b")).unwrap().unwrap();
    drop(permit);
    assert_eq!(limit.state.lock().in_flight, 1);
    drop(slot);
    assert_eq!(limit.state.lock().in_flight, 0);
    assert!(limit.acquire(key("c"), soon()).await.is_ok());
}

proptest! {
    /// Whatever comes and goes: items of a key leave in order, and a key waits for at most one item of each
    /// other key between two of its own.
    #[test]
    fn keys_take_turns(steps in prop::collection::vec((0_u8..5, 0_u8..4), 1..200)) {
        let mut queue = FairQueue::default();
        let mut waiting: Vec<(u8, u64)> = Vec::new();
        // For each key: the keys served since it began to wait or was served.
        let mut since: HashMap<u8, Vec<u8>> = HashMap::new();
        for (name, what) in steps {
            match what {
                0 | 1 => {
                    let begins = waiting.iter().all(|(other, _)| *other != name);
                    let ticket = queue.push(key(&name.to_string()), (name, queue.next_ticket));
                    waiting.push((name, ticket));
                    if begins {
                        since.insert(name, Vec::new());
                    }
                }
                2 => {
                    let newest = waiting.iter().rposition(|(other, _)| *other == name);
                    if let Some(newest) = newest {
                        let (_, ticket) = waiting.remove(newest);
                        queue.remove(key(&name.to_string()), ticket);
                    }
                }
                _ => {
                    let Some((name, ticket)) = queue.pop() else {
                        prop_assert!(waiting.is_empty());
                        continue;
                    };
                    let oldest = waiting.iter().position(|(other, _)| *other == name).unwrap();
                    prop_assert_eq!(waiting.remove(oldest), (name, ticket));
                    since.insert(name, Vec::new());
                    for (other, _) in &waiting {
                        let served = since.entry(*other).or_default();
                        if *other != name && served.last() != Some(&name) {
                            prop_assert!(!served.contains(&name), "{name} twice before {other}");
                            served.push(name);
                        }
                    }
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert_eq!(queue.turns.len(), queue.queues.len());
        }
    }
}
