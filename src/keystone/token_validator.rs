//! One validation at a time for each token, and what is kept of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use http::header::HeaderValue;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::catalog::EndpointFilter;
use super::client::{KeystoneClient, ValidationResult, secret_header};
use super::digest::{DigestKey, TokenDigest, is_well_formed};
use super::error::{Error, InvalidToken, Unavailable};
use super::service_token::ServiceTokenProvider;
use super::token::Token;
use super::token_cache::TokenCache;
use crate::config;
use crate::telemetry::metrics::TokenMetrics;
use crate::upstream;

/// Questions that Keystone is asked at the same moment.
const MAX_CONCURRENT: usize = 64;
/// New tokens that wait for an answer, those just being asked about included.
const MAX_QUEUED: usize = 1024;

/// The wall clock. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Whether tokens are validated together with their service catalogs, which can be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogs {
    /// Glance's endpoint comes from the catalog.
    Wanted,
    /// Glance's endpoint is configured.
    NotWanted,
}

/// Why token validation cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Settings are missing or not allowed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<config::Violation>),
    /// The system has no random numbers for the key that tokens are hashed with.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

type Outcome = Result<Arc<Token>, Error>;
type Flight = watch::Receiver<Option<Outcome>>;

/// Validates tokens. Clones share everything.
#[derive(Clone)]
pub struct TokenValidator(Arc<Inner>);

struct Inner {
    key: DigestKey,
    clock: Clock,
    client: Arc<KeystoneClient>,
    /// `None`: every token validates itself.
    service: Option<Arc<ServiceTokenProvider>>,
    service_token_roles: Vec<String>,
    known: TokenCache,
    metrics: TokenMetrics,
    flights: Mutex<HashMap<TokenDigest, Flight>>,
    calls: Semaphore,
}

/// What a validation starts from.
enum Start {
    Known(Result<Arc<Token>, InvalidToken>),
    Flight(Flight),
    Overloaded,
}

impl TokenValidator {
    /// Validates tokens by these settings with `http`, which must follow no redirects.
    ///
    /// # Errors
    /// When the settings are not allowed, lack a URL or name a file that cannot be read.
    pub fn new(
        settings: &config::Keystone,
        auth: &config::Auth,
        http: upstream::InstrumentedClient,
        catalogs: Catalogs,
    ) -> Result<Self, BuildError> {
        Self::with_clock(settings, auth, http, catalogs, Arc::new(Utc::now))
    }

    /// As [`TokenValidator::new`], by another clock.
    ///
    /// # Errors
    /// As for [`TokenValidator::new`].
    pub fn with_clock(
        settings: &config::Keystone,
        auth: &config::Auth,
        http: upstream::InstrumentedClient,
        catalogs: Catalogs,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let mut violations = settings.validate();
        violations.extend(auth.validate());
        violations.extend(settings.unreadable_secret());
        let Some(url) = &settings.auth_url else {
            violations.push(config::Violation::new("keystone.auth_url", "is needed"));
            return Err(BuildError::Settings(violations));
        };
        if !violations.is_empty() {
            return Err(BuildError::Settings(violations));
        }
        let endpoint_filter = match catalogs {
            Catalogs::Wanted => Some(EndpointFilter {
                region: settings.region_name.clone(),
                interface: settings.interface,
            }),
            Catalogs::NotWanted => None,
        };
        let service = settings.credentials().map(|credentials| {
            Arc::new(ServiceTokenProvider::new(credentials, Arc::clone(&clock)))
        });
        Ok(Self(Arc::new(Inner {
            key: DigestKey::random()?,
            client: Arc::new(KeystoneClient::new(
                http,
                url,
                endpoint_filter,
                settings.timeout,
            )),
            service,
            service_token_roles: settings.service_token_roles.clone(),
            known: TokenCache::new(auth.token_cache_entries, auth.token_cache_time),
            metrics: TokenMetrics::default(),
            flights: Mutex::default(),
            calls: Semaphore::new(MAX_CONCURRENT),
            clock,
        })))
    }

    /// What is known of a token now, without asking anybody: a valid one, a refused one, or
    /// nothing, so that [`TokenValidator::validate`] must be asked.
    #[must_use]
    pub fn cached(&self, token: &str) -> Option<Result<Arc<Token>, InvalidToken>> {
        let known = if is_well_formed(token) {
            let digest = self.0.key.digest(token);
            self.0.known.get(digest, (self.0.clock)())
        } else {
            Some(Err(InvalidToken))
        };
        let metrics = &self.0.metrics;
        match &known {
            Some(Ok(_)) => &metrics.hits,
            Some(Err(InvalidToken)) => &metrics.refused,
            None => &metrics.misses,
        }
        .inc();
        known
    }

    /// What is counted of lookups and validations.
    #[must_use]
    pub fn metrics(&self) -> &TokenMetrics {
        &self.0.metrics
    }

