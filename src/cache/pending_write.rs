//! A write in flight, and its invalidation when it ends.

use super::coherence::InvalidationBus;
use super::invalidation::{InvalidatedImages, Invalidation};
use super::response_cache::ResponseCache;
use crate::glance::{GlanceError, ImageId, WriteOutcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the end of a call of unknown outcome Glance may still act on it.
const GRACE: Duration = Duration::from_secs(5);

/// Longer than any transfer: the outcome of one is open until it ends.
const LONGEST_TRANSFER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The known effect of a write on its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: no response is older than before.
    None,
    /// It changed the image, or may have.
    Changed,
    /// It may still change the image; its call ends before this deadline.
    Unknown(Instant),
}

/// A write to one image. [`PendingWrite::commit`] ends it. The drop of one that was not committed,
/// because its task ended early, invalidates in this process.
#[derive(Debug)]
pub struct PendingWrite {
    cache: Arc<ResponseCache>,
    bus: Arc<dyn InvalidationBus>,
    of_write: Invalidation,
    effect: Effect,
}

impl PendingWrite {
    /// A write to the image with this id, of which nothing has been sent.
    #[must_use]
    pub fn new(cache: Arc<ResponseCache>, bus: Arc<dyn InvalidationBus>, id: &ImageId) -> Self {
        Self {
            cache,
            bus,
            of_write: Invalidation::of_write(id),
            effect: Effect::None,
        }
    }

    /// A write to `images` that a client sends to Glance itself, through this gateway.
    #[must_use]
    pub fn passed_through(
        cache: Arc<ResponseCache>,
        bus: Arc<dyn InvalidationBus>,
        images: InvalidatedImages,
    ) -> Self {
        Self {
            cache,
            bus,
            of_write: Invalidation {
                images,
                uncacheable_for: Duration::ZERO,
            },
            effect: Effect::None,
        }
    }

    /// The first byte of a write that passes through is about to be sent. It may take hours, and change the image
    /// early.
    pub fn sending(&mut self) {
        self.effect = Effect::Unknown(Instant::now() + LONGEST_TRANSFER);
        // A write to an id that may be any image counts when Glance has taken it: otherwise callers without any rights
        // could empty the cache.
        if self.of_write.images != InvalidatedImages::All {
            self.cache.invalidate(self.of_write);
        }
    }

    /// Glance has answered a write that passes through.
    pub fn answered(&mut self, outcome: WriteOutcome) {
        self.effect = match outcome {
            WriteOutcome::NotApplied => Effect::None,
            WriteOutcome::Answered => Effect::Changed,
            WriteOutcome::Unknown => self.effect,
        };
    }

    /// Waits for a call that changes the image and ends before `deadline`, and notes its effect.
    pub async fn track<T>(
        &mut self,
        deadline: Instant,
        call: impl Future<Output = Result<T, GlanceError>>,
    ) -> Result<T, GlanceError> {
        let before = std::mem::replace(&mut self.effect, Effect::Unknown(deadline));
        let result = call.await;
        self.effect = match (&result, before) {
            (Err(error), _) if error.write_outcome() == WriteOutcome::Unknown => {
                Effect::Unknown(deadline)
            }
            // The earlier call may still be carried out.
            (_, Effect::Unknown(_)) => before,
            (Err(error), _) if error.write_outcome() == WriteOutcome::NotApplied => before,
            (Ok(_) | Err(_), _) => Effect::Changed,
        };
        result
    }

    /// The caller was shown the image's state, read from Glance: no response may be older than that.
    pub fn state_shown(&mut self) {
        self.effect = Effect::Changed;
    }

    /// Ends the write: every response that it may have changed is invalid when this returns.
    pub async fn commit(mut self) {
        if let Some(invalidation) = self.invalidate_here() {
            self.bus.publish(invalidation).await;
        }
    }

    fn invalidate_here(&mut self) -> Option<Invalidation> {
        let now = Instant::now();
        let uncacheable_for = match std::mem::replace(&mut self.effect, Effect::None) {
            Effect::None => return None,
            Effect::Changed => Duration::ZERO,
            Effect::Unknown(deadline) => (deadline.min(now) + GRACE).saturating_duration_since(now),
        };
        let invalidation = Invalidation {
            uncacheable_for,
            ..self.of_write
        };
        self.cache.invalidate(invalidation);
        Some(invalidation)
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        self.invalidate_here();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use http::StatusCode;
    use parking_lot::Mutex;
    use rstest::rstest;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<Invalidation>>);

