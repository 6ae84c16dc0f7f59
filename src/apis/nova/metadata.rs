//! `/images/{id}/metadata` and `/images/{id}/metadata/{key}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::metadata_update::{self, MetadataUpdate};
use super::service::{ImageService, OperationInput, while_doing};
use super::{list_query, metadata_body, view};
use crate::cache::WriteGuard;
use crate::glance::{CallContext, GlanceError, Image, ImageDocument, ImageId, patch};
use crate::http::HttpError;

/// `GET /images/{id}/metadata`
pub async fn list(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request.caller, request.image_id()?).await?;
    let image = parse(&body, request.image_id()?)?;
    let transitional = service.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::metadata(&image)).transitional(transitional))
}

/// `GET /images/{id}/metadata/{key}`
pub async fn show(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request.caller, request.image_id()?).await?;
    let image = parse(&body, request.image_id()?)?;
    let transitional = service.transitional().is_transitional(&image);
    let item = view::metadata_item(&image, &request.key).ok_or(ApiError::MetadataItemNotFound)?;
    Ok(HandlerResponse::json(item).transitional(transitional))
}

/// `POST /images/{id}/metadata`: sets the items sent, answers all there are.
pub async fn create(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::metadata(&request.body, request.api)?;
    let image = write(service, &request, &MetadataUpdate::Merge(sent.items)).await?;
    let image = parse(&image, request.image_id()?)?;
    Ok(HandlerResponse::json(view::metadata(&image)))
}

/// `PUT /images/{id}/metadata`: leaves only the items sent, and echoes them.
pub async fn replace(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::metadata(&request.body, request.api)?;
    write(service, &request, &MetadataUpdate::Replace(sent.items)).await?;
    Ok(echo("metadata", &sent.sent))
}

/// `PUT /images/{id}/metadata/{key}`: sets one item, and echoes it.
pub async fn update(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::item(&request.body, &request.key, request.api)?;
    write(service, &request, &MetadataUpdate::Merge(sent.items)).await?;
    Ok(echo("meta", &sent.sent))
}

/// `DELETE /images/{id}/metadata/{key}`
pub async fn delete(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    write(
        service,
        &request,
        &MetadataUpdate::Delete(request.key.clone()),
    )
    .await?;
    Ok(HandlerResponse::no_content())
}

/// Changes the image's properties and returns the image as it is then. Other writers of this image
/// in this process wait meanwhile; one elsewhere that gets in between is noticed by Glance as a
/// conflict, and the change is made once more on what is there then.
async fn write(
    service: &ImageService,
    request: &OperationInput,
    change: &MetadataUpdate,
) -> Result<ImageDocument, ApiError> {
    let id = request.image_id()?;
    let turn = service.locks.lock(id, request.caller.deadline).await;
    let _turn = turn.ok_or(HttpError::Timeout)?;
    // Also for a change that turns out to change nothing: its client was told of the image as it
    // is now, and must not be shown an older one afterwards.
    let mut write = service.answers.write(id);
    match write_once(service, request, id, change, &mut write).await {
        Err(ApiError::Glance {
            error: GlanceError::Conflict(_),
            ..
        }) => write_once(service, request, id, change, &mut write).await,
        other => other,
    }
}

async fn write_once(
    service: &ImageService,
    request: &OperationInput,
    id: &ImageId,
    change: &MetadataUpdate,
    write: &mut WriteGuard<'_>,
) -> Result<ImageDocument, ApiError> {
    let image = read(service, &request.caller, id).await?;
    let before = metadata_update::properties(&parse(&image, id)?);
    let after = change.apply(&before, service.settings.metadata_items)?;
    let ops = patch::diff(&before, &after);
    if ops.is_empty() {
        return Ok(image);
    }
    let patched = service.glance.patch(&request.caller, id, &ops);
    let patched = service.track_write(write, &request.caller, patched).await;
    patched.map_err(while_doing(about(id)))
}

async fn read(
    service: &ImageService,
    caller: &CallContext,
    id: &ImageId,
) -> Result<ImageDocument, ApiError> {
    let shown = service.glance.show(caller, id).await;
    shown.map_err(while_doing(about(id)))
}

fn parse<'d>(document: &'d ImageDocument, id: &ImageId) -> Result<Image<'d>, ApiError> {
    let image = document.image();
    image.map_err(|error| while_doing(about(id))(error.into()))
}

fn about(id: &ImageId) -> GlanceOperation {
    GlanceOperation::Metadata(id.raw().to_owned())
}

fn echo(name: &str, sent: &Json) -> HandlerResponse {
    let mut out = format!("{{\"{name}\": ").into_bytes();
    sent.write(&mut out);
    out.push(b'}');
    HandlerResponse::json(out)
}