    /// How many good tokens are known, roughly.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.known.entries()
    }

    /// The validated token, from memory or from Keystone within `keystone.timeout`.
    ///
    /// However many callers have the same new token, Keystone is asked once. The question goes on
    /// when all of them leave, and its answer is kept.
    ///
    /// # Errors
    /// When the token is not valid, or when Keystone cannot say.
    pub async fn validate(&self, token: &str) -> Result<Arc<Token>, Error> {
        if !is_well_formed(token) {
            return Err(Error::InvalidToken);
        }
        let Some(header) = secret_header(token) else {
            return Err(Error::InvalidToken);
        };
        let mut flight = match self.start(self.0.key.digest(token), header) {
            Start::Known(answer) => return Ok(answer?),
            Start::Flight(flight) => flight,
            Start::Overloaded => return Err(Unavailable::Overloaded.into()),
        };
        let outcome = match flight.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        outcome.unwrap_or(Err(Unavailable::Abandoned.into()))
    }

    /// Whether a request with a validated token, and with a validated service token where it
    /// brought one, may go on.
    ///
    /// A service token needs one of `keystone.service_token_roles`. With one the request is part
    /// of a chain of services, which the access rules of a user's application credential do not
    /// speak of; without one they decide. `path` is the raw path, without the query.
    #[must_use]
    pub fn authorizes(
        &self,
        token: &Token,
        service: Option<&Token>,
        method: &str,
        path: &str,
    ) -> bool {
        match service {
            Some(service) => service.has_any_role(&self.0.service_token_roles),
            None => token.allows(method, path),
        }
    }

    /// Forgets what is known of a token, so that Keystone is asked again: for a token that another
    /// service has refused.
    pub fn forget(&self, token: &str) {
        self.0.known.forget(self.0.key.digest(token));
    }

    fn start(&self, digest: TokenDigest, header: HeaderValue) -> Start {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(&digest) {
            return Start::Flight(flight.clone());
        }
        // Under the lock: a validation that has just ended is known by now.
        if let Some(answer) = self.0.known.get(digest, (self.0.clock)()) {
            return Start::Known(answer);
        }
        if flights.len() >= MAX_QUEUED {
            return Start::Overloaded;
        }
        let (land, flight) = watch::channel(None);
        flights.insert(digest, flight.clone());
        drop(flights);
        let leader = LeaderGuard {
            inner: Arc::clone(&self.0),
            digest,
        };
        tokio::spawn(async move {
            let outcome = leader.inner.ask(digest, header).await;
            drop(leader);
            land.send_replace(Some(outcome));
        });
        Start::Flight(flight)
    }
}

impl fmt::Debug for TokenValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenValidator(..)")
    }
}

/// Ends a flight, also when its task panics or is dropped.
struct LeaderGuard {
    inner: Arc<Inner>,
    digest: TokenDigest,
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.inner.flights().remove(&self.digest);
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, HashMap<TokenDigest, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks Keystone and keeps what it says.
    async fn ask(&self, digest: TokenDigest, header: HeaderValue) -> Outcome {
        self.metrics.validations.inc();
        let outcome = self.validation(&header).await;
        let now = (self.clock)();
        match outcome {
            Ok(token) if !token.is_expired(now) => {
                let token = Arc::new(token);
                self.known.accept(digest, Arc::clone(&token), now);
                Ok(token)
            }
            Ok(_) | Err(Error::InvalidToken) => {
                self.known.refuse(digest, now);
                Err(Error::InvalidToken)
            }
            Err(error @ (Error::Unavailable(_) | Error::InvalidResponse(_))) => Err(error),
        }
    }

    async fn validation(&self, subject: &HeaderValue) -> Result<Token, Error> {
        let deadline = self.client.deadline();
        let Ok(Ok(_call)) = timeout_at(deadline, self.calls.acquire()).await else {
            return Err(Unavailable::Overloaded.into());
        };
        let validation = match &self.service {
            None => self.client.validate(subject, subject, deadline).await?,
            Some(service) => {
                self.validate_with_service_token(service, subject, deadline)
                    .await?
            }
        };
        match validation {
            ValidationResult::Accepted(token) => Ok(token),
            // Where the token asks about itself, refusing the asker is refusing the token.
            ValidationResult::InvalidToken | ValidationResult::CallerTokenRejected => {
                Err(Error::InvalidToken)
            }
        }
    }

    /// Asks under the gateway's own name, once more with a new token when the first is refused.
    async fn validate_with_service_token(
        &self,
        service: &Arc<ServiceTokenProvider>,
        subject: &HeaderValue,
        deadline: Instant,
    ) -> Result<ValidationResult, Error> {
        let own = service.token(&self.client, deadline).await?;
        let validation = self.client.validate(&own.header, subject, deadline).await?;
        if !matches!(validation, ValidationResult::CallerTokenRejected) {
            return Ok(validation);
        }
        service.discard(&own);
        let own = service.token(&self.client, deadline).await?;
        match self.client.validate(&own.header, subject, deadline).await? {
            ValidationResult::CallerTokenRejected => Err(service.mark_failed(&own)),
            validation @ (ValidationResult::Accepted(_) | ValidationResult::InvalidToken) => {
                Ok(validation)
            }
        }
    }
}
