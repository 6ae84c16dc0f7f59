//! The calls of the images API, one file each. A call gets a transaction and the caller, and gives
//! an [`Answer`] or a [`Fault`].

pub(super) mod actions;
pub(super) mod create;
pub(super) mod data;
pub(super) mod delete;
pub(super) mod limits;
pub(super) mod list;
pub(super) mod members;
pub(super) mod show;
pub(super) mod tags;
pub(super) mod update;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use super::error::Fault;
use super::identity::Identity;
use super::model::{Image, Visibility};
use super::{policy, store};

/// The longest id that can be in the database.
const ID_LENGTH: usize = 36;

/// A successful answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// JSON; None is an answer without a body.
    pub(super) body: Option<String>,
    /// The path of what was created.
    pub(super) location: Option<String>,
}

impl Answer {
    pub(super) fn json(status: u16, body: &impl Serialize) -> Result<Self, Fault> {
        match serde_json::to_string(body) {
            Ok(body) => Ok(Self {
                status,
                body: Some(body),
                location: None,
            }),
            Err(error) => {
                tracing::error!(%error, "an answer of the embedded Glance is no JSON");
                Err(Fault::internal())
            }
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            status: 204,
            body: None,
            location: None,
        }
    }
}

/// The JSON of a request's body.
pub(super) fn parse_body(body: &[u8]) -> Result<Value, Fault> {
    if body.is_empty() {
        return Err(Fault::bad_request("Body expected in request."));
    }
    match serde_json::from_slice(body) {
        Ok(document @ (Value::Object(_) | Value::Array(_))) => Ok(document),
        Ok(_) => Err(Fault::bad_request(
            "Unexpected body type. Expected list/dict.",
        )),
        Err(_) => Err(Fault::bad_request("Malformed JSON in request body.")),
    }
}

/// The image, when the store lets the caller know of it.
fn visible(connection: &Connection, caller: &Identity, id: &str) -> Result<Option<Image>, Fault> {
    let Some(image) = store::images::find(connection, id)? else {
        return Ok(None);
    };
    let is_member = image.visibility == Visibility::Shared
        && store::members::is_member(connection, id, &caller.project)?;
    Ok(policy::is_visible(caller, &image, is_member).then_some(image))
}

/// The image, or the 404 that hides whether there is one.
fn look_up(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    visible(connection, caller, id)?
        .ok_or_else(|| Fault::not_found(format!("No image found with ID {id}")))
}
