//! The gateway's own token, where credentials are configured.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use http::header::HeaderValue;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::client::{KeystoneClient, SUBJECT_TOKEN, unexpected_status};
use super::clock::Clock;
use super::error::{Error, InvalidResponse, Unavailable};
use super::{is_well_formed, token_response};
use crate::config::{Credentials, Domain, SecretSource};
use crate::util::single_flight::{Follower, LeaderGuard, Role, SingleFlight};

/// A token is renewed this long before its expiry, or at half of a shorter life.
const RENEW_BEFORE: TimeDelta = TimeDelta::seconds(60);
/// No request is sent for this long after a failure, lest a wrong password locks the
/// account.
const FAILURE_BACKOFF: TimeDelta = TimeDelta::seconds(10);

/// A token of the gateway's own.
#[derive(Debug, Clone)]
pub(super) struct ServiceToken {
    pub(super) header: HeaderValue,
    expires_at: DateTime<Utc>,
    renew_at: DateTime<Utc>,
}

#[derive(Debug, Clone)]
struct Failure {
    at: DateTime<Utc>,
    error: Error,
}

#[derive(Default)]
struct TokenState {
    token: Option<ServiceToken>,
    failure: Option<Failure>,
}

type Renewal = Result<ServiceToken, Error>;

/// Holds one token of the gateway's own and renews it in time.
pub(super) struct ServiceTokenProvider {
    credentials: Credentials,
    clock: Clock,
    state: Mutex<TokenState>,
    renewals: SingleFlight<(), (), Renewal>,
}

impl ServiceTokenProvider {
    pub(super) fn new(credentials: Credentials, clock: Clock) -> Self {
        Self {
            credentials,
            clock,
            state: Mutex::default(),
            renewals: SingleFlight::new(1),
        }
    }

    /// A valid token, requested from Keystone if there is none. One that expires soon is renewed
    /// in the background.
    pub(super) async fn token(
        self: &Arc<Self>,
        client: &Arc<KeystoneClient>,
        deadline: Instant,
    ) -> Result<ServiceToken, Error> {
        let now = (self.clock)();
        let failure = self.recent_failure(now);
        if let Some(token) = self.valid(now) {
            if now >= token.renew_at && failure.is_none() {
                self.renew(client);
            }
            return Ok(token);
        }
        if let Some(error) = failure
            && error == Unavailable::CredentialsRefused.into()
        {
            return Err(error);
        }
        let renewal = timeout_at(deadline, self.renew(client).outcome());
        let Ok(outcome) = renewal.await else {
            return Err(Unavailable::TimedOut.into());
        };
        outcome.unwrap_or(Err(Unavailable::Abandoned.into()))
    }

    /// The token that is there now, without asking Keystone.
    pub(super) fn current(&self) -> Option<HeaderValue> {
        self.valid((self.clock)()).map(|token| token.header)
    }

    /// Keystone does not accept `token` any more: the next call needs another.
    pub(super) fn discard(&self, token: &ServiceToken) {
        let mut state = self.state.lock();
        let current = state.token.as_ref();
        if current.is_some_and(|current| current.header == token.header) {
            state.token = None;
        }
    }

    /// Keystone did not accept a brand-new token either.
    pub(super) fn mark_failed(&self, token: &ServiceToken) -> Error {
        self.discard(token);
        let error = Error::from(Unavailable::CredentialsRefused);
        self.failed(&error);
        error
    }

    fn valid(&self, now: DateTime<Utc>) -> Option<ServiceToken> {
        let token = self.state.lock().token.clone();
        token.filter(|token| now < token.expires_at)
    }

    fn recent_failure(&self, now: DateTime<Utc>) -> Option<Error> {
        let failure = self.state.lock().failure.clone()?;
        let age = now.signed_duration_since(failure.at).abs();
        (age < FAILURE_BACKOFF).then_some(failure.error)
    }

    fn failed(&self, error: &Error) {
        self.state.lock().failure = Some(Failure {
            at: (self.clock)(),
            error: error.clone(),
        });
    }

