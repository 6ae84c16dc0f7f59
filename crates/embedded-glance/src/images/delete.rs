//! `DELETE /v2/images/{id}`

use rusqlite::Connection;

use super::Response;
use crate::error::Fault;
use crate::identity::Identity;
use crate::{policy, store};

/// Deletes an image that is not protected.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Response, Fault> {
    let Some(image) = super::visible(connection, caller, id)? else {
        return Err(Fault::not_found(format!(
            "Failed to find image {id} to delete"
        )));
    };
    policy::change(caller, &image, "delete_image")?;
    if image.protected {
        return Err(Fault::forbidden(format!(
            "Image {id} is protected and cannot be deleted."
        )));
    }
    store::images::delete(connection, id)?;
    Ok(Response::empty())
}
