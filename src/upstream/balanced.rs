//! Calls to a service that has one or several equal endpoints.

use super::budget::Budget;
use super::counted::Client;
use super::counters::Counters;
use super::exchange::{Answer, Limits, TransportError, exchange};
use super::gate::{Busy, Gate};
use super::pool::{Change, Ejection, Pick, Pool, Verdict};
use super::retry::{self, Again, Outcome, Repeat};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// An endpoint that may be back is not waited for as long as one that works.
const TRIAL: Duration = Duration::from_secs(5);

/// How the endpoints are called.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// When an endpoint is left out.
    pub ejection: Ejection,
    /// How often one call is sent again at most.
    pub retries: u32,
    /// Calls under way at once.
    pub max_in_flight: usize,
    /// Calls that wait for that.
    pub max_queue: usize,
}

/// What one call may cost.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
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
    Busy(#[from] Busy),
    /// The last exchange failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// One service at one or several endpoints.
#[derive(Debug)]
pub struct Balanced {
    /// What the log calls the endpoints.
    names: Vec<String>,
    pool: Mutex<Pool>,
    budget: Mutex<Budget>,
    gate: Gate,
    retries: u32,
    counters: Arc<Counters>,
}

impl Balanced {
    /// One endpoint for each of `names`.
    #[must_use]
    pub fn new(names: Vec<String>, rules: Rules, counters: Arc<Counters>) -> Self {
        // As many as can be under way when an endpoint dies: all of them may go to another one,
        // however quiet it was before.
        let floor = rules.max_in_flight as u64;
        Self {
            pool: Mutex::new(Pool::new(names.len(), rules.ejection)),
            budget: Mutex::new(Budget::new(floor, Instant::now())),
            gate: Gate::new(rules.max_in_flight, rules.max_queue, Arc::clone(&counters)),
            retries: rules.retries,
            names,
            counters,
        }
    }

    /// Makes one call. `request` makes the request for the endpoint at a place in the list, anew
    /// each time it is sent.
    pub async fn call(
        &self,
        client: &Client,
        request: impl Fn(usize) -> Result<reqwest::Request, TransportError>,
        repeat: Repeat,
        limits: CallLimits,
    ) -> Result<Answer, CallError> {
        self.counters.calls.inc();
        let _place = self.gate.enter(limits.deadline).await?;
        lock(&self.budget).request(Instant::now());
        let mut tried = Vec::new();
        let mut attempt = self.begin(&tried, repeat)?;
        loop {
            let index = attempt.pick.index;
            let outcome = attempt.exchange(client, request(index)?, limits).await;
            tried.push(index);
            let Some(next) = self.next(&outcome, &tried, repeat, limits.deadline) else {
                return Ok(outcome?);
            };
            if !next.wait.is_zero() {
                tokio::time::sleep(next.wait).await;
            }
            attempt = next.attempt;
        }
    }

    fn begin(&self, tried: &[usize], repeat: Repeat) -> Result<Attempt<'_>, TransportError> {
        let repeatable = repeat == Repeat::Safe;
        let pick = lock(&self.pool).choose(Instant::now(), tried, repeatable);
        let pick = pick.ok_or_else(|| TransportError::Connect("no endpoint".to_owned()))?;
        Ok(Attempt {
            service: self,
            pick,
            verdict: Verdict::Unknown,
        })
    }

    /// Where and when the call is made once more; `None` when that is it.
    fn next(
        &self,
        outcome: &Outcome,
        tried: &[usize],
        repeat: Repeat,
        deadline: Instant,
    ) -> Option<Next<'_>> {
        let again = retry::again(outcome, repeat);
        let times = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        if again == Again::No || times > self.retries {
            return None;
        }
        let attempt = self.begin(tried, repeat).ok()?;
        let elsewhere = !tried.contains(&attempt.pick.index);
        let wait = if elsewhere {
            Duration::ZERO
        } else {
            retry::wait(times, fastrand::u64(..))
        };
        if again == Again::Elsewhere && !elsewhere || Instant::now() + wait >= deadline {
            return None;
        }
        if !lock(&self.budget).retry(Instant::now()) {
            self.counters.budget_exhausted.inc();
            return None;
        }
        self.counters.retries.inc();
        if elsewhere {
            self.counters.failovers.inc();
        }
        Some(Next { attempt, wait })
    }

    fn note(&self, pick: Pick, change: Change) {
        let endpoint = self.names.get(pick.index).map(String::as_str);
        match change {
            Change::Ejected(lasts) => {
                self.counters.ejections.inc();
                tracing::warn!(
                    endpoint,
                    seconds = lasts.as_secs_f64(),
                    "an endpoint is left out"
                );
            }
            Change::Readmitted => {
                self.counters.readmissions.inc();
                tracing::info!(endpoint, "an endpoint is back");
            }
        }
    }
}

struct Next<'b> {
    attempt: Attempt<'b>,
    wait: Duration,
}

/// One exchange with one endpoint. Dropped early, it says nothing about the endpoint.
struct Attempt<'b> {
    service: &'b Balanced,
    pick: Pick,
    verdict: Verdict,
}

impl Attempt<'_> {
    async fn exchange(
        mut self,
        client: &Client,
        request: reqwest::Request,
        limits: CallLimits,
    ) -> Outcome {
        let started = Instant::now();
        let timeout = if self.pick.trial {
            limits.timeout.min(TRIAL)
        } else {
            limits.timeout
        };
        let limits = Limits {
            deadline: limits.deadline.min(started + timeout),
            max_body: limits.max_body,
        };
        let outcome = exchange(client, request, limits).await;
        self.verdict = retry::verdict(&outcome, started.elapsed(), timeout);
        outcome
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let change = lock(&self.service.pool).done(self.pick, self.verdict, Instant::now());
        if let Some(change) = change {
            self.service.note(self.pick, change);
        }
    }
}

/// What is guarded is a few numbers, right at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
