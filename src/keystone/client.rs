//! The requests to Keystone, and the meaning of the status codes of its responses.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::catalog::EndpointFilter;
use super::error::{Error, InvalidResponse, Unavailable};
use super::token::Token;
use super::token_cache::ExpiredTokens;
use super::token_response;
use crate::upstream::{self, ExchangeLimits, Response, TransportError};
use crate::util::endpoint_url::without_version;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub(super) const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Tells Keystone that access rules are enforced here; without it Keystone does not validate tokens
/// that have some.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");

/// Catalogs of large clouds reach half a MiB.
const MAX_BODY: usize = 4 << 20;

/// Keystone's verdict on a token.
#[derive(Debug)]
pub(super) enum ValidationResult {
    /// The token is valid.
    Accepted(Token),
    /// There is no such token, or it is no longer valid.
    InvalidToken,
    /// The token that the request was made with is not valid.
    CallerTokenRejected,
}

/// A client of the Identity API at one URL.
pub(super) struct KeystoneClient {
    http: upstream::InstrumentedClient,
    /// The URL without its version.
    base: Url,
    validation: Url,
    /// Accepts expired tokens as well.
    lenient_validation: Url,
    authentication: Url,
    endpoint_filter: Option<EndpointFilter>,
    timeout: Duration,
}

impl KeystoneClient {
    /// `base` is Keystone's URL with or without its version. Catalogs are requested only with an
    /// `endpoint_filter`.
    pub(super) fn new(
        http: upstream::InstrumentedClient,
        base: &Url,
        endpoint_filter: Option<EndpointFilter>,
        timeout: Duration,
    ) -> Self {
        let base = without_version(base.clone());
        let with_catalog = below(&base, "/v3/auth/tokens");
        let mut without_catalog = with_catalog.clone();
        without_catalog.set_query(Some("nocatalog"));
        let validation = match &endpoint_filter {
            Some(_) => with_catalog,
            None => without_catalog.clone(),
        };
        let mut lenient_validation = validation.clone();
        lenient_validation.set_query(Some(match validation.query() {
            Some(_) => "nocatalog&allow_expired=1",
            None => "allow_expired=1",
        }));
        Self {
            http,
            base,
            validation,
            lenient_validation,
            authentication: without_catalog,
            endpoint_filter,
            timeout,
        }
    }

    /// The Identity API's URL, without a version.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The endpoint to select from catalogs, where they are requested.
    pub(super) fn endpoint_filter(&self) -> Option<&EndpointFilter> {
        self.endpoint_filter.as_ref()
    }

    /// The deadline of an operation that starts now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Validates `subject` with the rights of `caller`.
    pub(super) async fn validate(
        &self,
        caller: &HeaderValue,
        subject: &HeaderValue,
        expired: ExpiredTokens,
        deadline: Instant,
    ) -> Result<ValidationResult, Error> {
        let url = match expired {
            ExpiredTokens::Rejected => &self.validation,
            ExpiredTokens::Accepted => &self.lenient_validation,
        };
        let mut request = reqwest::Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTH_TOKEN, caller.clone());
        headers.insert(SUBJECT_TOKEN, subject.clone());
        headers.insert(ACCESS_RULES, HeaderValue::from_static("1"));
        let response = self.exchange(request, deadline).await?;
        interpret_response(&response, subject, self.endpoint_filter.as_ref())
    }

    /// Requests a validation that names no token. Keystone looks at the caller's rights first, so
    /// its response tells whether `caller` may validate the tokens of others: 403 when not. (Its
    /// own token any user may validate, so that one would prove nothing.)
    pub(super) async fn validate_nothing(
        &self,
        caller: &HeaderValue,
        deadline: Instant,
    ) -> Result<Response, TransportError> {
        let mut request = reqwest::Request::new(Method::GET, self.authentication.clone());
        request.headers_mut().insert(AUTH_TOKEN, caller.clone());
        self.exchange(request, deadline).await
    }

    /// The document of the version that is called.
    pub(super) async fn version_document(
        &self,
        deadline: Instant,
    ) -> Result<Response, TransportError> {
        let url = below(&self.base, "/v3");
        self.exchange(reqwest::Request::new(Method::GET, url), deadline)
            .await
    }

    /// Requests a token of the gateway's own.
    pub(super) async fn authenticate(
        &self,
        body: String,
        deadline: Instant,
    ) -> Result<Response, TransportError> {
        let mut request = reqwest::Request::new(Method::POST, self.authentication.clone());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(body.into());
        self.exchange(request, deadline).await
    }

    /// The server can close a pooled connection just as it is used again. No request here changes
    /// anything, so an interrupted one is sent once more.
    async fn exchange(
        &self,
        request: reqwest::Request,
        deadline: Instant,
    ) -> Result<Response, TransportError> {
        let limits = ExchangeLimits {
            deadline,
            max_body: MAX_BODY,
        };
        let again = request.try_clone();
        match (self.http.send(request, limits).await, again) {
            (Err(TransportError::Interrupted(_)), Some(again)) => {
                self.http.send(again, limits).await
            }
            (outcome, _) => outcome,
        }
    }
}

