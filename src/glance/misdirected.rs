//! Whether the server at an endpoint is Glance at all: the settings may name a web server, another service, or
//! this gateway itself.

use crate::upstream::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

/// Headers of the Compute API, which Nova and this gateway send and Glance does not.
const COMPUTE_HEADERS: [&str; 2] = ["x-openstack-nova-api-version", "x-compute-request-id"];

/// Whether a Compute API sent these headers: Nova, or this gateway itself.
#[must_use]
pub fn is_compute_api(headers: &HeaderMap) -> bool {
    COMPUTE_HEADERS
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// Whether a response shows that the endpoint is Glance, or another server. `None` for a
/// response that could come from either, or that clients can cause at will.
pub(super) fn assess(path: &str, response: &Response) -> Option<Result<(), String>> {
    let status = response.status;
    if is_compute_api(&response.headers) {
        let reason = "a Compute API answered, perhaps this gateway itself";
        return Some(Err(reason.to_owned()));
    }
    if status == StatusCode::NO_CONTENT || status.is_success() && is_json(&response.headers) {
        return Some(Ok(()));
    }
    let is_list = path.starts_with("/v2/images?");
    let is_foreign = status.is_success()
        || status.is_redirection()
        || matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE)
        || status == StatusCode::NOT_FOUND && is_list;
    is_foreign.then(|| {
        Err(format!(
            "it answered {} as Glance never does",
            status.as_u16()
        ))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use rstest::rstest;

    const LIST: &str = "/v2/images?limit=1000";
    const SHOW: &str = "/v2/images/a";

    fn assessed(path: &str, status: u16, kind: Option<&'static str>) -> Option<bool> {
        let mut headers = HeaderMap::new();
        headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        let response = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: bytes::Bytes::new(),
        };
        assess(path, &response).map(|outcome| outcome.is_ok())
    }

    #[rstest]
    #[case(LIST, 200, Some("application/json; charset=UTF-8"), Some(true))]
    #[case(SHOW, 204, None, Some(true))]
    #[case(SHOW, 200, Some("text/html"), Some(false))]
    #[case(SHOW, 302, None, Some(false))]
    #[case(SHOW, 405, Some("text/html"), Some(false))]
    #[case(LIST, 404, Some("text/html"), Some(false))]
    #[case(SHOW, 404, Some("text/html"), None)]
    #[case(SHOW, 401, Some("text/html"), None)]
    #[case(SHOW, 403, Some("text/html"), None)]
    #[case(SHOW, 409, Some("text/html"), None)]
    #[case(LIST, 400, Some("text/html"), None)]
    #[case(LIST, 503, Some("text/html"), None)]
    fn only_what_glance_never_sends_counts_against_the_endpoint(
        #[case] path: &str,
        #[case] status: u16,
        #[case] kind: Option<&'static str>,
        #[case] expected: Option<bool>,
    ) {
        assert_eq!(assessed(path, status, kind), expected);
    }

    #[test]
    fn a_compute_api_is_recognised_by_its_headers_whatever_it_answers() {
        for status in [200, 404, 503] {
            let mut headers = HeaderMap::new();
            headers.insert("x-compute-request-id", HeaderValue::from_static("req-1"));
            let response = Response {
                status: StatusCode::from_u16(status).unwrap(),
                headers,
                body: bytes::Bytes::new(),
            };
            assert!(assess(SHOW, &response).unwrap().is_err());
        }
    }
}
