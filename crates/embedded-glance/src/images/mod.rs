//! The calls of the images API, one file each. A call gets a transaction and the caller, and gives
//! a [`Response`] or a [`Fault`].

pub(super) mod actions;
pub(super) mod cache;
pub(super) mod create;
pub(super) mod data;
pub(super) mod delete;
pub(super) mod discovery;
pub(super) mod limits;
pub(super) mod list;
pub(super) mod locations;
pub(super) mod members;
pub(super) mod metadefs;
pub(super) mod show;
pub(super) mod tags;
pub(super) mod tasks;
pub(super) mod update;

use std::fs::File;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use super::data::range::ByteRange;
use super::error::Fault;
use super::identity::Identity;
use super::model::{Image, Visibility};
use super::{json, policy, store};

/// The longest id that can be in the database.
const ID_LENGTH: usize = 36;

/// A successful response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Body,
    /// The path of what was created.
    pub(super) location: Option<String>,
    /// The stores that data can be uploaded to.
    pub(super) stores: Option<&'static str>,
}

/// What a response carries.
#[derive(Debug)]
pub(super) enum Body {
    None,
    Json(String),
    Data(Download),
}

/// The data of an image, or a part of it.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) file: File,
    /// Bytes of the whole image.
    pub(super) size: u64,
    /// MD5 of the whole image.
    pub(super) checksum: Option<String>,
    pub(super) part: Option<ByteRange>,
}

impl Response {
    pub(super) fn json(status: u16, body: &impl Serialize) -> Result<Self, Fault> {
        match json::utf8(body) {
            Ok(body) => Ok(Self {
                body: Body::Json(body),
                ..Self::with_status(status)
            }),
            Err(error) => {
                tracing::error!(%error, "a response of the embedded Glance cannot be written");
                Err(Fault::internal())
            }
        }
    }

    pub(super) fn empty() -> Self {
        Self::with_status(204)
    }

    pub(super) fn with_status(status: u16) -> Self {
        Self {
            status,
            body: Body::None,
            location: None,
            stores: None,
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
