//! `/images` and `/images/{id}`.

use super::answer::Answer;
use super::fault::{ApiError, During};
use super::query;
use super::service::{Request, Service, during};
use super::view::{self, Detail, ListView};
use crate::glance::Image;

/// `GET /images` and `GET /images/detail`: all images there are, or `limit` of them.
pub async fn list(service: &Service, request: Request, detail: Detail) -> Result<Answer, ApiError> {
    let list = query::parse_list(&request.query)?;
    let limit = list.images.limit;
    let mut view = ListView::new(detail, request.links);
    let rule = service.transitional();
    let mut transitional = false;
    service
        .glance
        .pages(request.caller, list.images)
        .for_each(|page| {
            transitional = transitional || page.images.iter().any(|image| rule.is(image));
            view.push(&page);
        })
        .await
        .map_err(during(During::List))?;
    let body = view.finish(&list.link, limit, service.settings.max_limit);
    Ok(Answer::chunks(body).transitional(transitional))
}

/// `GET /images/{id}`
pub async fn show(service: &Service, request: Request) -> Result<Answer, ApiError> {
    query::check_utf8(&request.query)?;
    let body = service
        .glance
        .show(&request.caller, &request.id)
        .await
        .map_err(during(During::Show))?;
    let image = Image::parse(&body).map_err(|error| during(During::Show)(error.into()))?;
    let transitional = service.transitional().is(&image);
    Ok(Answer::json(view::image(&image, &request.links)).transitional(transitional))
}

/// `DELETE /images/{id}`
pub async fn delete(service: &Service, request: Request) -> Result<Answer, ApiError> {
    let turn = service
        .locks
        .lock(&request.id, request.caller.deadline)
        .await;
    let _turn = turn.ok_or(ApiError::Timeout)?;
    let mut write = service.answers.write(&request.id);
    let deleted = service.glance.delete(&request.caller, &request.id);
    let deleted = service.tracked(&mut write, &request.caller, deleted).await;
    deleted.map_err(during(During::Delete))?;
    Ok(Answer::no_content())
}
