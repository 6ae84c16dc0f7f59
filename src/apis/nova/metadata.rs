//! `/images/{id}/metadata` and `/images/{id}/metadata/{key}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::metadata_update::{self, MetadataUpdate};
use super::service::{ImageService, OperationInput, while_doing};
use super::{list_query, metadata_body, view};
use crate::cache::WriteGuard;
use crate::glance::{GlanceError, Image, patch};
use crate::http::HttpError;
use bytes::Bytes;

/// `GET /images/{id}/metadata`
pub async fn list(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request).await?;
    let image = parse(&body, &request)?;
    let transitional = service.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::metadata(&image)).transitional(transitional))
}

/// `GET /images/{id}/metadata/{key}`
pub async fn show(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request).await?;
    let image = parse(&body, &request)?;
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
    Ok(HandlerResponse::json(view::metadata(&parse(
        &image, &request,
    )?)))
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
) -> Result<Bytes, ApiError> {
    let turn = service
        .locks
        .lock(&request.id, request.caller.deadline)
        .await;
    let _turn = turn.ok_or(HttpError::Timeout)?;
    // Also for a change that turns out to change nothing: its client was told of the image as it
    // is now, and must not be shown an older one afterwards.
    let mut write = service.answers.write(&request.id);
    match write_once(service, request, change, &mut write).await {
        Err(ApiError::Glance {
            error: GlanceError::Conflict(_),
            ..
        }) => write_once(service, request, change, &mut write).await,
        other => other,
    }
}

async fn write_once(
    service: &ImageService,
    request: &OperationInput,
    change: &MetadataUpdate,
    write: &mut WriteGuard<'_>,
) -> Result<Bytes, ApiError> {
    let image = read(service, request).await?;
    let before = metadata_update::properties(&parse(&image, request)?);
    let after = change.apply(&before, service.settings.metadata_items)?;
    let ops = patch::diff(&before, &after);
    if ops.is_empty() {
        return Ok(image);
    }
    let patched = service.glance.patch(&request.caller, &request.id, &ops);
    let patched = service.track_write(write, &request.caller, patched).await;
    patched.map_err(while_doing(about(request)))
}

async fn read(service: &ImageService, request: &OperationInput) -> Result<Bytes, ApiError> {
    let shown = service.glance.show(&request.caller, &request.id).await;
    shown.map_err(while_doing(about(request)))
}

fn parse<'b>(image: &'b [u8], request: &OperationInput) -> Result<Image<'b>, ApiError> {
    Image::parse(image).map_err(|error| while_doing(about(request))(GlanceError::from(error)))
}

fn about(request: &OperationInput) -> GlanceOperation {
    GlanceOperation::Metadata(request.id.clone())
}

fn echo(name: &str, sent: &Json) -> HandlerResponse {
    let mut out = format!("{{\"{name}\": ").into_bytes();
    sent.write(&mut out);
    out.push(b'}');
    HandlerResponse::json(out)
}
