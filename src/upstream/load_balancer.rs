//! Calls to a service that has one or several equal endpoints.

use super::concurrency_limit::{ConcurrencyLimit, Overloaded};
use super::counters::UpstreamCounters;
use super::endpoint_pool::{CallResult, EndpointEvent, EndpointPool, OutlierDetection, Selection};
use super::exchange::{ExchangeLimits, Response, TransportError, exchange};
use super::instrumented_client::InstrumentedClient;
use super::retry::{self, AttemptResult, Idempotency, RetryDecision};
use super::retry_budget::RetryBudget;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// An endpoint that may be back is not waited for as long as one that works.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How the endpoints are called.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamPolicy {
    /// When an endpoint is left out.
    pub ejection: OutlierDetection,
    /// How often one call is sent again at most.
    pub retries: u32,
    /// Calls under way at once.
    pub max_in_flight: usize,
    /// Calls that wait for that.
    pub max_queue: usize,
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub struct CallOptions {
    /// When it must be over, with all waiting and all retries.
    pub deadline: Instant,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// The largest body taken, in bytes.
    pub max_body: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// The call was not made.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The last exchange failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// One service at one or several endpoints.
#[derive(Debug)]
pub struct LoadBalancer {
    /// What the log calls the endpoints.
    names: Vec<String>,
    pool: Mutex<EndpointPool>,
    retry_budget: Mutex<RetryBudget>,
    concurrency_limit: ConcurrencyLimit,
    retries: u32,
    counters: Arc<UpstreamCounters>,
}

impl LoadBalancer {
    /// One endpoint for each of `names`.
    #[must_use]
    pub fn new(names: Vec<String>, rules: UpstreamPolicy, counters: Arc<UpstreamCounters>) -> Self {
        // As many as can be under way when an endpoint dies: all of them may go to another one,
        // however quiet it was before.
        let floor = rules.max_in_flight as u64;
        Self {
            pool: Mutex::new(EndpointPool::new(names.len(), rules.ejection)),
            retry_budget: Mutex::new(RetryBudget::new(floor, Instant::now())),
            concurrency_limit: ConcurrencyLimit::new(
                rules.max_in_flight,
                rules.max_queue,
                Arc::clone(&counters),
            ),
            retries: rules.retries,
            names,
            counters,
        }
    }

    /// Makes one call. `request` makes the request for the endpoint at a place in the list, anew
    /// each time it is sent.
    pub async fn call(
        &self,
        client: &InstrumentedClient,
        request: impl Fn(usize) -> Result<reqwest::Request, TransportError>,
        repeat: Idempotency,
        limits: CallOptions,
    ) -> Result<Response, CallError> {
        self.counters.calls.inc();
        let _permit = self.concurrency_limit.acquire(limits.deadline).await?;
        lock(&self.retry_budget).request(Instant::now());
        let mut tried = Vec::new();
        let mut attempt = self.begin(&tried, repeat)?;
        loop {
            let index = attempt.selection.index;
            let outcome = attempt.exchange(client, request(index)?, limits).await;
            tried.push(index);
            let Some(next) = self.next(&outcome, &tried, repeat, limits.deadline) else {
                return Ok(outcome?);
            };
            if !next.backoff.is_zero() {
                tokio::time::sleep(next.backoff).await;
            }
            attempt = next.attempt;
        }
    }

    fn begin(&self, tried: &[usize], repeat: Idempotency) -> Result<Attempt<'_>, TransportError> {
        let repeatable = repeat == Idempotency::Safe;
        let selection = lock(&self.pool).select(Instant::now(), tried, repeatable);
        let selection =
            selection.ok_or_else(|| TransportError::Connect("no endpoint".to_owned()))?;
        Ok(Attempt {
            service: self,
            selection,
            call_result: CallResult::Neutral,
        })
    }

    /// Where and when the call is made once more; `None` when that is it.
    fn next(
        &self,
        outcome: &AttemptResult,
        tried: &[usize],
        repeat: Idempotency,
        deadline: Instant,
    ) -> Option<Next<'_>> {
        let again = retry::decide(outcome, repeat);
        let times = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        if again == RetryDecision::No || times > self.retries {
            return None;
        }
        let attempt = self.begin(tried, repeat).ok()?;
        let elsewhere = !tried.contains(&attempt.selection.index);
        let backoff = if elsewhere {
            Duration::ZERO
        } else {
            retry::backoff(times, fastrand::u64(..))
        };
        if again == RetryDecision::Elsewhere && !elsewhere || Instant::now() + backoff >= deadline {
            return None;
        }
        if !lock(&self.retry_budget).retry(Instant::now()) {
            self.counters.budget_exhausted.inc();
            return None;
        }
        self.counters.retries.inc();
        if elsewhere {
            self.counters.failovers.inc();
        }
        Some(Next { attempt, backoff })
    }

    fn note(&self, selection: Selection, change: EndpointEvent) {
        let endpoint = self.names.get(selection.index).map(String::as_str);
        match change {
            EndpointEvent::Ejected(lasts) => {
                self.counters.ejections.inc();
                tracing::warn!(
                    endpoint,
                    seconds = lasts.as_secs_f64(),
                    "an endpoint is left out"
                );
            }
            EndpointEvent::Readmitted => {
                self.counters.readmissions.inc();
                tracing::info!(endpoint, "an endpoint is back");
            }
        }
    }
}

struct Next<'b> {
    attempt: Attempt<'b>,
    backoff: Duration,
}

/// One exchange with one endpoint. Dropped early, it says nothing about the endpoint.
struct Attempt<'b> {
    service: &'b LoadBalancer,
    selection: Selection,
    call_result: CallResult,
}

impl Attempt<'_> {
    async fn exchange(
        mut self,
        client: &InstrumentedClient,
        request: reqwest::Request,
        limits: CallOptions,
    ) -> AttemptResult {
        let started = Instant::now();
        let timeout = if self.selection.probe {
            limits.timeout.min(PROBE_TIMEOUT)
        } else {
            limits.timeout
        };
        let limits = ExchangeLimits {
            deadline: limits.deadline.min(started + timeout),
            max_body: limits.max_body,
        };
        let outcome = exchange(client, request, limits).await;
        self.call_result = retry::call_result(&outcome, started.elapsed(), timeout);
        outcome
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let change =
            lock(&self.service.pool).report(self.selection, self.call_result, Instant::now());
        if let Some(change) = change {
            self.service.note(self.selection, change);
        }
    }
}

/// What is guarded is a few numbers, right at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
