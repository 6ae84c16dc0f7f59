//! Whether tokens can be validated.

use tokio::time::Instant;
use url::Url;

use super::probe::Probe;
use crate::keystone::{Error, NoOwnEndpoint, NotIdentityV3, TokenValidator, Unavailable};

const IDENTITY: &str = "keystone.identity";
const CREDENTIALS: &str = "keystone.credentials";
const CATALOG: &str = "keystone.catalog";
const RECENT: &str = "keystone.recent";

/// The probes of Keystone, and the image endpoint that the gateway's own catalog names, where
/// endpoints come from catalogs and there are credentials.
pub(super) async fn probe(
    keystone: &TokenValidator,
    deadline: Instant,
) -> (Vec<Probe>, Option<Url>) {
    let mut probes = Vec::new();
    let mut endpoint = None;
    let target = Some(keystone.identity_url().to_string());
    match keystone.check_version_document(deadline).await {
        Ok(()) => {
            probes.push(Probe::ok(IDENTITY, target, "an Identity API v3"));
            if keystone.has_credentials() {
                let (probe, is_ok) = credentials(keystone, deadline).await;
                probes.push(probe);
                if is_ok && keystone.reads_catalogs() {
                    let (probe, found) = catalog(keystone, deadline).await;
                    probes.push(probe);
                    endpoint = found;
                }
            }
        }
        // The rest would fail for the same reason.
        Err(error) => {
            let advice = match error {
                NotIdentityV3::Document(_) => {
                    "correct keystone.auth_url: Keystone's URL, with or without /v3"
                }
                NotIdentityV3::Transport(_) | NotIdentityV3::Status(_) => {
                    "look at Keystone, or correct keystone.auth_url"
                }
            };
            probes.push(Probe::fail(IDENTITY, target, error.to_string(), advice));
        }
    }
    probes.push(recent(keystone));
    (probes, endpoint)
}

async fn credentials(keystone: &TokenValidator, deadline: Instant) -> (Probe, bool) {
    match keystone.check_credentials(deadline).await {
        Ok(()) => {
            let detail = "the gateway's user may validate tokens";
            (Probe::ok(CREDENTIALS, None, detail), true)
        }
        Err(error) => (
            Probe::fail(CREDENTIALS, None, error.to_string(), advice_for(&error)),
            false,
        ),
    }
}

fn advice_for(error: &Error) -> &'static str {
    match error {
        Error::Unavailable(Unavailable::Forbidden) => {
            "the user needs role service on its project, or another that Keystone's policy lets \
             validate tokens"
        }
        Error::Unavailable(Unavailable::CredentialsRefused) => {
            "correct the user, its domain, project or password in keystone.*"
        }
        Error::Unavailable(Unavailable::SecretUnreadable(_)) => {
            "let the gateway's user read the file"
        }
        Error::InvalidToken | Error::Unavailable(_) | Error::InvalidResponse(_) => {
            "look at Keystone, or correct keystone.auth_url"
        }
    }
}

async fn catalog(keystone: &TokenValidator, deadline: Instant) -> (Probe, Option<Url>) {
    match keystone.own_image_endpoint(deadline).await {
        Ok(endpoint) => {
            let target = endpoint.as_ref().map(Url::to_string);
            (Probe::ok(CATALOG, target, "an image endpoint"), endpoint)
        }
        Err(error) => {
            let advice = match error {
                NoOwnEndpoint::Catalog(_) => {
                    "correct keystone.region_name or keystone.interface, or register the endpoint in \
                     Keystone's catalog, or set glance.endpoints"
                }
                NoOwnEndpoint::Keystone(_) => "look at Keystone",
            };
            (Probe::fail(CATALOG, None, error.to_string(), advice), None)
        }
    }
}

fn recent(keystone: &TokenValidator) -> Probe {
    match keystone.persistent_failure() {
        None => Probe::ok(RECENT, None, "clients' tokens are validated, or none came"),
        Some(reason) => Probe::fail(
            RECENT,
            None,
            format!("the last validations all failed: {reason}"),
            "correct keystone.*; the gateway is tried again a minute after the last failure",
        ),
    }
}
