//! Authentication: from a request's tokens to its [`AuthContext`].
//!
//! Only Keystone's description of the token identifies the caller. `X-Project-Id`, `X-Roles` and the like that a
//! client sends are never read, and nothing but the token itself travels on.

use super::context::RequestContext;
use crate::cache::{CacheIsolation, IsolationScope, NoCacheReason};
use crate::glance::Endpoint;
use crate::keystone::{
    self, ClientToken, DigestKey, ExpiredTokens, InvalidToken, NoImageEndpoint, ScopeKind, Token,
    TokenValidator,
};
use crate::upstream::FairnessKey;
use crate::upstream::runtime::{Spawner, TaskAborted};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::sync::Arc;
use thiserror::Error;
use tokio::time::timeout_at;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const STORAGE_TOKEN: HeaderName = HeaderName::from_static("x-storage-token");
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// Authenticates requests.
#[derive(Debug)]
pub struct Authenticator {
    backend: AuthBackend,
    isolation: CacheIsolation,
    /// Glance's endpoint, unless the token's catalog names it.
    endpoint: Option<Endpoint>,
    challenge: Option<HeaderValue>,
    spawner: Spawner,
}

/// One way of authentication.
#[derive(Debug)]
pub enum AuthBackend {
    /// Keystone validates the token.
    Keystone(TokenValidator),
    /// Glance validates the token. The key tells tokens apart without storing them.
    Passthrough(DigestKey),
    /// A token names its caller, for the embedded Glance; other tokens do not count.
    SelfNamed(SelfNamedTokens),
    /// There are no tokens.
    None,
}

/// Tokens by which callers name themselves.
#[derive(Debug)]
pub struct SelfNamedTokens {
    /// Tells tokens apart without storing them.
    pub key: DigestKey,
    /// Whether a token names its caller.
    pub names_caller: fn(&str) -> bool,
}

/// Why a request is not authenticated.
#[derive(Debug, Clone, Error)]
pub enum AuthError {
    /// No token, an invalid one, or one whose access rules do not allow the request.
    #[error("no valid token")]
    Unauthorized,
    /// Keystone was unavailable, or sent an invalid response.
    #[error(transparent)]
    KeystoneUnavailable(keystone::Error),
    /// The request's deadline passed first.
    #[error("the token was not validated in time")]
    Timeout,
    /// A bug: the task that validates ended early.
    #[error("a task ended early")]
    Internal,
}

/// Why there is no Glance endpoint for a caller.
#[derive(Debug, Clone, Copy, Error)]
pub enum EndpointError {
    /// The token has no scope, and images belong to projects.
    #[error("the token is not scoped to a project")]
    TokenWithoutProject,
    /// The token's catalog names no image service.
    #[error(transparent)]
    NotInCatalog(NoImageEndpoint),
}

/// An authenticated caller, for one request.
#[derive(Debug)]
pub struct AuthContext<'r> {
    principal: Principal,
    /// The token to call Glance with; none in mode `none`.
    token: Option<ClientToken<'r>>,
    /// The validated service token that the request brought.
    service_token: Option<ClientToken<'r>>,
    /// The cache scope of this caller, or why its responses must not be cached.
    pub scope: Result<IsolationScope, NoCacheReason>,
    /// The Glance endpoint for this caller.
    pub endpoint: Result<Cow<'r, Endpoint>, EndpointError>,
    backend: &'r AuthBackend,
}

#[derive(Debug)]
enum Principal {
    Validated(Arc<Token>),
    /// The gateway does not know the caller; Glance decides.
    Unknown,
}

impl Authenticator {
    /// `isolation` says which callers share cached responses; `endpoint` is Glance's, unless the
    /// token's catalog names it; `www_authenticate_uri` is where a 401 sends clients to log in.
    /// Keystone is called on the runtime of `spawner`.
    #[must_use]
    pub fn new(
        backend: AuthBackend,
        isolation: CacheIsolation,
        endpoint: Option<Endpoint>,
        www_authenticate_uri: Option<&str>,
        spawner: Spawner,
    ) -> Self {
        // A URL is plain ASCII.
        let challenge = www_authenticate_uri
            .and_then(|url| HeaderValue::try_from(format!("Keystone uri=\"{url}\"")).ok());
        Self {
            backend,
            isolation,
            endpoint,
            challenge,
            spawner,
        }
    }

    /// The value of `WWW-Authenticate` on a 401.
    #[must_use]
    pub fn challenge(&self) -> Option<&HeaderValue> {
        self.challenge.as_ref()
    }

