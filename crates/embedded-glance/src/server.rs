//! HTTP: from a request to an operation, and from its response back.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION,
    RANGE, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::data::{self, DataDir};
use super::error::{Fault, Kind, PATCH_TYPES};
use super::identity::{AuthenticationError, Authenticator};
use super::images::{Body, Download, Response};
use super::operation::Operation;
use super::route::{self, Route, Unversioned};
use super::store::Store;
use super::upload::{self, Upload};
use super::{json, versions};

/// The largest JSON body, in bytes: 128 properties with values of a few kilobytes.
const BODY_LIMIT: usize = 1 << 20;
/// How long a JSON body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
const STORE_IDS: &str = "OpenStack-image-store-ids";

/// What every request needs.
pub(super) struct State {
    pub(super) store: Arc<Store>,
    pub(super) data: Arc<DataDir>,
    pub(super) authenticator: Authenticator,
    /// `http://127.0.0.1:PORT`
    pub(super) base: String,
    /// Where a caller without a token gets one.
    pub(super) www_authenticate: HeaderValue,
    pub(super) uploads: upload::Uploads,
}

/// Answers one request.
pub(super) async fn handle(
    request: HttpRequest,
    payload: Payload,
    state: web::Data<State>,
) -> HttpResponse {
    if request.method() == "OPTIONS" {
        return HttpResponse::Ok().finish();
    }
    let path = percent_encoding::percent_decode_str(request.path()).decode_utf8();
    let lossy = percent_encoding::percent_decode_str(request.path()).decode_utf8_lossy();
    let below = match route::version(&lossy) {
        Ok(below) => below,
        Err(unversioned) => return unversioned_response(&request, unversioned, &state.base),
    };
    let outcome = match path {
        Ok(_) => dispatch(&request, payload, &state, below).await,
        Err(_) => authenticated_fault(&request, &state, Fault::undecodable()).await,
    };
    let (mut response, has_request_id) = match outcome {
        Ok(response) => (success(response, &state.base), true),
        Err(fault) => (
            refusal(&request, &fault, &state.www_authenticate),
            fault.kind != Kind::Unauthorized,
        ),
    };
    if has_request_id {
        let id = format!("req-{}", uuid::Uuid::new_v4());
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
    }
    response
}

fn unversioned_response(
    request: &HttpRequest,
    unversioned: Unversioned,
    base: &str,
) -> HttpResponse {
    let mut response = match unversioned {
        Unversioned::HealthCheck if request.method() == "HEAD" => {
            return HttpResponse::NoContent().finish();
        }
        Unversioned::HealthCheck => {
            let healthy = serde_json::json!({"detailed": false, "reasons": ["OK"]});
            return HttpResponse::Ok()
                .content_type("application/json")
                .body(json::ascii(&healthy));
        }
        Unversioned::Versions => HttpResponse::Ok(),
        Unversioned::Choices => HttpResponse::MultipleChoices(),
    };
    response
        .content_type("application/json")
        .body(json::ascii(&versions::document(base)))
}

fn success(response: Response, base: &str) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
    let mut builder = HttpResponseBuilder::new(status);
    if let Some(path) = response.location {
        builder.insert_header((LOCATION, format!("{base}{path}")));
    }
    if let Some(stores) = response.stores {
        builder.insert_header((STORE_IDS, stores));
    }
    match response.body {
        Body::Json(body) => builder.content_type("application/json").body(body),
        Body::Data(download) => data_response(builder, download),
        Body::None => builder.finish(),
    }
}

fn data_response(mut builder: HttpResponseBuilder, download: Download) -> HttpResponse {
    builder.content_type("application/octet-stream");
    if let Some(checksum) = download.checksum {
        builder.insert_header(("Content-MD5", checksum));
    }
    let (offset, length) = match download.part {
        Some(part) => {
            builder.insert_header((CONTENT_RANGE, part.content_range(download.size)));
            (part.offset, part.length)
        }
        None => (0, download.size),
    };
    let stream = data::stream(download.file, offset, length);
    builder.body(SizedStream::new(length, Box::pin(stream)))
}

