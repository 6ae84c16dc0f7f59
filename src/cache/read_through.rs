//! Reads through the cache: concurrent requests for one response share one fetch.

use super::generation::Generation;
use super::key::{CacheKey, CacheQuery};
use super::outcome::{CacheOutcome, NoCacheReason};
use super::response_cache::{Fetched, ResponseCache, TRANSITIONAL_TTL};
use super::store::Body;
use crate::upstream::runtime::{Spawner, TaskAborted};
use crate::util::single_flight::{LeaderGuard, Role, SingleFlight};
use futures_util::future::BoxFuture;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Fetches that others can join; beyond that each request fetches for itself.
const MAX_IN_FLIGHT: usize = 4096;
/// How long a request that has a stale response waits for a fresh one.
const MAX_WAIT_WITH_STALE: Duration = Duration::from_secs(2);

/// An API's error, as the cache sees it.
pub trait CacheableError: Clone + From<TaskAborted> + Send + Sync + 'static {
    /// Whether Glance failed, so that a stale response is better than the error.
    fn is_upstream(&self) -> bool;
    /// Whether the error is about the caller's own token, so that no other caller may receive it.
    fn is_caller_specific(&self) -> bool;
}

/// The fetch. Boxed so that a cache hit does not pay for its size.
pub type Fetch<E> = BoxFuture<'static, Result<Fetched, E>>;

/// A response and where it came from.
#[derive(Debug, Clone)]
pub struct CacheResult {
    /// The body.
    pub body: Body,
    /// Where it came from.
    pub outcome: CacheOutcome,
}

#[derive(Debug, Clone)]
struct FetchOutcome<E> {
    result: Result<Body, E>,
    stale: bool,
}

/// One API's way through the cache; `E` is the API's error.
#[derive(Debug)]
pub struct ReadThrough<E> {
    cache: Arc<ResponseCache>,
    single_flight: SingleFlight<CacheKey, Generation, FetchOutcome<E>>,
}

type Leader<E> = LeaderGuard<CacheKey, Generation, FetchOutcome<E>>;

impl<E: CacheableError> ReadThrough<E> {
    /// Reads through `cache`.
    #[must_use]
    pub fn new(cache: Arc<ResponseCache>) -> Self {
        Self {
            cache,
            single_flight: SingleFlight::new(MAX_IN_FLIGHT),
        }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<ResponseCache> {
        &self.cache
    }

    /// Fetches the response, or waits for a fetch of the same that began under the same generation.
    ///
    /// The fetch runs in a task of its own: the others still get their response when the client of
    /// the request that began it leaves. A request that has a stale response waits two seconds at
    /// most, and the fetch goes on.
    pub async fn fetch(
        &self,
        query: CacheQuery,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<CacheResult, E> {
        let result = self.fetch_or_stale(query, spawner, fetch).await;
        // A failed fetch is a miss too.
        let outcome = result
            .as_ref()
            .map_or(CacheOutcome::Miss, |found| found.outcome);
        self.cache.metrics().count(outcome);
        result
    }

    /// Fetches a response that the cache has no part in.
    pub async fn bypass(
        &self,
        reason: NoCacheReason,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<CacheResult, E> {
        let outcome = CacheOutcome::Bypass(reason);
        self.cache.metrics().count(outcome);
        fetch_uncached(spawner, fetch, outcome).await
    }

    async fn fetch_or_stale(
        &self,
        query: CacheQuery,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<CacheResult, E> {
        let has_stale = self.cache.get_stale(&query).is_some();
        if !has_stale {
            return self.join_or_fetch(query, spawner, fetch).await;
        }
        let mut fetched = pin!(self.join_or_fetch(query.clone(), spawner, fetch));
        if let Ok(result) = timeout(MAX_WAIT_WITH_STALE, &mut fetched).await {
            return result;
        }
        // A write may have invalidated it meanwhile.
        match self.cache.get_stale(&query) {
            Some(body) => Ok(CacheResult {
                body,
                outcome: CacheOutcome::Stale,
            }),
            None => fetched.await,
        }
    }

    async fn join_or_fetch(
        &self,
        query: CacheQuery,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<CacheResult, E> {
        let started_at = Instant::now();
        let generation = self.cache.generation_for_fetch(&query);
        if self.cache.is_uncacheable(query.tag) {
            let outcome = CacheOutcome::Bypass(NoCacheReason::WritePending);
            return fetch_uncached(spawner, fetch, outcome).await;
        }
        let joinable_until = started_at + self.cache.ttl().min(TRANSITIONAL_TTL);
        let role = self.single_flight.join_or_lead(
            &query.key,
            generation,
            started_at,
            Some(joinable_until),
        );
        match role {
            Role::Follower(follower) => match follower.outcome().await {
                None => Err(TaskAborted.into()),
                // No other caller may receive it, but for requests with the very same token.
                Some(FetchOutcome {
                    result: Err(error), ..
                }) if error.is_caller_specific() && query.key.scope().opaque_token().is_none() => {
                    fetch_uncached(spawner, fetch, CacheOutcome::Miss).await
                }
                Some(outcome) => outcome.into_result(CacheOutcome::Coalesced),
            },
            Role::Leader(leader) => {
                let cache = Arc::clone(&self.cache);
                let work = lead(cache, leader, query, generation, started_at, fetch);
                spawner.run(work).await?
            }
        }
    }
}

async fn lead<E: CacheableError>(
    cache: Arc<ResponseCache>,
    leader: Leader<E>,
    query: CacheQuery,
    generation: Generation,
    started_at: Instant,
    fetch: Fetch<E>,
) -> Result<CacheResult, E> {
    // Another fetch may have ended between the lookup and the flight.
    if let Some(body) = cache.get_fresh(&query, started_at) {
        let outcome = FetchOutcome::fresh(body);
        leader.complete(outcome.clone());
        return outcome.into_result(CacheOutcome::Coalesced);
    }
    let outcome = match fetch.await {
        Ok(fetched) => {
            let body = Arc::clone(&fetched.body);
            cache.put(query, generation, started_at, fetched);
            FetchOutcome::fresh(body)
        }
        Err(error) => {
            let stale = error
                .is_upstream()
                .then(|| cache.get_stale(&query))
                .flatten();
            FetchOutcome {
                stale: stale.is_some(),
                result: stale.ok_or(error),
            }
        }
    };
    leader.complete(outcome.clone());
    outcome.into_result(CacheOutcome::Miss)
}

async fn fetch_uncached<E: CacheableError>(
    spawner: &Spawner,
    fetch: Fetch<E>,
    outcome: CacheOutcome,
) -> Result<CacheResult, E> {
    let Fetched { body, .. } = spawner.run(fetch).await??;
    Ok(CacheResult { body, outcome })
}

impl<E> FetchOutcome<E> {
    fn fresh(body: Body) -> Self {
        Self {
            result: Ok(body),
            stale: false,
        }
    }

    fn into_result(self, outcome: CacheOutcome) -> Result<CacheResult, E> {
        let outcome = if self.stale {
            CacheOutcome::Stale
        } else {
            outcome
        };
        self.result.map(|body| CacheResult { body, outcome })
    }
}

#[cfg(test)]
mod tests;
