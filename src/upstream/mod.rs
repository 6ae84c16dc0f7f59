//! HTTP calls to other services: one client, bounded exchanges, load balancing and retries.
//!
//! Every request to Glance or Keystone leaves through [`InstrumentedClient::send`], which holds one deadline
//! and one size limit over the whole response. The client follows no redirects, because reqwest would
//! forward `X-Auth-Token`, and ignores the proxy variables of the environment: a token reaches the
//! configured endpoints and nothing else.
//!
//! Requests that are passed through leave through [`StreamingClient`], with streams for bodies and idle times
//! for deadlines (`stream.rs`).
//!
//! Calls to a service with several endpoints go through [`LoadBalancer`]: `concurrency_limit.rs` decides when
//! a call starts, `endpoint_pool.rs` which endpoint it goes to (outlier detection), `retry.rs` whether it
//! may be sent again (with backoff and jitter), `retry_budget.rs` how many retries there may be in all.
//! There is no circuit breaker: with every endpoint ejected, the least loaded one is still called, so the first
//! call after a recovery succeeds. The concurrency limit bounds the cost of that.

mod concurrency_limit;
mod endpoint_pool;
mod exchange;
mod instrumented;
mod load_balancer;
mod metrics;
mod request_body;
mod retry;
mod retry_budget;
pub mod runtime;
mod stream;
mod streaming_client;

pub use concurrency_limit::{FairnessKey, Overloaded};
pub use endpoint_pool::OutlierDetection;
pub use exchange::{ExchangeLimits, MAX_ERROR_BODY, Response, TransportError};
pub use instrumented::InstrumentedClient;
pub use load_balancer::{BalancedResponse, CallError, CallOptions, LoadBalancer, UpstreamPolicy};
pub use metrics::LoadBalancerMetrics;
pub use request_body::{RequestBody, RequestBodyError, RequestBodySender};
pub use retry::Idempotency;
pub use stream::{StreamError, StreamedResponse};
pub use streaming_client::StreamingClient;

use std::time::Duration;

/// Connection settings of the shared client.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// Longest wait for a TCP (and TLS) connection.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this long; keep it below the server's own keep-alive.
    pub idle_timeout: Duration,
    /// Most idle connections to one host.
    pub idle_per_host: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(4),
            idle_per_host: 64,
        }
    }
}

/// Builds the client that all upstream calls share. It speaks HTTP/1.1 only: over HTTP/2 one hung
/// connection would carry, and hang, every call to a server.
///
/// Fails only when TLS cannot be set up (no usable trust store, for example).
pub fn client(settings: ClientSettings) -> Result<InstrumentedClient, reqwest::Error> {
    let http = |idle_per_host: usize| {
        reqwest::Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(settings.idle_timeout)
            .pool_max_idle_per_host(idle_per_host)
            .tcp_nodelay(true)
            .user_agent(concat!("nova-image-proxy/", env!("CARGO_PKG_VERSION")))
            .build()
    };
    Ok(InstrumentedClient::new(
        http(settings.idle_per_host)?,
        http(0)?,
    ))
}
