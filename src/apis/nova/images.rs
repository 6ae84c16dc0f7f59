//! `/images` and `/images/{id}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::list_query;
use super::service::{ImageService, OperationInput, while_doing};
use super::view::{self, Detail, ListView};
use crate::http::HttpError;

/// `GET /images` and `GET /images/detail`: all images there are, or `limit` of them.
pub async fn list(
    service: &ImageService,
    request: OperationInput,
    detail: Detail,
) -> Result<HandlerResponse, ApiError> {
    let list = list_query::parse_list(&request.query)?;
    let limit = list.images.limit;
    let mut view = ListView::new(detail, request.links);
    let rule = service.transitional();
    let mut transitional = false;
    service
        .glance
        .pages(request.caller, list.images)
        .for_each(|page| {
            transitional =
                transitional || page.images.iter().any(|image| rule.is_transitional(image));
            view.push(&page);
        })
        .await
        .map_err(while_doing(GlanceOperation::List))?;
    let body = view.finish(&list.link, limit, service.settings.max_limit);
    Ok(HandlerResponse::chunks(body).transitional(transitional))
}

/// `GET /images/{id}`
pub async fn show(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let document = service
        .glance
        .show(&request.caller, request.image_id()?)
        .await
        .map_err(while_doing(GlanceOperation::Show))?;
    let image = document
        .image()
        .map_err(|error| while_doing(GlanceOperation::Show)(error.into()))?;
    let transitional = service.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::image(&image, &request.links)).transitional(transitional))
}

/// `DELETE /images/{id}`
pub async fn delete(
    service: &ImageService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let id = request.image_id()?;
    let turn = service.locks.lock(id, request.caller.deadline).await;
    let _turn = turn.ok_or(HttpError::Timeout)?;
    let mut write = service.answers.write(id);
    let deleted = service.glance.delete(&request.caller, id);
    let deleted = service
        .track_write(&mut write, &request.caller, deleted)
        .await;
    deleted.map_err(while_doing(GlanceOperation::Delete))?;
    Ok(HandlerResponse::no_content())
}
