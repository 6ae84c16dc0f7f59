//! `PUT` and `DELETE /v2/images/{id}/tags/{tag}`

use rusqlite::Connection;
use serde_json::{Map, json};

use super::{Response, limits};
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::Image;
use crate::{policy, schema, store, time};

/// Adds a tag.
pub(crate) fn add(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    tag: &str,
) -> Result<Response, Fault> {
    schema::check_image(&Map::from_iter([("tags".to_owned(), json!([tag]))]))?;
    let mut image = changeable(connection, caller, id)?;
    if !image.tags.iter().any(|own| own == tag) {
        image.tags.push(tag.to_owned());
    }
    limits::check_tags(&image.tags).map_err(|fault| {
        let told = fault.explanation();
        Fault::too_large(format!("Image tag limit exceeded for image {id}: {told}:"))
    })?;
    limits::check_record(&image).map_err(|fault| {
        Fault::bad_request(format!("Could not update image: {}", fault.explanation()))
    })?;
    save(connection, image)
}

/// Takes a tag away.
pub(crate) fn remove(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    tag: &str,
) -> Result<Response, Fault> {
    let mut image = changeable(connection, caller, id)?;
    let before = image.tags.len();
    image.tags.retain(|own| own != tag);
    if image.tags.len() == before {
        return Err(Fault::no_resource());
    }
    save(connection, image)
}

fn changeable(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    let Some(image) = super::visible(connection, caller, id)? else {
        return Err(Fault::not_found(format!("Image {id} not found.")));
    };
    policy::change(caller, &image, "modify_image")?;
    Ok(image)
}

fn save(connection: &Connection, mut image: Image) -> Result<Response, Fault> {
    image.updated_at = time::now();
    store::images::update(connection, &image)?;
    Ok(Response::empty())
}
