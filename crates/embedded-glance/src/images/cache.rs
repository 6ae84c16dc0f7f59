//! `/v2/cache`, as a Glance without an image cache answers it.

use rusqlite::Connection;

use super::Response;
use crate::error::Fault;
use crate::identity::Identity;

/// What is asked of the cache; the texts are images' ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheOperation {
    List,
    Clear,
    Clean,
    Prune,
    Queue(String),
    Delete(String),
}

/// Checks the rights of the caller; there is no cache.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    operation: &CacheOperation,
) -> Result<Response, Fault> {
    if let CacheOperation::Queue(id) | CacheOperation::Delete(id) = operation
        && super::visible(connection, caller, id)?.is_none()
    {
        return Err(Fault::not_found(format!("Image {id} not found.")));
    }
    let policy = match operation {
        CacheOperation::List => "cache_list",
        CacheOperation::Clear | CacheOperation::Delete(_) => "cache_delete",
        CacheOperation::Clean => "cache_clean",
        CacheOperation::Prune => "cache_prune",
        CacheOperation::Queue(_) => "cache_image",
    };
    if !caller.is_admin() {
        return Err(Fault::not_authorized_to(policy));
    }
    Err(Fault::not_found(
        "Caching via API is not supported at this site.",
    ))
}
