//! `/images` and `/images/{id}`.

use super::fault::{ApiError, GlanceOperation};
use super::handler_response::HandlerResponse;
use super::list_query::ListQuery;
use super::service::{HandlerContext, NovaService, while_doing, while_writing};
use super::view::{self, Detail, ListView};
use crate::glance::ImageId;

/// `GET /images` and `GET /images/detail`: all images, or the first `limit`.
pub async fn list(
    service: &NovaService,
    context: HandlerContext,
    detail: Detail,
    query: ListQuery,
) -> Result<HandlerResponse, ApiError> {
    let limit = query.images.limit;
    let mut view = ListView::new(detail, context.links);
    let rule = service.images.transitional();
    let mut transitional = false;
    let failed = while_doing(GlanceOperation::List);
    let mut memory = service.response_memory.permit();
    let mut pages = service.images.pages(context.caller, query.images);
    while let Some(fetched) = pages.fetch().await.map_err(&failed)? {
        let page = pages.accept(&fetched).map_err(&failed)?;
        transitional = transitional || page.images.iter().any(|image| rule.is_transitional(image));
        view.push(&page);
        memory.grow_to(view.bytes())?;
    }
    let body = view.finish(&query.link, limit, service.settings.max_limit);
    Ok(HandlerResponse::chunks(body).transitional(transitional))
}

/// `GET /images/{id}`
pub async fn show(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
) -> Result<HandlerResponse, ApiError> {
    let document = service
        .images
        .show(&context.caller, id)
        .await
        .map_err(while_doing(GlanceOperation::Show))?;
    let image = document
        .image()
        .map_err(|error| while_doing(GlanceOperation::Show)(error.into()))?;
    let transitional = service.images.transitional().is_transitional(&image);
    Ok(HandlerResponse::json(view::image(&image, &context.links)).transitional(transitional))
}

/// `DELETE /images/{id}`
pub async fn delete(
    service: &NovaService,
    context: &HandlerContext,
    id: &ImageId,
) -> Result<HandlerResponse, ApiError> {
    let deleted = service.images.delete(context.writer(), id).await;
    deleted.map_err(while_writing(GlanceOperation::Delete))?;
    Ok(HandlerResponse::no_content())
}
