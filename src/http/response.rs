//! From an outcome to HTTP: the header table, fault bodies and content types.

use super::auth::Authenticator;
use super::media_type::{self, ErrorPageFormat};
use super::not_found_page;
use super::request_ids::RequestIds;
use crate::apis::nova::microversion::{GENERIC_HEADER, LEGACY_HEADER, Microversion};
use crate::apis::nova::{ApiError, HandlerResponse};
use crate::cache;
use crate::cache::{CacheOutcome, NoCacheReason};
use crate::util::python_json;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

// Names and values are parsed once, at compile time: they are on every answer.
pub(super) const API_VERSION: HeaderName = HeaderName::from_static("openstack-api-version");
pub(super) const NOVA_API_VERSION: HeaderName =
    HeaderName::from_static("x-openstack-nova-api-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
const COMPUTE_REQUEST_ID: HeaderName = HeaderName::from_static("x-compute-request-id");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const FAULT_TYPE: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// Which of Nova's own headers an answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NovaHeaders {
    /// None: answers given before a request is dispatched.
    None,
    /// The two request ids.
    Ids,
    /// The request ids, both version headers with this version, and a `Vary` for each.
    Versioned(Microversion),
    /// The same, for a version that is not served, as the client wrote it.
    Asked(String),
}

/// What became of a request.
#[derive(Debug)]
pub struct ApiResponse {
    status: StatusCode,
    headers_kind: NovaHeaders,
    body: Body,
    /// How the cache took part, where it is on and the request is a read.
    cache: Option<CacheOutcome>,
}

#[derive(Debug)]
enum Body {
    Empty,
    ErrorPageFormat,
    Fault(ApiError),
    Content {
        media_type: HeaderValue,
        body: cache::Body,
    },
}

impl ApiResponse {
    /// An operation's answer.
    #[must_use]
    pub fn answer(
        answer: HandlerResponse,
        headers_kind: NovaHeaders,
        media_type: HeaderValue,
        cache: Option<CacheOutcome>,
    ) -> Self {
        let status = StatusCode::from_u16(answer.status.as_u16())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            headers_kind,
            body: Body::Content {
                media_type,
                body: answer.body,
            },
            cache,
        }
    }

    /// A version document.
    #[must_use]
    pub fn document(
        status: StatusCode,
        body: String,
        headers_kind: NovaHeaders,
        media_type: HeaderValue,
    ) -> Self {
        let body = [Bytes::from(body)].into();
        Self {
            status,
            headers_kind,
            body: Body::Content { media_type, body },
            cache: None,
        }
    }

    /// 200 and nothing else.
    #[must_use]
    pub fn empty(headers_kind: NovaHeaders) -> Self {
        Self {
            status: StatusCode::OK,
            headers_kind,
            body: Body::Empty,
            cache: None,
        }
    }

    /// The route-level 404.
    #[must_use]
    pub fn page(headers_kind: NovaHeaders) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            headers_kind,
            body: Body::ErrorPageFormat,
            cache: None,
        }
    }

    /// An error.
    #[must_use]
    pub fn fault(error: &ApiError, headers_kind: NovaHeaders) -> Self {
        let status = StatusCode::from_u16(error.fault().status.as_u16())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            headers_kind,
            body: Body::Fault(error.clone()),
            cache: None,
        }
    }

    /// The status line's code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The error, when it is one.
    #[must_use]
    pub fn error(&self) -> Option<&ApiError> {
        match &self.body {
            Body::Fault(error) => Some(error),
            Body::Empty | Body::ErrorPageFormat | Body::Content { .. } => None,
        }
    }

    /// The HTTP answer.
    #[must_use]
    pub fn into_response(
        self,
        request: &HttpRequest,
        ids: &RequestIds,
        auth: &Authenticator,
    ) -> HttpResponse {
        let mut response = HttpResponse::new(self.status);
        let headers = response.headers_mut();
        write_heads(headers, &self.headers_kind, ids);
        match self.body {
            Body::Empty => response,
            Body::ErrorPageFormat => {
                // Nova answers a HEAD as it would a browser, without the page.
                let head = request.method() == Method::HEAD;
                let wanted = if head {
                    ErrorPageFormat::Html
                } else {
                    media_type::page(request.headers())
                };
                let (media_type, page) = not_found_page::not_found(wanted);
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
                response.set_body(BoxBody::new(if head { "" } else { page }))
            }
            Body::Fault(error) => {
                let body = fault(headers, &error, auth);
                response.set_body(BoxBody::new(body))
            }
            Body::Content { media_type, body } => {
                headers.append(header::CONTENT_TYPE, media_type);
                if let Some(outcome) = self.cache {
                    headers.append(CACHE_STATUS, cache_status(outcome));
                }
                response.set_body(match &*body {
                    [only] => BoxBody::new(only.clone()),
                    _ => BoxBody::new(Chunks::new(body)),
                })
            }
        }
    }
}

