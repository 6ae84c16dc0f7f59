//! The only place where the parts are wired together.

use crate::admin::{Admin, Readiness, Reset, Target};
use crate::apis::nova::ImageService;
use crate::apis::nova::write_locks::WriteLocks;
use crate::cache::{CacheableError, ResponseCache};
use crate::config::{self, AuthMode, GlanceMode, Settings, Violation};
use crate::embedded::{self, EmbeddedGlance};
use crate::glance::{CallLimits, Endpoint, GlanceClient};
use crate::http::AppState;
use crate::http::auth::{AuthBackend, Authenticator, SelfNamedTokens};
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::keystone::{BuildError, Catalogs, DigestKey, TokenValidator};
use crate::quickstart;
use crate::server::{BindError, Server};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::log_writer::LogWriter;
use crate::telemetry::metrics::{MetricValue, Metrics};
use crate::upstream::runtime::{self, Spawner};
use crate::upstream::{
    self, ClientSettings, OutlierDetection, UpstreamCounters, UpstreamPolicy, UpstreamSnapshot,
    client,
};
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;
use url::Url;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings do not allow what was found at start.
    #[error("{0}")]
    Settings(Violation),
    /// The runtime for upstream calls cannot start.
    #[error("cannot start the runtime for upstream calls: {0}")]
    Runtime(#[source] std::io::Error),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// Token validation cannot be set up.
    #[error("cannot set up token validation: {0}")]
    Keystone(#[from] BuildError),
    /// The embedded Glance does not start.
    #[error(transparent)]
    Embedded(#[from] embedded::StartError),
    /// The listener cannot be set up.
    #[error(transparent)]
    Server(#[from] BindError),
}

impl StartError {
    /// Whether other settings are the remedy, rather than another try.
    #[must_use]
    pub fn is_settings(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Keystone(BuildError::Settings(_)) => true,
            Self::Runtime(_)
            | Self::Client(_)
            | Self::Keystone(BuildError::Random(_))
            | Self::Embedded(_)
            | Self::Server(_) => false,
        }
    }
}

/// A gateway that is ready to accept connections.
pub struct Application {
    server: Server,
    /// Runs upstream calls for as long as requests are served.
    upstream: runtime::RuntimeGuard,
    /// The Glance inside this process, with `glance.mode = "embedded"`.
    embedded: Option<EmbeddedGlance>,
    /// The identity service beside it.
    identity: Option<embedded::Identity>,
    /// The admin listener, unless it is off.
    admin: Option<Admin>,
    readiness: Arc<Readiness>,
    quickstart: Option<String>,
}

impl Application {
    /// Builds everything and binds the listeners, inside an actix system. `settings` come from
    /// [`crate::config::load`]; `log` takes the access lines.
    ///
    /// # Errors
    /// When a part cannot start, or when the socket that the process inherited is one that the
    /// settings do not allow.
    pub fn build(settings: &Settings, log: &LogWriter) -> Result<Self, StartError> {
        let (upstream, spawner) =
            runtime::start(upstream_threads()).map_err(StartError::Runtime)?;
        let client = client(ClientSettings {
            connect_timeout: settings.glance.connect_timeout,
            ..ClientSettings::default()
        })?;
        let mut metrics = Metrics::default();
        let counted = client.counted(&metrics.upstream);
        let mode = mode(settings, &counted)?;
        let embedded = match settings.glance.mode {
            Some(GlanceMode::Embedded) => Some(embedded::start(settings, &mode, &spawner)?),
            Some(GlanceMode::External) | None => None,
        };
        let endpoints = match &embedded {
            Some(glance) => vec![Endpoint::new(glance.endpoint())],
            None => settings
                .glance
                .endpoints
                .iter()
                .map(Endpoint::new)
                .collect(),
        };
        let targets = targets(settings, &mode, embedded.as_ref());
        for target in &targets {
            metrics.upstream.register_endpoint(target.url());
        }
        let readiness = Arc::new(Readiness::new(client, spawner.clone(), targets));
        show(&mut metrics, &mode, log);
        let front = front(settings, mode, counted, spawner, endpoints, &metrics, log);
        show_requests(&mut metrics, &front.concurrency_limit);
        show_calls(&mut metrics, front.service.glance.counters());
        let cache = Arc::clone(&front.service.answers);
        let gauges = Arc::clone(&cache);
        metrics.on_scrape(move || gauges.update_gauges());
        let server = Server::bind(front)?;
        if let Some(violation) = settings.check_listener(server.address()) {
            return Err(StartError::Settings(violation));
        }
        let (metrics, ready) = (Arc::new(metrics), Arc::clone(&readiness));
        let identity = match &embedded {
            Some(glance) => embedded::start_identity(settings, glance, server.address())?,
            None => None,
        };
        let reset = embedded.as_ref().filter(|_| settings.embedded.reset);
        let reset = reset.map(|glance| reset_of(glance, cache));
        let start = |address| Admin::start(address, metrics, ready, reset);
        let admin = settings.admin.listen.map(start).transpose()?;
        let admin_address = admin.as_ref().map(Admin::address);
        log_summary(settings, server.address(), admin_address);
        let is_open = settings.auth.mode == Some(AuthMode::None);
        let quickstart = embedded.as_ref().filter(|_| is_open).map(|glance| {
            let prefix = &settings.server.path_prefix;
            quickstart::text(server.address(), prefix, glance.sample_image())
        });
        Ok(Self {
            server,
            upstream,
            embedded,
            identity,
            admin,
            readiness,
            quickstart,
        })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The address of the admin listener, unless it is off.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The first requests to try, for a gateway that needs no cloud and no token.
    #[must_use]
    pub fn quickstart(&self) -> Option<&str> {
        self.quickstart.as_deref()
    }

    /// Serves until `stop` is ready and the requests in flight are answered. `ready` is called
    /// when connections are accepted.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(SocketAddr),
    ) -> std::io::Result<()> {
        let readiness = self.readiness;
        let stop = async {
            stop.await;
            readiness.stop();
        };
        let served = self.server.run(stop, ready).await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        if let Some(identity) = self.identity {
            identity.stop().await;
        }
        if let Some(glance) = self.embedded {
            glance.stop(false).await;
        }
        drop(self.upstream);
        served
    }
}

/// Empties the embedded Glance, and makes the cache forget what it held.
fn reset_of<E: CacheableError>(glance: &EmbeddedGlance, cache: Arc<ResponseCache<E>>) -> Reset {
    let resetter = glance.resetter();
    Arc::new(move || {
        let emptied = resetter.reset();
        cache.invalidate_all();
        emptied.is_ok()
    })
}

/// Logs which cloud is served, and where, in one line.
fn log_summary(settings: &Settings, clients: SocketAddr, admin: Option<SocketAddr>) {
    let keystone = match (settings.auth.mode, &settings.keystone.auth_url) {
        (Some(AuthMode::Keystone), Some(url)) => url.as_str(),
        (Some(AuthMode::Passthrough), _) => "none (Glance judges tokens)",
        (Some(AuthMode::Keystone | AuthMode::None) | None, _) => "none (no tokens needed)",
    };
    let endpoints: Vec<_> = settings.glance.endpoints.iter().map(Url::as_str).collect();
    let glance = match settings.glance.mode {
        Some(GlanceMode::Embedded) => "embedded".to_owned(),
        Some(GlanceMode::External) | None if endpoints.is_empty() => "catalog".to_owned(),
        Some(GlanceMode::External) | None => endpoints.join(","),
    };
    let cache = if settings.cache.enabled {
        humantime::format_duration(settings.cache.ttl).to_string()
    } else {
        "off".to_owned()
    };
    let admin = admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    tracing::info!(keystone, glance, cache, %clients, admin, "serving");
}

/// One thread parses while another renders; more would only take cores from the workers.
fn upstream_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8)
}