    /// Joins the renewal under way, or starts one in a task of its own.
    fn renew(self: &Arc<Self>, client: &Arc<KeystoneClient>) -> Follower<Renewal> {
        match self.renewals.join_or_lead(&(), (), Instant::now(), None) {
            Role::Follower(follower) => follower,
            Role::Leader(leader) => {
                let follower = leader.follower();
                let (provider, client) = (Arc::clone(self), Arc::clone(client));
                tokio::spawn(async move { provider.lead_renewal(&client, leader).await });
                follower
            }
        }
    }

    async fn lead_renewal(&self, client: &KeystoneClient, leader: LeaderGuard<(), (), Renewal>) {
        let now = (self.clock)();
        // Another renewal may have ended between the caller's look and its lead.
        if let Some(token) = self.valid(now).filter(|token| now < token.renew_at) {
            leader.complete(Ok(token));
            return;
        }
        let outcome = self.authenticate(client, client.deadline()).await;
        match &outcome {
            Ok(token) => {
                *self.state.lock() = TokenState {
                    token: Some(token.clone()),
                    failure: None,
                };
            }
            Err(error) => {
                tracing::warn!(%error, "the gateway's own token could not be renewed");
                self.failed(error);
            }
        }
        leader.complete(outcome);
    }

    async fn authenticate(
        &self,
        client: &KeystoneClient,
        deadline: Instant,
    ) -> Result<ServiceToken, Error> {
        let secret = self.secret().await?;
        let body = auth_request_body(&self.credentials, &secret).to_string();
        let response = client.authenticate(body, deadline).await?;
        match response.status {
            StatusCode::CREATED => {
                let expires_at = token_response::expiry(&response.body)?;
                let token = response.headers.get(SUBJECT_TOKEN);
                self.accept(token, expires_at).map_err(Error::from)
            }
            StatusCode::UNAUTHORIZED => Err(Unavailable::CredentialsRefused.into()),
            status => Err(unexpected_status(status)),
        }
    }

    fn accept(
        &self,
        token: Option<&HeaderValue>,
        expires_at: DateTime<Utc>,
    ) -> Result<ServiceToken, InvalidResponse> {
        let mut header = token
            .filter(|token| token.to_str().is_ok_and(is_well_formed))
            .cloned()
            .ok_or(InvalidResponse::Inconsistent(
                "a new token that is not well-formed",
            ))?;
        header.set_sensitive(true);
        let life = expires_at.signed_duration_since((self.clock)());
        if life <= TimeDelta::zero() {
            return Err(InvalidResponse::Inconsistent(
                "a new token that has expired already",
            ));
        }
        let renew_at = expires_at
            .checked_sub_signed(RENEW_BEFORE.min(life / 2))
            .unwrap_or(expires_at);
        Ok(ServiceToken {
            header,
            expires_at,
            renew_at,
        })
    }

    /// Reads a file each time, so that a replaced secret needs no restart.
    async fn secret(&self) -> Result<SecretString, Unavailable> {
        let source = match &self.credentials {
            Credentials::Password { password, .. } => password,
            Credentials::ApplicationCredential { secret, .. } => secret,
        };
        let read = match source {
            SecretSource::Inline(secret) => return Ok(secret.clone()),
            SecretSource::File(_) => {
                let source = source.clone();
                tokio::task::spawn_blocking(move || source.read())
            }
        };
        read.await
            .map_err(|_| Unavailable::Abandoned)?
            .map_err(|error| Unavailable::SecretUnreadable(error.kind()))
    }
}

/// The body of an authentication request.
fn auth_request_body(credentials: &Credentials, secret: &SecretString) -> Value {
    let secret = secret.expose_secret();
    match credentials {
        Credentials::Password {
            username,
            user_domain,
            project_name,
            project_domain,
            ..
        } => json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": username, "domain": domain(user_domain), "password": secret,
            }}},
            "scope": {"project": {"name": project_name, "domain": domain(project_domain)}},
        }}),
        Credentials::ApplicationCredential { id, .. } => json!({"auth": {"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret},
        }}}),
    }
}

fn domain(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({"id": id}),
        Domain::Name(name) => json!({"name": name}),
    }
}
