//! The responses of this API: content types, fault bodies, `Cache-Status`.

use super::fault::ApiError;
use super::handler_response::HandlerResponse;
use super::headers::NovaHeaders;
use super::media_type;
use crate::apis::webob::{ErrorPage, PageFormat};
use crate::cache::{CacheOutcome, NoCacheReason};
use crate::http::context::RequestContext;
use crate::http::response::{Body, Response};
use crate::http::response_memory::ResponseMemory;
use crate::http::{HttpError, RequestIds};
use crate::util::python_json;
use actix_web::http::header::{
    CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const FAULT_TYPE: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// The response of a handler. `cache` is the cache's part in it; `None` for a write, and with the cache
/// off.
pub fn success(
    answer: HandlerResponse,
    cache: Option<CacheOutcome>,
    headers: &NovaHeaders,
    context: &RequestContext<'_>,
    memory: &ResponseMemory,
) -> Result<Response, HttpError> {
    let body = memory.admit(answer.body)?;
    let media_type = media_type::success_type(context.request.headers());
    let response = headers.add_to(Response::new(status(answer.status)), context.ids);
    let response = response.header(CONTENT_TYPE, media_type);
    let response = match cache {
        Some(outcome) => response.header(CACHE_STATUS, cache_status(outcome)),
        None => response,
    };
    Ok(response.body(Body::Chunks(body)))
}

/// A version document.
#[must_use]
pub fn document(
    status: StatusCode,
    body: String,
    headers: &NovaHeaders,
    context: &RequestContext<'_>,
) -> Response {
    let media_type = media_type::success_type(context.request.headers());
    headers
        .add_to(Response::new(status), context.ids)
        .header(CONTENT_TYPE, media_type)
        .body(Body::Bytes(Bytes::from(body)))
}

/// The route-level 404.
#[must_use]
pub fn not_found(headers: &NovaHeaders, context: &RequestContext<'_>) -> Response {
    // Nova answers a HEAD as it would a browser, without the page.
    let head = context.request.method() == Method::HEAD;
    let format = if head {
        PageFormat::Html
    } else {
        media_type::page(context.request.headers())
    };
    let body = if head {
        String::new()
    } else {
        ErrorPage::new(http::StatusCode::NOT_FOUND).render(format)
    };
    headers
        .add_to(Response::new(StatusCode::NOT_FOUND), context.ids)
        .header(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        )
        .body(Body::Bytes(Bytes::from(body)))
}

/// An error as a fault. `challenge` is the `WWW-Authenticate` of a 401.
#[must_use]
pub fn fault(
    error: &ApiError,
    headers: &NovaHeaders,
    ids: &RequestIds,
    challenge: Option<&HeaderValue>,
) -> Response {
    let fault = error.fault();
    let response = headers.add_to(Response::new(status(fault.status)), ids);
    let response = response.cause(error.cause());
    let retry_after = fault.retry_after.as_deref().map(HeaderValue::from_str);
    let response = match retry_after {
        Some(Ok(after)) => response.header(RETRY_AFTER, after),
        Some(Err(_)) | None => response,
    };
    if fault.status != http::StatusCode::UNAUTHORIZED {
        return response
            .header(CONTENT_TYPE, FAULT_TYPE)
            .body(Body::Bytes(Bytes::from(fault.body())));
    }
    // Nova's Keystone middleware writes this one, in a form of its own.
    let response = match challenge {
        Some(challenge) => response.header(WWW_AUTHENTICATE, challenge.clone()),
        None => response,
    };
    let body = serde_json::json!({ "error": {
        "code": 401, "title": "Unauthorized", "message": fault.message,
    }});
    response
        .header(CONTENT_TYPE, media_type::JSON_TYPE)
        .body(Body::Bytes(Bytes::from(python_json::to_string(&body))))
}

/// actix-web has an older version of the same type.
fn status(status: http::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `Cache-Status` of RFC 9211.
fn cache_status(outcome: CacheOutcome) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        CacheOutcome::Hit => "nova-image-proxy; hit",
        CacheOutcome::Miss => "nova-image-proxy; fwd=miss",
        CacheOutcome::Coalesced => "nova-image-proxy; fwd=miss; collapsed",
        CacheOutcome::Stale => "nova-image-proxy; fwd=stale; detail=stale-if-error",
        CacheOutcome::Bypass(reason) => match reason {
            NoCacheReason::IdNotCanonical => {
                "nova-image-proxy; fwd=bypass; detail=id-not-canonical"
            }
            NoCacheReason::WritePending => "nova-image-proxy; fwd=bypass; detail=write-pending",
            NoCacheReason::TokenWithoutProject => {
                "nova-image-proxy; fwd=bypass; detail=token-without-project"
            }
            NoCacheReason::AccessRules => "nova-image-proxy; fwd=bypass; detail=access-rules",
        },
    })
}
