//! What is checked of a request's body before anything reads it.

use crate::nova::ApiError;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

/// Refuses a body that announces itself as too large, before the token is looked at.
pub fn check_announced(request: &HttpRequest, max: usize) -> Result<(), ApiError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|digits| digits.trim().parse::<u64>().ok())
        .unwrap_or(0);
    if announced > max as u64 {
        Err(ApiError::BodyTooLarge)
    } else {
        Ok(())
    }
}

/// The whole body, unless it turns out larger than `max`.
pub async fn read(mut payload: Payload, max: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::BodyBroken)?;
        if body.len() + chunk.len() > max {
            return Err(ApiError::BodyTooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
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
            check_announced(&request.to_http_request(), 10).is_ok(),
            good
        );
    }
}
