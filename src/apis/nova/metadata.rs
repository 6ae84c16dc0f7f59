//! `/images/{id}/metadata` and `/images/{id}/metadata/{key}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::service::{NovaService, OperationInput, while_doing, while_writing};
use super::{list_query, metadata_body, view};
use crate::glance::{CallContext, Image, ImageDocument, ImageId};
use crate::images::MetadataUpdate;

/// `GET /images/{id}/metadata`
pub async fn list(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request.caller, request.image_id()?).await?;
    let image = parse(&body, request.image_id()?)?;
    let transitional = service.images.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::metadata(&image)).transitional(transitional))
}

/// `GET /images/{id}/metadata/{key}`
pub async fn show(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let body = read(service, &request.caller, request.image_id()?).await?;
    let image = parse(&body, request.image_id()?)?;
    let transitional = service.images.transitional().is_transitional(&image);
    let item = view::metadata_item(&image, &request.key).ok_or(ApiError::MetadataItemNotFound)?;
    Ok(HandlerResponse::json(item).transitional(transitional))
}

/// `POST /images/{id}/metadata`: sets the items sent, answers all there are.
pub async fn create(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::metadata(&request.body, request.api)?;
    let image = write(service, &request, &MetadataUpdate::Merge(sent.items)).await?;
    let image = parse(&image, request.image_id()?)?;
    Ok(HandlerResponse::json(view::metadata(&image)))
}

/// `PUT /images/{id}/metadata`: leaves only the items sent, and echoes them.
pub async fn replace(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::metadata(&request.body, request.api)?;
    write(service, &request, &MetadataUpdate::Replace(sent.items)).await?;
    Ok(echo("metadata", &sent.sent))
}

/// `PUT /images/{id}/metadata/{key}`: sets one item, and echoes it.
pub async fn update(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let sent = metadata_body::item(&request.body, &request.key, request.api)?;
    write(service, &request, &MetadataUpdate::Merge(sent.items)).await?;
    Ok(echo("meta", &sent.sent))
}

/// `DELETE /images/{id}/metadata/{key}`
pub async fn delete(
    service: &NovaService,
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

async fn write(
    service: &NovaService,
    request: &OperationInput,
    update: &MetadataUpdate,
) -> Result<ImageDocument, ApiError> {
    let id = request.image_id()?;
    let max_items = service.settings.metadata_items;
    let images = &service.images;
    let written = images.update_metadata(request.writer(), id, update, max_items);
    written.await.map_err(while_writing(about(id)))
}

async fn read(
    service: &NovaService,
    caller: &CallContext,
    id: &ImageId,
) -> Result<ImageDocument, ApiError> {
    let shown = service.images.show(caller, id).await;
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