fn mode(
    settings: &Settings,
    client: &upstream::InstrumentedClient,
) -> Result<AuthBackend, BuildError> {
    Ok(match settings.auth.mode {
        Some(AuthMode::Keystone) => {
            let embedded = settings.glance.mode == Some(GlanceMode::Embedded);
            let catalogs = if embedded || !settings.glance.endpoints.is_empty() {
                Catalogs::NotWanted
            } else {
                Catalogs::Wanted
            };
            let (keystone, auth) = (&settings.keystone, &settings.auth);
            AuthBackend::Keystone(TokenValidator::new(
                keystone,
                auth,
                client.clone(),
                catalogs,
            )?)
        }
        Some(AuthMode::Passthrough) => AuthBackend::Passthrough(DigestKey::random()?),
        Some(AuthMode::None) | None if settings.glance.mode == Some(GlanceMode::Embedded) => {
            AuthBackend::SelfNamed(SelfNamedTokens {
                key: DigestKey::random()?,
                names_caller: embedded::names_caller,
            })
        }
        Some(AuthMode::None) | None => AuthBackend::None,
    })
}

fn rules(glance: &config::Glance) -> UpstreamPolicy {
    UpstreamPolicy {
        ejection: OutlierDetection {
            after: glance.eject_after,
            first: glance.eject_for,
            longest: glance.eject_at_most,
        },
        retries: glance.retries,
        max_in_flight: glance.max_in_flight,
        max_queue: glance.max_queue,
    }
}