    impl InvalidationBus for Recorder {
        fn publish(&self, invalidation: Invalidation) -> BoxFuture<'_, ()> {
            self.0.lock().push(invalidation);
            std::future::ready(()).boxed()
        }
    }

    fn id() -> ImageId {
        ImageId::parse("11111111-2222-4333-8444-555555555555").unwrap()
    }

    fn begin() -> (Arc<Recorder>, PendingWrite) {
        let bus = Arc::<Recorder>::default();
        let cache = ResponseCache::new(&config::Cache::default());
        let write = PendingWrite::new(Arc::new(cache), Arc::clone(&bus) as _, &id());
        (bus, write)
    }

    fn in_a_second() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    /// Seconds for which each published invalidation makes its image uncacheable.
    async fn published(results: Vec<Result<(), GlanceError>>) -> Vec<u64> {
        let (bus, mut write) = begin();
        for result in results {
            let call = std::future::ready(result);
            write.track(in_a_second(), call).await.ok();
        }
        write.commit().await;
        let published = bus.0.lock();
        let own = Invalidation::of_write(&id()).images;
        assert!(published.iter().all(|all| all.images == own));
        published
            .iter()
            .map(|all| all.uncacheable_for.as_secs())
            .collect()
    }

    fn text() -> String {
        "reason".to_owned()
    }

    #[rstest]
    #[case::done(Ok(()), &[0])]
    #[case::refused(Err(GlanceError::NotFound), &[])]
    #[case::forbidden(Err(GlanceError::Forbidden(text())), &[])]
    #[case::bad_request(Err(GlanceError::BadRequest(text())), &[])]
    #[case::conflict(Err(GlanceError::Conflict(text())), &[])]
    #[case::unauthorized(Err(GlanceError::Unauthorized), &[])]
    #[case::not_sent(Err(GlanceError::NotSent(text())), &[])]
    #[case::answered(Err(GlanceError::ServerError(StatusCode::INTERNAL_SERVER_ERROR)), &[0])]
    #[case::strange(Err(GlanceError::InvalidResponse(text())), &[0])]
    #[case::interrupted(Err(GlanceError::Interrupted(text())), &[5])]
    #[case::timed_out(Err(GlanceError::Unavailable(text())), &[5])]
    #[case::proxy(Err(GlanceError::ServerError(StatusCode::GATEWAY_TIMEOUT)), &[5])]
    #[tokio::test(start_paused = true)]
    async fn what_a_call_came_to_decides_what_is_invalidated(
        #[case] result: Result<(), GlanceError>,
        #[case] seconds: &[u64],
    ) {
        assert_eq!(published(vec![result]).await, seconds);
    }

    #[rstest]
    #[case::then_done(Ok(()))]
    #[case::then_refused(Err(GlanceError::NotFound))]
    #[tokio::test(start_paused = true)]
    async fn a_call_of_unknown_outcome_stays_unknown(#[case] second: Result<(), GlanceError>) {
        let interrupted = Err(GlanceError::Interrupted(text()));
        assert_eq!(published(vec![interrupted, second]).await, [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_does_not_undo_a_change() {
        let conflict = Err(GlanceError::Conflict(text()));
        assert_eq!(published(vec![Ok(()), conflict]).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_unknown_outcome_counts_from_the_deadline_of_its_call() {
        let (bus, mut write) = begin();
        let timed_out = std::future::ready(Err(GlanceError::Unavailable(text())));
        write.track::<()>(in_a_second(), timed_out).await.ok();
        tokio::time::advance(Duration::from_secs(4)).await;
        write.commit().await;
        assert_eq!(bus.0.lock()[0].uncacheable_for, Duration::from_secs(2));
    }

    #[rstest]
    #[case::refused(Some(WriteOutcome::NotApplied), &[])]
    #[case::answered(Some(WriteOutcome::Answered), &[0])]
    #[case::unknown(Some(WriteOutcome::Unknown), &[5])]
    #[case::left(None, &[5])]
    #[tokio::test(start_paused = true)]
    async fn a_write_that_passes_invalidates_before_and_after(
        #[case] outcome: Option<WriteOutcome>,
        #[case] seconds: &[u64],
    ) {
        let bus = Arc::<Recorder>::default();
        let cache = Arc::new(ResponseCache::new(&config::Cache::default()));
        let images = Invalidation::of_write(&id()).images;
        let mut write = PendingWrite::passed_through(cache, Arc::clone(&bus) as _, images);
        write.sending();
        tokio::time::advance(Duration::from_secs(3600)).await;
        if let Some(outcome) = outcome {
            write.answered(outcome);
        }
        write.commit().await;
        let published = bus.0.lock();
        let published: Vec<_> = published
            .iter()
            .map(|all| all.uncacheable_for.as_secs())
            .collect();
        assert_eq!(published, seconds);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_whose_task_ends_during_its_call_invalidates_here() {
        let (bus, mut write) = begin();
        let cache = Arc::clone(&write.cache);
        let tag = crate::cache::CacheTag::image(&id()).unwrap();
        let call = std::future::pending::<Result<(), GlanceError>>();
        assert!(write.track(in_a_second(), call).now_or_never().is_none());
        drop(write);
        assert!(bus.0.lock().is_empty());
        assert!(cache.is_uncacheable(tag));
    }
}
