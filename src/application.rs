//! The only place where the parts are wired together.

mod listeners;
mod passthrough;

use crate::admin::{Admin, Reset};
use crate::apis::nova::max_microversion::MaxMicroversion;
use crate::apis::nova::{NovaApi, NovaService};
use crate::cache::coherence::SingleProcess;
use crate::cache::{InvalidatedImages, Invalidation, ReadThrough, ResponseCache};
use crate::config::{self, AuthMode, GlanceMode, Settings, Violation};
use crate::embedded::{self, EmbeddedGlance};
use crate::glance::{CallLimits, Endpoint, GlanceClient};
use crate::http::auth::{AuthBackend, Authenticator, SelfNamedTokens};
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::http::response_memory::ResponseMemory;
use crate::images::ImageService;
use crate::keystone::{BuildError, Catalogs, DigestKey, TokenValidator};
use crate::quickstart;
use crate::readiness::{Probes, Readiness};
use crate::server::connection::ConnectionTracker;
use crate::server::socket::InheritedSockets;
use crate::server::{BindError, Server};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::log_writer::LogWriter;
use crate::telemetry::metrics::{MetricValue, Metrics};
use crate::upstream::runtime::{self, Spawner};
use crate::upstream::{self, ClientSettings, OutlierDetection, UpstreamPolicy, client};
use crate::util::byte_budget::ByteBudget;
use crate::util::endpoint_url::without_version;
use listeners::ImageListener;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings do not allow the socket that was inherited, or another state found at start.
    #[error("{0}")]
    Settings(Violation),
    /// The runtime for upstream calls cannot start.
    #[error("cannot start the runtime for upstream calls: {0}")]
    Runtime(#[source] std::io::Error),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// TLS for the requests that are passed through cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] std::io::Error),
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
            | Self::Tls(_)
            | Self::Keystone(BuildError::Random(_))
            | Self::Embedded(_)
            | Self::Server(_) => false,
        }
    }
}

