//! Who a request comes from, by each way of authentication.
//!
//! Identity is only what Keystone said of the token. `X-Project-Id`, `X-Roles` and the like that a
//! client sends are never read, and nothing but the token itself travels on.

use super::request_id::Ids;
use super::watch::Seen;
use crate::cache::{Scope, Share};
use crate::glance::Endpoint;
use crate::keystone::{self, DigestKey, Keystone, NoImageEndpoint, ScopeKind, Token};
use crate::nova::ApiError;
use crate::upstream::runtime::{Spawner, TaskLost};
use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const STORAGE_TOKEN: HeaderName = HeaderName::from_static("x-storage-token");
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// Who judges tokens.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    share: Share,
    /// Where Glance is, unless the token's catalog says.
    endpoint: Option<Endpoint>,
    challenge: Option<HeaderValue>,
}

/// One way of authentication.
#[derive(Debug)]
pub enum Mode {
    /// Keystone judges the token.
    Keystone(Keystone),
    /// Glance judges the token; the key is for telling tokens apart without keeping them.
    Passthrough(DigestKey),
    /// There are no tokens.
    None,
}

/// The result of authentication: one caller for one request.
#[derive(Debug)]
pub struct Session<'r> {
    who: Who,
    /// The token that Glance is called with.
    token: Option<&'r str>,
    /// Where Glance is, unless the token's catalog says.
    endpoint: Option<&'r Endpoint>,
}

#[derive(Debug)]
enum Who {
    Validated(Arc<Token>),
    /// Nobody here knows; the project in the path is believed and Glance decides.
    Unknown,
}

/// What asking Keystone takes, besides the token.
#[derive(Debug, Clone, Copy)]
pub struct Knock<'r> {
    /// Where the question is asked.
    pub spawner: &'r Spawner,
    /// When the request must be answered.
    pub deadline: Instant,
    /// The request's ids.
    pub ids: &'r Ids,
    /// What is noted of the request.
    pub seen: &'r Seen,
}

impl Authenticator {
    /// `share` is who shares answers; `public_url` is what a 401 tells clients to log in at.
    #[must_use]
    pub fn new(
        mode: Mode,
        share: Share,
        endpoint: Option<Endpoint>,
        public_url: Option<&str>,
    ) -> Self {
        // A URL is plain ASCII.
        let challenge = public_url
            .and_then(|url| HeaderValue::try_from(format!("Keystone uri=\"{url}\"")).ok());
        Self {
            mode,
            share,
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
    pub fn session<'r>(
        &'r self,
        request: &'r HttpRequest,
        knock: Knock<'r>,
    ) -> impl Future<Output = Result<Session<'r>, ApiError>> {
        let headers = request.headers();
        // The future of an async function has room for its arguments twice.
        async move {
            let keystone = match &self.mode {
                Mode::Keystone(keystone) => keystone,
                Mode::Passthrough(_) => {
                    let token = client_token(headers).ok_or(ApiError::Unauthorized)?;
                    return Ok(self.session_of(Who::Unknown, Some(token)));
                }
                Mode::None => return Ok(self.session_of(Who::Unknown, None)),
            };
            let text = client_token(headers).ok_or(ApiError::Unauthorized)?;
            let token = validate(keystone, text, knock).await?;
            let service = match headers.get(SERVICE_TOKEN) {
                Some(value) => {
                    let text = visible(value.as_bytes()).ok_or(ApiError::Unauthorized)?;
                    Some(validate(keystone, text, knock).await?)
                }
                None => None,
            };
            let (method, path) = (request.method().as_str(), request.uri().path());
            if !keystone.admits(&token, service.as_deref(), method, path) {
                return Err(ApiError::Unauthorized);
            }
            Ok(self.session_of(Who::Validated(token), Some(text)))
        }
    }

    fn session_of<'r>(&'r self, who: Who, token: Option<&'r str>) -> Session<'r> {
        Session {
            who,
            token,
            endpoint: self.endpoint.as_ref(),
        }
    }
}

