//! Calls to a service that has one or several equal endpoints.

use super::concurrency_limit::{ConcurrencyLimit, FairnessKey, Overloaded};
use super::endpoint_pool::{CallResult, EndpointEvent, EndpointPool, OutlierDetection, Selection};
use super::exchange::{ExchangeLimits, Response, TransportError};
use super::instrumented::{Connection, InstrumentedClient};
use super::metrics::LoadBalancerMetrics;
use super::retry::{self, AttemptResult, Idempotency, RetryDecision};
use super::retry_budget::RetryBudget;
use parking_lot::Mutex;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// The longest exchange of a probe, so that the read still has time for another endpoint.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How the endpoints are called.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamPolicy {
    /// When an endpoint is ejected.
    pub outlier_detection: OutlierDetection,
    /// Most retries of one call.
    pub retries: u32,
    /// Most calls at once.
    pub max_in_flight: usize,
    /// Most calls that wait for their turn.
    pub max_queue: usize,
}

/// The limits of one call, and how it is treated.
#[derive(Debug, Clone, Copy)]
pub struct CallOptions {
    /// When it must be over, with all waiting and all retries.
    pub deadline: Instant,
    /// Longest time for one exchange.
    pub timeout: Duration,
    /// The largest body accepted, in bytes.
    pub max_body: usize,
    /// Whether it may reach an endpoint twice.
    pub idempotency: Idempotency,
    /// The key whose turn in the queue it takes.
    pub fairness_key: FairnessKey,
    /// The index of the endpoint to call while that works.
    pub preferred_endpoint: Option<usize>,
}

/// A response, and where it came from.
#[derive(Debug)]
pub struct BalancedResponse {
    /// The response.
    pub response: Response,
    /// The index of the endpoint.
    pub endpoint: usize,
}

/// Why there is no response.
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
    /// The endpoints' names in logs and metrics.
    names: Vec<String>,
    pool: Mutex<EndpointPool>,
    retry_budget: Mutex<RetryBudget>,
    concurrency_limit: ConcurrencyLimit,
    retries: u32,
    metrics: LoadBalancerMetrics,
}

impl LoadBalancer {
    /// One endpoint for each of `names`, which become values of a metric label.
    #[must_use]
    pub fn new(names: Vec<String>, policy: UpstreamPolicy, metrics: LoadBalancerMetrics) -> Self {
        // A lone endpoint is never ejected.
        if names.len() > 1 {
            for name in &names {
                metrics.show_endpoint(name);
            }
        }
        // When an endpoint dies, all calls under way may go to another one, however quiet it was before.
        let floor = policy.max_in_flight as u64;
        Self {
            pool: Mutex::new(EndpointPool::new(names.len(), policy.outlier_detection)),
            retry_budget: Mutex::new(RetryBudget::new(floor, Instant::now())),
            concurrency_limit: ConcurrencyLimit::new(
                policy.max_in_flight,
                policy.max_queue,
                metrics.clone(),
            ),
            retries: policy.retries,
            names,
            metrics,
        }
    }

    /// Makes one call. `request` builds the request for the endpoint with an index, anew for each
    /// attempt.
    pub async fn call(
        &self,
        client: &InstrumentedClient,
        request: impl Fn(usize) -> Result<reqwest::Request, TransportError>,
        options: CallOptions,
    ) -> Result<BalancedResponse, CallError> {
        self.metrics.requests.inc();
        let permit = self
            .concurrency_limit
            .acquire(options.fairness_key, options.deadline);
        let _permit = permit.await?;
        self.retry_budget.lock().request(Instant::now());
        let mut tried = Vec::new();
        let mut attempt = self.begin(&tried, options.idempotency, options.preferred_endpoint)?;
        loop {
            let index = attempt.selection.index;
            let result = attempt.exchange(client, request(index)?, options).await;
            tried.push(index);
            let decision = retry::decide(&result, options.idempotency);
            let Some(next) = self.next(decision, &tried, options.into()) else {
                return Ok(BalancedResponse {
                    response: result?,
                    endpoint: index,
                });
            };
            if !next.backoff.is_zero() {
                tokio::time::sleep(next.backoff).await;
            }
            attempt = next.attempt;
        }
    }

