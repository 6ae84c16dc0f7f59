//! Token validation: one call to Keystone at a time for each token, and the token cache.

use std::fmt;
use std::sync::Arc;

use chrono::Utc;
use http::header::HeaderValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::catalog::{EndpointFilter, NoImageEndpoint};
use super::client::{KeystoneClient, ValidationResult, secret_header};
use super::client_token::ClientToken;
use super::clock::Clock;
use super::digest::{DigestKey, TokenDigest, is_well_formed};
use super::error::{Error, InvalidToken, Unavailable};
use super::service_token::ServiceTokenProvider;
use super::token::{ScopeKind, Token};
use super::token_cache::{ExpiredTokens, TokenCache, TokenKey};
use crate::config;
use crate::telemetry::metrics::TokenMetrics;
use crate::telemetry::trace_context::TaskScope;
use crate::upstream;
use crate::util::recent_outcomes::RecentOutcomes;
use crate::util::single_flight::{Follower, Role, SingleFlight};

/// Validations that Keystone is called for at the same moment.
const MAX_CONCURRENT: usize = 64;
/// New tokens under validation or waiting for it.
const MAX_QUEUED: usize = 1024;

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

/// Validates tokens. Clones share everything.
#[derive(Clone)]
pub struct TokenValidator(pub(super) Arc<Inner>);

pub(super) struct Inner {
    key: DigestKey,
    clock: Clock,
    pub(super) client: Arc<KeystoneClient>,
    /// `None`: every token validates itself.
    pub(super) service: Option<Arc<ServiceTokenProvider>>,
    service_token_roles: Vec<String>,
    cache: TokenCache,
    metrics: TokenMetrics,
    single_flight: SingleFlight<TokenKey, (), Outcome>,
    calls: Semaphore,
    pub(super) recent_outcomes: RecentOutcomes,
}

impl TokenValidator {
    /// A validator with these settings that calls Keystone through `http`, which must follow no
    /// redirects.
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