    /// Validates the request's token, and its service token where there is one. Without waiting
    /// when Keystone has validated them before. `service_type` is the type of the service whose
    /// access rules apply.
    pub async fn authenticate<'r>(
        &'r self,
        context: &RequestContext<'r>,
        service_type: &str,
    ) -> Result<AuthContext<'r>, AuthError> {
        let request = context.request;
        let headers = request.headers();
        let keystone = match &self.backend {
            AuthBackend::Keystone(keystone) => keystone,
            AuthBackend::Passthrough(key) => {
                let token = auth_token(headers).ok_or(AuthError::Unauthorized)?;
                return Ok(self.unvalidated(Some(ClientToken::new(token, key))));
            }
            AuthBackend::SelfNamed(tokens) => {
                let token = auth_token(headers).filter(|token| (tokens.names_caller)(token));
                return Ok(self.unvalidated(token.map(|it| ClientToken::new(it, &tokens.key))));
            }
            AuthBackend::None => {
                return Ok(self.unvalidated(None));
            }
        };
        let client_token = keystone.parse(auth_token(headers).ok_or(AuthError::Unauthorized)?)?;
        let service_token = match service_token(headers)? {
            Some(text) => Some(keystone.parse(text)?),
            None => None,
        };
        let service = match service_token {
            Some(token) => {
                let expired = ExpiredTokens::Rejected;
                Some(self.validate(keystone, token, expired, context).await?)
            }
            None => None,
        };
        let expired = keystone.expired_tokens(service.as_deref());
        let validation = self.validate(keystone, client_token, expired, context);
        let token = validation.await?;
        context.observer.token(&token);
        let (method, path) = (request.method().as_str(), request.uri().path());
        if !keystone.authorizes(&token, service.as_deref(), service_type, method, path) {
            return Err(AuthError::Unauthorized);
        }
        Ok(AuthContext {
            token: Some(client_token),
            service_token,
            scope: IsolationScope::of(&token, self.isolation),
            endpoint: self.endpoint_for(&token),
            principal: Principal::Validated(token),
            backend: &self.backend,
        })
    }

    /// The context of a request whose token, if there is one, only Glance judges.
    fn unvalidated<'r>(&'r self, token: Option<ClientToken<'r>>) -> AuthContext<'r> {
        let scope = token.map_or_else(IsolationScope::anonymous, |token| {
            IsolationScope::for_opaque_token(token.digest())
        });
        let no_catalog = EndpointError::NotInCatalog(NoImageEndpoint::NoCatalog);
        AuthContext {
            principal: Principal::Unknown,
            token,
            service_token: None,
            scope: Ok(scope),
            endpoint: self.endpoint.as_ref().map(Cow::Borrowed).ok_or(no_catalog),
            backend: &self.backend,
        }
    }

    fn endpoint_for(&self, token: &Token) -> Result<Cow<'_, Endpoint>, EndpointError> {
        if token.scope_kind() == ScopeKind::Unscoped {
            return Err(EndpointError::TokenWithoutProject);
        }
        match &self.endpoint {
            Some(endpoint) => Ok(Cow::Borrowed(endpoint)),
            None => token
                .image_endpoint()
                .map(|url| Cow::Owned(Endpoint::new(url)))
                .map_err(EndpointError::NotInCatalog),
        }
    }

    async fn validate(
        &self,
        keystone: &TokenValidator,
        token: ClientToken<'_>,
        expired: ExpiredTokens,
        context: &RequestContext<'_>,
    ) -> Result<Arc<Token>, AuthError> {
        match keystone.cached_with(token, expired) {
            Some(Ok(token)) => Ok(token),
            Some(Err(InvalidToken)) => Err(AuthError::Unauthorized),
            // Boxed, since most requests come with a token that is cached.
            None => {
                let validation = self.validate_with_keystone(keystone, token, expired, context);
                Box::pin(validation).await
            }
        }
    }

    async fn validate_with_keystone(
        &self,
        keystone: &TokenValidator,
        token: ClientToken<'_>,
        expired: ExpiredTokens,
        context: &RequestContext<'_>,
    ) -> Result<Arc<Token>, AuthError> {
        let _timer = context.observer.upstream_time().start();
        let task = keystone.validate_with(token, expired);
        let task = self.spawner.run(context.ids.task_scope().run(task));
        let validated = timeout_at(context.timing.deadline, task).await;
        let validated = validated.map_err(|_| AuthError::Timeout)?;
        let validated = validated.map_err(|TaskAborted| AuthError::Internal)?;
        validated.map_err(AuthError::from)
    }
}

impl From<InvalidToken> for AuthError {
    fn from(InvalidToken: InvalidToken) -> Self {
        Self::Unauthorized
    }
}

impl From<keystone::Error> for AuthError {
    fn from(error: keystone::Error) -> Self {
        match error {
            keystone::Error::InvalidToken => Self::Unauthorized,
            error @ (keystone::Error::Unavailable(_) | keystone::Error::InvalidResponse(_)) => {
                Self::KeystoneUnavailable(error)
            }
        }
    }
}

