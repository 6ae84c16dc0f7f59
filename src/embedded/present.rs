//! A build with the feature `embedded`.

use embedded_glance::{
    Authentication, AuthenticationError, Catalog, EmbeddedGlance, Identity, IdentityService,
    IdentityStartError,
};
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddr;

use crate::config::{AuthMode, Settings};
use crate::http::auth::AuthBackend;
use crate::keystone::{self, Token, TokenValidator};
use crate::upstream::runtime::{Spawner, TaskAborted};

/// Glance's usual port.
const PREFERRED_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9292);

/// Why the embedded Glance does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The image service does not.
    #[error(transparent)]
    Glance(#[from] embedded_glance::StartError),
    /// The identity service does not.
    #[error("{0}; set identity.listen to another address or to off")]
    Identity(#[from] IdentityStartError),
}

/// Whether a token names its caller, as the embedded Glance reads it where nothing validates tokens.
#[must_use]
pub fn names_caller(token: &str) -> bool {
    Identity::parse(token).is_some()
}

/// Starts the identity service that goes with `glance`, if the settings want one. The gateway's
/// clients reach it at `clients`. Without a wish in the settings a port that is taken is no error.
pub fn start_identity(
    settings: &Settings,
    glance: &EmbeddedGlance,
    image_api: Option<&str>,
    clients: SocketAddr,
) -> Result<Option<IdentityService>, StartError> {
    let is_open = settings.auth.mode == Some(AuthMode::None);
    let wish = settings.embedded.identity;
    let Some(address) = settings
        .identity
        .listen
        .filter(|_| is_open && wish != Some(false))
    else {
        return Ok(None);
    };
    let prefix = &settings.server.path_prefix;
    let catalog = Catalog {
        image: image_api
            .unwrap_or(glance.endpoint().as_str().trim_end_matches('/'))
            .to_owned(),
        compute: Some(format!("http://{clients}{prefix}/v2.1")),
    };
    match IdentityService::start(address, catalog) {
        Ok(service) => {
            tracing::info!(address = %service.address(), "the identity service listens");
            Ok(Some(service))
        }
        Err(IdentityStartError::Listen { source, .. }) if wish.is_none() => {
            tracing::warn!(%address, error = %source, "the identity service does not run");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts an embedded Glance. As any Glance does, it validates tokens itself, with the same Keystone
/// as the gateway.
pub fn start(
    settings: &Settings,
    backend: &AuthBackend,
    spawner: &Spawner,
) -> Result<EmbeddedGlance, StartError> {
    let glance = EmbeddedGlance::builder(glance_settings(settings));
    let started = match backend {
        AuthBackend::Keystone(keystone) => {
            let (keystone, spawner) = (keystone.clone(), spawner.clone());
            glance
                .authenticate_with(move |token| authentication(token, &keystone, &spawner))
                .start()
        }
        AuthBackend::Passthrough(_) | AuthBackend::SelfNamed(_) | AuthBackend::None => {
            glance.start()
        }
    };
    Ok(started?)
}

fn glance_settings(settings: &Settings) -> embedded_glance::Settings {
    let section = &settings.embedded;
    let uri = match settings.auth.mode {
        Some(AuthMode::None) => {
            let listen = settings.identity.listen;
            listen.map(|address| format!("http://{address}"))
        }
        Some(AuthMode::Keystone | AuthMode::Passthrough) | None => {
            let uri = settings.keystone.authenticate_uri();
            uri.map(|uri| uri.trim_end_matches('/').trim_end_matches("/v3").to_owned())
        }
    };
    // Links of images name it, so it is the same at each start where it can be; for a gateway on any
    // free port, such as one of a test, it may be any as well.
    let listen = match settings.server.listen.port() {
        0 => SocketAddr::new(PREFERRED_ADDRESS.ip(), 0),
        _ => PREFERRED_ADDRESS,
    };
    embedded_glance::Settings {
        listen,
        any_port_if_taken: true,
        database: section.database.clone(),
        data_dir: section.data_dir.clone(),
        sample_images: section.sample_images,
        inspect_formats: section.inspect_formats,
        www_authenticate_uri: uri,
    }
}

fn authentication(token: &str, keystone: &TokenValidator, spawner: &Spawner) -> Authentication {
    let (keystone, spawner) = (keystone.clone(), spawner.clone());
    let token = SecretString::from(token);
    let validation = async move { keystone.validate(token.expose_secret()).await };
    let authentication = async move {
        match spawner.run(validation).await {
            Ok(Ok(token)) => identity(&token),
            Ok(Err(keystone::Error::InvalidToken)) => Err(AuthenticationError::InvalidToken),
            Ok(Err(keystone::Error::Unavailable(_) | keystone::Error::InvalidResponse(_)))
            | Err(TaskAborted) => Err(AuthenticationError::Unavailable),
        }
    };
    authentication.boxed()
}

/// The caller that a token represents. Glance's policies are about projects, so a token without one
/// has no rights there; and access rules, which limit a token to calls of the compute API, allow no
/// call of Glance's.
fn identity(token: &Token) -> Result<Identity, AuthenticationError> {
    if token.has_access_rules() {
        return Err(AuthenticationError::InvalidToken);
    }
    let (project, roles) = token.identity().map_or(("", &[][..]), |identity| {
        (identity.project_id(), identity.roles())
    });
    Ok(Identity {
        project: project.to_owned(),
        user: token.user_id().to_owned(),
        roles: roles.iter().map(|role| role.to_lowercase()).collect(),
    })
}
