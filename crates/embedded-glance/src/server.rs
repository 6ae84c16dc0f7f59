//! HTTP: from a request to a call in the database, and from its answer back.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderValue;
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use actix_web::http::header::{TRANSFER_ENCODING, WWW_AUTHENTICATE};
use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::error::{Fault, Kind, PATCH_TYPES};
use super::identity::{AuthenticationError, Authenticator, Identity};
use super::images::{self, Answer};
use super::route::{self, Front, Route};
use super::store::Store;
use super::{schema, versions};

/// The largest JSON body, in bytes: 128 properties with values of a few kilobytes.
const BODY_LIMIT: usize = 1 << 20;
/// How long a JSON body, or the next piece of an image's data, may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What every request needs.
pub(super) struct State {
    pub(super) store: Arc<Store>,
    pub(super) authenticator: Authenticator,
    /// `http://127.0.0.1:PORT`
    pub(super) base: String,
}

/// Answers one request.
pub(super) async fn answer(
    request: HttpRequest,
    payload: Payload,
    state: web::Data<State>,
) -> HttpResponse {
    if request.method() == "OPTIONS" {
        return HttpResponse::Ok().finish();
    }
    let path = percent_encoding::percent_decode_str(request.path()).decode_utf8_lossy();
    let below = match route::version(&path) {
        Ok(below) => below,
        Err(front) => {
            let mut response = match front {
                Front::Versions => HttpResponse::Ok(),
                Front::Choices => HttpResponse::MultipleChoices(),
            };
            return response.json(versions::document(&state.base));
        }
    };
    match dispatch(&request, payload, &state, below).await {
        Ok(answer) => success(answer, &state.base),
        Err(fault) => refusal(&request, &fault),
    }
}

fn success(answer: Answer, base: &str) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponseBuilder::new(status);
    if let Some(path) = answer.location {
        response.insert_header((LOCATION, format!("{base}{path}")));
    }
    match answer.body {
        Some(body) => response.content_type("application/json").body(body),
        None => response.finish(),
    }
}

fn refusal(request: &HttpRequest, fault: &Fault) -> HttpResponse {
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
            response.insert_header((WWW_AUTHENTICATE, "Keystone"));
        }
        Kind::BadRequest
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Conflict
        | Kind::TooLarge
        | Kind::UnsupportedMediaType { .. }
        | Kind::Unavailable
        | Kind::Internal => {}
    }
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let (media, body) = fault.render(accept);
    response.content_type(media).body(body)
}

async fn dispatch(
    request: &HttpRequest,
    payload: Payload,
    state: &State,
    below: &str,
) -> Result<Answer, Fault> {
    let token = request
        .headers()
        .get("X-Auth-Token")
        .map(HeaderValue::as_bytes);
    let caller = state
        .authenticator
        .authenticate(token)
        .await
        .map_err(|reason| match reason {
            AuthenticationError::InvalidToken => Fault::unauthorized(),
            AuthenticationError::Unavailable => Fault::unavailable(),
        })?;
    let route = route::find(request.method().as_str(), below)?;
    if route.refuses_body() && has_body(request) {
        return Err(Fault::bad_request(
            "A body is not expected with this request.",
        ));
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|media| media.to_str().ok())
        .unwrap_or_default();
    if let Route::Upload(id) = &route {
        return upload(
            payload,
            Arc::clone(&state.store),
            caller,
            id.clone(),
            content_type,
        )
        .await;
    }
    let body = if has_body(request) {
        read(payload).await?
    } else {
        Bytes::new()
    };
    let call = Call {
        caller,
        query: request.query_string().to_owned(),
        content_type: content_type.to_owned(),
        body,
    };
    let store = Arc::clone(&state.store);
    in_background(move || call.run(&store, &route)).await
}

fn has_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
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

/// The database blocks, so its calls run on threads that may.
async fn in_background(
    call: impl FnOnce() -> Result<Answer, Fault> + Send + 'static,
) -> Result<Answer, Fault> {
    match web::block(call).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(%error, "a call of the embedded Glance did not end");
            Err(Fault::internal())
        }
    }
}

async fn upload(
    mut payload: Payload,
    store: Arc<Store>,
    caller: Identity,
    id: String,
    content_type: &str,
) -> Result<Answer, Fault> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media != "application/octet-stream" {
        return Err(Fault::not_image_data(content_type));
    }
    let (check_store, check_caller, check_id) = (Arc::clone(&store), caller.clone(), id.clone());
    in_background(move || {
        check_store.read(|connection| images::data::check(connection, &check_caller, &check_id))?;
        Ok(Answer::empty())
    })
    .await?;
    let mut meter = images::data::Meter::default();
    loop {
        let piece = match tokio::time::timeout(BODY_TIMEOUT, payload.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) | Err(_) => {
                return Err(Fault::bad_request("The image data ended early."));
            }
        };
        meter.take(&piece)?;
    }
    in_background(move || {
        store.write(|connection| images::data::finish(connection, &caller, &id, meter))
    })
    .await
}

/// A request that is read whole.
struct Call {
    caller: Identity,
    query: String,
    content_type: String,
    body: Bytes,
}

impl Call {
    fn run(&self, store: &Store, route: &Route) -> Result<Answer, Fault> {
        let (caller, body) = (&self.caller, &*self.body);
        match route {
            Route::Schema(name) => {
                let document: Value = schema::published(name).ok_or_else(Fault::no_resource)?;
                Answer::json(200, &document)
            }
            Route::List => store.read(|c| images::list::call(c, caller, &self.query)),
            Route::Create => store.write(|c| images::create::call(c, caller, body)),
            Route::Show(id) => store.read(|c| images::show::call(c, caller, id)),
            Route::Update(id) => {
                store.write(|c| images::update::call(c, caller, id, &self.content_type, body))
            }
            Route::Delete(id) => store.write(|c| images::delete::call(c, caller, id)),
            Route::Download(id) => store.read(|c| images::data::download(c, caller, id)),
            // The data is read before the database is asked again.
            Route::Upload(_) => Err(Fault::internal()),
            Route::Act(id, action) => {
                store.write(|c| images::actions::call(c, caller, id, *action))
            }
            Route::AddTag(id, tag) => store.write(|c| images::tags::add(c, caller, id, tag)),
            Route::RemoveTag(id, tag) => store.write(|c| images::tags::remove(c, caller, id, tag)),
            Route::ListMembers(id) => store.read(|c| images::members::list(c, caller, id)),
            Route::CreateMember(id) => {
                store.write(|c| images::members::create(c, caller, id, body))
            }
            Route::ShowMember(id, name) => {
                store.read(|c| images::members::show(c, caller, id, name))
            }
            Route::UpdateMember(id, name) => {
                store.write(|c| images::members::update(c, caller, id, name, body))
            }
            Route::DeleteMember(id, name) => {
                store.write(|c| images::members::delete(c, caller, id, name))
            }
        }
    }
}
