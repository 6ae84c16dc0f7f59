//! Who a request comes from, by each way of authentication.
//!
//! Identity is only what Keystone said of the token. `X-Project-Id`, `X-Roles` and the like that a
//! client sends are never read, and nothing but the token itself travels on.

use super::request_ids::RequestIds;
use super::request_observer::RequestLogFields;
use crate::apis::nova::ApiError;
use crate::cache::{CacheIsolation, IsolationScope};
use crate::glance::Endpoint;
use crate::keystone::{
    self, DigestKey, ExpiredTokens, NoImageEndpoint, ScopeKind, Token, TokenValidator,
};
use crate::upstream::runtime::{Spawner, TaskAborted};
use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const STORAGE_TOKEN: HeaderName = HeaderName::from_static("x-storage-token");
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");
/// The service type whose access rules apply.
const SERVICE_TYPE: &str = "compute";

/// Who judges tokens.
#[derive(Debug)]
pub struct Authenticator {
    mode: AuthBackend,
    isolation: CacheIsolation,
    /// Where Glance is, unless the token's catalog says.
    endpoint: Option<Endpoint>,
    challenge: Option<HeaderValue>,
}

/// One way of authentication.
#[derive(Debug)]
pub enum AuthBackend {
    /// Keystone judges the token.
    Keystone(TokenValidator),
    /// Glance judges the token; the key is for telling tokens apart without keeping them.
    Passthrough(DigestKey),
    /// A token names its caller, for the embedded Glance; other tokens do not count.
    SelfNamed(SelfNamedTokens),
    /// There are no tokens.
    None,
}

/// Tokens by which callers name themselves.
#[derive(Debug)]
pub struct SelfNamedTokens {
    /// For telling tokens apart without keeping them.
    pub key: DigestKey,
    /// Whether a token names its caller.
    pub names_caller: fn(&str) -> bool,
}

/// The result of authentication: one caller for one request.
#[derive(Debug)]
pub struct AuthContext<'r> {
    principal: Principal,
    /// The token that Glance is called with.
    token: Option<&'r str>,
    /// The validated service token that the request brought.
    service_token: Option<&'r str>,
    /// Where Glance is, unless the token's catalog says.
    endpoint: Option<&'r Endpoint>,
}

#[derive(Debug)]
enum Principal {
    Validated(Arc<Token>),
    /// Nobody here knows; the project in the path is believed and Glance decides.
    Unknown,
}

/// What asking Keystone takes, besides the token.
#[derive(Debug, Clone, Copy)]
pub struct ValidationContext<'r> {
    /// Where the question is asked.
    pub spawner: &'r Spawner,
    /// When the request must be answered.
    pub deadline: Instant,
    /// The request's ids.
    pub ids: &'r RequestIds,
    /// What is noted of the request.
    pub log_fields: &'r RequestLogFields,
}

impl Authenticator {
    /// `isolation` is who shares answers; `www_authenticate_uri` is what a 401 tells clients to log in at.
    #[must_use]
    pub fn new(
        mode: AuthBackend,
        isolation: CacheIsolation,
        endpoint: Option<Endpoint>,
        www_authenticate_uri: Option<&str>,
    ) -> Self {
        // A URL is plain ASCII.
        let challenge = www_authenticate_uri
            .and_then(|url| HeaderValue::try_from(format!("Keystone uri=\"{url}\"")).ok());
        Self {
            mode,
            isolation,
            endpoint,
            challenge,
        }
    }

    /// The value of `WWW-Authenticate` on a 401.
    #[must_use]
    pub fn challenge(&self) -> Option<&HeaderValue> {
        self.challenge.as_ref()
    }

