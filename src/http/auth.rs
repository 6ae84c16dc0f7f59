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
use crate::upstream::runtime::Spawner;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use std::sync::Arc;
use tracing::Instrument;

/// Who judges tokens.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
    share: Share,
    /// Where Glance is, unless the token's catalog says.
    endpoint: Option<Endpoint>,
    challenge: Option<String>,
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
pub struct Session {
    who: Who,
    token: Option<http::HeaderValue>,
    endpoint: Result<Endpoint, NoImageEndpoint>,
}

#[derive(Debug)]
enum Who {
    Validated(Arc<Token>),
    /// Nobody here knows; the project in the path is believed and Glance decides.
    Unknown,
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
        let challenge = public_url.map(|url| format!("Keystone uri=\"{url}\""));
        Self {
            mode,
            share,
            endpoint,
            challenge,
        }
    }

    /// The value of `WWW-Authenticate` on a 401.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// Judges the request's token, and its service token where there is one.
    pub async fn session(
        &self,
        request: &HttpRequest,
        spawner: &Spawner,
        ids: &Ids,
        seen: &Seen,
    ) -> Result<Session, ApiError> {
        let headers = request.headers();
        let keystone = match &self.mode {
            Mode::Keystone(keystone) => keystone,
            Mode::Passthrough(_) => {
                let token = client_token(headers).ok_or(ApiError::Unauthorized)?;
                return Ok(self.unknown(Some(token)));
            }
            Mode::None => return Ok(self.unknown(None)),
        };
        let text = client_token(headers).ok_or(ApiError::Unauthorized)?;
        let token = validate(keystone, text, spawner, ids, seen).await?;
        let service = match headers.get("X-Service-Token") {
            Some(value) => {
                let text = value.to_str().map_err(|_| ApiError::Unauthorized)?;
                Some(validate(keystone, text, spawner, ids, seen).await?)
            }
            None => None,
        };
        let (method, path) = (request.method().as_str(), request.uri().path());
        if !keystone.admits(&token, service.as_deref(), method, path) {
            return Err(ApiError::Unauthorized);
        }
        Ok(Session {
            token: secret_header(text),
            endpoint: self
                .endpoint
                .clone()
                .map_or_else(|| token.image_endpoint().map(Endpoint::new), Ok),
            who: Who::Validated(token),
        })
    }

    fn unknown(&self, token: Option<&str>) -> Session {
        Session {
            who: Who::Unknown,
            token: token.and_then(secret_header),
            endpoint: self.endpoint.clone().ok_or(NoImageEndpoint::NoCatalog),
        }
    }
}

impl Session {
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
        if let (Mode::Keystone(keystone), Some(token)) = (&auth.mode, &self.token)
            && let Ok(token) = token.to_str()
        {
            keystone.forget(token);
        }
    }

    /// Whose answers this request's answer may be among; none when nobody can say.
    #[must_use]
    pub fn scope(&self, auth: &Authenticator) -> Option<Scope> {
        match (&self.who, &auth.mode) {
            (Who::Validated(token), _) => Scope::of(token, auth.share),
            (Who::Unknown, Mode::Passthrough(key)) => {
                let token = self.token.as_ref()?.to_str().ok()?;
                Some(Scope::of_unread_token(token, key))
            }
            (Who::Unknown, Mode::None) => Some(Scope::anonymous()),
            (Who::Unknown, Mode::Keystone(_)) => None,
        }
    }

    /// The token and the endpoint to call Glance with.
    pub fn glance(&self) -> Result<(Option<http::HeaderValue>, Endpoint), ApiError> {
        if let Who::Validated(token) = &self.who
            && token.scope_kind() == ScopeKind::Unscoped
        {
            return Err(ApiError::NoProject);
        }
        let endpoint = self.endpoint.clone().map_err(ApiError::NoImageEndpoint)?;
        Ok((self.token.clone(), endpoint))
    }
}

/// `X-Storage-Token` is an old name that counts when the usual one is absent. Of two tokens nobody
/// can say which one is meant, so they count as none.
fn client_token(headers: &HeaderMap) -> Option<&str> {
    let named = |name: &str| headers.contains_key(name).then(|| headers.get_all(name));
    let mut values = named("X-Auth-Token").or_else(|| named("X-Storage-Token"))?;
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok().filter(|token| !token.is_empty())
}

fn secret_header(token: &str) -> Option<http::HeaderValue> {
    let mut value = http::HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn validate(
    keystone: &Keystone,
    token: &str,
    spawner: &Spawner,
    ids: &Ids,
    seen: &Seen,
) -> Result<Arc<Token>, ApiError> {
    if let Some(known) = keystone.known(token) {
        let token = known.map_err(|keystone::Refused| ApiError::Unauthorized)?;
        seen.token(&token);
        return Ok(token);
    }
    let _waiting = seen.spent().start();
    let (keystone, token) = (keystone.clone(), secrecy::SecretString::from(token));
    let task = async move {
        use secrecy::ExposeSecret;
        keystone.validate(token.expose_secret()).await
    };
    match spawner.run(task.instrument(ids.span())).await {
        Ok(Ok(token)) => {
            seen.token(&token);
            Ok(token)
        }
        Ok(Err(keystone::Error::Refused)) => Err(ApiError::Unauthorized),
        Ok(Err(error @ (keystone::Error::Unavailable(_) | keystone::Error::Nonsense(_)))) => {
            Err(ApiError::KeystoneUnavailable(error))
        }
        Err(_) => Err(ApiError::Internal),
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
}
