//! `/images/{id}/metadata` and `/images/{id}/metadata/{key}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::json::Json;
use super::metadata_body::Metadata;
use super::service::{HandlerContext, NovaService, while_doing, while_writing};
use super::view;
use crate::glance::{CallContext, Image, ImageDocument, ImageId};
use crate::images::MetadataUpdate;

/// `GET /images/{id}/metadata`
pub async fn list(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
) -> Result<HandlerResponse, ApiError> {
    let body = read(service, &context.caller, id).await?;
    let image = parse(&body, id)?;
    let transitional = service.images.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::metadata(&image)).transitional(transitional))
}

/// `GET /images/{id}/metadata/{key}`
pub async fn show(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    key: &str,
) -> Result<HandlerResponse, ApiError> {
    let body = read(service, &context.caller, id).await?;
    let image = parse(&body, id)?;
    let transitional = service.images.transitional().is_transitional(&image);
    let item = view::metadata_item(&image, key).ok_or(ApiError::MetadataItemNotFound)?;
    Ok(HandlerResponse::json(item).transitional(transitional))
}

/// `POST /images/{id}/metadata`: sets the items of the body, and returns all items.
pub async fn create(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    metadata: Metadata,
) -> Result<HandlerResponse, ApiError> {
    let update = MetadataUpdate::Merge(metadata.items);
    let image = write(service, context, id, &update).await?;
    let image = parse(&image, id)?;
    Ok(HandlerResponse::json(view::metadata(&image)))
}

/// `PUT /images/{id}/metadata`: leaves only the items of the body, and echoes them.
pub async fn replace(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    metadata: Metadata,
) -> Result<HandlerResponse, ApiError> {
    let update = MetadataUpdate::Replace(metadata.items);
    write(service, context, id, &update).await?;
    Ok(echo("metadata", &metadata.sent))
}

/// `PUT /images/{id}/metadata/{key}`: sets one item, and echoes it.
pub async fn update(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    item: Metadata,
) -> Result<HandlerResponse, ApiError> {
    let update = MetadataUpdate::Merge(item.items);
    write(service, context, id, &update).await?;
    Ok(echo("meta", &item.sent))
}

/// `DELETE /images/{id}/metadata/{key}`
pub async fn delete(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    key: String,
) -> Result<HandlerResponse, ApiError> {
    let update = MetadataUpdate::Delete(key);
    write(service, context, id, &update).await?;
    Ok(HandlerResponse::no_content())
}

async fn write(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
    update: &MetadataUpdate,
) -> Result<ImageDocument, ApiError> {
    let max_items = service.settings.metadata_items;
    let images = &service.images;
    let written = images.update_metadata(context.writer(), id, update, max_items);
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
