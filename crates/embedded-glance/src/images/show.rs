//! `GET /v2/images/{id}`

use rusqlite::Connection;

use super::Response;
use crate::error::Fault;
use crate::identity::Identity;
use crate::policy;
use crate::render::ImageView;

/// One image.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Response, Fault> {
    let image = super::look_up(connection, caller, id)?;
    if !policy::may_get(caller, &image) {
        return Err(Fault::no_resource());
    }
    Response::json(
        200,
        &ImageView {
            image: &image,
            for_admin: caller.is_admin(),
        },
    )
}
