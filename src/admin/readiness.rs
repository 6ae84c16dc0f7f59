//! Whether requests could be answered now: whether Keystone and Glance are there.

use crate::upstream::runtime::Spawner;
use crate::upstream::{self, ExchangeLimits};
use futures_util::future::join_all;
use http::Method;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use url::Url;

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for a service.
const PROBE: Duration = Duration::from_secs(2);
/// Longest wait for an answer of ours: a probe may have begun just before.
const LONGEST: Duration = Duration::from_secs(4);
/// Documents of versions are a few hundred bytes.
const MAX_BODY: usize = 1 << 20;

/// A service that is asked whether it is there.
#[derive(Debug, Clone)]
pub struct Target {
    service: &'static str,
    url: Url,
}

impl Target {
    /// A `service` at one of its endpoints.
    #[must_use]
    pub fn new(service: &'static str, url: &Url) -> Self {
        let url = url.clone();
        Self { service, url }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// What was found at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    service: &'static str,
    endpoint: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether a request could be answered: every service is there, at one endpoint at least, and
    /// the gateway is not stopping.
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    checks: Vec<Check>,
}

/// Asks Keystone and Glance, at most once a second however many ask here.
#[derive(Debug)]
pub struct Readiness {
    client: upstream::InstrumentedClient,
    spawner: Spawner,
    targets: Vec<Target>,
    last: Mutex<Option<(Instant, Report)>>,
    stopping: AtomicBool,
}

impl Readiness {
    /// Asks `targets`, where requests' calls are made.
    #[must_use]
    pub fn new(
        client: upstream::InstrumentedClient,
        spawner: Spawner,
        targets: Vec<Target>,
    ) -> Self {
        Self {
            client,
            spawner,
            targets,
            last: Mutex::new(None),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on nothing is ready, so that whoever spreads requests sends them elsewhere.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// How things are, within four seconds.
    pub async fn report(self: &Arc<Self>) -> Report {
        if self.stopping.load(Ordering::Relaxed) {
            return Report::not("the gateway is stopping");
        }
        // In a task of its own: it goes on for the others when its first asker leaves.
        let own = Arc::clone(self);
        let shared = self.spawner.run(async move { own.shared().await });
        match timeout(LONGEST, shared).await {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => Report::not("the check ended early"),
            Err(_) => Report::not("the check takes too long"),
        }
    }

    /// The last report, or a new one; whoever comes meanwhile waits for it.
    async fn shared(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let checks = self.targets.iter().map(|target| self.probe(target));
        let report = Report::of(join_all(checks).await);
        *last = Some((Instant::now(), report.clone()));
        report
    }

    /// Any answer will do, also one that asks for a token, unless it tells of trouble.
    async fn probe(&self, target: &Target) -> Check {
        let request = reqwest::Request::new(Method::GET, target.url.clone());
        let limits = ExchangeLimits {
            deadline: Instant::now() + PROBE,
            max_body: MAX_BODY,
        };
        let reason = match self.client.send(request, limits).await {
            Ok(answer) if answer.status.is_server_error() => {
                Some(format!("it answered {}", answer.status.as_u16()))
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        Check {
            service: target.service,
            endpoint: target.url.to_string(),
            ready: reason.is_none(),
            reason,
        }
    }
}

impl Report {
    fn not(reason: &'static str) -> Self {
        Self {
            ready: false,
            reason: Some(reason),
            checks: Vec::new(),
        }
    }

    fn of(checks: Vec<Check>) -> Self {
        let is_there = |service| {
            let mut checks = checks.iter();
            checks.any(|check| check.service == service && check.ready)
        };
        Self {
            ready: checks.iter().all(|check| is_there(check.service)),
            reason: None,
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{ClientSettings, client, runtime};
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    async fn answering(status: u16, delay: Duration) -> MockServer {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(status).set_delay(delay);
        Mock::given(any()).respond_with(answer).mount(&server).await;
        server
    }

    async fn report(services: &[(&'static str, &str)]) -> Report {
        let (runtime, spawner) = runtime::start(1).unwrap();
        let targets = services
            .iter()
            .map(|(service, url)| Target::new(service, &url.parse().unwrap()))
            .collect();
        let client = client(ClientSettings::default()).unwrap();
        let readiness = Arc::new(Readiness::new(client, spawner, targets));
        let report = readiness.report().await;
        drop(runtime);
        report
    }

    #[tokio::test]
    async fn a_service_is_there_when_one_of_its_endpoints_is() {
        let (up, down) = (
            answering(401, Duration::ZERO).await,
            answering(503, Duration::ZERO).await,
        );
        let (up, down) = (up.uri(), down.uri());
        assert!(report(&[]).await.ready);
        assert!(
            report(&[("keystone", &up), ("glance", &up), ("glance", &down)])
                .await
                .ready
        );
        assert!(!report(&[("keystone", &down), ("glance", &up)]).await.ready);
        let report = report(&[("keystone", &up), ("glance", &down)]).await;
        assert!(!report.ready);
        assert_eq!(report.checks[0].reason, None);
        assert_eq!(report.checks[1].reason.as_deref(), Some("it answered 503"));
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_not_there_and_holds_nobody_up() {
        let slow = answering(200, Duration::from_secs(60)).await;
        let report = report(&[("glance", &slow.uri())]).await;
        assert!(!report.ready);
        let reason = report.checks[0].reason.as_deref();
        assert_eq!(reason, Some("no complete answer in time"));
    }

    #[tokio::test]
    async fn however_many_ask_the_services_are_asked_once() {
        let server = answering(300, Duration::from_millis(50)).await;
        let (runtime, spawner) = runtime::start(1).unwrap();
        let client = client(ClientSettings::default()).unwrap();
        let target = Target::new("glance", &server.uri().parse().unwrap());
        let readiness = Arc::new(Readiness::new(client, spawner, vec![target]));
        // One asker leaves at once; the others get what it began.
        let leaving = timeout(Duration::from_millis(5), readiness.report()).await;
        assert!(leaving.is_err());
        let reports = join_all((0..20).map(|_| readiness.report())).await;
        assert!(reports.iter().all(|report| report.ready));
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
        readiness.stop();
        assert!(!readiness.report().await.ready);
        drop(runtime);
    }
}
