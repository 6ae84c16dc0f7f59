//! How an answer is found, fetched, shared and kept.

use super::generation::{Generation, GenerationTable, WriteGuard};
use super::isolation::IsolationScope;
use super::key::{CacheKey, CacheQuery};
use super::store::Store;
use crate::config;
use crate::glance::ImageId;
use crate::telemetry::metrics::{CacheMetrics, CacheOutcome};
use crate::upstream::runtime::{Spawner, TaskAborted};
use crate::util::single_flight::{Role, SingleFlight};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An image that is coming into being is looked at again after this long: clients poll for it.
const TRANSITIONAL_TTL: Duration = Duration::from_secs(1);

/// Different requests fetched for several readers at one moment; beyond that each fetches alone.
const MAX_IN_FLIGHT: usize = 4096;

/// What the cache must know of a failed fetch.
pub trait CacheableError: Clone + Send + Sync + 'static {
    /// The service behind failed, so that an older answer is better than none.
    fn is_upstream(&self) -> bool;
    /// It tells of the asker's own token, and nothing of anybody else's.
    fn is_caller_specific(&self) -> bool;
}

/// A body in the pieces it was made in.
pub type Body = Arc<[Bytes]>;

/// What a fetch brings.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The rendered answer.
    pub body: Body,
    /// An image in it is coming into being.
    pub transitional: bool,
}

/// How an answer is got; boxed, since a request that finds its answer kept has no use for the room.
pub type Fetch<E> = BoxFuture<'static, Result<Fetched, E>>;

/// An answer that is kept.
#[derive(Debug)]
pub struct CachedResponse {
    body: Body,
    generation: Generation,
    fresh_until: Instant,
    stale_until: Instant,
}

impl CachedResponse {
    /// How much memory the body takes, in bytes.
    pub fn bytes(&self) -> usize {
        let pieces = self.body.len() * size_of::<Bytes>();
        pieces + self.body.iter().map(Bytes::len).sum::<usize>()
    }
}

/// An answer, and where it came from.
#[derive(Debug, Clone)]
pub struct CacheResult {
    /// The rendered answer.
    pub body: Body,
    /// Where it came from.
    pub outcome: CacheOutcome,
}

#[derive(Debug, Clone)]
struct FetchOutcome<E> {
    result: Result<Body, E>,
    stale: bool,
}

/// The answers of one gateway.
#[derive(Debug)]
pub struct ResponseCache<E> {
    store: Store,
    generations: GenerationTable,
    single_flight: SingleFlight<CacheKey, Generation, FetchOutcome<E>>,
    ttl: Duration,
    stale_if_error: Duration,
    metrics: CacheMetrics,
}

