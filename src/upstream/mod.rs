//! The one way out: a shared HTTP client and a bounded exchange.
//!
//! Everything that leaves this process (to Glance, to Keystone) goes through [`exchange`], which
//! holds a deadline and a size limit over the whole answer. The client follows no redirects, since
//! reqwest would carry `X-Auth-Token` along, and honours no proxy from the environment, so a token
//! reaches the configured endpoints and nothing else.
//!
//! Calls to a service that has several endpoints go through [`LoadBalancer`]: `concurrency_limit.rs` says when one may
//! be made, `endpoint_pool.rs` where, `retry.rs` whether once more, `retry_budget.rs` how often in all.

mod concurrency_limit;
mod counters;
mod endpoint_pool;
mod exchange;
mod instrumented_client;
mod load_balancer;
mod retry;
mod retry_budget;
pub mod runtime;

pub use concurrency_limit::Overloaded;
pub use counters::{UpstreamCounters, UpstreamSnapshot};
pub use endpoint_pool::OutlierDetection;
pub use exchange::{ExchangeLimits, Response, TransportError, exchange};
pub use instrumented_client::InstrumentedClient;
pub use load_balancer::{CallError, CallOptions, LoadBalancer, UpstreamPolicy};
pub use retry::Idempotency;

use std::time::Duration;

/// How the shared client keeps its connections.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// Longest wait for a TCP (and TLS) connection.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this long; keep it below the server's own keep-alive.
    pub idle_timeout: Duration,
    /// Idle connections kept for each endpoint.
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

/// Builds the client that all upstream calls share.
///
/// Fails only when TLS cannot be set up (no usable trust store, say).
pub fn client(settings: ClientSettings) -> Result<InstrumentedClient, reqwest::Error> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.idle_per_host)
        .tcp_nodelay(true)
        .user_agent(concat!("nova-image-proxy/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(InstrumentedClient::new(http))
}
