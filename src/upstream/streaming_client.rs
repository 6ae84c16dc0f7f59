//! The HTTP client of requests that are passed through: it changes nothing of a request, and its bodies
//! are streams.
//!
//! reqwest is the wrong tool there: it resolves `..` in a path, and adds headers.

use super::ClientSettings;
use super::exchange::TransportError;
use super::instrumented::Connection;
use super::request_body::RequestBody;
use crate::telemetry::metrics::{CallTimer, UpstreamMetrics};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io;
use std::time::Duration;
use url::Url;

type HttpClient = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// A client for streamed exchanges; clones share connections and metrics. Requests with an unsafe method, or
/// with a body, get a connection of their own, as those of [`super::InstrumentedClient`] do.
#[derive(Debug, Clone)]
pub struct StreamingClient {
    pooled: HttpClient,
    unpooled: HttpClient,
    metrics: UpstreamMetrics,
}

impl StreamingClient {
    /// A client without connections. Fails when TLS cannot be set up (no usable trust store, for example).
    pub fn new(settings: ClientSettings, metrics: &UpstreamMetrics) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(settings.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = |idle_per_host: usize, idle_timeout: Duration| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(idle_timeout)
                .pool_max_idle_per_host(idle_per_host)
                .build(connector.clone())
        };
        Ok(Self {
            pooled: client(settings.idle_per_host, settings.idle_timeout),
            unpooled: client(0, settings.idle_timeout),
            metrics: metrics.clone(),
        })
    }

    /// A call to `endpoint` begins.
    pub(super) fn begin(&self, endpoint: &Url) -> CallTimer {
        self.metrics.begin(endpoint)
    }

    /// Sends `request` and waits for the head of the response.
    pub(super) async fn send(
        &self,
        connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TransportError> {
        let client = match connection {
            Connection::Pooled => &self.pooled,
            Connection::New => &self.unpooled,
        };
        let response = client.request(request).await;
        response.map_err(|error| TransportError::of_cause(&error, error.is_connect()))
    }
}