impl AuthContext<'_> {
    /// The caller's token as Keystone describes it, where Keystone validated it.
    #[must_use]
    pub fn validated(&self) -> Option<&Token> {
        match &self.principal {
            Principal::Validated(token) => Some(token),
            Principal::Unknown => None,
        }
    }

    /// The project whose turn in the queue to Glance this caller's calls take. Where no token was
    /// validated, the token stands for it.
    #[must_use]
    pub fn fairness_key(&self) -> FairnessKey {
        match &self.principal {
            Principal::Validated(token) => FairnessKey::new(match token.identity() {
                Some(identity) => identity.project_id(),
                None => token.user_id(),
            }),
            Principal::Unknown => FairnessKey::new(self.token.map(|token| token.digest())),
        }
    }

    /// The project of a validated token; `None` where only Glance knows it.
    #[must_use]
    pub fn project_id(&self) -> Option<&str> {
        self.validated()?.project_id()
    }

    /// Forgets the validation of this token, so that the next request asks Keystone again. For a
    /// token that Glance refuses.
    pub fn invalidate(&self) {
        if let (AuthBackend::Keystone(keystone), Some(token)) = (self.backend, self.token) {
            keystone.forget(token);
        }
    }

    /// The token to call Glance with, marked sensitive.
    #[must_use]
    pub fn token_header(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(self.token?.value()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The service token to call Glance with, marked sensitive.
    #[must_use]
    pub fn service_token_header(&self) -> Option<http::HeaderValue> {
        match self.backend {
            AuthBackend::Keystone(keystone) => {
                keystone.service_token(self.service_token.map(|token| token.value()))
            }
            AuthBackend::Passthrough(_) | AuthBackend::SelfNamed(_) | AuthBackend::None => None,
        }
    }
}

/// The client's token. `X-Storage-Token` is an old name that counts when the usual one is absent. Two
/// tokens are ambiguous and count as none.
fn auth_token(headers: &HeaderMap) -> Option<&str> {
    let of = |name| {
        let mut values = headers.get_all(name);
        values.next().map(|first| (first, values.next()))
    };
    let (first, others) = of(AUTH_TOKEN).or_else(|| of(STORAGE_TOKEN))?;
    let only = others.is_none().then_some(first)?;
    printable_ascii(only.as_bytes()).filter(|token| !token.is_empty())
}

/// The service token, if the request brought one; an empty header brings none. Two of them are
/// ambiguous, so they are invalid.
fn service_token(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(SERVICE_TOKEN);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(only), None) if only.is_empty() => Ok(None),
        (Some(only), None) => printable_ascii(only.as_bytes())
            .map(Some)
            .ok_or(AuthError::Unauthorized),
        (Some(_), Some(_)) => Err(AuthError::Unauthorized),
    }
}

/// Text of printable ASCII.
fn printable_ascii(bytes: &[u8]) -> Option<&str> {
    let printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    printable.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    #[rstest]
    #[case(&[("X-Auth-Token", "t")], Some("t"))]
    #[case(&[("X-Storage-Token", "s")], Some("s"))]
    #[case(&[("X-Auth-Token", "t"), ("X-Storage-Token", "s")], Some("t"))]
    #[case(&[("X-Auth-Token", ""), ("X-Storage-Token", "s")], None)]
    #[case(&[("X-Auth-Token", "t"), ("X-Auth-Token", "u")], None)]
    #[case(&[("X-Service-Token", "t"), ("X-Identity-Status", "Confirmed")], None)]
    fn there_is_one_token_or_none(#[case] sent: &[(&str, &str)], #[case] token: Option<&str>) {
        let mut request = TestRequest::default();
        for &header in sent {
            request = request.append_header(header);
        }
        assert_eq!(auth_token(request.to_http_request().headers()), token);
    }

    #[rstest]
    #[case(&[], Ok(None))]
    #[case(&[""], Ok(None))]
    #[case(&["s"], Ok(Some("s")))]
    #[case(&["s", "t"], Err(()))]
    #[case(&["", "t"], Err(()))]
    #[case(&["", ""], Err(()))]
    #[case(&["tökén"], Err(()))]
    fn an_empty_service_token_is_none_and_two_are_invalid(
        #[case] sent: &[&str],
        #[case] expected: Result<Option<&str>, ()>,
    ) {
        let mut request = TestRequest::default();
        for value in sent {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request = request.append_header((SERVICE_TOKEN, value));
        }
        let request = request.to_http_request();
        assert_eq!(service_token(request.headers()).map_err(drop), expected);
    }

    #[test]
    fn no_token_holds_more_than_visible_ascii() {
        for byte in 0..=u8::MAX {
            let Ok(value) = HeaderValue::from_bytes(&[b't', byte]) else {
                continue;
            };
            let request = TestRequest::default().insert_header((AUTH_TOKEN, value));
            let token = request.to_http_request();
            let token = auth_token(token.headers()).is_some();
            assert_eq!(token, matches!(byte, b' '..=b'~'), "{byte}");
        }
    }
}
