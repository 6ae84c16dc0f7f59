//! The Glances that are called: the configured one, or those that tokens' catalogs name.

use super::query::Endpoint;
use crate::upstream::{LoadBalancer, UpstreamCounters, UpstreamPolicy};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::sync::Arc;

/// Hosts that catalogs name are remembered up to this many; a cloud has a few.
const MAX_FOUND: u64 = 256;

/// All of them.
#[derive(Debug)]
pub struct EndpointPools {
    configured: Option<EndpointPool>,
    /// By scheme, host and port: endpoints of one host with a path for each project are one server.
    found: Cache<String, Arc<LoadBalancer>>,
    rules: UpstreamPolicy,
    counters: Arc<UpstreamCounters>,
}

/// One Glance.
#[derive(Debug, Clone)]
pub struct EndpointPool {
    first: Endpoint,
    others: Arc<[Endpoint]>,
    /// The way to its endpoints.
    pub calls: Arc<LoadBalancer>,
}

impl EndpointPool {
    /// The endpoint at this place in the list.
    pub fn endpoint(&self, index: usize) -> &Endpoint {
        let others = index
            .checked_sub(1)
            .and_then(|index| self.others.get(index));
        others.unwrap_or(&self.first)
    }
}

impl EndpointPools {
    pub fn new(configured: Vec<Endpoint>, rules: UpstreamPolicy) -> Self {
        let counters = Arc::<UpstreamCounters>::default();
        let names = configured
            .iter()
            .map(|endpoint| endpoint.as_str().to_owned());
        let calls = Arc::new(LoadBalancer::new(
            names.collect(),
            rules,
            Arc::clone(&counters),
        ));
        let mut endpoints = configured.into_iter();
        let configured = endpoints.next().map(|first| EndpointPool {
            first,
            others: endpoints.collect(),
            calls,
        });
        let found = Cache::builder()
            .max_capacity(MAX_FOUND)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self {
            configured,
            found,
            rules,
            counters,
        }
    }

    pub fn counters(&self) -> &Arc<UpstreamCounters> {
        &self.counters
    }

    /// The Glance that `endpoint` stands for.
    pub fn of(&self, endpoint: &Endpoint) -> EndpointPool {
        if let Some(configured) = &self.configured
            && configured.first == *endpoint
        {
            return configured.clone();
        }
        let calls = self.found.get_with_by_ref(endpoint.origin(), || {
            let names = vec![endpoint.origin().to_owned()];
            Arc::new(LoadBalancer::new(
                names,
                self.rules,
                Arc::clone(&self.counters),
            ))
        });
        EndpointPool {
            first: endpoint.clone(),
            others: Arc::default(),
            calls,
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

    fn services(configured: &[&str]) -> EndpointPools {
        let configured = configured.iter().map(|url| endpoint(url)).collect();
        let rules = UpstreamPolicy {
            ejection: OutlierDetection {
                after: 3,
                first: Duration::from_secs(1),
                longest: Duration::from_secs(1),
            },
            retries: 2,
            max_in_flight: 1,
            max_queue: 1,
        };
        EndpointPools::new(configured, rules)
    }

    #[test]
    fn the_first_configured_endpoint_stands_for_all() {
        let services = services(&["http://a/v2", "http://b", "http://c/image/v2"]);
        let service = services.of(&endpoint("http://a"));
        let urls: Vec<_> = (0..3).map(|at| service.endpoint(at).as_str()).collect();
        assert_eq!(urls, ["http://a", "http://b", "http://c/image"]);
    }

    #[test]
    fn endpoints_of_one_host_share_their_state_and_keep_their_paths() {
        let services = services(&[]);
        let [one, two, other] =
            ["http://g/p1", "http://g/p2", "http://h/p1"].map(|url| services.of(&endpoint(url)));
        assert!(Arc::ptr_eq(&one.calls, &two.calls));
        assert!(!Arc::ptr_eq(&one.calls, &other.calls));
        assert_eq!(two.endpoint(0).as_str(), "http://g/p2");
    }

    #[test]
    fn hosts_are_forgotten_and_not_collected() {
        let services = services(&[]);
        for number in 0..2000 {
            services.of(&endpoint(&format!("http://h{number}")));
        }
        services.found.run_pending_tasks();
        assert!(services.found.entry_count() <= MAX_FOUND);
        // The newest are kept, so a busy host does not start over with each call.
        assert!(services.found.contains_key("http://h1999"));
    }
}
