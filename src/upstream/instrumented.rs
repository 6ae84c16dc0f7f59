//! The shared HTTP client. Its `send` is the only way out of the process.

use super::exchange::{self, ExchangeLimits, Response, TransportError};
use crate::telemetry::metrics::{CallOutcome, UpstreamMetrics};
use crate::telemetry::trace_context;
use crate::util::byte_budget::ByteBudget;
use http::HeaderValue;
use tokio::time::Instant;

/// The budget for bodies of responses, in bytes, where [`InstrumentedClient::with_memory`] names no other. Keystone's
/// responses and those to readiness probes share it; a token is some 10 KiB.
const DEFAULT_MEMORY: usize = 64 << 20;

/// An HTTP client that measures its exchanges; clones share connections and metrics.
///
/// A server may close a keep-alive connection without announcing it: uWSGI's `http-socket` does so after each
/// response. A request that is sent at that moment fails, and the client cannot know whether the server read
/// it. A read is repeated, a write must not be. So requests with unsafe methods never take a
/// connection that another request has used.
#[derive(Debug, Clone)]
pub struct InstrumentedClient {
    /// Reuses idle connections.
    pooled: reqwest::Client,
    /// Opens a connection for each request.
    unpooled: reqwest::Client,
    metrics: UpstreamMetrics,
    memory: ByteBudget,
}

/// Which connection a request is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// An idle one of the pool, or a new one.
    Pooled,
    /// A new one.
    New,
}

impl InstrumentedClient {
    pub(super) fn new(pooled: reqwest::Client, unpooled: reqwest::Client) -> Self {
        Self {
            pooled,
            unpooled,
            metrics: UpstreamMetrics::default(),
            memory: ByteBudget::new(DEFAULT_MEMORY),
        }
    }

    /// The same connections, with bodies of responses that count in `memory` from their first byte until
    /// their last clone is dropped.
    #[must_use]
    pub fn with_memory(self, memory: &ByteBudget) -> Self {
        Self {
            memory: memory.clone(),
            ..self
        }
    }

    /// The same connections, measured by `metrics`.
    #[must_use]
    pub fn counted(&self, metrics: &UpstreamMetrics) -> Self {
        Self {
            metrics: metrics.clone(),
            ..self.clone()
        }
    }

    /// Sends `request` and collects the response within `limits`. A request with an unsafe method gets a
    /// connection of its own.
    pub async fn send(
        &self,
        request: reqwest::Request,
        limits: ExchangeLimits,
    ) -> Result<Response, TransportError> {
        self.send_on(Connection::Pooled, request, limits).await
    }

    /// Like [`Self::send`]; a safe request, too, can get a connection of its own.
    pub(super) async fn send_on(
        &self,
        connection: Connection,
        mut request: reqwest::Request,
        limits: ExchangeLimits,
    ) -> Result<Response, TransportError> {
        // `timeout_at` would poll the request first and look at the clock afterwards.
        if limits.deadline <= Instant::now() {
            return Err(TransportError::Timeout);
        }
        let client = match connection {
            Connection::Pooled if request.method().is_safe() => &self.pooled,
            Connection::Pooled | Connection::New => &self.unpooled,
        };
        let headers = request.headers_mut();
        trace_context::for_each_header(|name, value| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        });
        let call = self.metrics.begin(request.url());
        let response = exchange::send(client, request, limits, &self.memory).await;
        call.end(outcome(&response));
        response
    }
}

fn outcome(response: &Result<Response, TransportError>) -> CallOutcome {
    match response {
        Ok(response) => CallOutcome::of_status(response.status.as_u16()),
        Err(TransportError::Connect(_)) => CallOutcome::Connect,
        Err(TransportError::Timeout) => CallOutcome::Timeout,
        Err(TransportError::TooLarge { .. } | TransportError::MemoryFull(_)) => {
            CallOutcome::TooLarge
        }
        Err(TransportError::Interrupted(_) | TransportError::InvalidHttp(_)) => {
            CallOutcome::Interrupted
        }
    }
}
