//! The embedded Glance without the gateway: the subcommand `glance`.

use crate::cli::GlanceArguments;
use crate::embedded::StartError;
use embedded_glance::{Catalog, EmbeddedGlance, IdentityService, Settings};

/// A running Glance, and the identity service if there is one.
pub struct GlanceAlone {
    glance: EmbeddedGlance,
    identity: Option<IdentityService>,
}

/// Starts both. Must be called inside an actix system.
///
/// # Errors
/// When one of them cannot listen, or the database or the folder for data cannot be used.
pub fn start(arguments: &GlanceArguments) -> Result<GlanceAlone, StartError> {
    let settings = Settings {
        listen: arguments.listen,
        any_port_if_taken: false,
        database: arguments.database.clone(),
        data_dir: arguments.data_dir.clone(),
        sample_images: arguments.sample_images,
        inspect_formats: !arguments.no_inspection,
        www_authenticate_uri: arguments
            .identity
            .map(|address| format!("http://{address}")),
    };
    let glance = EmbeddedGlance::start(&settings)?;
    let catalog = Catalog {
        image: base(&glance),
        compute: None,
    };
    let identity = match arguments.identity {
        Some(address) => Some(IdentityService::start(address, catalog)?),
        None => None,
    };
    Ok(GlanceAlone { glance, identity })
}

fn base(glance: &EmbeddedGlance) -> String {
    glance.endpoint().as_str().trim_end_matches('/').to_owned()
}

impl GlanceAlone {
    /// Where it listens.
    #[must_use]
    pub fn ready_line(&self) -> String {
        let glance = base(&self.glance);
        match &self.identity {
            Some(identity) => format!(
                "listening on {glance}, OS_AUTH_URL=http://{}/v3",
                identity.address()
            ),
            None => format!("listening on {glance}"),
        }
    }

    /// Lets the requests that run finish.
    pub async fn stop(self) {
        if let Some(identity) = self.identity {
            identity.stop().await;
        }
        self.glance.stop(true).await;
    }
}
