//! How an answer is found, fetched, shared and kept.

use super::flight::{Boarding, Flights};
use super::key::Question;
use super::scope::Scope;
use super::stamp::{Stamp, Stamps, WriteGuard};
use super::store::Store;
use crate::config;
use crate::telemetry::metrics::{CacheMetrics, CacheOutcome};
use crate::upstream::runtime::{Spawner, TaskLost};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An image that is coming into being is looked at again after this long: clients poll for it.
const TRANSITIONAL_LIFE: Duration = Duration::from_secs(1);

/// What the cache must know of a failed fetch.
pub trait Failure: Clone + Send + Sync + 'static {
    /// The service behind failed, so that an older answer is better than none.
    fn is_upstream(&self) -> bool;
    /// It tells of the asker's own token, and nothing of anybody else's.
    fn is_personal(&self) -> bool;
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
pub struct Kept {
    body: Body,
    stamp: Stamp,
    fresh_until: Instant,
    stale_until: Instant,
}

impl Kept {
    /// How much memory the body takes, in bytes.
    pub fn bytes(&self) -> usize {
        let pieces = self.body.len() * size_of::<Bytes>();
        pieces + self.body.iter().map(Bytes::len).sum::<usize>()
    }
}

/// An answer, and where it came from.
#[derive(Debug, Clone)]
pub struct Given {
    /// The rendered answer.
    pub body: Body,
    /// Where it came from.
    pub outcome: CacheOutcome,
}

#[derive(Debug, Clone)]
struct Landed<E> {
    result: Result<Body, E>,
    stale: bool,
}

/// The answers of one gateway.
#[derive(Debug)]
pub struct Answers<E> {
    store: Store,
    stamps: Stamps,
    flights: Flights<Landed<E>>,
    ttl: Duration,
    stale_if_error: Duration,
    metrics: CacheMetrics,
}

