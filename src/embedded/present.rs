//! A build with the feature `embedded`.

use embedded_glance::{Authentication, AuthenticationError, EmbeddedGlance, Identity, StartError};
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{self, Settings};
use crate::http::auth::AuthBackend;
use crate::keystone::{self, Token, TokenValidator};
use crate::upstream::runtime::{Spawner, TaskAborted};

/// Starts an embedded Glance. As any Glance does, it validates tokens itself, with the same Keystone
/// as the gateway.
pub fn start(
    settings: &Settings,
    backend: &AuthBackend,
    spawner: &Spawner,
) -> Result<EmbeddedGlance, StartError> {
    let glance = EmbeddedGlance::builder(glance_settings(&settings.embedded));
    match backend {
        AuthBackend::Keystone(keystone) => {
            let (keystone, spawner) = (keystone.clone(), spawner.clone());
            glance
                .authenticate_with(move |token| authentication(token, &keystone, &spawner))
                .start()
        }
        AuthBackend::Passthrough(_) | AuthBackend::None => glance.start(),
    }
}

fn glance_settings(section: &config::Embedded) -> embedded_glance::Settings {
    embedded_glance::Settings {
        database: section.database.clone(),
        sample_images: section.sample_images,
        ..embedded_glance::Settings::default()
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

/// The caller that a token stands for. Glance's policies are about projects, so a token without one
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