impl<'r> Session<'r> {
    /// The project in the path must be the token's own.
    pub fn check_project(&self, path: Option<&str>) -> Result<(), ApiError> {
        let (Who::Validated(token), Some(path)) = (&self.who, path) else {
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
    pub fn refused_by_glance(&self, auth: &Authenticator) {
        if let (Mode::Keystone(keystone), Some(token)) = (&auth.mode, self.token) {
            keystone.forget(token);
        }
    }

    /// Whose answers this request's answer may be among; none when nobody can say.
    #[must_use]
    pub fn scope(&self, auth: &Authenticator) -> Option<Scope> {
        match (&self.who, &auth.mode) {
            (Who::Validated(token), _) => Scope::of(token, auth.share),
            (Who::Unknown, Mode::Passthrough(key)) => {
                Some(Scope::of_unread_token(self.token?, key))
            }
            (Who::Unknown, Mode::None) => Some(Scope::anonymous()),
            (Who::Unknown, Mode::Keystone(_)) => None,
        }
    }

    /// Where Glance is for this caller.
    pub fn endpoint(&self) -> Result<Cow<'r, Endpoint>, ApiError> {
        if let Who::Validated(token) = &self.who
            && token.scope_kind() == ScopeKind::Unscoped
        {
            return Err(ApiError::NoProject);
        }
        match (self.endpoint, &self.who) {
            (Some(endpoint), _) => Ok(Cow::Borrowed(endpoint)),
            (None, Who::Validated(token)) => token
                .image_endpoint()
                .map(|url| Cow::Owned(Endpoint::new(url)))
                .map_err(ApiError::NoImageEndpoint),
            (None, Who::Unknown) => Err(ApiError::NoImageEndpoint(NoImageEndpoint::NoCatalog)),
        }
    }

    /// The token to call Glance with.
    #[must_use]
    pub fn token_header(&self) -> Option<http::HeaderValue> {
        let mut value = http::HeaderValue::from_str(self.token?).ok()?;
        value.set_sensitive(true);
        Some(value)
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
    visible(only.as_bytes()).filter(|token| !token.is_empty())
}

/// Text of visible ASCII. All bytes are looked at in any case, which processors do many at a time.
fn visible(bytes: &[u8]) -> Option<&str> {
    let visible = bytes
        .iter()
        .fold(true, |visible, byte| visible & matches!(byte, b' '..=b'~'));
    visible.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

fn validate<'r>(
    keystone: &'r Keystone,
    token: &'r str,
    knock: Knock<'r>,
) -> impl Future<Output = Result<Arc<Token>, ApiError>> {
    let known = keystone.known(token);
    async move {
        let token = match known {
            Some(Ok(token)) => token,
            Some(Err(keystone::Refused)) => return Err(ApiError::Unauthorized),
            // Boxed, since most requests come with a token that is known.
            None => Box::pin(ask(keystone, token, knock)).await?,
        };
        knock.seen.token(&token);
        Ok(token)
    }
}

async fn ask(keystone: &Keystone, token: &str, knock: Knock<'_>) -> Result<Arc<Token>, ApiError> {
    let _waiting = knock.seen.spent().start();
    let (keystone, token) = (keystone.clone(), secrecy::SecretString::from(token));
    let task = async move {
        use secrecy::ExposeSecret;
        keystone.validate(token.expose_secret()).await
    };
    let answer = knock.spawner.run(task.instrument(knock.ids.span()));
    match timeout_at(knock.deadline, answer).await {
        Ok(Ok(Ok(token))) => Ok(token),
        Ok(Ok(Err(keystone::Error::Refused))) => Err(ApiError::Unauthorized),
        Ok(Ok(Err(error @ (keystone::Error::Unavailable(_) | keystone::Error::Nonsense(_))))) => {
            Err(ApiError::KeystoneUnavailable(error))
        }
        Ok(Err(TaskLost)) => Err(ApiError::Internal),
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
