//! Where the data of an image lies: `/v2/images/{id}/locations` and `/v2/stores/{store}/{id}`.

use rusqlite::Connection;
use serde_json::json;

use super::{Response, parse_body};
use crate::data::DataDir;
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::Status;
use crate::render::STORE;
use crate::{policy, schema};

/// `GET /v2/images/{id}/locations`, which Keystone's services and admins may ask.
pub(crate) fn list(
    connection: &Connection,
    data: &DataDir,
    caller: &Identity,
    id: &str,
) -> Result<Response, Fault> {
    let image = super::look_up(connection, caller, id)?;
    if !caller.is_admin() && !caller.has_role("service") {
        return Err(Fault::not_authorized_to("fetch_image_location"));
    }
    let has_data = matches!(image.status, Status::Active | Status::Deactivated);
    let url = format!("file://{}/images/{id}", data.root().display());
    let locations = has_data.then(|| json!({"url": url, "metadata": {"store": STORE}}));
    Response::json(200, &locations.into_iter().collect::<Vec<_>>())
}

/// `POST /v2/images/{id}/locations`: there is no store of a kind that could be named.
pub(crate) fn add(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    body: &[u8],
) -> Result<Response, Fault> {
    schema::check_location(&parse_body(body)?)?;
    let image = super::look_up(connection, caller, id)?;
    if image.status != Status::Queued {
        return Err(Fault::conflict(format!(
            "It's not allowed to add locations if image status is {}.",
            image.status.name()
        )));
    }
    policy::change(caller, &image, "add_image_location")?;
    Err(Fault::forbidden(
        "http store must be enabled to use location API by normal user.",
    ))
}

/// `DELETE /v2/stores/{store}/{id}`: the only store's data is deleted with the image alone.
pub(crate) fn delete_from_store(
    connection: &Connection,
    caller: &Identity,
    store: &str,
    id: &str,
) -> Result<Response, Fault> {
    if store != STORE {
        return Err(Fault::conflict(format!(
            "The selected store {store} is not available on this node."
        )));
    }
    let Some(image) = super::visible(connection, caller, id)? else {
        return Err(Fault::not_found(format!("Failed to find image {id}")));
    };
    policy::get_location(caller, &image)?;
    policy::delete_location(caller)?;
    if image.status != Status::Active {
        return Err(Fault::conflict(
            "It's not allowed to remove image data from store if image status is not 'active'",
        ));
    }
    Err(Fault::forbidden(
        "Cannot delete image data from the only store containing it. Consider deleting the image \
         instead.",
    ))
}
