//! The rendered responses of all APIs, and whether each is still valid.

use super::generation::{CacheTag, Generation, GenerationTable};
use super::invalidation::Invalidation;
use super::isolation::IsolationScope;
use super::key::CacheQuery;
use super::metrics::CacheMetrics;
use super::store::{Body, CachedResponse, Store};
use crate::config;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Lifetime of a response with an image in a transitional state: clients poll such images.
pub(super) const TRANSITIONAL_TTL: Duration = Duration::from_secs(1);

/// A response as its API rendered it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The body.
    pub body: Body,
    /// Whether an image in it is in a transitional state.
    pub transitional: bool,
}

/// The cache of one gateway. Each API reads through it by a [`super::ReadThrough`] of its own.
#[derive(Debug)]
pub struct ResponseCache {
    store: Store,
    generations: GenerationTable,
    ttl: Duration,
    stale_if_error: Duration,
    metrics: CacheMetrics,
}

impl ResponseCache {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: &config::Cache) -> Self {
        let metrics = CacheMetrics::default();
        metrics.capacity.set(gauge(settings.max_bytes));
        let max_age = settings.ttl + settings.stale_if_error;
        Self {
            store: Store::new(settings.max_bytes, max_age, metrics.evictions.clone()),
            generations: GenerationTable::new(max_age),
            ttl: settings.ttl,
            stale_if_error: settings.stale_if_error,
            metrics,
        }
    }

    /// The response, when it is cached, fresh, and older than no write.
    #[must_use]
    pub fn get(&self, query: &CacheQuery, now: Instant) -> Option<Body> {
        let body = self.get_fresh(query, now);
        if body.is_some() {
            self.metrics.hits.inc();
        }
        body
    }

    pub(super) fn get_fresh(&self, query: &CacheQuery, now: Instant) -> Option<Body> {
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

    /// The response past its time, when `cache.stale_if_error` allows it and no write is newer.
    pub(super) fn get_stale(&self, query: &CacheQuery) -> Option<Body> {
        let cached = self.store.get(&query.key)?;
        let usable =
            Instant::now() < cached.stale_until && cached.generation == self.generation(query);
        usable.then(|| Arc::clone(&cached.body))
    }

    /// Stores a response that was fetched from `started_at` on under `generation`, unless a write
    /// has invalidated it or a newer one is stored.
    pub(super) fn put(
        &self,
        query: CacheQuery,
        generation: Generation,
        started_at: Instant,
        fetched: Fetched,
    ) {
        let life = if fetched.transitional {
            self.ttl.min(TRANSITIONAL_TTL)
        } else {
            self.ttl
        };
        let fresh_until = started_at + life;
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

    fn generation(&self, query: &CacheQuery) -> Generation {
        self.generations.read(query.tag, query.key.scope())
    }

    pub(super) fn generation_for_fetch(&self, query: &CacheQuery) -> Generation {
        self.generations
            .read_for_fetch(query.tag, query.key.scope())
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The metrics of the cache.
    #[must_use]
    pub fn metrics(&self) -> &CacheMetrics {
        &self.metrics
    }

    /// Whether a write of unknown outcome may still change what has this tag.
    #[must_use]
    pub fn is_uncacheable(&self, tag: CacheTag) -> bool {
        self.generations.is_uncacheable(tag, Instant::now())
    }

    /// Invalidates every response that the write may have changed.
    pub fn invalidate(&self, invalidation: Invalidation) {
        self.generations.invalidate(invalidation);
    }

    /// Glance has refused the token of this scope. Responses to a token that only Glance judges are
    /// invalid then; those of a validated token belong to its project and stay.
    pub fn invalidate_token(&self, scope: &IsolationScope) {
        self.generations.invalidate_token(scope);
    }

    /// Brings the gauges of size and entries up to date.
    pub fn update_gauges(&self) {
        let (bytes, entries) = self.store.size();
        self.metrics.size.set(gauge(bytes));
        self.metrics.entries.set(gauge(entries));
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (u64, u64) {
        self.store.size()
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