fn write_heads(headers: &mut HeaderMap, headers_kind: &NovaHeaders, ids: &RequestIds) {
    match headers_kind {
        NovaHeaders::None => return,
        NovaHeaders::Ids => {}
        NovaHeaders::Versioned(Microversion::MIN) => write_version(
            headers,
            const { HeaderValue::from_static("compute 2.1") },
            const { HeaderValue::from_static("2.1") },
        ),
        NovaHeaders::Versioned(version) => write_asked(headers, &version.to_string()),
        NovaHeaders::Asked(text) => write_asked(headers, text),
    }
    if let Ok(id) = HeaderValue::from_str(ids.local()) {
        headers.append(REQUEST_ID, id.clone());
        headers.append(COMPUTE_REQUEST_ID, id);
    }
}

fn write_asked(headers: &mut HeaderMap, version: &str) {
    let generic = HeaderValue::from_str(&format!("compute {version}"));
    // What came in a header can go out in one.
    if let (Ok(generic), Ok(legacy)) = (generic, HeaderValue::from_str(version)) {
        write_version(headers, generic, legacy);
    }
}

fn write_version(headers: &mut HeaderMap, generic: HeaderValue, legacy: HeaderValue) {
    headers.append(API_VERSION, generic);
    headers.append(NOVA_API_VERSION, legacy);
    headers.append(
        header::VARY,
        const { HeaderValue::from_static(GENERIC_HEADER) },
    );
    headers.append(
        header::VARY,
        const { HeaderValue::from_static(LEGACY_HEADER) },
    );
}

/// Writes a fault's headers, and gives its body.
fn fault(headers: &mut HeaderMap, error: &ApiError, auth: &Authenticator) -> String {
    let fault = error.fault();
    if let Some(after) = &fault.retry_after
        && let Ok(after) = HeaderValue::from_str(after)
    {
        headers.append(header::RETRY_AFTER, after);
    }
    if fault.status == http::StatusCode::UNAUTHORIZED {
        // This one is written by Nova's Keystone middleware, in a form of its own.
        if let Some(challenge) = auth.challenge() {
            headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
        headers.append(header::CONTENT_TYPE, media_type::JSON_TYPE);
        let body = serde_json::json!({ "error": {
            "code": 401, "title": "Unauthorized", "message": fault.message,
        }});
        return python_json::to_string(&body);
    }
    headers.append(header::CONTENT_TYPE, FAULT_TYPE);
    fault.body()
}

/// `Cache-Status` as RFC 9211 has it.
fn cache_status(outcome: CacheOutcome) -> HeaderValue {
    const fn value(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }
    match outcome {
        CacheOutcome::Hit => const { value("nova-image-proxy; hit") },
        CacheOutcome::Miss => const { value("nova-image-proxy; fwd=miss") },
        CacheOutcome::Coalesced => const { value("nova-image-proxy; fwd=miss; collapsed") },
        CacheOutcome::Stale => {
            const { value("nova-image-proxy; fwd=stale; detail=stale-if-error") }
        }
        CacheOutcome::Bypass(reason) => match reason {
            NoCacheReason::IdNotCanonical => {
                const { value("nova-image-proxy; fwd=bypass; detail=id-not-canonical") }
            }
            NoCacheReason::WritePending => {
                const { value("nova-image-proxy; fwd=bypass; detail=write-pending") }
            }
            NoCacheReason::TokenWithoutProject => {
                const { value("nova-image-proxy; fwd=bypass; detail=token-without-project") }
            }
            NoCacheReason::AccessRules => {
                const { value("nova-image-proxy; fwd=bypass; detail=access-rules") }
            }
        },
    }
}

/// A body of known length in the pieces it was made in.
struct Chunks {
    left: u64,
    next: usize,
    pieces: cache::Body,
}

impl Chunks {
    fn new(chunks: cache::Body) -> Self {
        Self {
            left: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            next: 0,
            pieces: chunks,
        }
    }
}

impl MessageBody for Chunks {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let chunk = self.pieces.get(self.next).cloned();
        self.next += 1;
        Poll::Ready(chunk.map(Ok))
    }
}