fn refusal(request: &HttpRequest, fault: &Fault, www_authenticate: &HeaderValue) -> HttpResponse {
    let (status, _) = fault.status();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponseBuilder::new(status);
    match &fault.kind {
        Kind::MethodNotAllowed { allow, .. } => {
            response.insert_header((ALLOW, *allow));
        }
        Kind::UnsupportedMediaType { patch: true, .. } => {
            response.insert_header(("Accept-Patch", PATCH_TYPES));
        }
        Kind::Unauthorized => {
            response.insert_header((WWW_AUTHENTICATE, www_authenticate.clone()));
        }
        Kind::Found { location } => {
            response.insert_header((LOCATION, location.as_str()));
        }
        Kind::BadRequest
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Conflict
        | Kind::Gone
        | Kind::TooLarge
        | Kind::RangeNotSatisfiable
        | Kind::UnsupportedMediaType { .. }
        | Kind::Unavailable
        | Kind::Internal => {}
    }
    let (media, body) = fault.render(header(request, ACCEPT));
    response.content_type(media).body(body)
}

/// The value of a header where it is text.
fn header(request: &HttpRequest, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

async fn authenticate(
    request: &HttpRequest,
    state: &State,
) -> Result<super::identity::Identity, Fault> {
    let token = request.headers().get("X-Auth-Token");
    let caller = state
        .authenticator
        .authenticate(token.map(HeaderValue::as_bytes));
    caller.await.map_err(|reason| match reason {
        AuthenticationError::InvalidToken => Fault::unauthorized(),
        AuthenticationError::Unavailable => Fault::unavailable(),
    })
}

/// A fault that a caller without a valid token does not see.
async fn authenticated_fault(
    request: &HttpRequest,
    state: &State,
    fault: Fault,
) -> Result<Response, Fault> {
    authenticate(request, state).await?;
    Err(fault)
}

async fn dispatch(
    request: &HttpRequest,
    payload: Payload,
    state: &State,
    below: &str,
) -> Result<Response, Fault> {
    let caller = authenticate(request, state).await?;
    let route = route::find(request.method().as_str(), below)?;
    if route.refuses_body() && has_body(request) {
        return Err(Fault::bad_request(
            "A body is not expected with this request.",
        ));
    }
    let content_type = header(request, CONTENT_TYPE).unwrap_or_default().to_owned();
    if let Route::Upload(id) = route {
        let upload = Upload {
            caller,
            id,
            content_type,
            size: header(request, HeaderName::from_static("x-openstack-image-size"))
                .map(str::to_owned),
            store: header(request, HeaderName::from_static("x-image-meta-store"))
                .map(str::to_owned),
        };
        return upload.receive(state, payload).await;
    }
    if route == Route::Root {
        return Err(Fault::found(format!("{}/v2/", state.base)));
    }
    let body = if has_body(request) {
        read(payload).await?
    } else {
        Bytes::new()
    };
    let operation = Operation {
        caller,
        query: request.query_string().to_owned(),
        content_type,
        range: header(request, RANGE).map(str::to_owned),
        content_range: header(request, CONTENT_RANGE).map(str::to_owned),
        body,
    };
    let (store, data) = (Arc::clone(&state.store), Arc::clone(&state.data));
    in_background(move || operation.run(&store, &data, &route)).await
}

fn has_body(request: &HttpRequest) -> bool {
    let length = header(request, CONTENT_LENGTH);
    request.headers().contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

async fn read(payload: Payload) -> Result<Bytes, Fault> {
    match tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(BODY_LIMIT)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Err(_)) => Err(Fault::too_large(
            "The body of your request was too large for this server.",
        )),
        Ok(Ok(Err(_))) | Err(_) => Err(Fault::bad_request("Malformed JSON in request body.")),
    }
}

/// The database and the file system block, so their calls run on threads that may.
pub(super) async fn in_background<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match web::block(call).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(%error, "a call of the embedded Glance did not end");
            Err(Fault::internal())
        }
    }
}
