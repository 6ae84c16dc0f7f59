//! Readiness: whether requests can be answered now, and if not, for which reason.
//!
//! The [`Probes`] look at each service in the way that requests use it. A load balancer hangs on
//! the [`Report`], so it is false whenever every request would fail, also for a mistake in the
//! settings that the services themselves do not notice.

mod glance;
mod keystone;
mod probe;

pub use probe::{Probe, ProbeOutcome};

use crate::keystone::TokenValidator;
use crate::upstream::InstrumentedClient;
use crate::upstream::runtime::Spawner;
use crate::util::recent_outcomes::RecentOutcomes;
use crate::util::single_flight::{LeaderGuard, Role, SingleFlight};
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use url::Url;

/// Lifetime of a report: the probes run once in this time, however many requests `/ready` gets.
const REPORT_TTL: Duration = Duration::from_secs(1);
/// All probes together end within this time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// A report takes at most this long: the probes it waits for may have begun just before.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// The services that requests need, and how to look at them.
#[derive(Debug)]
pub struct Probes {
    client: InstrumentedClient,
    keystone: Option<TokenValidator>,
    glance_endpoints: Vec<Url>,
    glance_outcomes: Arc<RecentOutcomes>,
}

impl Probes {
    /// `keystone` is `None` where Keystone does not validate tokens; `glance_endpoints` is empty
    /// where endpoints come from catalogs. `glance_outcomes` are those of real requests.
    #[must_use]
    pub fn new(
        client: InstrumentedClient,
        keystone: Option<TokenValidator>,
        glance_endpoints: Vec<Url>,
        glance_outcomes: Arc<RecentOutcomes>,
    ) -> Self {
        Self {
            client,
            keystone,
            glance_endpoints,
            glance_outcomes,
        }
    }

    /// Runs all probes, within three seconds. They change nothing in any service; at most they
    /// request a token for the gateway.
    pub async fn run(&self) -> Vec<Probe> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let configured = glance::probe(&self.client, &self.glance_endpoints, deadline);
        let ((mut probes, from_catalog), mut glance) =
            tokio::join!(self.keystone(deadline), configured);
        let from_catalog: Vec<Url> = from_catalog.into_iter().collect();
        glance.extend(glance::probe(&self.client, &from_catalog, deadline).await);
        probes.append(&mut glance);
        probes.push(glance::recent(&self.glance_outcomes));
        probes
    }

    async fn keystone(&self, deadline: Instant) -> (Vec<Probe>, Option<Url>) {
        match &self.keystone {
            Some(keystone) => keystone::probe(keystone, deadline).await,
            None => (Vec::new(), None),
        }
    }
}

/// Whether requests can be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// False when a probe failed, or the gateway is stopping.
    pub ready: bool,
    /// Why not, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The results of the probes.
    pub probes: Vec<Probe>,
}

impl Report {
    fn failed(reason: &str) -> Self {
        Self {
            ready: false,
            reason: Some(reason.to_owned()),
            probes: Vec::new(),
        }
    }

    fn from_probes(probes: Vec<Probe>) -> Self {
        let failed = probes
            .iter()
            .find(|probe| probe.outcome == ProbeOutcome::Fail);
        Self {
            ready: failed.is_none(),
            reason: failed.map(Probe::reason),
            probes,
        }
    }
}

type CurrentReport = (Instant, Report);

/// Reports on readiness; concurrent callers share one run of the probes.
#[derive(Debug)]
pub struct Readiness {
    probes: Probes,
    spawner: Spawner,
    last: Mutex<Option<CurrentReport>>,
    runs: SingleFlight<(), (), Report>,
    stopping: AtomicBool,
}

impl Readiness {
    /// The probes run where requests' calls are made.
    #[must_use]
    pub fn new(probes: Probes, spawner: Spawner) -> Self {
        Self {
            probes,
            spawner,
            last: Mutex::new(None),
            runs: SingleFlight::new(1),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on nothing is ready, so that load balancers send requests elsewhere.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The report, at most a second old, within four seconds.
    pub async fn report(self: &Arc<Self>) -> Report {
        if self.stopping.load(Ordering::Relaxed) {
            return Report::failed("the gateway is stopping");
        }
        if let Some(report) = self.fresh() {
            return report;
        }
        let follower = match self.runs.join_or_lead(&(), (), Instant::now(), None) {
            Role::Follower(follower) => follower,
            Role::Leader(leader) => {
                let follower = leader.follower();
                // In a task of its own: it goes on for the others when this caller leaves.
                let run = Arc::clone(self).run(leader);
                self.spawner.spawn(run);
                follower
            }
        };
        match timeout(MAX_WAIT, follower.outcome()).await {
            Ok(Some(report)) => report,
            Ok(None) => Report::failed("the probes ended early"),
            Err(_) => Report::failed("the probes take too long"),
        }
    }

    fn fresh(&self) -> Option<Report> {
        let last = self.last.lock();
        let (at, report) = last.as_ref()?;
        (at.elapsed() < REPORT_TTL).then(|| report.clone())
    }

    async fn run(self: Arc<Self>, leader: LeaderGuard<(), (), Report>) {
        // Another run may have ended between the caller's look and its lead.
        let report = match self.fresh() {
            Some(report) => report,
            None => Report::from_probes(self.probes.run().await),
        };
        self.note(&report);
        leader.complete(report);
    }

    /// Keeps a report, and logs when readiness has changed.
    fn note(&self, report: &Report) {
        let mut last = self.last.lock();
        let was_ready = last.as_ref().map(|(_, last)| last.ready);
        match (&report.reason, was_ready) {
            (Some(reason), Some(true) | None) => tracing::warn!(%reason, "not ready"),
            (None, Some(false)) => tracing::info!("ready"),
            (Some(_), Some(false)) | (None, Some(true) | None) => {}
        }
        *last = Some((Instant::now(), report.clone()));
    }
}

#[cfg(test)]
mod tests;