/// Who has to be there for requests to be answered.
fn targets(
    settings: &Settings,
    mode: &AuthBackend,
    embedded: Option<&EmbeddedGlance>,
) -> Vec<Target> {
    let keystone = match mode {
        AuthBackend::Keystone(_) => settings.keystone.auth_url.as_ref(),
        AuthBackend::Passthrough(_) | AuthBackend::SelfNamed(_) | AuthBackend::None => None,
    };
    let keystone = keystone.map(|url| Target::new("keystone", url));
    let embedded = embedded.map(EmbeddedGlance::endpoint);
    let glances = embedded.into_iter().chain(&settings.glance.endpoints);
    let glances = glances.map(|url| Target::new("glance", url));
    keystone.into_iter().chain(glances).collect()
}

/// Adds to the metrics what is counted elsewhere.
fn show(metrics: &mut Metrics, mode: &AuthBackend, log: &LogWriter) {
    let help = "Log lines that nobody took in time, or that could not be written";
    let dropped = log.dropped();
    metrics.register_callback("log_lines_lost", help, move || {
        MetricValue::Count(dropped.get())
    });
    if let AuthBackend::Keystone(keystone) = mode {
        metrics.tokens(keystone.metrics());
        let (keystone, help) = (keystone.clone(), "Good tokens that are remembered");
        metrics.register_callback("token_entries", help, move || gauge(keystone.entries()));
    }
}

/// Adds how many requests there are at the moment.
fn show_requests(metrics: &mut Metrics, gate: &Arc<ConcurrencyLimit>) {
    let (gate, help) = (Arc::clone(gate), "Requests being answered now");
    let inside = move || gauge(gate.in_flight() as u64);
    metrics.register_callback("requests_in_flight", help, inside);
}

/// Adds what happens on the way to Glance.
fn show_calls(metrics: &mut Metrics, counters: &Arc<UpstreamCounters>) {
    type Read = fn(UpstreamSnapshot) -> MetricValue;
    let numbers: [(&'static str, &'static str, Read); 9] = [
        (
            "glance_calls",
            "Calls to Glance, each once however often it was sent",
            |now| MetricValue::Count(now.calls),
        ),
        (
            "glance_calls_refused",
            "Calls refused because too many waited",
            |now| MetricValue::Count(now.queue_full),
        ),
        ("glance_retries", "Calls to Glance sent once more", |now| {
            MetricValue::Count(now.retries)
        }),
        (
            "glance_failovers",
            "Of those, sent to another endpoint",
            |now| MetricValue::Count(now.failovers),
        ),
        (
            "glance_retries_over_budget",
            "Calls not sent once more because too many were",
            |now| MetricValue::Count(now.budget_exhausted),
        ),
        (
            "glance_ejections",
            "How often an endpoint was left out",
            |now| MetricValue::Count(now.ejections),
        ),
        (
            "glance_readmissions",
            "How often an endpoint came back",
            |now| MetricValue::Count(now.readmissions),
        ),
        (
            "glance_calls_in_flight",
            "Calls to Glance on the wire",
            |now| gauge(now.in_flight),
        ),
        (
            "glance_calls_waiting",
            "Calls that wait for their turn",
            |now| gauge(now.waiting),
        ),
    ];
    for (name, help, read) in numbers {
        let counters = Arc::clone(counters);
        metrics.register_callback(name, help, move || read(counters.snapshot()));
    }
}

/// A number that goes up and down, as far as it can be shown.
fn gauge(now: u64) -> MetricValue {
    MetricValue::Gauge(i64::try_from(now).unwrap_or(i64::MAX))
}

fn front(
    settings: &Settings,
    mode: AuthBackend,
    client: upstream::InstrumentedClient,
    spawner: Spawner,
    endpoints: Vec<Endpoint>,
    metrics: &Metrics,
    log: &LogWriter,
) -> AppState {
    let call = CallLimits {
        timeout: settings.glance.timeout,
        max_answer: settings.glance.max_answer,
        page_size: settings.glance.page_size,
        max_images: settings.glance.max_images,
    };
    AppState {
        auth: Authenticator::new(
            mode,
            settings.cache.isolation,
            endpoints.first().cloned(),
            settings.keystone.authenticate_uri(),
        ),
        service: Arc::new(ImageService {
            locks: WriteLocks::default(),
            glance: GlanceClient::new(client, call, endpoints, rules(&settings.glance)),
            settings: settings.nova.clone(),
            answers: Arc::new(ResponseCache::new(&settings.cache, metrics.cache.clone())),
            transitional_window: settings.cache.transitional_window,
        }),
        concurrency_limit: Arc::default(),
        cached: settings.cache.enabled,
        access_log: (settings.log.access).then(|| AccessLog::new(log.clone(), settings.log.format)),
        metrics: metrics.requests.clone(),
        server: settings.server.clone(),
        spawner,
    }
}
