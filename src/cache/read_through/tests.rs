use super::*;
use crate::cache::{CacheKey, CacheTag, Invalidation, IsolationScope};
use crate::config;
use crate::glance::ImageId;
use bytes::Bytes;
use futures_util::FutureExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

const IMAGE: &str = "11111111-2222-4333-8444-555555555555";

fn image() -> ImageId {
    ImageId::parse(IMAGE).unwrap()
}

#[derive(Debug, Clone, PartialEq)]
enum Trouble {
    Down,
    Refused,
    NoSuchImage,
    Aborted,
}

impl From<TaskAborted> for Trouble {
    fn from(_: TaskAborted) -> Self {
        Self::Aborted
    }
}

impl CacheableError for Trouble {
    fn is_upstream(&self) -> bool {
        *self == Self::Down
    }

    fn is_caller_specific(&self) -> bool {
        *self == Self::Refused
    }
}

fn settings() -> config::Cache {
    config::Cache::default()
}

type Reads = ReadThrough<Trouble>;

fn cache(settings: &config::Cache) -> Arc<Reads> {
    Arc::new(Reads::new(Arc::new(ResponseCache::new(settings))))
}

fn write(cache: &Reads) {
    cache.cache().invalidate(Invalidation::of_write(&image()));
}

fn spawner() -> Spawner {
    Spawner::current()
}

fn query(of: &str) -> CacheQuery {
    CacheQuery {
        key: CacheKey::new(IsolationScope::anonymous(), [of]),
        tag: CacheTag::image(&image()).unwrap(),
    }
}

fn fetched(text: &'static str) -> Fetched {
    Fetched {
        body: [Bytes::from_static(text.as_bytes())].into(),
        transitional: false,
    }
}

fn text(body: &Body) -> &str {
    std::str::from_utf8(&body[0]).unwrap()
}

async fn fetch(
    cache: &Arc<Reads>,
    result: Result<Fetched, Trouble>,
) -> Result<(String, CacheOutcome), Trouble> {
    let given = cache
        .fetch(query("q"), &spawner(), async move { result }.boxed())
        .await?;
    Ok((text(&given.body).to_owned(), given.outcome))
}

fn found(cache: &Reads) -> Option<String> {
    cache
        .cache()
        .get(&query("q"), Instant::now())
        .map(|body| text(&body).to_owned())
}

