//! The only place where the parts are wired together.

use crate::admin::Admin;
use crate::config::{AuthMode, GlanceMode, Settings};
use crate::embedded::{self, EmbeddedGlance};
use crate::glance::{Call, Endpoint, Glance};
use crate::http::Front;
use crate::http::auth::{Authenticator, Mode};
use crate::keystone::{Catalogs, Keystone, NewError};
use crate::nova::Service;
use crate::nova::locks::WriteLocks;
use crate::server::{Server, ServerError};
use crate::upstream::runtime::{self, Spawner};
use crate::upstream::{ClientSettings, client};
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
}

impl App {
    /// Builds everything and binds the listeners, inside an actix system. `settings` come from
    /// [`crate::config::load`].
    pub fn build(settings: &Settings) -> Result<Self, StartError> {
        let (upstream, spawner) =
            runtime::start(upstream_threads()).map_err(StartError::Runtime)?;
        if settings.cache.enabled {
            tracing::warn!("cache.enabled has no effect yet: this version keeps no answers");
        }
        let embedded = match settings.glance.mode {
            Some(GlanceMode::Embedded) => Some(EmbeddedGlance::start(&settings.embedded)?),
            Some(GlanceMode::External) | None => None,
        };
        let endpoint = match &embedded {
            Some(glance) => Some(Endpoint::new(glance.endpoint())),
            None => settings.glance.endpoints.first().map(Endpoint::new),
        };
        let server = Server::bind(front(settings, spawner, endpoint)?)?;
        let admin = settings.admin.listen.map(Admin::start).transpose()?;
        Ok(Self {
            server,
            upstream,
            embedded,
            admin,
        })
    }

    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
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

fn front(
    settings: &Settings,
    spawner: Spawner,
    endpoint: Option<Endpoint>,
) -> Result<Front, StartError> {
    let client = client(ClientSettings {
        connect_timeout: settings.glance.connect_timeout,
        ..ClientSettings::default()
    })?;
    let mode = match settings.auth.mode {
        Some(AuthMode::Keystone) => {
            let catalogs = if endpoint.is_some() {
                Catalogs::NotWanted
            } else {
                Catalogs::Wanted
            };
            let keystone =
                Keystone::new(&settings.keystone, &settings.auth, client.clone(), catalogs)?;
            Mode::Keystone(keystone)
        }
        Some(AuthMode::Passthrough) => Mode::Passthrough,
        Some(AuthMode::None) | None => Mode::None,
    };
    let call = Call {
        timeout: settings.glance.timeout,
        max_answer: settings.glance.max_answer,
        page_size: settings.glance.page_size,
        max_images: settings.glance.max_images,
    };
    Ok(Front {
        auth: Authenticator::new(mode, endpoint, settings.keystone.authenticate_uri()),
        service: Arc::new(Service {
            locks: WriteLocks::default(),
            glance: Glance::new(client, call),
            settings: settings.nova.clone(),
        }),
        access_log: settings.log.access,
        server: settings.server.clone(),
        spawner,
    })
}