    /// Judges the request's token, and its service token where there is one.
    pub fn authenticate<'r>(
        &'r self,
        request: &'r HttpRequest,
        validation_context: ValidationContext<'r>,
    ) -> impl Future<Output = Result<AuthContext<'r>, ApiError>> {
        let headers = request.headers();
        // The future of an async function has room for its arguments twice.
        async move {
            let keystone = match &self.mode {
                AuthBackend::Keystone(keystone) => keystone,
                AuthBackend::Passthrough(_) => {
                    let token = client_token(headers).ok_or(ApiError::Unauthorized)?;
                    return Ok(self.auth_context_for(Principal::Unknown, Some(token)));
                }
                AuthBackend::SelfNamed(tokens) => {
                    let token = client_token(headers).filter(|token| (tokens.names_caller)(token));
                    return Ok(self.auth_context_for(Principal::Unknown, token));
                }
                AuthBackend::None => return Ok(self.auth_context_for(Principal::Unknown, None)),
            };
            let text = client_token(headers).ok_or(ApiError::Unauthorized)?;
            let service_text = service_token(headers)?;
            let service = match service_text {
                Some(text) => {
                    let expired = ExpiredTokens::Rejected;
                    Some(validate(keystone, text, expired, validation_context).await?)
                }
                None => None,
            };
            let expired = keystone.expired_tokens(service.as_deref());
            let token = validate(keystone, text, expired, validation_context).await?;
            validation_context.log_fields.token(&token);
            let (method, path) = (request.method().as_str(), request.uri().path());
            if !keystone.authorizes(&token, service.as_deref(), SERVICE_TYPE, method, path) {
                return Err(ApiError::Unauthorized);
            }
            let mut context = self.auth_context_for(Principal::Validated(token), Some(text));
            context.service_token = service_text;
            Ok(context)
        }
    }

    fn auth_context_for<'r>(
        &'r self,
        principal: Principal,
        token: Option<&'r str>,
    ) -> AuthContext<'r> {
        AuthContext {
            principal,
            token,
            service_token: None,
            endpoint: self.endpoint.as_ref(),
        }
    }
}

impl<'r> AuthContext<'r> {
    /// The project in the path must be the token's own.
    pub fn check_project(&self, path: Option<&str>) -> Result<(), ApiError> {
        let (Principal::Validated(token), Some(path)) = (&self.principal, path) else {
            return Ok(());
        };
        let own = token.project_id().unwrap_or("None");
        if own == path {
            return Ok(());
        }
        Err(ApiError::ProjectMismatch {
            path: path.to_owned(),
            token: own.to_owned(),
        })
    }

    /// Glance does not take the token: Keystone is asked about it again next time.
    pub fn on_upstream_unauthorized(&self, auth: &Authenticator) {
        if let (AuthBackend::Keystone(keystone), Some(token)) = (&auth.mode, self.token) {
            keystone.forget(token);
        }
    }

    /// Whose answers this request's answer may be among; none when nobody can say.
    #[must_use]
    pub fn scope(&self, auth: &Authenticator) -> Option<IsolationScope> {
        match (&self.principal, &auth.mode) {
            (Principal::Validated(token), _) => IsolationScope::of(token, auth.isolation),
            (Principal::Unknown, AuthBackend::Passthrough(key)) => {
                Some(IsolationScope::for_opaque_token(self.token?, key))
            }
            (Principal::Unknown, AuthBackend::SelfNamed(tokens)) => Some(match self.token {
                Some(token) => IsolationScope::for_opaque_token(token, &tokens.key),
                None => IsolationScope::anonymous(),
            }),
            (Principal::Unknown, AuthBackend::None) => Some(IsolationScope::anonymous()),
            (Principal::Unknown, AuthBackend::Keystone(_)) => None,
        }
    }

    /// Where Glance is for this caller.
    pub fn endpoint(&self) -> Result<Cow<'r, Endpoint>, ApiError> {
        if let Principal::Validated(token) = &self.principal
            && token.scope_kind() == ScopeKind::Unscoped
        {
            return Err(ApiError::TokenWithoutProject);
        }
        match (self.endpoint, &self.principal) {
            (Some(endpoint), _) => Ok(Cow::Borrowed(endpoint)),
            (None, Principal::Validated(token)) => token
                .image_endpoint()
                .map(|url| Cow::Owned(Endpoint::new(url)))
                .map_err(ApiError::NoImageEndpoint),
            (None, Principal::Unknown) => {
                Err(ApiError::NoImageEndpoint(NoImageEndpoint::NoCatalog))
            }
        }
    }

    /// The token to call Glance with.
    #[must_use]
    pub fn token_header(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(self.token?).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The service token to call Glance with.
    #[must_use]
    pub fn service_token_header(&self, auth: &Authenticator) -> Option<http::HeaderValue> {
        match &auth.mode {
            AuthBackend::Keystone(keystone) => keystone.service_token(self.service_token),
            AuthBackend::Passthrough(_) | AuthBackend::SelfNamed(_) | AuthBackend::None => None,
        }
    }
}

