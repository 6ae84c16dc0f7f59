//! `POST /v2/images/{id}/actions/deactivate` and `…/reactivate`

use rusqlite::Connection;

use super::Response;
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::Status;
use crate::{policy, store, time};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Deactivate,
    Reactivate,
}

/// Takes an image's data out of reach, or back; where that is so already, nothing happens.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    action: Action,
) -> Result<Response, Fault> {
    let (name, from, to) = match action {
        Action::Deactivate => ("deactivate", Status::Active, Status::Deactivated),
        Action::Reactivate => ("reactivate", Status::Deactivated, Status::Active),
    };
    let mut image = super::look_up(connection, caller, id)?;
    policy::change(caller, &image, name)?;
    if image.status == from {
        image.status = to;
        image.updated_at = time::now();
        store::images::update(connection, &image)?;
    } else if image.status != to {
        let status = image.status.name();
        return Err(Fault::forbidden(format!(
            "Not allowed to {name} image in status '{status}'"
        )));
    }
    Ok(Response::empty())
}
