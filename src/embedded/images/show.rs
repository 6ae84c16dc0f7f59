//! `GET /v2/images/{id}`

use rusqlite::Connection;

use super::Answer;
use crate::embedded::error::Fault;
use crate::embedded::identity::Identity;
use crate::embedded::policy;
use crate::embedded::render::ImageView;

/// One image.
pub(in crate::embedded) fn call(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Answer, Fault> {
    let image = super::look_up(connection, caller, id)?;
    if !policy::may_get(caller, &image) {
        return Err(Fault::no_resource());
    }
    Answer::json(
        200,
        &ImageView {
            image: &image,
            for_admin: caller.is_admin(),
        },
    )
}
