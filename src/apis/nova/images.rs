//! `/images` and `/images/{id}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::list_query;
use super::service::{NovaService, OperationInput, while_doing, while_writing};
use super::view::{self, Detail, ListView};

/// `GET /images` and `GET /images/detail`: all images there are, or `limit` of them.
pub async fn list(
    service: &NovaService,
    request: OperationInput,
    detail: Detail,
) -> Result<HandlerResponse, ApiError> {
    let list = list_query::parse_list(&request.query)?;
    let limit = list.images.limit;
    let mut view = ListView::new(detail, request.links);
    let rule = service.images.transitional();
    let mut transitional = false;
    let failed = while_doing(GlanceOperation::List);
    let mut memory = service.response_memory.permit();
    let mut pages = service.images.pages(request.caller, list.images);
    while let Some(fetched) = pages.fetch().await.map_err(&failed)? {
        let page = pages.accept(&fetched).map_err(&failed)?;
        transitional = transitional || page.images.iter().any(|image| rule.is_transitional(image));
        view.push(&page);
        memory.grow_to(view.bytes())?;
    }
    let body = view.finish(&list.link, limit, service.settings.max_limit);
    Ok(HandlerResponse::chunks(body).transitional(transitional))
}

/// `GET /images/{id}`
pub async fn show(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    list_query::check_utf8(&request.query)?;
    let document = service
        .images
        .show(&request.caller, request.image_id()?)
        .await
        .map_err(while_doing(GlanceOperation::Show))?;
    let image = document
        .image()
        .map_err(|error| while_doing(GlanceOperation::Show)(error.into()))?;
    let transitional = service.images.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::image(&image, &request.links)).transitional(transitional))
}

/// `DELETE /images/{id}`
pub async fn delete(
    service: &NovaService,
    request: OperationInput,
) -> Result<HandlerResponse, ApiError> {
    let deleted = service.images.delete(request.writer(), request.image_id()?);
    let deleted = deleted.await;
    deleted.map_err(while_writing(GlanceOperation::Delete))?;
    Ok(HandlerResponse::no_content())
}
