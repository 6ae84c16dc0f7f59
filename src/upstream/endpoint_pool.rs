//! Selection of one of several equal endpoints, with outlier detection. Pure: the caller passes the time.
//!
//! After several failures in a row an endpoint is ejected; the ejection time doubles with every failed
//! probe, up to a maximum. When the time is over, one read at a time probes the endpoint; a success
//! readmits it. With all endpoints ejected, the least loaded one that failed longest ago is selected, so the first
//! call after a recovery succeeds. A lone endpoint is never ejected.

use std::time::Duration;
use tokio::time::Instant;

/// How long the idle connections of an endpoint are not used after one of them broke.
const REUSE_PAUSE: Duration = Duration::from_secs(60);

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct OutlierDetection {
    /// Failures in a row before an ejection.
    pub consecutive_failures: u32,
    /// The first ejection time; each failed probe doubles it.
    pub base_ejection_time: Duration,
    /// The longest ejection time.
    pub max_ejection_time: Duration,
}

/// A selected endpoint; its result goes to [`EndpointPool::report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The endpoint's index in the list.
    pub index: usize,
    /// The endpoint was ejected, and this call probes it.
    pub probe: bool,
}

/// The result of an exchange, as outlier detection counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It works.
    Success,
    /// It does not work.
    Failure,
    /// Nothing: the call was canceled, for example.
    Neutral,
}

/// A change of an endpoint's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointEvent {
    /// It is ejected for this long.
    Ejected(Duration),
    /// It was ejected and is back.
    Readmitted,
}

/// The endpoints and their recent results.
#[derive(Debug)]
pub struct EndpointPool {
    outlier_detection: OutlierDetection,
    endpoints: Vec<EndpointState>,
    /// The endpoint after the last one selected: the first among equals.
    next: usize,
}

#[derive(Debug, Default)]
struct EndpointState {
    in_flight: usize,
    /// Failures since the last success.
    failures: u32,
    last_failure: Option<Instant>,
    ejected: Option<Ejected>,
    /// When an idle connection last broke on use.
    reuse_failed: Option<Instant>,
}

#[derive(Debug)]
struct Ejected {
    since: Instant,
    duration: Duration,
    /// A probe is under way.
    probing: bool,
}

impl EndpointState {
    /// Its ejection time is over, and no probe is under way.
    fn is_due(&self, now: Instant) -> bool {
        self.ejected.as_ref().is_some_and(|ejected| {
            !ejected.probing && now.saturating_duration_since(ejected.since) >= ejected.duration
        })
    }
}

impl EndpointPool {
    /// A pool of `size` endpoints without failures.
    #[must_use]
    pub fn new(size: usize, outlier_detection: OutlierDetection) -> Self {
        Self {
            outlier_detection,
            endpoints: (0..size).map(|_| EndpointState::default()).collect(),
            next: 0,
        }
    }

    /// Selects an endpoint for a call that has been to those in `tried`. Only a `read` probes an endpoint,
    /// because only a read can be sent elsewhere when the probe fails. `preferred` is selected first, unless it
    /// is ejected or was tried. `None` only for an empty pool.
    pub fn select(
        &mut self,
        now: Instant,
        tried: &[usize],
        read: bool,
        preferred: Option<usize>,
    ) -> Option<Selection> {
        let preferred = preferred.filter(|index| {
            let endpoint = self.endpoints.get(*index);
            !tried.contains(index) && endpoint.is_some_and(|endpoint| endpoint.ejected.is_none())
        });
        let index = preferred
            .or_else(|| {
                let may_probe = read && tried.is_empty();
                may_probe.then(|| self.longest_due(now)).flatten()
            })
            .or_else(|| self.best(now, tried))?;
        self.next = index + 1;
        let endpoint = self.endpoints.get_mut(index)?;
        endpoint.in_flight += 1;
        let probe = read && endpoint.is_due(now);
        if let Some(ejected) = endpoint.ejected.as_mut().filter(|_| probe) {
            ejected.probing = true;
        }
        Some(Selection { index, probe })
    }

    fn longest_due(&self, now: Instant) -> Option<usize> {
        let endpoints = self.endpoints.iter().enumerate();
        endpoints
            .filter(|(_, endpoint)| endpoint.is_due(now))
            .min_by_key(|(_, endpoint)| {
                let ejected = endpoint.ejected.as_ref();
                ejected.map(|ejected| ejected.since + ejected.duration)
            })
            .map(|(index, _)| index)
    }

    /// In this order: an endpoint that works and was not tried, one that may work again, one that works but
    /// was tried once, one that is ejected.
    fn best(&self, now: Instant, tried: &[usize]) -> Option<usize> {
        let size = self.endpoints.len();
        let endpoints = self.endpoints.iter().enumerate();
        endpoints
            .min_by_key(|(index, endpoint)| {
                let times = tried.iter().filter(|tried| *tried == index).count();
                let health = match &endpoint.ejected {
                    None => 0,
                    Some(_) if endpoint.is_due(now) => 1,
                    Some(_) => 3,
                };
                let failed = endpoint.ejected.as_ref().and(endpoint.last_failure);
                // Round-robin among equals.
                let distance = (index + size - self.next % size) % size;
                (2 * times + health, endpoint.in_flight, failed, distance)
            })
            .map(|(index, _)| index)
    }

    /// Whether calls to an endpoint may use idle connections. A server that closes its connections without
    /// announcing it breaks them, and nothing is gained from keeping them.
    pub fn may_reuse_connections(&self, index: usize, now: Instant) -> bool {
        let endpoint = self.endpoints.get(index);
        let failed = endpoint.and_then(|endpoint| endpoint.reuse_failed);
        failed.is_none_or(|failed| now.saturating_duration_since(failed) >= REUSE_PAUSE)
    }

    /// A call broke that may have used an idle connection.
    pub fn reuse_failed(&mut self, index: usize, now: Instant) {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.reuse_failed = Some(now);
        }
    }

    /// One more call to this endpoint is under way, which no choice has made.
    pub fn hold(&mut self, index: usize) -> Selection {
        if let Some(endpoint) = self.endpoints.get_mut(index) {
            endpoint.in_flight += 1;
        }
        Selection {
            index,
            probe: false,
        }
    }

    /// Reports the result of a call to the selected endpoint.
    pub fn report(
        &mut self,
        selection: Selection,
        call_result: CallResult,
        now: Instant,
    ) -> Option<EndpointEvent> {
        let alone = self.endpoints.len() == 1;
        let rules = self.outlier_detection;
        let endpoint = self.endpoints.get_mut(selection.index)?;
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        if let Some(ejected) = endpoint.ejected.as_mut().filter(|_| selection.probe) {
            ejected.probing = false;
        }
        match call_result {
            CallResult::Neutral => None,
            CallResult::Success => {
                endpoint.failures = 0;
                endpoint.ejected.take().map(|_| EndpointEvent::Readmitted)
            }
            CallResult::Failure => {
                endpoint.failures = endpoint.failures.saturating_add(1);
                endpoint.last_failure = Some(now);
                let duration = match &endpoint.ejected {
                    // A call that began before the ejection, or a write: no news.
                    Some(_) if !selection.probe => return None,
                    Some(ejected) => (ejected.duration * 2).min(rules.max_ejection_time),
                    None if alone || endpoint.failures < rules.consecutive_failures => return None,
                    None => rules.base_ejection_time.min(rules.max_ejection_time),
                };
                endpoint.ejected = Some(Ejected {
                    since: now,
                    duration,
                    probing: false,
                });
                Some(EndpointEvent::Ejected(duration))
            }
        }
    }
}

#[cfg(test)]
mod tests;
