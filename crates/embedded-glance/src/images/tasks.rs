//! Tasks, of which there are none: `/v2/images/{id}/tasks` and `/v2/tasks`.

use rusqlite::Connection;
use serde_json::json;

use super::{Response, parse_body};
use crate::error::Fault;
use crate::filters;
use crate::identity::Identity;
use crate::params::{self, Params};
use crate::{policy, schema};

/// `GET /v2/images/{id}/tasks`
pub(crate) fn of_image(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Response, Fault> {
    match super::visible(connection, caller, id)? {
        Some(image) if policy::may_get(caller, &image) => {
            Response::json(200, &json!({"tasks": []}))
        }
        Some(_) | None => Err(Fault::no_resource()),
    }
}

fn authorize(caller: &Identity) -> Result<(), Fault> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(Fault::not_authorized_to("tasks_api_access"))
}

/// `GET /v2/tasks`
pub(crate) fn list(caller: &Identity, query: &str) -> Result<Response, Fault> {
    authorize(caller)?;
    let params = Params::parse(query).map_err(|params::NotUtf8| Fault::undecodable())?;
    check(&params)?;
    let mut query = params.into_unique();
    query.retain(|(name, _)| name != "marker");
    let first = match query.as_slice() {
        [] => "/v2/tasks".to_owned(),
        query => format!("/v2/tasks?{}", params::encode(query)),
    };
    Response::json(
        200,
        &json!({"tasks": [], "first": first, "schema": "/v2/schemas/tasks"}),
    )
}

/// The checks of a list's parameters, in Glance's order.
fn check(params: &Params) -> Result<(), Fault> {
    let direction = params.last("sort_dir").unwrap_or("desc");
    if !["asc", "desc"].contains(&direction) {
        return Err(Fault::bad_request(format!(
            "Invalid sort direction: {direction}"
        )));
    }
    let known: [(&str, &[&str]); 2] = [
        ("status", &["pending", "processing", "success", "failure"]),
        ("type", &["import"]),
    ];
    for (name, known) in known {
        let value = params.last(name).unwrap_or_default();
        if !value.is_empty() && !known.contains(&value) {
            return Err(Fault::bad_request(format!("Invalid {name} value: {value}")));
        }
    }
    let marker = params.last("marker").unwrap_or_default();
    if !marker.is_empty() && uuid::Uuid::parse_str(marker).is_err() {
        return Err(Fault::bad_request("Invalid marker format"));
    }
    if let Some(limit) = params.last("limit") {
        filters::parse_limit(limit)?;
    }
    if marker.is_empty() {
        return Ok(());
    }
    Err(Fault::bad_request(format!("Could not find task {marker}")))
}

/// `GET /v2/tasks/{id}`
pub(crate) fn show(caller: &Identity, id: &str) -> Result<Response, Fault> {
    authorize(caller)?;
    Err(Fault::not_found(format!("Could not find task {id}")))
}

/// `DELETE /v2/tasks/{id}`, which no caller may.
pub(crate) fn delete(caller: &Identity) -> Result<Response, Fault> {
    authorize(caller)?;
    Err(Fault::method_withdrawn(
        "GET",
        "This operation is currently not permitted on Glance Tasks. They are auto deleted after \
         reaching the time based on their expires_at property.",
    ))
}

/// `POST /v2/tasks`: the body is checked, and no task is run here.
pub(crate) fn create(caller: &Identity, body: &[u8]) -> Result<Response, Fault> {
    authorize(caller)?;
    let body = parse_body(body)?;
    for name in ["type", "input"] {
        if body.get(name).is_none() {
            return Err(Fault::bad_request(format!("Task '{name}' is required")));
        }
    }
    schema::check_task(&body)?;
    Err(Fault::forbidden("Tasks are not run at this site."))
}
