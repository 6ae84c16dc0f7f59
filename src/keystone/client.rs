//! The requests to Keystone, and what the status codes of its answers mean.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::catalog::EndpointFilter;
use super::error::{Error, InvalidResponse, Unavailable};
use super::token::Token;
use super::token_response;
use crate::upstream::{self, ExchangeLimits, Response, TransportError};

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
pub(super) const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Promises Keystone that access rules are enforced here; without it Keystone does not validate
/// tokens that have some.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");

/// Catalogs of large clouds reach half a MiB.
const MAX_BODY: usize = 4 << 20;

/// What Keystone says of a token.
#[derive(Debug)]
pub(super) enum ValidationResult {
    /// It is good.
    Accepted(Token),
    /// There is no such token, or it is no longer valid.
    InvalidToken,
    /// The token that the question was asked with is not valid.
    CallerTokenRejected,
}

/// Asks Keystone at one URL.
pub(super) struct KeystoneClient {
    http: upstream::InstrumentedClient,
    validation: Url,
    authentication: Url,
    endpoint_filter: Option<EndpointFilter>,
    timeout: Duration,
}

impl KeystoneClient {
    /// `base` is Keystone's URL with or without its version. Catalogs are asked for only with a
    /// `endpoint_filter` of what to take from them.
    pub(super) fn new(
        http: upstream::InstrumentedClient,
        base: &Url,
        endpoint_filter: Option<EndpointFilter>,
        timeout: Duration,
    ) -> Self {
        let with_catalog = tokens_url(base);
        let mut without_catalog = with_catalog.clone();
        without_catalog.set_query(Some("nocatalog"));
        Self {
            http,
            validation: match &endpoint_filter {
                Some(_) => with_catalog,
                None => without_catalog.clone(),
            },
            authentication: without_catalog,
            endpoint_filter,
            timeout,
        }
    }

    /// When a conversation that starts now must be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Asks about `subject` with the rights of `asker`.
    pub(super) async fn validate(
        &self,
        asker: &HeaderValue,
        subject: &HeaderValue,
        deadline: Instant,
    ) -> Result<ValidationResult, Error> {
        let mut request = reqwest::Request::new(Method::GET, self.validation.clone());
        let headers = request.headers_mut();
        headers.insert(AUTH_TOKEN, asker.clone());
        headers.insert(SUBJECT_TOKEN, subject.clone());
        headers.insert(ACCESS_RULES, HeaderValue::from_static("1"));
        let answer = self.exchange(request, deadline).await?;
        interpret_response(&answer, subject, self.endpoint_filter.as_ref())
    }

    /// Asks for a token of the gateway's own.
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

    /// A kept connection can be closed by the server just as it is used again. Neither question
    /// changes anything, so what breaks off is asked once more.
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

/// `/v3/auth/tokens` below Keystone's URL, with or without a version there.
fn tokens_url(base: &Url) -> Url {
    let mut url = super::catalog::without_version(base.clone());
    let path = format!("{}/v3/auth/tokens", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

fn interpret_response(
    answer: &Response,
    subject: &HeaderValue,
    endpoint_filter: Option<&EndpointFilter>,
) -> Result<ValidationResult, Error> {
    match answer.status {
        StatusCode::OK => {
            let about = answer.headers.get(SUBJECT_TOKEN);
            if about.is_some_and(|about| about != subject) {
                return Err(InvalidResponse::Inconsistent("an answer about another token").into());
            }
            Ok(ValidationResult::Accepted(token_response::token(
                &answer.body,
                endpoint_filter,
            )?))
        }
        StatusCode::UNAUTHORIZED => Ok(ValidationResult::CallerTokenRejected),
        // Without Keystone's own JSON, it is the path that was not found and not the token.
        StatusCode::NOT_FOUND if token_response::is_error(&answer.body) => {
            Ok(ValidationResult::InvalidToken)
        }
        status => Err(unexpected_status(status)),
    }
}

/// What an unexpected status means.
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

    fn judged(status: u16, body: impl Into<bytes::Bytes>) -> Result<ValidationResult, Error> {
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
        assert_eq!(tokens_url(&base.parse().unwrap()).as_str(), expected);
    }

    #[test]
    fn a_token_is_accepted_with_200_only() {
        let body = testing::body().to_string();
        assert!(matches!(
            judged(200, body.clone()),
            Ok(ValidationResult::Accepted(_))
        ));
        for status in [201, 202, 203, 204, 206] {
            let refused = judged(status, body.clone()).unwrap_err();
            assert_eq!(refused, InvalidResponse::Status(status).into());
        }
    }

    #[test]
    fn an_answer_about_another_token_is_nonsense() {
        let mut mixed_up = answer(200, testing::body().to_string());
        mixed_up
            .headers
            .insert(SUBJECT_TOKEN, HeaderValue::from_static("u"));
        let judged = interpret_response(&mixed_up, &HeaderValue::from_static("t"), None);
        assert!(matches!(
            judged,
            Err(Error::InvalidResponse(InvalidResponse::Inconsistent(_)))
        ));
        assert!(interpret_response(&mixed_up, &HeaderValue::from_static("u"), None).is_ok());
    }

    #[test]
    fn a_404_of_keystone_refuses_the_token_and_one_of_a_web_server_does_not() {
        let of_keystone = r#"{"error": {"code": 404, "message": "x", "title": "Not Found"}}"#;
        assert!(matches!(
            judged(404, of_keystone),
            Ok(ValidationResult::InvalidToken)
        ));
        for body in ["", "<h1>Not Found</h1>", "{}", "[]", "{\"error\": null}"] {
            assert_eq!(
                judged(404, body).unwrap_err(),
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
    fn other_answers_say_nothing_about_the_token(#[case] status: u16, #[case] expected: Error) {
        assert_eq!(
            judged(status, testing::body().to_string()).unwrap_err(),
            expected
        );
    }

    #[test]
    fn a_401_is_about_whoever_asked() {
        assert!(matches!(
            judged(401, ""),
            Ok(ValidationResult::CallerTokenRejected)
        ));
    }
}
