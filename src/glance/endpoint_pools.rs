//! The Glance services that are called: the configured one, or those that tokens' catalogs name.

use super::query::Endpoint;
use crate::upstream::{LoadBalancer, LoadBalancerMetrics, UpstreamPolicy};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::sync::Arc;

/// Most hosts of catalogs with a load balancer of their own; a cloud has a few.
const MAX_CATALOG_POOLS: u64 = 256;

/// The endpoint pools of all Glance services.
#[derive(Debug)]
pub struct EndpointPools {
    configured: Option<EndpointPool>,
    /// By scheme, host and port: catalogs may give each project a path of its own on one server.
    catalog_pools: Cache<String, Arc<LoadBalancer>>,
    policy: UpstreamPolicy,
    metrics: LoadBalancerMetrics,
}

/// The endpoints of one Glance.
#[derive(Debug, Clone)]
pub struct EndpointPool {
    first: Endpoint,
    others: Arc<[Endpoint]>,
    /// Calls one of the endpoints, by its index.
    pub balancer: Arc<LoadBalancer>,
}

impl EndpointPool {
    /// The endpoint with this index.
    pub fn endpoint(&self, index: usize) -> &Endpoint {
        let others = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        others.unwrap_or(&self.first)
    }
}

impl EndpointPools {
    pub fn new(configured: Vec<Endpoint>, policy: UpstreamPolicy) -> Self {
        let metrics = LoadBalancerMetrics::default();
        let names = configured
            .iter()
            .map(|endpoint| endpoint.as_str().to_owned());
        let balancer = Arc::new(LoadBalancer::new(names.collect(), policy, metrics.clone()));
        let mut endpoints = configured.into_iter();
        let configured = endpoints.next().map(|first| EndpointPool {
            first,
            others: endpoints.collect(),
            balancer,
        });
        let catalog_pools = Cache::builder()
            .max_capacity(MAX_CATALOG_POOLS)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            configured,
            catalog_pools,
            policy,
            metrics,
        }
    }

    pub fn configured_balancer(&self) -> Option<Arc<LoadBalancer>> {
        let configured = self.configured.as_ref()?;
        Some(Arc::clone(&configured.balancer))
    }

    pub fn metrics(&self) -> &LoadBalancerMetrics {
        &self.metrics
    }

    /// The pool that `endpoint` represents.
    pub fn pool_for(&self, endpoint: &Endpoint) -> EndpointPool {
        if let Some(configured) = &self.configured
            && configured.first == *endpoint
        {
            return configured.clone();
        }
        let balancer = self.catalog_pools.get_with_by_ref(endpoint.origin(), || {
            let names = vec![endpoint.origin().to_owned()];
            let metrics = self.metrics.clone();
            Arc::new(LoadBalancer::new(names, self.policy, metrics))
        });
        EndpointPool {
            first: endpoint.clone(),
            others: Arc::default(),
            balancer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::OutlierDetection;
    use std::time::Duration;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(&url.parse().unwrap())
    }

    fn pools(configured: &[&str]) -> EndpointPools {
        let configured = configured.iter().map(|url| endpoint(url)).collect();
        let policy = UpstreamPolicy {
            outlier_detection: OutlierDetection {
                consecutive_failures: 3,
                base_ejection_time: Duration::from_secs(1),
                max_ejection_time: Duration::from_secs(1),
            },
            retries: 2,
            max_in_flight: 1,
            max_queue: 1,
        };
        EndpointPools::new(configured, policy)
    }

    #[test]
    fn the_first_configured_endpoint_stands_for_all() {
        let pools = pools(&["http://a/v2", "http://b", "http://c/image/v2"]);
        let pool = pools.pool_for(&endpoint("http://a"));
        let urls: Vec<_> = (0..3).map(|at| pool.endpoint(at).as_str()).collect();
        assert_eq!(urls, ["http://a", "http://b", "http://c/image"]);
    }

    #[test]
    fn endpoints_of_one_host_share_their_state_and_keep_their_paths() {
        let pools = pools(&[]);
        let [one, two, other] =
            ["http://g/p1", "http://g/p2", "http://h/p1"].map(|url| pools.pool_for(&endpoint(url)));
        assert!(Arc::ptr_eq(&one.balancer, &two.balancer));
        assert!(!Arc::ptr_eq(&one.balancer, &other.balancer));
        assert_eq!(two.endpoint(0).as_str(), "http://g/p2");
    }

    #[test]
    fn the_least_recently_called_hosts_are_forgotten() {
        let pools = pools(&[]);
        for number in 0..2000 {
            pools.pool_for(&endpoint(&format!("http://h{number}")));
        }
        pools.catalog_pools.run_pending_tasks();
        assert!(pools.catalog_pools.entry_count() <= MAX_CATALOG_POOLS);
        // The newest stay, so a busy host keeps its state.
        assert!(pools.catalog_pools.contains_key("http://h1999"));
    }
}