impl<E: Failure> Answers<E> {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: &config::Cache, metrics: CacheMetrics) -> Self {
        Self {
            store: Store::new(
                settings.max_bytes,
                settings.ttl + settings.stale_if_error,
                metrics.evictions.clone(),
            ),
            stamps: Stamps::default(),
            flights: Flights::default(),
            ttl: settings.ttl,
            stale_if_error: settings.stale_if_error,
            metrics,
        }
    }

    /// The answer, when it is kept, fresh, and no write has made it old.
    #[must_use]
    pub fn find(&self, question: &Question, now: Instant) -> Option<Body> {
        let body = self.current(question, now);
        if body.is_some() {
            self.metrics.hits.inc();
        }
        body
    }

    fn current(&self, question: &Question, now: Instant) -> Option<Body> {
        let kept = self.store.get(&question.key)?;
        if now >= kept.fresh_until {
            return None;
        }
        if kept.stamp != self.stamp(question) {
            self.metrics.refused_by_stamp.inc();
            return None;
        }
        Some(Arc::clone(&kept.body))
    }

    /// Fetches the answer, or waits for a fetch of the same that has begun under the same stamp.
    ///
    /// The fetch runs in a task of its own: when the one who began it leaves, the others still get
    /// their answer.
    pub async fn fetch(
        self: &Arc<Self>,
        question: Question,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<Result<Given, E>, TaskLost> {
        let given = self.join_or_fetch(question, spawner, fetch).await;
        match &given {
            Ok(Ok(given)) => self.metrics.count(given.outcome),
            // It was looked for and not found, whatever became of the fetch.
            Ok(Err(_)) | Err(TaskLost) => self.metrics.count(CacheOutcome::Miss),
        }
        given
    }

    async fn join_or_fetch(
        self: &Arc<Self>,
        question: Question,
        spawner: &Spawner,
        fetch: Fetch<E>,
    ) -> Result<Result<Given, E>, TaskLost> {
        let began = Instant::now();
        let stamp = self.stamp(&question);
        if self.stamps.is_closed(question.subject, began) {
            return alone(spawner, fetch, CacheOutcome::Bypass).await;
        }
        let closes = began + self.ttl.min(TRANSITIONAL_LIFE);
        match self.flights.board(&question.key, stamp, began, closes) {
            Boarding::Join(mut flight) => {
                let landed = flight.wait_for(Option::is_some).await;
                let landed = landed.ok().and_then(|landed| landed.clone());
                match landed.ok_or(TaskLost)? {
                    Landed {
                        result: Err(error), ..
                    } if error.is_personal() && question.key.scope().token_number() == 0 => {
                        alone(spawner, fetch, CacheOutcome::Miss).await
                    }
                    landed => Ok(landed.given(CacheOutcome::Coalesced)),
                }
            }
            Boarding::Fetch(landing) => {
                let answers = Arc::clone(self);
                let work = async move {
                    // One that has just landed is kept by now.
                    if let Some(body) = answers.current(&question, began) {
                        let landed = Landed::fresh(body);
                        landing.land(landed.clone());
                        return landed.given(CacheOutcome::Coalesced);
                    }
                    let outcome = fetch.await;
                    let landed = answers.landed(question, stamp, began, outcome);
                    landing.land(landed.clone());
                    landed.given(CacheOutcome::Miss)
                };
                spawner.run(work).await
            }
        }
    }

    /// Brings the gauges of what is kept up to date.
    pub fn measure(&self) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (bytes, entries) = self.store.size();
        self.metrics.bytes.set(gauge(bytes));
        self.metrics.entries.set(gauge(entries));
    }

    /// Begins a write to the image with this id.
    #[must_use]
    pub fn write(&self, id: &str) -> WriteGuard<'_> {
        self.stamps.write(id)
    }

    /// The token behind this scope is no longer good: what was answered to it is given no more.
    pub fn refuse(&self, scope: &Scope) {
        self.stamps.refuse_token(scope.token_number());
    }

    fn stamp(&self, question: &Question) -> Stamp {
        let token = question.key.scope().token_number();
        self.stamps.read(question.subject, token)
    }

    fn landed(
        &self,
        question: Question,
        stamp: Stamp,
        began: Instant,
        outcome: Result<Fetched, E>,
    ) -> Landed<E> {
        match outcome {
            Ok(fetched) => {
                let body = Arc::clone(&fetched.body);
                self.keep(question, stamp, began, fetched);
                Landed::fresh(body)
            }
            Err(error) => {
                let stale = error.is_upstream().then(|| self.stale(&question)).flatten();
                Landed {
                    stale: stale.is_some(),
                    result: stale.ok_or(error),
                }
            }
        }
    }

    fn keep(&self, question: Question, stamp: Stamp, began: Instant, fetched: Fetched) {
        let life = if fetched.transitional {
            self.ttl.min(TRANSITIONAL_LIFE)
        } else {
            self.ttl
        };
        let fresh_until = began + life;
        let kept = Kept {
            body: fetched.body,
            stamp,
            fresh_until,
            stale_until: fresh_until + self.stale_if_error,
        };
        if kept.stale_until <= Instant::now() || stamp != self.stamp(&question) {
            return;
        }
        let newer = |other: &Kept| other.stamp == stamp && other.fresh_until > fresh_until;
        if !self
            .store
            .get(&question.key)
            .is_some_and(|other| newer(&other))
        {
            self.store.put(question.key, Arc::new(kept));
        }
    }

    /// What is kept beyond its freshness, for the case that Glance fails.
    fn stale(&self, question: &Question) -> Option<Body> {
        let kept = self.store.get(&question.key)?;
        let usable = Instant::now() < kept.stale_until && kept.stamp == self.stamp(question);
        usable.then(|| Arc::clone(&kept.body))
    }
}

impl<E> Landed<E> {
    fn fresh(body: Body) -> Self {
        Self {
            result: Ok(body),
            stale: false,
        }
    }

    fn given(self, outcome: CacheOutcome) -> Result<Given, E> {
        let outcome = if self.stale {
            CacheOutcome::Stale
        } else {
            outcome
        };
        self.result.map(|body| Given { body, outcome })
    }
}

async fn alone<E: Failure>(
    spawner: &Spawner,
    fetch: Fetch<E>,
    outcome: CacheOutcome,
) -> Result<Result<Given, E>, TaskLost> {
    let fetched = spawner.run(fetch).await?;
    Ok(fetched.map(|Fetched { body, .. }| Given { body, outcome }))
}

#[cfg(test)]
mod tests;