/// A gateway that is ready to accept connections.
pub struct Application {
    server: Server,
    /// The image listener, unless it is off.
    image: Option<Server>,
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
        let mode = auth_backend(settings, &counted)?;
        let embedded = match settings.glance.mode {
            Some(GlanceMode::Embedded) => Some(embedded::start(settings, &mode, &spawner)?),
            Some(GlanceMode::External) | None => None,
        };
        let validator = match &mode {
            AuthBackend::Keystone(keystone) => Some(keystone.clone()),
            AuthBackend::Passthrough(_) | AuthBackend::SelfNamed(_) | AuthBackend::None => None,
        };
        let glance_urls = glance_urls(settings, embedded.as_ref());
        let endpoints = glance_urls.iter().map(Endpoint::new).collect();
        register_endpoints(&metrics, settings, validator.as_ref(), &glance_urls);
        register_metrics(&mut metrics, &mode, settings, log);
        let budgets = Budgets::new(settings);
        budgets.register(&mut metrics);
        let upstream_spawner = spawner.clone();
        let mut inherited = InheritedSockets::from_env();
        let image_listener = ImageListener::open(settings, &mut inherited)?;
        let image_api = image_listener.as_ref().map(ImageListener::url);
        let public_glance = image_api.clone().filter(|_| embedded.is_some());
        let nova = nova_api(
            settings,
            public_glance,
            mode,
            &counted,
            spawner,
            endpoints,
            &budgets,
        );
        let glance_outcomes = Arc::clone(nova.service.images.glance().recent_outcomes());
        let images = Arc::clone(&nova.service.images);
        let shared = passthrough::Shared {
            settings,
            images: &images,
            request_memory: &budgets.requests,
            spawner: &upstream_spawner,
        };
        follow_max_microversion(settings, &nova, counted, &upstream_spawner);
        let access_log = (settings.log.access).then(|| AccessLog::new(log.clone(), &settings.log));
        let image = listeners::image_server(
            image_listener,
            &shared,
            &glance_urls,
            access_log.clone(),
            &mut metrics,
        )?;
        let probes = Probes::new(client, validator, glance_urls, glance_outcomes);
        let readiness = Arc::new(Readiness::new(probes, upstream_spawner.clone()));
        let cache = Arc::clone(images.cache());
        register_image_metrics(&mut metrics, &images);
        register_limits(&mut metrics, settings);
        let server =
            listeners::compute_server(nova, &shared, &mut inherited, access_log, &mut metrics)?;
        let (metrics, ready) = (Arc::new(metrics), Arc::clone(&readiness));
        let identity = match &embedded {
            Some(glance) => {
                let image = image_api.as_deref();
                embedded::start_identity(settings, glance, image, server.address())?
            }
            None => None,
        };
        let reset = embedded.as_ref().filter(|_| settings.embedded.reset);
        let reset = reset.map(|glance| reset_of(glance, cache));
        let start = |address| Admin::start(address, metrics, ready, reset);
        let admin = settings.admin.listen.map(start).transpose()?;
        let admin_address = admin.as_ref().map(Admin::address);
        let image_address = image.as_ref().map(Server::address);
        log_summary(settings, server.address(), image_address, admin_address);
        let quickstart = quickstart_text(
            settings,
            embedded.as_ref(),
            server.address(),
            image_api.as_deref(),
        );
        Ok(Self {
            server,
            image,
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

    /// The address of the image listener, unless it is off.
    #[must_use]
    pub fn image_address(&self) -> Option<SocketAddr> {
        self.image.as_ref().map(Server::address)
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
        let stopping = CancellationToken::new();
        // A listener that fails stops the other one.
        let compute = async {
            let _other = stopping.clone().drop_guard();
            self.server.run(stopping.cancelled(), ready).await
        };
        let image = async {
            let Some(image) = self.image else {
                return Ok(());
            };
            let _other = stopping.clone().drop_guard();
            image.run(stopping.cancelled(), |_| ()).await
        };
        let stop = async {
            stop.await;
            readiness.stop();
            stopping.cancel();
            std::future::pending::<()>().await;
        };
        let served = tokio::select! {
            (compute, image) = async { tokio::join!(compute, image) } => compute.and(image),
            () = stop => Ok(()),
        };
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

/// Shows the endpoints of the settings in the metrics from the start.
fn register_endpoints(
    metrics: &Metrics,
    settings: &Settings,
    validator: Option<&TokenValidator>,
    glance_urls: &[Url],
) {
    let upstream = &metrics.upstream;
    if let Some(url) = validator.map(TokenValidator::identity_url) {
        upstream.register_endpoint("keystone", url, 1);
    }
    for url in glance_urls {
        upstream.register_endpoint("glance", url, settings.glance.eject_after);
    }
}

/// Keeps the maximum microversion at Nova's own where calls are passed on to Nova.
fn follow_max_microversion(
    settings: &Settings,
    nova: &NovaApi,
    client: upstream::InstrumentedClient,
    spawner: &Spawner,
) {
    if settings.compute.endpoints.is_empty() {
        return;
    }
    let max = Arc::clone(&nova.service.max_microversion);
    let urls = settings.compute.endpoints.iter().cloned();
    spawner.spawn(max.follow(client, urls.map(without_version).collect()));
}

/// The first requests to try, for a gateway that needs no cloud and no token.
fn quickstart_text(
    settings: &Settings,
    embedded: Option<&EmbeddedGlance>,
    address: SocketAddr,
    image: Option<&str>,
) -> Option<String> {
    let is_open = settings.auth.mode == Some(AuthMode::None);
    let glance = embedded.filter(|_| is_open)?;
    let prefix = &settings.server.path_prefix;
    Some(quickstart::text(
        address,
        prefix,
        image,
        glance.sample_image(),
    ))
}

/// Empties the embedded Glance, and invalidates every cached response.
fn reset_of(glance: &EmbeddedGlance, cache: Arc<ResponseCache>) -> Reset {
    let resetter = glance.resetter();
    Arc::new(move || {
        let outcome = resetter.reset();
        cache.invalidate(Invalidation {
            images: InvalidatedImages::All,
            uncacheable_for: Duration::ZERO,
        });
        outcome.is_ok()
    })
}

/// Logs which cloud is served, and where, in one line.
fn log_summary(
    settings: &Settings,
    clients: SocketAddr,
    image: Option<SocketAddr>,
    admin: Option<SocketAddr>,
) {
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
    let or_off = |listener: Option<SocketAddr>| {
        listener.map_or_else(|| "off".to_owned(), |address| address.to_string())
    };
    let (image, admin) = (or_off(image), or_off(admin));
    tracing::info!(keystone, glance, cache, %clients, image, admin, "serving");
}

/// One thread parses while another renders; more would only take cores from the workers.
fn upstream_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8)
}

fn auth_backend(
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

fn upstream_policy(glance: &config::Glance) -> UpstreamPolicy {
    UpstreamPolicy {
        outlier_detection: OutlierDetection {
            consecutive_failures: glance.eject_after,
            base_ejection_time: glance.eject_for,
            max_ejection_time: glance.eject_at_most,
        },
        retries: glance.retries,
        max_in_flight: glance.max_in_flight,
        max_queue: glance.max_queue,
    }
}

/// Where Glance is, unless tokens' catalogs say.
fn glance_urls(settings: &Settings, embedded: Option<&EmbeddedGlance>) -> Vec<Url> {
    match embedded {
        Some(glance) => vec![glance.endpoint().clone()],
        None => settings.glance.endpoints.clone(),
    }
}

/// Adds the metrics of the log and of the token cache.
fn register_metrics(
    metrics: &mut Metrics,
    mode: &AuthBackend,
    settings: &Settings,
    log: &LogWriter,
) {
    let help = "Log lines that came faster than they were read, or that could not be written";
    let dropped = log.dropped();
    metrics.register_callback("log_lines_dropped", help, move || {
        MetricValue::Count(dropped.get())
    });
    if let AuthBackend::Keystone(keystone) = mode {
        metrics.tokens(keystone.metrics());
        let (keystone, help) = (keystone.clone(), "Valid tokens in the token cache");
        let entries = move || MetricValue::gauge(keystone.entries());
        metrics.register_callback("token_cache_entries", help, entries);
        let capacity = settings.auth.token_cache_entries;
        let help = "Most valid tokens in the token cache (auth.token_cache_entries)";
        metrics.register_limit("token_cache_capacity_entries", help, capacity);
    }
}

/// Adds the requests in flight.
fn register_request_metrics(metrics: &mut Metrics, limit: &Arc<ConcurrencyLimit>) {
    let (limit, help) = (Arc::clone(limit), "Requests being answered now");
    let in_flight = move || MetricValue::gauge(limit.in_flight());
    metrics.register_callback("http_requests_in_flight", help, in_flight);
}

/// Adds the limits beside the gauges that they bound.
fn register_limits(metrics: &mut Metrics, settings: &Settings) {
    let (server, glance) = (&settings.server, &settings.glance);
    for (name, help, limit) in [
        (
            "http_requests_in_flight_limit",
            "Most requests answered at a time (server.max_in_flight)",
            server.max_in_flight as u64,
        ),
        (
            "glance_requests_in_flight_limit",
            "Most requests to Glance at a time (glance.max_in_flight)",
            glance.max_in_flight as u64,
        ),
        (
            "glance_requests_queued_limit",
            "Most requests to Glance that wait (glance.max_queue)",
            glance.max_queue as u64,
        ),
    ] {
        metrics.register_limit(name, help, limit);
    }
}

/// Adds the memory of responses.
fn register_response_memory_metrics(metrics: &mut Metrics, memory: &ResponseMemory) {
    let limit = memory.limit();
    let help = "Bytes of large responses that are rendered or sent";
    let memory = memory.clone();
    let used = move || MetricValue::gauge(memory.used());
    metrics.register_callback("response_memory_bytes", help, used);
    let help = "Most bytes of large responses (server.max_response_memory)";
    metrics.register_limit("response_memory_limit_bytes", help, limit);
}

/// The budgets of bytes for what comes in, and for what goes out.
struct Budgets {
    /// Bodies of requests.
    requests: ByteBudget,
    /// Bodies of Glance's responses.
    glance: ByteBudget,
    /// Responses that are rendered or sent.
    responses: ResponseMemory,
}

impl Budgets {
    fn new(settings: &Settings) -> Self {
        Self {
            requests: ByteBudget::new(settings.server.max_request_memory),
            glance: ByteBudget::new(settings.glance.max_response_memory),
            responses: ResponseMemory::new(settings.server.max_response_memory),
        }
    }

    fn register(&self, metrics: &mut Metrics) {
        register_response_memory_metrics(metrics, &self.responses);
        let budgets = [
            (
                "request_memory_bytes",
                "Bytes of request bodies, as sent and as parsed",
                &self.requests,
            ),
            (
                "upstream_memory_bytes",
                "Bytes of Glance's responses that are received or in use",
                &self.glance,
            ),
        ];
        for (name, help, budget) in budgets {
            let budget = budget.clone();
            metrics.register_callback(name, help, move || MetricValue::gauge(budget.used()));
        }
        let limits = [
            (
                "request_memory_limit_bytes",
                "Most bytes of request bodies (server.max_request_memory)",
                self.requests.limit(),
            ),
            (
                "upstream_memory_limit_bytes",
                "Most bytes of Glance's responses (glance.max_response_memory)",
                self.glance.limit(),
            ),
        ];
        for (name, help, limit) in limits {
            metrics.register_limit(name, help, limit);
        }
    }
}

/// Adds the calls to Glance and the response cache.
fn register_image_metrics(metrics: &mut Metrics, images: &ImageService) {
    metrics.register(|registry| {
        images
            .glance()
            .metrics()
            .register(registry, "glance", "Glance");
    });
    let cache = Arc::clone(images.cache());
    metrics.register(|registry| cache.metrics().register(registry));
    metrics.on_scrape(move || cache.update_gauges());
}

/// Adds the clients' connections.
fn register_connection_metrics(metrics: &mut Metrics, server: &Server, limit: usize) {
    type Read = fn(&ConnectionTracker) -> MetricValue;
    let numbers: [(&'static str, &'static str, Read); 4] = [
        ("connections_open", "Connections of clients", |now| {
            MetricValue::gauge(now.open())
        }),
        (
            "connections_accepted",
            "Connections of clients so far",
            |now| MetricValue::Count(now.accepted()),
        ),
        (
            "connections_timed_out",
            "Connections closed because the client sent or took too little in its time",
            |now| MetricValue::Count(now.timed_out()),
        ),
        (
            "late_requests",
            "Requests lost because their idle connection was being closed",
            |now| MetricValue::Count(now.late_requests()),
        ),
    ];
    for (name, help, read) in numbers {
        let tracker = Arc::clone(server.connections());
        metrics.register_callback(name, help, move || read(&tracker));
    }
    let help = "Most connections of clients at a time (server.max_connections)";
    metrics.register_limit("connections_limit", help, limit as u64);
}

fn nova_api(
    settings: &Settings,
    public_glance: Option<String>,
    mode: AuthBackend,
    client: &upstream::InstrumentedClient,
    spawner: Spawner,
    endpoints: Vec<Endpoint>,
    budgets: &Budgets,
) -> NovaApi {
    let call = CallLimits {
        timeout: settings.glance.timeout,
        max_answer: settings.glance.max_answer,
        page_size: settings.glance.page_size,
        max_images: settings.glance.max_images,
    };
    let cache = Arc::new(ResponseCache::new(&settings.cache));
    NovaApi {
        request_memory: budgets.requests.clone(),
        auth: Authenticator::new(
            mode,
            settings.cache.isolation,
            endpoints.first().cloned(),
            settings.keystone.authenticate_uri(),
            spawner.clone(),
        ),
        service: Arc::new(NovaService {
            reads: ReadThrough::new(Arc::clone(&cache)),
            images: Arc::new(ImageService::new(
                GlanceClient::new(
                    client.clone().with_memory(&budgets.glance),
                    call,
                    endpoints,
                    upstream_policy(&settings.glance),
                ),
                cache,
                Arc::new(SingleProcess),
                settings.cache.transitional_window,
            )),
            response_memory: budgets.responses.clone(),
            settings: settings.nova.clone(),
            public_glance,
            max_microversion: Arc::new(MaxMicroversion::new(settings.nova.max_microversion)),
        }),
        cached: settings.cache.enabled,
        server: settings.server.clone(),
        spawner,
        has_nova: !settings.compute.endpoints.is_empty(),
    }
}
