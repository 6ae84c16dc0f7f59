//! Nova's own response headers.

use super::microversion::{GENERIC_HEADER, LEGACY_HEADER, Microversion};
use crate::http::RequestIds;
use crate::http::response::Response;
use actix_web::http::header::{HeaderName, HeaderValue, VARY};

/// `OpenStack-API-Version`
pub const API_VERSION: HeaderName = HeaderName::from_static("openstack-api-version");
/// `X-OpenStack-Nova-API-Version`
pub const NOVA_API_VERSION: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
const COMPUTE_REQUEST_ID: HeaderName = HeaderName::from_static("x-compute-request-id");

/// Which of Nova's own headers a response carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NovaHeaders {
    /// None: responses before Nova dispatches a request.
    None,
    /// The two request ids.
    Ids,
    /// The request ids, both version headers with this version, and a `Vary` for each.
    Versioned(Microversion),
    /// The same with a version that is not served, as the client wrote it.
    Asked(String),
}

impl NovaHeaders {
    /// Adds the headers to `response`.
    #[must_use]
    pub fn add_to(&self, response: Response, ids: &RequestIds) -> Response {
        let response = match self {
            Self::None => return response,
            Self::Ids => response,
            Self::Versioned(Microversion::MIN) => add_version(
                response,
                const { HeaderValue::from_static("compute 2.1") },
                const { HeaderValue::from_static("2.1") },
            ),
            Self::Versioned(version) => add_version_text(response, &version.to_string()),
            Self::Asked(text) => add_version_text(response, text),
        };
        match HeaderValue::from_str(ids.local()) {
            Ok(id) => response
                .header(REQUEST_ID, id.clone())
                .header(COMPUTE_REQUEST_ID, id),
            Err(_) => response,
        }
    }
}

fn add_version_text(response: Response, version: &str) -> Response {
    let generic = HeaderValue::from_str(&format!("compute {version}"));
    match (generic, HeaderValue::from_str(version)) {
        (Ok(generic), Ok(legacy)) => add_version(response, generic, legacy),
        // Text from a header is valid in a header.
        (Err(_), _) | (_, Err(_)) => response,
    }
}

fn add_version(response: Response, generic: HeaderValue, legacy: HeaderValue) -> Response {
    response
        .header(API_VERSION, generic)
        .header(NOVA_API_VERSION, legacy)
        .header(VARY, const { HeaderValue::from_static(GENERIC_HEADER) })
        .header(VARY, const { HeaderValue::from_static(LEGACY_HEADER) })
}
