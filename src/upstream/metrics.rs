//! Metrics of the load balancers, shared by all of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters since the start of the process, and gauges of this moment. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LoadBalancerMetrics {
    pub(super) requests: Counter,
    pub(super) in_flight: Gauge,
    pub(super) queued: Gauge,
    pub(super) rejected: Counter,
    pub(super) retries: Counter,
    pub(super) failovers: Counter,
    pub(super) retry_budget_exhausted: Counter,
    ejections: Family<Upstream, Counter>,
    readmissions: Family<Upstream, Counter>,
}

/// An endpoint of the settings: one that a token's catalog names is alone, and a lone endpoint is never ejected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Upstream {
    upstream: String,
}

impl LoadBalancerMetrics {
    /// Adds them to `registry`, as those of one service: `prefix` begins the metrics' names.
    pub fn register(&self, registry: &mut Registry, prefix: &str, service: &str) {
        let name = |metric: &str| format!("{prefix}_{metric}");
        let mut counter = |metric: &str, help: &str, counter: &Counter| {
            registry.register(
                name(metric),
                help.replace("Glance", service),
                counter.clone(),
            );
        };
        counter(
            "requests",
            "Requests to Glance, each once however often it was sent",
            &self.requests,
        );
        counter(
            "requests_rejected",
            "Requests to Glance not sent because the queue was full",
            &self.rejected,
        );
        counter(
            "retries",
            "Requests to Glance that were sent again",
            &self.retries,
        );
        counter(
            "failovers",
            "Retries that went to another endpoint",
            &self.failovers,
        );
        counter(
            "retry_budget_exhausted",
            "Retries that the retry budget forbade",
            &self.retry_budget_exhausted,
        );
        registry.register(
            name("requests_in_flight"),
            format!("Requests to {service} in flight now"),
            self.in_flight.clone(),
        );
        registry.register(
            name("requests_queued"),
            format!("Requests to {service} waiting for a permit now"),
            self.queued.clone(),
        );
        registry.register(
            name("ejections"),
            "Ejections of an endpoint after failures in a row",
            self.ejections.clone(),
        );
        registry.register(
            name("readmissions"),
            "Readmissions of an ejected endpoint",
            self.readmissions.clone(),
        );
    }

    /// Shows the series of an endpoint before anything happens to it.
    pub(super) fn show_endpoint(&self, upstream: &str) {
        drop(self.ejections.get_or_create_owned(&label(upstream)));
        drop(self.readmissions.get_or_create_owned(&label(upstream)));
    }

    pub(super) fn ejected(&self, upstream: &str) {
        self.ejections.get_or_create(&label(upstream)).inc();
    }

    pub(super) fn readmitted(&self, upstream: &str) {
        self.readmissions.get_or_create(&label(upstream)).inc();
    }

    /// Ejections of all endpoints that have this label.
    #[cfg(test)]
    pub(super) fn ejections_of(&self, upstream: &str) -> u64 {
        self.ejections.get_or_create(&label(upstream)).get()
    }
}

fn label(upstream: &str) -> Upstream {
    Upstream {
        upstream: upstream.to_owned(),
    }
}
