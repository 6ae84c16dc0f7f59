//! `/v2/images/{id}/members`: with whom an image is shared.

use rusqlite::Connection;
use serde_json::Value;

use super::{Response, limits, parse_body};
use crate::error::{Fault, Kind};
use crate::identity::Identity;
use crate::model::{Image, Member, MemberStatus, Visibility};
use crate::render::{MemberView, MembersView};
use crate::{policy, schema, store, time};

/// The reason why an image of another visibility is refused.
const ONLY_SHARED: &str = "Only shared images have members.";

/// The memberships of an image that the caller may know of.
pub(crate) fn list(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Response, Fault> {
    let image = look_up(connection, caller, id)?;
    if image.visibility != Visibility::Shared {
        return Err(Fault::forbidden(format!(
            "Not allowed to list members for image {id}: {ONLY_SHARED}"
        )));
    }
    policy::get_members(caller, &image, "get_members")?;
    Response::json(200, &MembersView(&known(connection, caller, &image)?))
}

/// One membership.
pub(crate) fn show(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    member: &str,
) -> Result<Response, Fault> {
    let image = look_up(connection, caller, id)?;
    if image.visibility != Visibility::Shared {
        return Err(Fault::not_found(ONLY_SHARED));
    }
    let found = find(connection, caller, &image, member).map_err(hide)?;
    Response::json(200, &MemberView(&found))
}

/// Shares an image; the member has yet to say yes.
pub(crate) fn create(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    body: &[u8],
) -> Result<Response, Fault> {
    let name = member_name(&parse_body(body)?)?;
    let image = look_up(connection, caller, id)?;
    check_shared(&image, "create")?;
    policy::change(caller, &image, "add_member")?;
    limits::check_member(&name)?;
    let members = store::members::of_image(connection, id)?;
    if members.len() >= limits::MEMBERS {
        let (attempted, maximum) = (members.len() + 1, limits::MEMBERS);
        return Err(Fault::too_large(format!(
            "Image member limit exceeded for image {id}: The limit has been exceeded on the number \
             of allowed image members for this image. Attempted: {attempted}, Maximum: {maximum}:"
        )));
    }
    if members.iter().any(|own| own.project == name) {
        return Err(Fault::conflict(format!(
            "Member {name} is duplicated for image {id}"
        )));
    }
    let now = time::now();
    let member = Member {
        image_id: image.id,
        project: name,
        status: MemberStatus::Pending,
        created_at: now,
        updated_at: now,
    };
    store::members::put(connection, &member)?;
    Response::json(200, &MemberView(&member))
}

/// The member's answer to being given an image.
pub(crate) fn update(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    member: &str,
    body: &[u8],
) -> Result<Response, Fault> {
    let Value::Object(mut body) = parse_body(body)? else {
        let message = "Expected a status in the form: {\"status\": \"status\"}";
        return Err(Fault::bad_request(message));
    };
    let Some(status) = body.shift_remove("status") else {
        return Err(Fault::bad_request("Status not specified"));
    };
    let image = look_up(connection, caller, id)?;
    check_shared(&image, "update")?;
    let mut member = find(connection, caller, &image, member)?;
    policy::modify_member(caller, &image)?;
    let status = status
        .as_str()
        .and_then(MemberStatus::parse)
        .ok_or_else(|| {
            Fault::bad_request(
                "Incorrect request: Status must be \"pending\", \"accepted\" or \"rejected\".",
            )
        })?;
    if status == member.status {
        return Response::json(200, &MemberView(&member));
    }
    member.status = status;
    member.updated_at = time::now();
    store::members::put(connection, &member)?;
    Response::json(200, &MemberView(&member))
}

/// Ends the sharing.
pub(crate) fn delete(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    member: &str,
) -> Result<Response, Fault> {
    let image = look_up(connection, caller, id)?;
    check_shared(&image, "delete")?;
    let member = find(connection, caller, &image, member)?;
    policy::change(caller, &image, "delete_member")?;
    store::members::delete(connection, &member)?;
    Ok(Response::empty())
}

fn look_up(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    super::visible(connection, caller, id)?
        .ok_or_else(|| Fault::not_found(format!("Image {id} not found.")))
}

fn check_shared(image: &Image, verb: &str) -> Result<(), Fault> {
    if image.visibility == Visibility::Shared {
        return Ok(());
    }
    let id = &image.id;
    Err(Fault::forbidden(format!(
        "Not allowed to {verb} members for image {id}."
    )))
}

/// The owner knows all members, a member only itself.
fn known(connection: &Connection, caller: &Identity, image: &Image) -> Result<Vec<Member>, Fault> {
    let all = caller.is_admin() || caller.owns(image.owner.as_deref());
    let mut members = store::members::of_image(connection, &image.id)?;
    members.retain(|member| all || member.project == caller.project);
    Ok(members)
}

fn find(
    connection: &Connection,
    caller: &Identity,
    image: &Image,
    name: &str,
) -> Result<Member, Fault> {
    policy::get_members(caller, image, "get_member")?;
    let mut members = known(connection, caller, image)?.into_iter();
    members
        .find(|member| member.project == name)
        .ok_or_else(|| {
            Fault::not_found(format!(
                "{name} not found in the member list of the image {}.",
                image.id
            ))
        })
}

/// A membership that may not be seen is not there.
fn hide(fault: Fault) -> Fault {
    if fault.kind == Kind::Forbidden {
        Fault::not_found(fault.explanation())
    } else {
        fault
    }
}

fn member_name(body: &Value) -> Result<String, Fault> {
    let Value::Object(body) = body else {
        let message = "Expected a member in the form: {\"member\": \"image_id\"}";
        return Err(Fault::bad_request(message));
    };
    match body.get("member") {
        None => Err(Fault::bad_request("Member to be added not specified")),
        Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
        Some(Value::String(_) | Value::Null | Value::Bool(false)) => {
            Err(Fault::bad_request("Member can't be empty"))
        }
        Some(number @ (Value::Number(_) | Value::Bool(true))) => Ok(schema::repr(number)),
        // These break Glance.
        Some(Value::Array(_) | Value::Object(_)) => {
            let message = "Expected a member in the form: {\"member\": \"image_id\"}";
            Err(Fault::bad_request(message))
        }
    }
}
