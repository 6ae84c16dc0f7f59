//! `/v2/metadefs`: the catalog of metadata definitions, which is empty.

use serde_json::json;

use super::Response;
use crate::error::Fault;
use crate::params::{self, Params};

const NAMESPACES: &str = "/v2/metadefs/namespaces";

/// `GET /v2/metadefs/namespaces`
pub(crate) fn namespaces(query: &str) -> Result<Response, Fault> {
    let params = Params::parse(query).map_err(|params::NotUtf8| Fault::undecodable())?;
    let mut query = params.into_unique();
    query.retain(|(name, _)| name != "marker");
    let first = match query.as_slice() {
        [] => NAMESPACES.to_owned(),
        query => format!("{NAMESPACES}?{}", params::encode(query)),
    };
    let view = json!({
        "first": first,
        "namespaces": [],
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    Response::json(200, &view)
}

/// `GET /v2/metadefs/resource_types`
pub(crate) fn resource_types() -> Result<Response, Fault> {
    Response::json(200, &json!({"resource_types": []}))
}

/// An operation of a namespace.
pub(crate) fn absent(name: &str) -> Fault {
    Fault::not_found(format!(
        "Metadata definition namespace={name} was not found."
    ))
}