    /// As [`TokenValidator::new`], with another clock.
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
            cache: TokenCache::new(auth.token_cache_entries, auth.token_cache_time),
            metrics: TokenMetrics::default(),
            single_flight: SingleFlight::new(MAX_QUEUED),
            calls: Semaphore::new(MAX_CONCURRENT),
            recent_outcomes: RecentOutcomes::default(),
            clock,
        })))
    }

    /// The token with its digest.
    ///
    /// # Errors
    /// When Keystone issues no such text as a token.
    pub fn parse<'t>(&self, text: &'t str) -> Result<ClientToken<'t>, InvalidToken> {
        if is_well_formed(text) {
            Ok(ClientToken::new(text, &self.0.key))
        } else {
            self.0.metrics.refused.inc();
            Err(InvalidToken)
        }
    }

    /// The cached result for a token that has not expired, without a call to Keystone; `None` when the
    /// token must be [validated](TokenValidator::validate).
    #[must_use]
    pub fn cached(&self, text: &str) -> Option<Result<Arc<Token>, InvalidToken>> {
        match self.parse(text) {
            Ok(token) => self.cached_with(token, ExpiredTokens::Rejected),
            Err(InvalidToken) => Some(Err(InvalidToken)),
        }
    }

    /// As [`TokenValidator::cached`], for a token that may have expired.
    #[must_use]
    pub fn cached_with(
        &self,
        token: ClientToken<'_>,
        expired: ExpiredTokens,
    ) -> Option<Result<Arc<Token>, InvalidToken>> {
        let cached = self.0.cached(token.digest(), expired);
        let metrics = &self.0.metrics;
        match &cached {
            Some(Ok(_)) => &metrics.hits,
            Some(Err(InvalidToken)) => &metrics.refused,
            None => &metrics.misses,
        }
        .inc();
        cached
    }

    /// Counts of lookups and validations.
    #[must_use]
    pub fn metrics(&self) -> &TokenMetrics {
        &self.0.metrics
    }

    /// The number of valid tokens in the cache, roughly.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.cache.entries()
    }

    /// The validated token, from the cache or from Keystone within `keystone.timeout`.
    ///
    /// Concurrent callers with the same new token share one call to Keystone. The call goes on when
    /// all of them leave, and its result is cached.
    ///
    /// # Errors
    /// When the token is not valid, or when Keystone cannot say.
    pub async fn validate(&self, text: &str) -> Result<Arc<Token>, Error> {
        let token = self.parse(text)?;
        self.validate_with(token, ExpiredTokens::Rejected).await
    }

    /// As [`TokenValidator::validate`], for a token that may have expired. The future borrows nothing.
    ///
    /// # Errors
    /// As for [`TokenValidator::validate`].
    pub fn validate_with(
        &self,
        token: ClientToken<'_>,
        expired: ExpiredTokens,
    ) -> impl Future<Output = Result<Arc<Token>, Error>> + Send + use<> {
        let validator = self.clone();
        let (digest, header) = (token.digest(), secret_header(token.value()));
        async move {
            let header = header.ok_or(Error::InvalidToken)?;
            if let Some(cached) = validator.0.cached(digest, expired) {
                return Ok(cached?);
            }
            let validation = validator.join_or_start(TokenKey { digest, expired }, header)?;
            let outcome = validation.outcome().await;
            outcome.unwrap_or(Err(Unavailable::Abandoned.into()))
        }
    }

    /// Whether expired tokens are accepted in a request that brought this validated service token:
    /// a service may finish a long operation that a user began. It takes credentials, since an
    /// expired token cannot validate itself.
    #[must_use]
    pub fn expired_tokens(&self, service: Option<&Token>) -> ExpiredTokens {
        match service {
            Some(service) if self.has_credentials() && self.is_service(service) => {
                ExpiredTokens::Accepted
            }
            Some(_) | None => ExpiredTokens::Rejected,
        }
    }

    /// Whether a request to the service of type `service_type` is authorized by its validated
    /// token, and by its validated service token where it brought one.
    ///
    /// A service token needs one of `keystone.service_token_roles`. With one, the request is part
    /// of a chain of services, and the access rules of the user's application credential do not
    /// apply; without one they do. `path` is the raw path, without the query.
    #[must_use]
    pub fn authorizes(
        &self,
        token: &Token,
        service: Option<&Token>,
        service_type: &str,
        method: &str,
        path: &str,
    ) -> bool {
        match service {
            Some(service) => self.is_service(service),
            None => token.allows(service_type, method, path),
        }
    }

    /// The `X-Service-Token` for calls to other services: the gateway's own token where
    /// credentials are configured, else the validated service token that the request brought. With
    /// it those services accept a token that access rules limit, or that has expired, as they do
    /// from Nova.
    #[must_use]
    pub fn service_token(&self, from_request: Option<&str>) -> Option<HeaderValue> {
        let own = self.0.service.as_ref().and_then(|own| own.current());
        own.or_else(|| secret_header(from_request?))
    }

    fn is_service(&self, token: &Token) -> bool {
        token.has_any_role(&self.0.service_token_roles)
    }

    /// Removes a token that another service has rejected from the cache, so that Keystone validates it
    /// again.
    pub fn forget(&self, token: ClientToken<'_>) {
        self.0.cache.forget(token.digest());
    }

    fn join_or_start(
        &self,
        key: TokenKey,
        header: HeaderValue,
    ) -> Result<Follower<Outcome>, Error> {
        let single_flight = &self.0.single_flight;
        let leader = match single_flight.join_or_lead(&key, (), Instant::now(), None) {
            Role::Follower(follower) => return Ok(follower),
            Role::Leader(leader) => leader,
        };
        if !leader.is_shared() {
            return Err(Unavailable::Overloaded.into());
        }
        let (follower, inner) = (leader.follower(), Arc::clone(&self.0));
        let validation = async move {
            // A validation that ended just before this one began is in the cache by now.
            let outcome = match inner.cached(key.digest, key.expired) {
                Some(cached) => cached.map_err(Error::from),
                None => inner.ask(key, header).await,
            };
            leader.complete(outcome);
        };
        tokio::spawn(TaskScope::current().run(validation));
        Ok(follower)
    }
}

impl fmt::Debug for TokenValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenValidator(..)")
    }
}

