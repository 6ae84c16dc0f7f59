//! `/images/{id}/metadata` and `/images/{id}/metadata/{key}`.

use super::answer::Answer;
use super::fault::{ApiError, During};
use super::query;
use super::service::{Request, Service, during};
use super::view;
use crate::glance::{GlanceError, Image};
use bytes::Bytes;

/// `GET /images/{id}/metadata`
pub async fn list(service: &Service, request: Request) -> Result<Answer, ApiError> {
    let body = read(service, &request).await?;
    Ok(Answer::json(view::metadata(&parse(&body)?)))
}

/// `GET /images/{id}/metadata/{key}`
pub async fn show(service: &Service, request: Request) -> Result<Answer, ApiError> {
    let body = read(service, &request).await?;
    view::metadata_item(&parse(&body)?, &request.key)
        .map(Answer::json)
        .ok_or(ApiError::KeyNotFound)
}

async fn read(service: &Service, request: &Request) -> Result<Bytes, ApiError> {
    query::check_utf8(&request.query)?;
    let shown = service.glance.show(&request.caller, &request.id).await;
    // Nova names the image only here.
    shown.map_err(during(During::Show))
}

fn parse(body: &[u8]) -> Result<Image<'_>, ApiError> {
    Image::parse(body).map_err(|error| during(During::Show)(GlanceError::from(error)))
}