/// `X-Storage-Token` is an old name that counts when the usual one is absent. Of two tokens nobody
/// can say which one is meant, so they count as none.
fn client_token(headers: &HeaderMap) -> Option<&str> {
    let of = |name| {
        let mut values = headers.get_all(name);
        values.next().map(|first| (first, values.next()))
    };
    let (first, others) = of(AUTH_TOKEN).or_else(|| of(STORAGE_TOKEN))?;
    let only = others.is_none().then_some(first)?;
    printable_ascii(only.as_bytes()).filter(|token| !token.is_empty())
}

/// The service token, if the request brought one; an empty header brings none. Of two tokens it is
/// unknown which one is meant, so they are invalid.
fn service_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(SERVICE_TOKEN);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(only), None) if only.is_empty() => Ok(None),
        (Some(only), None) => printable_ascii(only.as_bytes())
            .map(Some)
            .ok_or(ApiError::Unauthorized),
        (Some(_), Some(_)) => Err(ApiError::Unauthorized),
    }
}

/// Text of visible ASCII. All bytes are looked at in any case, which processors do many at a time.
fn printable_ascii(bytes: &[u8]) -> Option<&str> {
    let printable_ascii = bytes.iter().fold(true, |printable_ascii, byte| {
        printable_ascii & matches!(byte, b' '..=b'~')
    });
    printable_ascii
        .then(|| std::str::from_utf8(bytes).ok())
        .flatten()
}

fn validate<'r>(
    keystone: &'r TokenValidator,
    token: &'r str,
    expired: ExpiredTokens,
    validation_context: ValidationContext<'r>,
) -> impl Future<Output = Result<Arc<Token>, ApiError>> {
    let known = keystone.cached_with(token, expired);
    async move {
        match known {
            Some(Ok(token)) => Ok(token),
            Some(Err(keystone::InvalidToken)) => Err(ApiError::Unauthorized),
            // Boxed, since most requests come with a token that is known.
            None => Box::pin(ask(keystone, token, expired, validation_context)).await,
        }
    }
}

async fn ask(
    keystone: &TokenValidator,
    token: &str,
    expired: ExpiredTokens,
    validation_context: ValidationContext<'_>,
) -> Result<Arc<Token>, ApiError> {
    let _waiting = validation_context.log_fields.spent().start();
    let (keystone, token) = (keystone.clone(), secrecy::SecretString::from(token));
    let task = async move {
        use secrecy::ExposeSecret;
        keystone.validate_with(token.expose_secret(), expired).await
    };
    let answer = validation_context
        .spawner
        .run(task.instrument(validation_context.ids.span()));
    match timeout_at(validation_context.deadline, answer).await {
        Ok(Ok(Ok(token))) => Ok(token),
        Ok(Ok(Err(keystone::Error::InvalidToken))) => Err(ApiError::Unauthorized),
        Ok(Ok(Err(
            error @ (keystone::Error::Unavailable(_) | keystone::Error::InvalidResponse(_)),
        ))) => Err(ApiError::KeystoneUnavailable(error)),
        Ok(Err(TaskAborted)) => Err(ApiError::Internal),
        Err(_) => Err(ApiError::Timeout),
    }
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
        assert_eq!(client_token(request.to_http_request().headers()), token);
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
            let token = client_token(token.headers()).is_some();
            assert_eq!(token, matches!(byte, b' '..=b'~'), "{byte}");
        }
    }
}