/// A token as a header value that no `Debug` shows.
pub(super) fn secret_header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

fn interpret_response(
    response: &Response,
    subject: &HeaderValue,
    endpoint_filter: Option<&EndpointFilter>,
) -> Result<ValidationResult, Error> {
    match response.status {
        StatusCode::OK => {
            let about = response.headers.get(SUBJECT_TOKEN);
            if about.is_some_and(|about| about != subject) {
                return Err(InvalidResponse::Inconsistent("a response about another token").into());
            }
            Ok(ValidationResult::Accepted(token_response::token(
                &response.body,
                endpoint_filter,
            )?))
        }
        StatusCode::UNAUTHORIZED => Ok(ValidationResult::CallerTokenRejected),
        // Without Keystone's own JSON the path was not found, not the token.
        StatusCode::NOT_FOUND if token_response::is_error(&response.body) => {
            Ok(ValidationResult::InvalidToken)
        }
        status => Err(unexpected_status(status)),
    }
}

/// The error for an unexpected status.
pub(super) fn unexpected_status(status: StatusCode) -> Error {
    if status == StatusCode::FORBIDDEN {
        Unavailable::Forbidden.into()
    } else if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        Unavailable::Status(status.as_u16()).into()
    } else {
        InvalidResponse::Status(status.as_u16()).into()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::keystone::testing;

    fn answer(status: u16, body: impl Into<bytes::Bytes>) -> Response {
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.into(),
        }
    }

    fn interpreted(status: u16, body: impl Into<bytes::Bytes>) -> Result<ValidationResult, Error> {
        interpret_response(&answer(status, body), &HeaderValue::from_static("t"), None)
    }

    #[rstest]
    #[case("http://k", "http://k/v3/auth/tokens")]
    #[case("http://k:5000/v3", "http://k:5000/v3/auth/tokens")]
    #[case("http://k:5000/v3/", "http://k:5000/v3/auth/tokens")]
    #[case("http://k/identity", "http://k/identity/v3/auth/tokens")]
    #[case("https://k/identity/v3", "https://k/identity/v3/auth/tokens")]
    #[case("http://k:35357/v2.0", "http://k:35357/v3/auth/tokens")]
    fn the_url_may_come_with_or_without_a_version(#[case] base: &str, #[case] expected: &str) {
        let base = without_version(base.parse().unwrap());
        assert_eq!(below(&base, "/v3/auth/tokens").as_str(), expected);
    }

    #[test]
    fn a_token_is_accepted_with_200_only() {
        let body = testing::body().to_string();
        assert!(matches!(
            interpreted(200, body.clone()),
            Ok(ValidationResult::Accepted(_))
        ));
        for status in [201, 202, 203, 204, 206] {
            let refused = interpreted(status, body.clone()).unwrap_err();
            assert_eq!(refused, InvalidResponse::Status(status).into());
        }
    }

    #[test]
    fn a_response_about_another_token_is_invalid() {
        let mut mixed_up = answer(200, testing::body().to_string());
        mixed_up
            .headers
            .insert(SUBJECT_TOKEN, HeaderValue::from_static("u"));
        let result = interpret_response(&mixed_up, &HeaderValue::from_static("t"), None);
        assert!(matches!(
            result,
            Err(Error::InvalidResponse(InvalidResponse::Inconsistent(_)))
        ));
        assert!(interpret_response(&mixed_up, &HeaderValue::from_static("u"), None).is_ok());
    }

    #[test]
    fn a_404_of_keystone_rejects_the_token_and_one_of_a_web_server_does_not() {
        let of_keystone = r#"{"error": {"code": 404, "message": "x", "title": "Not Found"}}"#;
        assert!(matches!(
            interpreted(404, of_keystone),
            Ok(ValidationResult::InvalidToken)
        ));
        for body in ["", "<h1>Not Found</h1>", "{}", "[]", "{\"error\": null}"] {
            assert_eq!(
                interpreted(404, body).unwrap_err(),
                InvalidResponse::Status(404).into()
            );
        }
    }

    #[rstest]
    #[case(403, Unavailable::Forbidden.into())]
    #[case(429, Unavailable::Status(429).into())]
    #[case(500, Unavailable::Status(500).into())]
    #[case(503, Unavailable::Status(503).into())]
    #[case(300, InvalidResponse::Status(300).into())]
    #[case(302, InvalidResponse::Status(302).into())]
    #[case(400, InvalidResponse::Status(400).into())]
    #[case(405, InvalidResponse::Status(405).into())]
    #[case(410, InvalidResponse::Status(410).into())]
    fn other_statuses_say_nothing_about_the_token(#[case] status: u16, #[case] expected: Error) {
        assert_eq!(
            interpreted(status, testing::body().to_string()).unwrap_err(),
            expected
        );
    }

    #[test]
    fn a_401_is_about_the_callers_token() {
        assert!(matches!(
            interpreted(401, ""),
            Ok(ValidationResult::CallerTokenRejected)
        ));
    }
}
