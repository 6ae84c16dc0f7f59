//! The only place where the parts are wired together.

use crate::admin::Admin;
use crate::banner;
use crate::cache::Answers;
use crate::config::{AuthMode, GlanceMode, Settings};
use crate::embedded::{self, EmbeddedGlance, Judgement, NoIdentity};
use crate::glance::{Call, Endpoint, Glance};
use crate::http::Front;
use crate::http::auth::{Authenticator, Mode};
use crate::keystone::{self, Catalogs, DigestKey, Keystone, NewError, Token};
use crate::nova::Service;
use crate::nova::locks::WriteLocks;
use crate::server::{Server, ServerError};
use crate::telemetry::metrics::Metrics;
use crate::upstream::runtime::{self, Spawner, TaskLost};
use crate::upstream::{ClientSettings, client};
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;
use std::sync::Arc;
use thiserror::Error;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The runtime for upstream work cannot be had.
    #[error("cannot start the runtime for upstream calls: {0}")]
    Runtime(#[source] std::io::Error),
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// Token validation cannot be set up.
    #[error("cannot set up token validation: {0}")]
    Keystone(#[from] NewError),
    /// The embedded Glance does not start.
    #[error(transparent)]
    Embedded(#[from] embedded::StartError),
    /// The listener cannot be set up.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A gateway that is ready to accept connections.
pub struct App {
    server: Server,
    /// Kept for as long as requests are served.
    upstream: tokio::runtime::Runtime,
    /// The Glance inside this process, where the settings want one.
    embedded: Option<EmbeddedGlance>,
    /// The operator's port, where the settings want one.
    admin: Option<Admin>,
    banner: Option<String>,
}

impl App {
    /// Builds everything and binds the listeners, inside an actix system. `settings` come from
    /// [`crate::config::load`].
    pub fn build(settings: &Settings) -> Result<Self, StartError> {
        let (upstream, spawner) =
            runtime::start(upstream_threads()).map_err(StartError::Runtime)?;
        let client = client(ClientSettings {
            connect_timeout: settings.glance.connect_timeout,
            ..ClientSettings::default()
        })?;
        let metrics = Metrics::default();
        let mode = mode(settings, &client)?;
        let embedded = match settings.glance.mode {
            Some(GlanceMode::Embedded) => Some(start_embedded(settings, &mode, &spawner)?),
            Some(GlanceMode::External) | None => None,
        };
        let endpoint = match &embedded {
            Some(glance) => Some(Endpoint::new(glance.endpoint())),
            None => settings.glance.endpoints.first().map(Endpoint::new),
        };
        let server = Server::bind(front(settings, mode, client, spawner, endpoint, &metrics))?;
        let admin = settings.admin.listen.map(Admin::start).transpose()?;
        let open = settings.auth.mode == Some(AuthMode::None);
        let banner = embedded.as_ref().filter(|_| open).map(|glance| {
            let prefix = &settings.server.path_prefix;
            banner::text(server.address(), prefix, glance.sample_image())
        });
        Ok(Self {
            server,
            upstream,
            embedded,
            admin,
            banner,
        })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What to try first, for a gateway that needs no cloud and no token.
    #[must_use]
    pub fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    /// Serves until `stop` is ready and the requests in flight are answered. `ready` is called
    /// when connections are accepted.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce(SocketAddr),
    ) -> std::io::Result<()> {
        let served = self.server.run(stop, ready).await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        if let Some(glance) = self.embedded {
            glance.stop(false).await;
        }
        self.upstream.shutdown_background();
        served
    }
}

/// One thread parses while another renders; more would only take cores from the workers.
fn upstream_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8)
}

fn mode(settings: &Settings, client: &reqwest::Client) -> Result<Mode, NewError> {
    Ok(match settings.auth.mode {
        Some(AuthMode::Keystone) => {
            let embedded = settings.glance.mode == Some(GlanceMode::Embedded);
            let catalogs = if embedded || !settings.glance.endpoints.is_empty() {
                Catalogs::NotWanted
            } else {
                Catalogs::Wanted
            };
            let (keystone, auth) = (&settings.keystone, &settings.auth);
            Mode::Keystone(Keystone::new(keystone, auth, client.clone(), catalogs)?)
        }
        Some(AuthMode::Passthrough) => Mode::Passthrough(DigestKey::random()?),
        Some(AuthMode::None) | None => Mode::None,
    })
}

/// The embedded Glance judges tokens itself, as any Glance does, and by the same Keystone.
fn start_embedded(
    settings: &Settings,
    mode: &Mode,
    spawner: &Spawner,
) -> Result<EmbeddedGlance, embedded::StartError> {
    let glance = EmbeddedGlance::builder(settings.embedded.clone());
    match mode {
        Mode::Keystone(keystone) => {
            let (keystone, spawner) = (keystone.clone(), spawner.clone());
            glance
                .judge(move |token| judgement(token, &keystone, &spawner))
                .start()
        }
        Mode::Passthrough(_) | Mode::None => glance.start(),
    }
}

fn judgement(token: &str, keystone: &Keystone, spawner: &Spawner) -> Judgement {
    let (keystone, spawner) = (keystone.clone(), spawner.clone());
    let token = SecretString::from(token);
    let validation = async move { keystone.validate(token.expose_secret()).await };
    let judgement = async move {
        match spawner.run(validation).await {
            Ok(Ok(token)) => caller(&token),
            Ok(Err(keystone::Error::Refused)) => Err(NoIdentity::Refused),
            Ok(Err(keystone::Error::Unavailable(_) | keystone::Error::Nonsense(_)))
            | Err(TaskLost) => Err(NoIdentity::Unavailable),
        }
    };
    judgement.boxed()
}

/// Who a token is for Glance. Its policies are about projects, so a token without one has no
/// rights there; and the rules that limit a token to calls of the compute API allow none of Glance's.
fn caller(token: &Token) -> Result<embedded::Identity, NoIdentity> {
    if token.is_limited() {
        return Err(NoIdentity::Refused);
    }
    let (project, roles) = token.identity().map_or(("", &[][..]), |identity| {
        (identity.project_id(), identity.roles())
    });
    Ok(embedded::Identity {
        project: project.to_owned(),
        user: token.user_id().to_owned(),
        roles: roles.iter().map(|role| role.to_lowercase()).collect(),
    })
}

fn front(
    settings: &Settings,
    mode: Mode,
    client: reqwest::Client,
    spawner: Spawner,
    endpoint: Option<Endpoint>,
    metrics: &Metrics,
) -> Front {
    let call = Call {
        timeout: settings.glance.timeout,
        max_answer: settings.glance.max_answer,
        page_size: settings.glance.page_size,
        max_images: settings.glance.max_images,
    };
    Front {
        auth: Authenticator::new(
            mode,
            settings.cache.share,
            endpoint,
            settings.keystone.authenticate_uri(),
        ),
        service: Arc::new(Service {
            locks: WriteLocks::default(),
            glance: Glance::new(client, call),
            settings: settings.nova.clone(),
            answers: Arc::new(Answers::new(&settings.cache, metrics.cache.clone())),
            transitional_window: settings.cache.transitional_window,
        }),
        cached: settings.cache.enabled,
        access_log: settings.log.access,
        server: settings.server.clone(),
        spawner,
    }
}
