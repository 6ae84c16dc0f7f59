//! The shared client, which counts its calls.

use super::exchange::{Response, TransportError};
use crate::telemetry::metrics::{CallOutcome, UpstreamMetrics};
use std::ops::Deref;

/// An HTTP client whose exchanges are counted; clones share connections and counts.
#[derive(Debug, Clone)]
pub struct InstrumentedClient {
    http: reqwest::Client,
    metrics: UpstreamMetrics,
}

impl InstrumentedClient {
    pub(super) fn new(http: reqwest::Client) -> Self {
        Self {
            http,
            metrics: UpstreamMetrics::default(),
        }
    }

    /// The same connections, counted in `metrics`.
    #[must_use]
    pub fn counted(&self, metrics: &UpstreamMetrics) -> Self {
        Self {
            http: self.http.clone(),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }
}

impl Deref for InstrumentedClient {
    type Target = reqwest::Client;

    fn deref(&self) -> &reqwest::Client {
        &self.http
    }
}

/// What an exchange counts as.
pub(super) fn outcome(answer: &Result<Response, TransportError>) -> CallOutcome {
    match answer {
        Ok(answer) => CallOutcome::of_status(answer.status.as_u16()),
        Err(TransportError::Connect(_)) => CallOutcome::Connect,
        Err(TransportError::Timeout) => CallOutcome::Timeout,
        Err(TransportError::TooLarge { .. }) => CallOutcome::TooLarge,
        Err(TransportError::Interrupted(_) | TransportError::InvalidHttp(_)) => {
            CallOutcome::Interrupted
        }
    }
}
