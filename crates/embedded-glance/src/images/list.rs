//! `GET /v2/images`

use rusqlite::Connection;

use super::{ID_LENGTH, Response};
use crate::error::Fault;
use crate::filters::ListQuery;
use crate::identity::Identity;
use crate::model::Image;
use crate::params::{self, Params};
use crate::render::PageView;
use crate::{policy, store};

/// More filters than this make a statement that SQLite refuses: 256 of the query's, and the one on
/// hidden images.
const MAX_CONDITIONS: usize = 257;

/// A page of images.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    query: &str,
) -> Result<Response, Fault> {
    let params = Params::parse(query).map_err(|params::NotUtf8| Fault::undecodable())?;
    let asked = ListQuery::parse(params.clone())?;
    if asked.conditions.len() > MAX_CONDITIONS {
        return Err(Fault::bad_request("The query has too many filters."));
    }
    policy::list(caller)?;
    let marker = match &asked.marker {
        Some(marker) => Some(find_marker(connection, caller, marker)?),
        None => None,
    };
    let images = store::list::page(connection, caller, &asked, marker.as_ref())?;
    let is_full = images.len() == asked.limit;
    let next = images
        .last()
        .filter(|_| is_full)
        .map(|image| image.id.as_str());
    let (first, next) = links(params, next);
    Response::json(
        200,
        &PageView {
            images: &images,
            for_admin: caller.is_admin(),
            first,
            next,
        },
    )
}

/// Glance tells an absent marker from one that the caller may not see.
fn find_marker(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    if id.chars().count() > ID_LENGTH {
        let message = "Image with the given id %(image_id)s was not found";
        return Err(Fault::bad_request(message));
    }
    if let Some(image) = super::visible(connection, caller, id)? {
        return Ok(image);
    }
    match store::images::find(connection, id)? {
        Some(_) => Err(Fault::forbidden(format!(
            "Forbidding request, image {id} not visible"
        ))),
        None => Err(Fault::bad_request(format!("No image found with ID {id}"))),
    }
}

/// Both links repeat the query; a page that is full has a next one, even when that is empty.
fn links(params: Params, next: Option<&str>) -> (String, Option<String>) {
    let mut params = params.into_unique();
    let place = params.iter().position(|(name, _)| name == "marker");
    if let Some(place) = place {
        params.remove(place);
    }
    let first = match params.as_slice() {
        [] => "/v2/images".to_owned(),
        params => format!("/v2/images?{}", params::encode(params)),
    };
    let next = next.map(|id| {
        params.push(("marker".to_owned(), id.to_owned()));
        format!("/v2/images?{}", params::encode(&params))
    });
    (first, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_repeat_the_query_without_its_marker() {
        let params = Params::parse("marker=a&limit=2&name=x%20y").unwrap();
        let (first, next) = links(params, Some("b"));
        assert_eq!(first, "/v2/images?limit=2&name=x+y");
        assert_eq!(next.unwrap(), "/v2/images?limit=2&name=x+y&marker=b");
        assert_eq!(
            links(Params::default(), None),
            ("/v2/images".to_owned(), None)
        );
    }
}
