//! The reverse proxies of the listeners.

use super::{StartError, upstream_policy};
use crate::config::{self, Settings};
use crate::images::ImageService;
use crate::reverse_proxy::{Endpoint, ProxySettings, ReverseProxy, Service, Upstream};
use crate::telemetry::metrics::{MetricValue, Metrics};
use crate::upstream::runtime::Spawner;
use crate::upstream::{ClientSettings, LoadBalancer, LoadBalancerMetrics, StreamingClient};
use crate::util::byte_budget::ByteBudget;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What all proxies share.
pub(super) struct Shared<'a> {
    pub settings: &'a Settings,
    pub images: &'a Arc<ImageService>,
    pub request_memory: &'a ByteBudget,
    pub spawner: &'a Spawner,
}

/// The proxy to Nova on the compute listener; `None` without `compute.endpoints`.
pub(super) fn nova(
    shared: &Shared<'_>,
    metrics: &mut Metrics,
) -> Result<Option<ReverseProxy>, StartError> {
    let compute = &shared.settings.compute;
    if compute.endpoints.is_empty() {
        return Ok(None);
    }
    // Outlier detection and retries have the defaults of those for Glance.
    let policy = upstream_policy(&config::Glance::default());
    for url in &compute.endpoints {
        let max_failures = policy.outlier_detection.consecutive_failures;
        metrics
            .upstream
            .register_endpoint("nova", url, max_failures);
    }
    let endpoints: Vec<_> = compute.endpoints.iter().map(Endpoint::new).collect();
    let of_balancer = LoadBalancerMetrics::default();
    metrics.register(|registry| of_balancer.register(registry, "nova", "Nova"));
    let names = endpoints
        .iter()
        .map(|endpoint| endpoint.as_str().to_owned());
    let proxy = ReverseProxy::new(
        Service::Nova,
        shared.settings.server.clone(),
        ProxySettings {
            idle_timeout: compute.idle_timeout,
            max_in_flight: compute.max_in_flight,
        },
        Upstream {
            balancer: Arc::new(LoadBalancer::new(names.collect(), policy, of_balancer)),
            endpoints,
            client: client(compute.connect_timeout, metrics)?,
            images: Arc::clone(shared.images),
        },
        shared.request_memory.clone(),
        shared.spawner.clone(),
    );
    let limit = Arc::clone(proxy.concurrency_limit());
    let help = "Requests being passed through to Nova now, bodies included";
    metrics.register_callback("nova_passthrough_in_flight", help, move || {
        MetricValue::gauge(limit.in_flight())
    });
    Ok(Some(proxy))
}

/// The proxy to Glance, at `urls`, on the image listener with the settings `server`; `None` where tokens' catalogs name
/// Glance.
pub(super) fn glance(
    shared: &Shared<'_>,
    server: &config::Server,
    urls: &[Url],
    metrics: &mut Metrics,
) -> Result<Option<ReverseProxy>, StartError> {
    let Some(balancer) = shared.images.glance().configured_balancer() else {
        return Ok(None);
    };
    let image = &shared.settings.image;
    let proxy = ReverseProxy::new(
        Service::Glance,
        server.clone(),
        ProxySettings {
            idle_timeout: image.idle_timeout,
            max_in_flight: image.max_transfers,
        },
        Upstream {
            balancer,
            endpoints: urls.iter().map(Endpoint::new).collect(),
            client: client(shared.settings.glance.connect_timeout, metrics)?,
            images: Arc::clone(shared.images),
        },
        shared.request_memory.clone(),
        shared.spawner.clone(),
    );
    let limit = Arc::clone(proxy.concurrency_limit());
    let help = "Uploads and downloads of image data now (at most image.max_transfers)";
    metrics.register_callback("image_transfers_in_flight", help, move || {
        MetricValue::gauge(limit.in_flight())
    });
    Ok(Some(proxy))
}

/// The settings of the image listener at `address`: those of `[server]`, but for its own.
pub(super) fn image_server(settings: &Settings, address: SocketAddr) -> config::Server {
    config::Server {
        listen: address,
        path_prefix: settings.image.path_prefix.clone(),
        write_timeout: settings.image.idle_timeout,
        ..settings.server.clone()
    }
}

fn client(connect_timeout: Duration, metrics: &Metrics) -> Result<StreamingClient, StartError> {
    let settings = ClientSettings {
        connect_timeout,
        ..ClientSettings::default()
    };
    StreamingClient::new(settings, &metrics.upstream).map_err(StartError::Tls)
}
