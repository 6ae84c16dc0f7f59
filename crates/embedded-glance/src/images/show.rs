//! `GET /v2/images/{id}`

use rusqlite::Connection;

use super::Answer;
use crate::error::Fault;
use crate::identity::Identity;
use crate::policy;
use crate::render::ImageView;

/// One image.
pub(crate) fn call(connection: &Connection, caller: &Identity, id: &str) -> Result<Answer, Fault> {
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