async fn pass(seconds: f64) {
    tokio::time::advance(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_again_until_its_time_is_over() {
    let cache = cache(&settings());
    assert_eq!(found(&cache), None);
    let given = fetch(&cache, Ok(fetched("a"))).await.unwrap();
    assert_eq!(given, ("a".into(), CacheOutcome::Miss));
    pass(1.9).await;
    assert_eq!(found(&cache).as_deref(), Some("a"));
    pass(0.1).await;
    assert_eq!(found(&cache), None);
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_before_the_fetch() {
    let cache = cache(&settings());
    let slow = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(fetched("a"))
    };
    cache
        .fetch(query("q"), &spawner(), slow.boxed())
        .await
        .unwrap();
    assert!(found(&cache).is_some());
    pass(1.0).await;
    assert_eq!(found(&cache), None);
}

#[tokio::test(start_paused = true)]
async fn an_image_in_the_making_lives_a_second() {
    let cache = cache(&settings());
    let fetched = Fetched {
        transitional: true,
        ..fetched("queued")
    };
    fetch(&cache, Ok(fetched)).await.unwrap();
    pass(0.9).await;
    assert!(found(&cache).is_some());
    pass(0.1).await;
    assert_eq!(found(&cache), None);
}

#[tokio::test]
async fn errors_are_not_kept() {
    let cache = cache(&settings());
    let error = fetch(&cache, Err(Trouble::NoSuchImage)).await.unwrap_err();
    assert_eq!(error, Trouble::NoSuchImage);
    assert_eq!(found(&cache), None);
}

#[tokio::test]
async fn a_write_makes_what_was_kept_old() {
    let cache = cache(&settings());
    fetch(&cache, Ok(fetched("before"))).await.unwrap();
    write(&cache);
    assert_eq!(found(&cache), None);
    let given = fetch(&cache, Ok(fetched("after"))).await.unwrap();
    assert_eq!(given, ("after".into(), CacheOutcome::Miss));
    assert_eq!(found(&cache).as_deref(), Some("after"));
}

/// Begins a fetch that waits for `go`.
fn begin(
    cache: &Arc<Reads>,
    go: &Arc<Notify>,
    result: Result<Fetched, Trouble>,
) -> tokio::task::JoinHandle<Result<CacheResult, Trouble>> {
    let (cache, go) = (Arc::clone(cache), Arc::clone(go));
    tokio::spawn(async move {
        let slow = async move {
            go.notified().await;
            result
        };
        cache.fetch(query("q"), &spawner(), slow.boxed()).await
    })
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_read_that_began_before_a_write_is_kept_for_nobody() {
    let (cache, go) = (cache(&settings()), Arc::new(Notify::new()));
    let reader = begin(&cache, &go, Ok(fetched("before")));
    settle().await;
    write(&cache);
    // A reader after the write does not wait for the old read either.
    let given = fetch(&cache, Ok(fetched("after"))).await.unwrap();
    assert_eq!(given, ("after".into(), CacheOutcome::Miss));
    go.notify_one();
    assert_eq!(text(&reader.await.unwrap().unwrap().body), "before");
    assert_eq!(found(&cache).as_deref(), Some("after"));
}

#[tokio::test]
async fn a_thousand_readers_of_the_same_are_one_fetch() {
    let (cache, go) = (cache(&settings()), Arc::new(Notify::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..1000)
        .map(|_| {
            let (cache, go, calls) = (Arc::clone(&cache), Arc::clone(&go), Arc::clone(&calls));
            tokio::spawn(async move {
                let slow = async move {
                    calls.fetch_add(1, Ordering::SeqCst);
                    go.notified().await;
                    Ok(fetched("a"))
                };
                cache
                    .fetch(query("q"), &spawner(), slow.boxed())
                    .await
                    .unwrap()
            })
        })
        .collect();
    settle().await;
    // The first one, which began the fetch, leaves.
    readers[0].abort();
    settle().await;
    go.notify_one();
    let mut coalesced = 0;
    for reader in readers.into_iter().skip(1) {
        let given = reader.await.unwrap();
        assert_eq!(text(&given.body), "a");
        coalesced += usize::from(given.outcome == CacheOutcome::Coalesced);
    }
    assert_eq!((calls.load(Ordering::SeqCst), coalesced), (1, 999));
}

#[tokio::test]
async fn those_who_wait_for_a_failing_fetch_get_its_error_and_what_is_personal_concerns_nobody_else()
 {
    for (trouble, shared) in [(Trouble::Down, true), (Trouble::Refused, false)] {
        let (cache, go) = (cache(&settings()), Arc::new(Notify::new()));
        let first = begin(&cache, &go, Err(trouble.clone()));
        settle().await;
        let second = begin(&cache, &go, Ok(fetched("own")));
        settle().await;
        go.notify_one();
        assert_eq!(first.await.unwrap().unwrap_err(), trouble);
        settle().await;
        go.notify_one();
        assert_eq!(second.await.unwrap().is_err(), shared);
    }
}

#[tokio::test]
async fn a_fetch_that_panics_leaves_nobody_waiting() {
    let (cache, go) = (cache(&settings()), Arc::new(Notify::new()));
    let leader = {
        let (cache, go) = (Arc::clone(&cache), Arc::clone(&go));
        tokio::spawn(async move {
            let bad = async move {
                go.notified().await;
                panic!("on purpose");
            };
            cache.fetch(query("q"), &spawner(), bad.boxed()).await
        })
    };
    settle().await;
    let waiting = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            cache
                .fetch(query("q"), &spawner(), async { Ok(fetched("own")) }.boxed())
                .await
        })
    };
    settle().await;
    go.notify_one();
    assert!(leader.await.unwrap().is_err());
    assert!(waiting.await.unwrap().is_err());
    assert!(fetch(&cache, Ok(fetched("a"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_does_not_join_a_fetch_that_began_too_long_ago() {
    let (cache, go) = (cache(&settings()), Arc::new(Notify::new()));
    let slow = begin(&cache, &go, Ok(fetched("old")));
    settle().await;
    pass(1.0).await;
    let given = fetch(&cache, Ok(fetched("new"))).await.unwrap();
    assert_eq!(given, ("new".into(), CacheOutcome::Miss));
    go.notify_one();
    slow.await.unwrap().unwrap();
    assert_eq!(
        found(&cache).as_deref(),
        Some("new"),
        "the older answer must not win"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_write_of_unknown_outcome_nothing_is_kept_or_shared_for_a_while() {
    let cache = cache(&settings());
    fetch(&cache, Ok(fetched("before"))).await.unwrap();
    cache.cache().invalidate(Invalidation {
        uncacheable_for: Duration::from_secs(5),
        ..Invalidation::of_write(&image())
    });
    assert_eq!(found(&cache), None);
    let given = fetch(&cache, Ok(fetched("unsure"))).await.unwrap();
    assert_eq!(
        given,
        (
            "unsure".into(),
            CacheOutcome::Bypass(NoCacheReason::WritePending)
        )
    );
    assert_eq!(found(&cache), None);
    pass(6.0).await;
    fetch(&cache, Ok(fetched("sure"))).await.unwrap();
    assert_eq!(found(&cache).as_deref(), Some("sure"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_only_when_asked_for_only_while_glance_fails_and_not_after_a_write()
{
    let settings = config::Cache {
        stale_if_error: Duration::from_secs(10),
        ..settings()
    };
    let cache = cache(&settings);
    fetch(&cache, Ok(fetched("old"))).await.unwrap();
    pass(3.0).await;
    assert_eq!(found(&cache), None, "not fresh");
    let given = fetch(&cache, Err(Trouble::Down)).await.unwrap();
    assert_eq!(given, ("old".into(), CacheOutcome::Stale));
    for trouble in [Trouble::NoSuchImage, Trouble::Refused] {
        assert!(fetch(&cache, Err(trouble)).await.is_err());
    }
    write(&cache);
    assert!(fetch(&cache, Err(Trouble::Down)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_has_an_end() {
    let settings = config::Cache {
        stale_if_error: Duration::from_secs(10),
        ..settings()
    };
    let cache = cache(&settings);
    fetch(&cache, Ok(fetched("old"))).await.unwrap();
    pass(12.0).await;
    assert!(fetch(&cache, Err(Trouble::Down)).await.is_err());
}

#[tokio::test]
async fn with_a_ttl_of_zero_nothing_is_kept_or_shared() {
    let cache = cache(&config::Cache {
        ttl: Duration::ZERO,
        ..settings()
    });
    fetch(&cache, Ok(fetched("a"))).await.unwrap();
    assert_eq!(found(&cache), None);
}

#[tokio::test]
async fn what_was_answered_to_a_refused_token_is_given_no_more() {
    let cache = cache(&settings());
    let key = crate::keystone::DigestKey::random().unwrap();
    let scope = IsolationScope::for_opaque_token(key.digest("token"));
    let query = CacheQuery {
        key: CacheKey::new(scope.clone(), ["q"]),
        tag: CacheTag::List,
    };
    let fetch = async { Ok::<_, Trouble>(fetched("a")) };
    cache
        .fetch(query.clone(), &spawner(), fetch.boxed())
        .await
        .unwrap();
    assert!(cache.cache().get(&query, Instant::now()).is_some());
    cache.cache().invalidate_token(&scope);
    assert!(cache.cache().get(&query, Instant::now()).is_none());
}

#[test]
fn memory_stays_within_the_bound_whatever_is_offered() {
    let max_bytes = 2 << 20;
    let settings = config::Cache {
        max_bytes,
        ..settings()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for size in [700, 30_000, 700_000] {
            let cache = cache(&settings);
            let mut most = 0;
            for number in 0..(10 * max_bytes / size) {
                let query = CacheQuery {
                    key: CacheKey::new(IsolationScope::anonymous(), [number.to_string().as_str()]),
                    tag: CacheTag::List,
                };
                let body = vec![b'x'; usize::try_from(size).unwrap()].into_boxed_slice();
                let fetched = Fetched {
                    body: [Bytes::from(body)].into(),
                    transitional: false,
                };
                cache
                    .fetch(query, &spawner(), async { Ok(fetched) }.boxed())
                    .await
                    .unwrap();
                most = most.max(cache.cache().size().0);
            }
            assert!(most <= max_bytes, "{most}");
            assert!(most > max_bytes / 3, "{size} is not cached at all: {most}");
        }
    });
}

fn with_stale() -> Arc<Reads> {
    cache(&config::Cache {
        stale_if_error: Duration::from_secs(60),
        ..settings()
    })
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_stale_response_waits_two_seconds_and_the_fetch_goes_on() {
    let (cache, go) = (with_stale(), Arc::new(Notify::new()));
    fetch(&cache, Ok(fetched("old"))).await.unwrap();
    pass(3.0).await;
    let asked_at = Instant::now();
    let leader = begin(&cache, &go, Ok(fetched("new")));
    let follower = begin(&cache, &go, Ok(fetched("never")));
    for reader in [leader, follower] {
        let given = reader.await.unwrap().unwrap();
        assert_eq!(
            (text(&given.body), given.outcome),
            ("old", CacheOutcome::Stale)
        );
    }
    assert_eq!(asked_at.elapsed(), MAX_WAIT_WITH_STALE);
    go.notify_one();
    settle().await;
    let later = cache.cache().get_stale(&query("q")).unwrap();
    assert_eq!(text(&later), "new");
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_stale_response_a_write_invalidates_waits_for_the_fresh_one() {
    let (cache, go) = (with_stale(), Arc::new(Notify::new()));
    fetch(&cache, Ok(fetched("old"))).await.unwrap();
    pass(3.0).await;
    let reader = begin(&cache, &go, Ok(fetched("new")));
    settle().await;
    write(&cache);
    tokio::time::sleep(MAX_WAIT_WITH_STALE * 2).await;
    assert!(!reader.is_finished());
    go.notify_one();
    assert_eq!(text(&reader.await.unwrap().unwrap().body), "new");
}

#[tokio::test]
async fn apis_share_the_cache_and_have_errors_of_their_own() {
    #[derive(Debug, Clone, PartialEq)]
    struct Other;
    impl From<TaskAborted> for Other {
        fn from(_: TaskAborted) -> Self {
            Self
        }
    }
    impl CacheableError for Other {
        fn is_upstream(&self) -> bool {
            false
        }
        fn is_caller_specific(&self) -> bool {
            false
        }
    }
    let one = cache(&settings());
    let other = ReadThrough::<Other>::new(Arc::clone(one.cache()));
    let elsewhere = CacheQuery {
        key: CacheKey::new(IsolationScope::anonymous(), ["other"]),
        ..query("q")
    };
    fetch(&one, Ok(fetched("a"))).await.unwrap();
    let failed = async { Err(Other) }.boxed();
    let result = other.fetch(elsewhere.clone(), &spawner(), failed).await;
    assert_eq!(result.unwrap_err(), Other);
    let found = async { Ok(fetched("b")) }.boxed();
    other
        .fetch(elsewhere.clone(), &spawner(), found)
        .await
        .unwrap();
    let cached = || {
        let queries = [&query("q"), &elsewhere];
        queries.map(|query| one.cache().get(query, Instant::now()).is_some())
    };
    assert_eq!(cached(), [true, true]);
    write(&one);
    assert_eq!(cached(), [false, false]);
}
