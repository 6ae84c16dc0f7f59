//! The reverse proxies of the listeners.

use super::{StartError, upstream_policy};
use crate::config::{self, Settings};
use crate::images::ImageService;
use crate::reverse_proxy::{Endpoint, ProxySettings, ReverseProxy, Service};
use crate::telemetry::metrics::{MetricValue, Metrics};
use crate::upstream::runtime::Spawner;
use crate::upstream::{ClientSettings, LoadBalancer, LoadBalancerMetrics, StreamingClient};
use std::sync::Arc;

/// The proxy to Nova on the compute listener; `None` without `compute.endpoints`.
pub(super) fn nova(
    settings: &Settings,
    metrics: &mut Metrics,
    images: &Arc<ImageService>,
    spawner: &Spawner,
) -> Result<Option<ReverseProxy>, StartError> {
    let compute = &settings.compute;
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
    let client = ClientSettings {
        connect_timeout: compute.connect_timeout,
        ..ClientSettings::default()
    };
    let client = StreamingClient::new(client, &metrics.upstream).map_err(StartError::Tls)?;
    let endpoints: Vec<_> = compute.endpoints.iter().map(Endpoint::new).collect();
    let of_balancer = LoadBalancerMetrics::default();
    metrics.register(|registry| of_balancer.register(registry, "nova", "Nova"));
    let names = endpoints
        .iter()
        .map(|endpoint| endpoint.as_str().to_owned());
    let proxy = ReverseProxy::new(
        Service::Nova,
        settings.server.clone(),
        ProxySettings {
            idle_timeout: compute.idle_timeout,
            max_in_flight: compute.max_in_flight,
        },
        crate::reverse_proxy::Upstream {
            balancer: Arc::new(LoadBalancer::new(names.collect(), policy, of_balancer)),
            endpoints,
            client,
            images: Arc::clone(images),
        },
        spawner.clone(),
    );
    let limit = Arc::clone(proxy.concurrency_limit());
    let help = "Requests being passed through to Nova now, bodies included";
    metrics.register_callback("passthrough_requests_in_flight", help, move || {
        MetricValue::gauge(limit.in_flight())
    });
    Ok(Some(proxy))
}
