//! Limits that a request's head decides.

use super::error::HttpError;
use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;

/// Refuses a path and query longer than `max` bytes.
pub(super) fn check_uri_length(request: &HttpRequest, max: usize) -> Result<(), HttpError> {
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > max {
        Err(HttpError::UriTooLong)
    } else {
        Ok(())
    }
}

/// Refuses a body whose `Content-Length` is larger than `max`.
pub fn check_content_length(request: &HttpRequest, max: usize) -> Result<(), HttpError> {
    if content_length(request) > max as u64 {
        Err(HttpError::BodyTooLarge)
    } else {
        Ok(())
    }
}

/// `Content-Length`; zero where there is none.
fn content_length(request: &HttpRequest) -> u64 {
    request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|digits| digits.trim().parse::<u64>().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use rstest::rstest;

    #[rstest]
    #[case("10", true)]
    #[case("11", false)]
    #[case("99999999999999999999999", true)]
    fn a_body_is_refused_by_its_content_length(#[case] length: &str, #[case] good: bool) {
        let request = TestRequest::default().insert_header(("Content-Length", length));
        assert_eq!(
            check_content_length(&request.to_http_request(), 10).is_ok(),
            good
        );
    }
}
