//! Which of several equal servers is asked next. Pure: the caller says what time it is.
//!
//! A server that fails several times in a row is left out for a while ("ejected"), a while that
//! doubles up to a bound as long as it goes on failing. When the while is over, one request at a
//! time tries it; a success takes it back in. With all of them out, the one with the least to do
//! that failed longest ago is asked: a request is never refused here without a try, so nothing has
//! to be waited for once a server is back. A lone server is never left out.

use std::time::Duration;
use tokio::time::Instant;

/// When a server is left out, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct OutlierDetection {
    /// Failures in a row that it takes.
    pub after: u32,
    /// The first time it lasts so long; each failed probe doubles that.
    pub first: Duration,
    /// It never lasts longer.
    pub longest: Duration,
}

/// A choice, to be given back to [`EndpointPool::done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The server's place in the list.
    pub index: usize,
    /// The server was left out, and this request is to tell whether it is back.
    pub probe: bool,
}

/// What an exchange says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the request was given up by its client, say.
    Neutral,
}

/// What became of a server by a call result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointEvent {
    /// It is left out for so long.
    Ejected(Duration),
    /// It was left out and is back.
    Readmitted,
}

/// The servers and how they have been doing.
#[derive(Debug)]
pub struct EndpointPool {
    ejection: OutlierDetection,
    endpoints: Vec<EndpointState>,
    /// Whose turn it is among equals.
    turn: usize,
}

#[derive(Debug, Default)]
struct EndpointState {
    in_flight: usize,
    /// Failures since the last success.
    failures: u32,
    last_failure: Option<Instant>,
    out: Option<Ejection>,
}

#[derive(Debug)]
struct Ejection {
    since: Instant,
    lasts: Duration,
    probe: bool,
}

impl EndpointState {
    /// It was left out long enough, and nobody is trying it.
    fn is_due(&self, now: Instant) -> bool {
        self.out
            .as_ref()
            .is_some_and(|out| !out.probe && now.saturating_duration_since(out.since) >= out.lasts)
    }
}

impl EndpointPool {
    /// A pool of `size` servers that have not failed yet.
    #[must_use]
    pub fn new(size: usize, ejection: OutlierDetection) -> Self {
        Self {
            ejection,
            endpoints: (0..size).map(|_| EndpointState::default()).collect(),
            turn: 0,
        }
    }

    /// Chooses a server for a request that has been to those in `tried` already. A request that
    /// may be repeated elsewhere (`repeatable`) is the one to try a server that may be back.
    /// `None` only for an empty pool.
    pub fn select(&mut self, now: Instant, tried: &[usize], repeatable: bool) -> Option<Selection> {
        let fresh = tried.is_empty();
        let index = (repeatable && fresh)
            .then(|| self.longest_due(now))
            .flatten()
            .or_else(|| self.best(now, tried))?;
        self.turn = index + 1;
        let endpoint = self.endpoints.get_mut(index)?;
        endpoint.in_flight += 1;
        let probe = endpoint.is_due(now);
        if let Some(out) = endpoint.out.as_mut().filter(|_| probe) {
            out.probe = true;
        }
        Some(Selection { index, probe })
    }

    fn longest_due(&self, now: Instant) -> Option<usize> {
        let due = self.endpoints.iter().enumerate();
        due.filter(|(_, endpoint)| endpoint.is_due(now))
            .min_by_key(|(_, endpoint)| endpoint.out.as_ref().map(|out| out.since + out.lasts))
            .map(|(index, _)| index)
    }

    /// A server that works and was not tried, then one that may work again, then one that works
    /// but failed this request once, then one that is out.
    fn best(&self, now: Instant, tried: &[usize]) -> Option<usize> {
        let size = self.endpoints.len();
        let endpoints = self.endpoints.iter().enumerate();
        endpoints
            .min_by_key(|(index, endpoint)| {
                let times = tried.iter().filter(|tried| *tried == index).count();
                let health = match &endpoint.out {
                    None => 0,
                    Some(_) if endpoint.is_due(now) => 1,
                    Some(_) => 3,
                };
                let failed = endpoint.out.as_ref().and(endpoint.last_failure);
                // In turn: the distance from the one whose turn it is.
                let distance = (index + size - self.turn % size) % size;
                (2 * times + health, endpoint.in_flight, failed, distance)
            })
            .map(|(index, _)| index)
    }

    /// Gives a choice back, with what it told about the server.
    pub fn report(
        &mut self,
        selection: Selection,
        call_result: CallResult,
        now: Instant,
    ) -> Option<EndpointEvent> {
        let alone = self.endpoints.len() == 1;
        let ejection = self.ejection;
        let endpoint = self.endpoints.get_mut(selection.index)?;
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        if let Some(out) = endpoint.out.as_mut().filter(|_| selection.probe) {
            out.probe = false;
        }
        match call_result {
            CallResult::Neutral => None,
            CallResult::Success => {
                endpoint.failures = 0;
                endpoint.out.take().map(|_| EndpointEvent::Readmitted)
            }
            CallResult::Failure => {
                endpoint.failures = endpoint.failures.saturating_add(1);
                endpoint.last_failure = Some(now);
                let lasts = match &endpoint.out {
                    // What was under way when it was left out says nothing new.
                    Some(_) if !selection.probe => return None,
                    Some(out) => (out.lasts * 2).min(ejection.longest),
                    None if alone || endpoint.failures < ejection.after => return None,
                    None => ejection.first.min(ejection.longest),
                };
                endpoint.out = Some(Ejection {
                    since: now,
                    lasts,
                    probe: false,
                });
                Some(EndpointEvent::Ejected(lasts))
            }
        }
    }
}

#[cfg(test)]
mod tests;