impl Inner {
    fn cached(
        &self,
        digest: TokenDigest,
        expired: ExpiredTokens,
    ) -> Option<Result<Arc<Token>, InvalidToken>> {
        let now = (self.clock)();
        let get = |expired| self.cache.get(TokenKey { digest, expired }, now);
        match (expired, get(ExpiredTokens::Rejected)) {
            (ExpiredTokens::Accepted, None | Some(Err(InvalidToken))) => {
                get(ExpiredTokens::Accepted)
            }
            (_, cached) => cached,
        }
    }

    /// Asks Keystone and caches the result.
    async fn ask(&self, key: TokenKey, header: HeaderValue) -> Outcome {
        self.metrics.validations.inc();
        let asked_at = (self.clock)();
        let outcome = self.validation(&header, key.expired).await;
        self.record(&outcome);
        let is_good = |token: &Token| {
            key.expired == ExpiredTokens::Accepted || !token.is_expired((self.clock)())
        };
        match outcome {
            Ok(token) if is_good(&token) => {
                let token = Arc::new(token);
                self.cache.accept(key, Arc::clone(&token), asked_at);
                Ok(token)
            }
            Ok(_) | Err(Error::InvalidToken) => {
                self.cache.reject(key, asked_at);
                Err(Error::InvalidToken)
            }
            Err(error @ (Error::Unavailable(_) | Error::InvalidResponse(_))) => Err(error),
        }
    }

    /// Records whether the exchange shows a fault in the settings, for readiness. Without
    /// credentials the catalogs of clients' tokens are the only ones there are.
    fn record(&self, outcome: &Result<Token, Error>) {
        match outcome {
            Ok(token) if self.service.is_none() && token.scope_kind() == ScopeKind::Project => {
                self.recent_outcomes.record(match token.image_endpoint() {
                    Ok(_) | Err(NoImageEndpoint::NotRequested) => Ok(()),
                    Err(reason) => Err(reason.to_string()),
                });
            }
            Ok(_) | Err(Error::InvalidToken) => self.recent_outcomes.record(Ok(())),
            Err(error) if error.is_misconfiguration() => {
                self.recent_outcomes.record(Err(error.to_string()));
            }
            Err(Error::Unavailable(_) | Error::InvalidResponse(_)) => {}
        }
    }

    async fn validation(
        &self,
        subject: &HeaderValue,
        expired: ExpiredTokens,
    ) -> Result<Token, Error> {
        let deadline = self.client.deadline();
        let Ok(Ok(_call)) = timeout_at(deadline, self.calls.acquire()).await else {
            return Err(Unavailable::Overloaded.into());
        };
        let result = match &self.service {
            None => {
                let client = &self.client;
                client.validate(subject, subject, expired, deadline).await?
            }
            Some(service) => {
                self.validate_with_service_token(service, subject, expired, deadline)
                    .await?
            }
        };
        match result {
            ValidationResult::Accepted(token) => Ok(token),
            // A token that validates itself is the caller's token as well.
            ValidationResult::InvalidToken | ValidationResult::CallerTokenRejected => {
                Err(Error::InvalidToken)
            }
        }
    }

    /// Validates with the gateway's own token, once more with a new one when the first is rejected.
    async fn validate_with_service_token(
        &self,
        service: &Arc<ServiceTokenProvider>,
        subject: &HeaderValue,
        expired: ExpiredTokens,
        deadline: Instant,
    ) -> Result<ValidationResult, Error> {
        let validate = async |own: &HeaderValue| {
            let client = &self.client;
            client.validate(own, subject, expired, deadline).await
        };
        let own = service.token(&self.client, deadline).await?;
        let result = validate(&own.header).await?;
        if !matches!(result, ValidationResult::CallerTokenRejected) {
            return Ok(result);
        }
        service.discard(&own);
        let own = service.token(&self.client, deadline).await?;
        match validate(&own.header).await? {
            ValidationResult::CallerTokenRejected => Err(service.mark_failed(&own)),
            result @ (ValidationResult::Accepted(_) | ValidationResult::InvalidToken) => Ok(result),
        }
    }
}
