//! What is checked of a request's target and body before anything reads them.

use crate::apis::nova::ApiError;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::Payload;
use actix_web::{HttpMessage as _, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::time::Duration;

/// Refuses a path and query that are too long.
pub fn check_uri_length(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > max {
        Err(ApiError::UriTooLong)
    } else {
        Ok(())
    }
}

/// Refuses a body that announces itself as too large, before the token is looked at.
pub fn check_content_length(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    if content_length(request) > max as u64 {
        Err(ApiError::BodyTooLarge)
    } else {
        Ok(())
    }
}

fn content_length(request: &HttpRequest) -> u64 {
    request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|digits| digits.trim().parse::<u64>().ok())
        .unwrap_or(0)
}

/// The whole body, unless it turns out larger than `max`.
///
/// Of a request that asks for an upgrade the HTTP library takes all that follows for its body, which
/// then never ends; we upgrade to nothing, so the length that was announced counts.
pub async fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    max: usize,
) -> Result<Bytes, ApiError> {
    let upgrade = request.head().upgrade() && !request.chunked().unwrap_or(false);
    let wanted = if upgrade {
        content_length(request)
    } else {
        u64::MAX
    };
    let mut body = BytesMut::new();
    while (body.len() as u64) < wanted
        && let Some(chunk) = payload.next().await
    {
        let mut chunk = chunk.map_err(|_| ApiError::BodyIncomplete)?;
        chunk.truncate(usize::try_from(wanted - body.len() as u64).unwrap_or(usize::MAX));
        if body.len() + chunk.len() > max {
            return Err(ApiError::BodyTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The body, unless it takes longer than `longest`.
pub async fn in_time(
    body: impl Future<Output = Result<Bytes, ApiError>>,
    longest: Duration,
) -> Result<Bytes, ApiError> {
    tokio::time::timeout(longest, body)
        .await
        .unwrap_or(Err(ApiError::BodyTimeout))
}

/// The content types Nova reads, and those it takes for none. It looks even where no body is read,
/// and at the very letters.
pub fn check_content_type(request: &HttpRequest) -> Result<(), ApiError> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.split(';').next().unwrap_or_default() {
        "" | "text/plain" | "application/json" | "application/vnd.openstack.compute+json" => Ok(()),
        _ => Err(ApiError::UnsupportedContentType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    #[rstest]
    #[case("application/json", true)]
    #[case("application/json; charset=latin-1", true)]
    #[case("application/JSON", false)]
    #[case("application/json ; charset=utf-8", false)]
    #[case("application/vnd.openstack.compute+json;version=2", true)]
    #[case("text/plain", true)]
    #[case("", true)]
    #[case("text/json", false)]
    #[case("application/xml", false)]
    #[case("*/*", false)]
    #[case("garbage", false)]
    fn nova_reads_these_content_types(#[case] value: &str, #[case] good: bool) {
        let request = TestRequest::default().insert_header(("Content-Type", value));
        assert_eq!(check_content_type(&request.to_http_request()).is_ok(), good);
    }

    #[rstest]
    #[case("10", true)]
    #[case("11", false)]
    #[case("99999999999999999999999", true)]
    fn a_body_is_refused_by_its_announced_length(#[case] length: &str, #[case] good: bool) {
        let request = TestRequest::default().insert_header(("Content-Length", length));
        assert_eq!(
            check_content_length(&request.to_http_request(), 10).is_ok(),
            good
        );
    }
}
