//! The gateway's own token, where credentials are configured.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use http::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::client::{KeystoneClient, SUBJECT_TOKEN, unexpected_status};
use super::error::{Error, InvalidResponse, Unavailable};
use super::token_validator::Clock;
use super::{is_well_formed, token_response};
use crate::config::{Credentials, Domain, SecretSource};

/// A token is replaced so long before its end, or at half of a shorter life.
const RENEW_BEFORE: TimeDelta = TimeDelta::seconds(60);
/// After a failure Keystone is left alone for so long, lest a wrong password locks the account.
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

/// Keeps one token of the gateway's own and replaces it in time.
pub(super) struct ServiceTokenProvider {
    credentials: Credentials,
    clock: Clock,
    state: Mutex<TokenState>,
    /// Held by whoever authenticates, so that nobody else does meanwhile.
    renewing: Arc<tokio::sync::Mutex<()>>,
}

impl ServiceTokenProvider {
    pub(super) fn new(credentials: Credentials, clock: Clock) -> Self {
        Self {
            credentials,
            clock,
            state: Mutex::default(),
            renewing: Arc::default(),
        }
    }

    /// A token to ask Keystone with. One that will end soon is replaced in the background.
    pub(super) async fn token(
        self: &Arc<Self>,
        client: &Arc<KeystoneClient>,
        deadline: Instant,
    ) -> Result<ServiceToken, Error> {
        let now = (self.clock)();
        if let Some(token) = self.valid(now) {
            if now >= token.renew_at {
                self.renew_in_background(client, now);
            }
            return Ok(token);
        }
        let Ok(_renewing) = timeout_at(deadline, self.renewing.lock()).await else {
            return Err(Unavailable::TimedOut.into());
        };
        if let Some(token) = self.valid((self.clock)()) {
            return Ok(token);
        }
        if let Some(error) = self.recent_failure((self.clock)())
            && error == Unavailable::CredentialsRefused.into()
        {
            return Err(error);
        }
        self.renew(client, deadline).await
    }

    /// Keystone does not take `token` any more: the next question needs another.
    pub(super) fn discard(&self, token: &ServiceToken) {
        let mut state = self.state();
        if state
            .token
            .as_ref()
            .is_some_and(|state| state.header == token.header)
        {
            state.token = None;
        }
    }

    /// Keystone did not take a brand-new token either.
    pub(super) fn mark_failed(&self, token: &ServiceToken) -> Error {
        self.discard(token);
        let error = Error::from(Unavailable::CredentialsRefused);
        self.failed(&error);
        error
    }

    fn state(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn valid(&self, now: DateTime<Utc>) -> Option<ServiceToken> {
        self.state()
            .token
            .clone()
            .filter(|token| now < token.expires_at)
    }

    fn recent_failure(&self, now: DateTime<Utc>) -> Option<Error> {
        let failure = self.state().failure.clone()?;
        let age = now.signed_duration_since(failure.at).abs();
        (age < FAILURE_BACKOFF).then_some(failure.error)
    }

    fn failed(&self, error: &Error) {
        self.state().failure = Some(Failure {
            at: (self.clock)(),
            error: error.clone(),
        });
    }

    fn renew_in_background(self: &Arc<Self>, client: &Arc<KeystoneClient>, now: DateTime<Utc>) {
        if self.recent_failure(now).is_some() {
            return;
        }
        let Ok(renewing) = Arc::clone(&self.renewing).try_lock_owned() else {
            return;
        };
        let (service, client) = (Arc::clone(self), Arc::clone(client));
        tokio::spawn(async move {
            if let Err(error) = service.renew(&client, client.deadline()).await {
                tracing::warn!(%error, "the gateway's own token could not be renewed");
            }
            drop(renewing);
        });
    }

    /// Authenticates; the caller holds `renewing`.
    async fn renew(
        &self,
        client: &KeystoneClient,
        deadline: Instant,
    ) -> Result<ServiceToken, Error> {
        let outcome = self.authenticate(client, deadline).await;
        match &outcome {
            Ok(token) => {
                *self.state() = TokenState {
                    token: Some(token.clone()),
                    failure: None,
                };
            }
            Err(error) => self.failed(error),
        }
        outcome
    }

    async fn authenticate(
        &self,
        client: &KeystoneClient,
        deadline: Instant,
    ) -> Result<ServiceToken, Error> {
        let secret = self.secret().await?;
        let body = auth_request_body(&self.credentials, &secret).to_string();
        let answer = client.authenticate(body, deadline).await?;
        match answer.status {
            StatusCode::CREATED => {
                let expires_at = token_response::expiry(&answer.body)?;
                let token = answer.headers.get(SUBJECT_TOKEN);
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
            .ok_or(InvalidResponse::Inconsistent("a new token that is none"))?;
        header.set_sensitive(true);
        let life = expires_at.signed_duration_since((self.clock)());
        if life <= TimeDelta::zero() {
            return Err(InvalidResponse::Inconsistent(
                "a new token that has ended already",
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

    /// Files are read anew every time, so that a replaced secret needs no restart.
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

/// The body of an authentication.
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