impl<E: CacheableError> ResponseCache<E> {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: &config::Cache, metrics: CacheMetrics) -> Self {
        Self {
            store: Store::new(
                settings.max_bytes,
                settings.ttl + settings.stale_if_error,
                metrics.evictions.clone(),
            ),
            generations: GenerationTable::default(),
            single_flight: SingleFlight::new(MAX_IN_FLIGHT),
            ttl: settings.ttl,
            stale_if_error: settings.stale_if_error,
            metrics,
        }
    }

    /// The answer, when it is kept, fresh, and no write has made it old.
    #[must_use]
    pub fn get(&self, query: &CacheQuery, now: Instant) -> Option<Body> {
        let body = self.get_fresh(query, now);
        if body.is_some() {
            self.metrics.hits.inc();
        }
        body
    }

    fn get_fresh(&self, query: &CacheQuery, now: Instant) -> Option<Body> {
        let cached = self.store.get(&query.key)?;
        if now >= cached.fresh_until {
            return None;
        }
        if cached.generation != self.generation(query) {
            self.metrics.invalidated_lookups.inc();
            return None;
        }
        Some(Arc::clone(&cached.body))
    }

    /// Fetches the answer, or waits for a fetch of the same that has begun under the same stamp.
    ///
    /// The fetch runs in a task of its own: when the one who began it leaves, the others still get
    /// their answer.
    pub async fn fetch(
        self: &Arc<Self>,
        query: CacheQuery,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<Result<CacheResult, E>, TaskAborted> {
        let given = self.join_or_fetch(query, spawner, fetch).await;
        match &given {
            Ok(Ok(given)) => self.metrics.count(given.outcome),
            // It was looked for and not found, whatever became of the fetch.
            Ok(Err(_)) | Err(TaskAborted) => self.metrics.count(CacheOutcome::Miss),
        }
        given
    }

    async fn join_or_fetch(
        self: &Arc<Self>,
        query: CacheQuery,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<Result<CacheResult, E>, TaskAborted> {
        let began = Instant::now();
        let generation = self.generation(&query);
        if self.generations.is_uncacheable(query.tag, began) {
            return fetch_uncached(spawner, fetch, CacheOutcome::Bypass).await;
        }
        let joinable_until = began + self.ttl.min(TRANSITIONAL_TTL);
        match self
            .single_flight
            .join_or_lead(&query.key, generation, began, Some(joinable_until))
        {
            Role::Follower(follower) => match follower.outcome().await.ok_or(TaskAborted)? {
                FetchOutcome {
                    result: Err(error), ..
                } if error.is_caller_specific() && query.key.scope().token_number() == 0 => {
                    fetch_uncached(spawner, fetch, CacheOutcome::Miss).await
                }
                landed => Ok(landed.given(CacheOutcome::Coalesced)),
            },
            Role::Leader(leader) => {
                let cache = Arc::clone(self);
                let work = async move {
                    // One that has just landed is kept by now.
                    if let Some(body) = cache.get_fresh(&query, began) {
                        let landed = FetchOutcome::fresh(body);
                        leader.complete(landed.clone());
                        return landed.given(CacheOutcome::Coalesced);
                    }
                    let outcome = fetch.await;
                    let landed = cache.landed(query, generation, began, outcome);
                    leader.complete(landed.clone());
                    landed.given(CacheOutcome::Miss)
                };
                spawner.run(work).await
            }
        }
    }

    /// Brings the gauges of what is kept up to date.
    pub fn update_gauges(&self) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (bytes, entries) = self.store.size();
        self.metrics.bytes.set(gauge(bytes));
        self.metrics.entries.set(gauge(entries));
    }

    /// Begins a write to the image with this id.
    #[must_use]
    pub fn write(&self, id: &ImageId) -> WriteGuard<'_> {
        self.generations.write(id)
    }

    /// The store behind Glance was replaced: no response that was fetched until now is given again.
    pub fn invalidate_all(&self) {
        self.generations.invalidate_all();
    }

    /// The token behind this scope is no longer good: what was answered to it is given no more.
    pub fn invalidate_token(&self, scope: &IsolationScope) {
        self.generations.invalidate_token(scope.token_number());
    }

    fn generation(&self, query: &CacheQuery) -> Generation {
        let token = query.key.scope().token_number();
        self.generations.read(query.tag, token)
    }

    fn landed(
        &self,
        query: CacheQuery,
        generation: Generation,
        began: Instant,
        outcome: Result<Fetched, E>,
    ) -> FetchOutcome<E> {
        match outcome {
            Ok(fetched) => {
                let body = Arc::clone(&fetched.body);
                self.keep(query, generation, began, fetched);
                FetchOutcome::fresh(body)
            }
            Err(error) => {
                let stale = error.is_upstream().then(|| self.stale(&query)).flatten();
                FetchOutcome {
                    stale: stale.is_some(),
                    result: stale.ok_or(error),
                }
            }
        }
    }

    fn keep(&self, query: CacheQuery, generation: Generation, began: Instant, fetched: Fetched) {
        let life = if fetched.transitional {
            self.ttl.min(TRANSITIONAL_TTL)
        } else {
            self.ttl
        };
        let fresh_until = began + life;
        let cached = CachedResponse {
            body: fetched.body,
            generation,
            fresh_until,
            stale_until: fresh_until + self.stale_if_error,
        };
        if cached.stale_until <= Instant::now() || generation != self.generation(&query) {
            return;
        }
        let newer = |other: &CachedResponse| {
            other.generation == generation && other.fresh_until > fresh_until
        };
        if !self
            .store
            .get(&query.key)
            .is_some_and(|other| newer(&other))
        {
            self.store.put(query.key, Arc::new(cached));
        }
    }

    /// What is kept beyond its freshness, for the case that Glance fails.
    fn stale(&self, query: &CacheQuery) -> Option<Body> {
        let cached = self.store.get(&query.key)?;
        let usable =
            Instant::now() < cached.stale_until && cached.generation == self.generation(query);
        usable.then(|| Arc::clone(&cached.body))
    }
}

impl<E> FetchOutcome<E> {
    fn fresh(body: Body) -> Self {
        Self {
            result: Ok(body),
            stale: false,
        }
    }

    fn given(self, outcome: CacheOutcome) -> Result<CacheResult, E> {
        let outcome = if self.stale {
            CacheOutcome::Stale
        } else {
            outcome
        };
        self.result.map(|body| CacheResult { body, outcome })
    }
}

async fn fetch_uncached<E: CacheableError>(
    spawner: &Spawner,
    fetch: Fetch<E>,
    outcome: CacheOutcome,
) -> Result<Result<CacheResult, E>, TaskAborted> {
    let fetched = spawner.run(fetch).await?;
    Ok(fetched.map(|Fetched { body, .. }| CacheResult { body, outcome }))
}

#[cfg(test)]
mod tests;