    pub(super) fn begin(
        &self,
        tried: &[usize],
        idempotency: Idempotency,
        preferred: Option<usize>,
    ) -> Result<Attempt<'_>, TransportError> {
        let read = idempotency == Idempotency::Safe;
        let (mut pool, now) = (self.pool.lock(), Instant::now());
        let selection = pool
            .select(now, tried, read, preferred)
            .ok_or_else(|| TransportError::Connect("no endpoint".to_owned()))?;
        let connection = if read && pool.may_reuse_connections(selection.index, now) {
            Connection::Pooled
        } else {
            Connection::New
        };
        Ok(Attempt {
            balancer: self,
            selection,
            connection,
            call_result: CallResult::Neutral,
        })
    }

    /// The retry that `decision` allows; `None` when the call is over.
    pub(super) fn next(
        &self,
        decision: RetryDecision,
        tried: &[usize],
        options: RetryOptions,
    ) -> Option<Next<'_>> {
        let times = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        if decision == RetryDecision::No || times > self.retries {
            return None;
        }
        let attempt = self
            .begin(tried, options.idempotency, options.preferred_endpoint)
            .ok()?;
        let elsewhere = !tried.contains(&attempt.selection.index);
        let backoff = if elsewhere {
            Duration::ZERO
        } else {
            retry::backoff(times, fastrand::u64(..))
        };
        let in_time = options
            .deadline
            .is_none_or(|deadline| Instant::now() + backoff < deadline);
        if decision == RetryDecision::Elsewhere && !elsewhere || !in_time {
            return None;
        }
        if !self.retry_budget.lock().retry(Instant::now()) {
            self.metrics.retry_budget_exhausted.inc();
            return None;
        }
        self.metrics.retries.inc();
        if elsewhere {
            self.metrics.failovers.inc();
        }
        Some(Next { attempt, backoff })
    }

    /// Counts a request, which the retry budget follows.
    pub(super) fn count_request(&self) {
        self.metrics.requests.inc();
        self.retry_budget.lock().request(Instant::now());
    }

    /// One more call to this endpoint is under way, outside of any choice.
    pub(super) fn hold(&self, index: usize) -> Attempt<'_> {
        Attempt {
            balancer: self,
            selection: self.pool.lock().hold(index),
            connection: Connection::New,
            call_result: CallResult::Neutral,
        }
    }

    fn on_event(&self, selection: Selection, event: EndpointEvent) {
        let endpoint = self
            .names
            .get(selection.index)
            .map_or("unknown", String::as_str);
        match event {
            EndpointEvent::Ejected(duration) => {
                self.metrics.ejected(endpoint);
                let seconds = duration.as_secs_f64();
                tracing::warn!(endpoint, seconds, "endpoint ejected");
            }
            EndpointEvent::Readmitted => {
                self.metrics.readmitted(endpoint);
                tracing::info!(endpoint, "endpoint readmitted");
            }
        }
    }
}

/// What decides about the retries of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryOptions {
    pub idempotency: Idempotency,
    pub preferred_endpoint: Option<usize>,
    /// When the call must be over; `None` for one that may last.
    pub deadline: Option<Instant>,
}

impl From<CallOptions> for RetryOptions {
    fn from(options: CallOptions) -> Self {
        Self {
            idempotency: options.idempotency,
            preferred_endpoint: options.preferred_endpoint,
            deadline: Some(options.deadline),
        }
    }
}

pub(super) struct Next<'b> {
    pub attempt: Attempt<'b>,
    pub backoff: Duration,
}

/// One exchange with one endpoint. A canceled one does not count for or against the endpoint.
#[derive(Debug)]
pub(super) struct Attempt<'b> {
    balancer: &'b LoadBalancer,
    selection: Selection,
    connection: Connection,
    call_result: CallResult,
}

impl<'b> Attempt<'b> {
    pub(super) fn balancer(&self) -> &'b LoadBalancer {
        self.balancer
    }

    /// The endpoint's index.
    pub(super) fn endpoint(&self) -> usize {
        self.selection.index
    }

    pub(super) fn connection(&self) -> Connection {
        self.connection
    }

    /// What the exchange says about the endpoint.
    pub(super) fn set_result(&mut self, call_result: CallResult) {
        self.call_result = call_result;
    }

    /// The exchange broke before there was a response.
    pub(super) fn interrupted(&mut self) {
        self.call_result = match self.connection {
            // Perhaps the server had closed an idle connection. The next call shows it, on a new one.
            Connection::Pooled => {
                let mut pool = self.balancer.pool.lock();
                pool.reuse_failed(self.selection.index, Instant::now());
                CallResult::Neutral
            }
            Connection::New => CallResult::Failure,
        };
    }

    async fn exchange(
        mut self,
        client: &InstrumentedClient,
        request: reqwest::Request,
        options: CallOptions,
    ) -> AttemptResult {
        let started = Instant::now();
        let timeout = if self.selection.probe {
            options.timeout.min(PROBE_TIMEOUT)
        } else {
            options.timeout
        };
        let limits = ExchangeLimits {
            deadline: options.deadline.min(started + timeout),
            max_body: options.max_body,
        };
        let result = client.send_on(self.connection, request, limits).await;
        match &result {
            Err(TransportError::Interrupted(_)) => self.interrupted(),
            _ => self.set_result(retry::call_result(&result, started.elapsed(), timeout)),
        }
        result
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut pool = self.balancer.pool.lock();
        let event = pool.report(self.selection, self.call_result, Instant::now());
        drop(pool);
        if let Some(event) = event {
            self.balancer.on_event(self.selection, event);
        }
    }
}

#[cfg(test)]
mod tests;
