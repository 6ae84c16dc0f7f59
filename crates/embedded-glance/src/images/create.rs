//! `POST /v2/images`

use rusqlite::Connection;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Response, limits, parse_body};
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::{Image, Visibility};
use crate::patch::{RESERVED, RESERVED_NAMESPACE};
use crate::render::{ImageView, STORE};
use crate::{policy, schema, store, time};

/// The longest name of a property.
const PROPERTY_NAME: usize = 255;
/// Refused before the schema is asked.
const NEVER_SENT: [&str; 5] = ["direct_url", "self", "file", "schema", "stores"];
/// Set by Glance alone; a request that names one of them is told which, in this order.
const READ_ONLY: [&str; 6] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
];

/// A new image, queued for its data.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    body: &[u8],
) -> Result<Response, Fault> {
    let Value::Object(body) = parse_body(body)? else {
        // Glance breaks over a list.
        return Err(Fault::internal());
    };
    let image = build(caller, body)?;
    if store::images::id_is_taken(connection, &image.id)? {
        return Err(Fault::conflict(format!(
            "Image ID {} already exists!",
            image.id
        )));
    }
    store::images::insert(connection, &image)?;
    let mut response = Response::json(
        201,
        &ImageView {
            image: &image,
            for_admin: caller.is_admin(),
        },
    )?;
    response.location = Some(format!("/v2/images/{}", image.id));
    response.stores = Some(STORE);
    Ok(response)
}

/// Turns a request into a record, with every check that needs no database.
fn build(caller: &Identity, mut body: Map<String, Value>) -> Result<Image, Fault> {
    if let Some(name) = NEVER_SENT.iter().find(|name| body.contains_key(**name)) {
        return Err(read_only(name));
    }
    schema::check_image(&body)?;
    let owner = match body.shift_remove("owner") {
        Some(Value::String(owner)) => Some(owner),
        Some(_) => None,
        None => Some(caller.project.clone()),
    };
    let id = take_text(&mut body, "id").unwrap_or_else(|| Uuid::new_v4().to_string());
    let mut image = Image::queued(id, owner, time::now());
    image.name = take_text(&mut body, "name");
    image.disk_format = take_text(&mut body, "disk_format");
    image.container_format = take_text(&mut body, "container_format");
    image.protected = take_flag(&mut body, "protected");
    image.os_hidden = take_flag(&mut body, "os_hidden");
    let visibility = take_text(&mut body, "visibility");
    let tags = texts(body.shift_remove("tags"));
    let minima = [
        ("min_disk", body.shift_remove("min_disk")),
        ("min_ram", body.shift_remove("min_ram")),
    ];
    check_names(&body)?;
    policy::create(caller, image.owner.as_deref())?;
    if let Some(visibility) = visibility.as_deref().and_then(Visibility::parse) {
        policy::set_visibility(caller, image.owner.as_deref(), visibility)?;
        image.visibility = visibility;
    }
    limits::check_tags(&tags)?;
    if let Some(name) = READ_ONLY.iter().find(|name| body.contains_key(**name)) {
        return Err(read_only(name));
    }
    if body.contains_key("locations") {
        return Err(Fault::forbidden("Attribute 'locations' is reserved."));
    }
    for (name, value) in minima {
        let value = value.as_ref().and_then(integer).unwrap_or(0);
        limits::check_minimum(name, value)?;
        if name == "min_disk" {
            image.min_disk = value;
        } else {
            image.min_ram = value;
        }
    }
    if image.owner.as_deref() == Some("") {
        image.owner = None;
    }
    image.set_tags(tags);
    add_properties(&mut image, body);
    limits::check_properties(&image)?;
    limits::check_record(&image)?;
    Ok(image)
}

fn read_only(name: &str) -> Fault {
    Fault::forbidden(format!("Attribute '{name}' is read-only."))
}

fn take_text(body: &mut Map<String, Value>, name: &str) -> Option<String> {
    match body.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        Some(_) | None => None,
    }
}

fn take_flag(body: &mut Map<String, Value>, name: &str) -> bool {
    body.shift_remove(name)
        .and_then(|flag| flag.as_bool())
        .unwrap_or(false)
}

/// The schema has seen to it that a list of texts is one.
pub(super) fn texts(list: Option<Value>) -> Vec<String> {
    let Some(Value::Array(items)) = list else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A whole number, also when it is written with a fraction of zero.
pub(super) fn integer(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number too large saturates"
    )]
    let whole = |number: f64| number as i64;
    match value.as_i64() {
        Some(number) => Some(number),
        None if value.is_u64() => Some(i64::MAX),
        None => value.as_f64().map(whole),
    }
}

/// The names that are left are those of properties, or Glance's own.
fn check_names(body: &Map<String, Value>) -> Result<(), Fault> {
    for name in body
        .keys()
        .filter(|name| !READ_ONLY.contains(&name.as_str()))
    {
        if name.chars().count() > PROPERTY_NAME {
            let message = "Custom property should not be greater than 255 characters.";
            return Err(Fault::bad_request(message));
        }
        if RESERVED.contains(&name.as_str()) || name.starts_with(RESERVED_NAMESPACE) {
            return Err(Fault::forbidden_detail(format!(
                "Attribute '{name}' is reserved."
            )));
        }
    }
    Ok(())
}

/// The hash attributes are no texts of the caller's: Glance takes them and shows its own.
fn add_properties(image: &mut Image, body: Map<String, Value>) {
    for (name, value) in body {
        if let Value::String(value) = value
            && name != "os_hash_algo"
            && name != "os_hash_value"
        {
            image.properties.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn create(body: &Value) -> Result<Image, Fault> {
        build(
            &Identity::member("p", "u"),
            body.as_object().unwrap().clone(),
        )
    }

    #[test]
    fn what_is_no_base_property_is_an_additional_one() {
        let image = create(&json!({
            "name": "x", "foo": "bar", "tags": ["a", "b", "a"], "min_ram": 2.0, "protected": true,
        }))
        .unwrap();
        assert_eq!(
            image.properties.iter().collect::<Vec<_>>(),
            [("foo", "bar")]
        );
        assert_eq!(image.tags, ["a", "b"]);
        assert_eq!((image.min_ram, image.protected), (2, true));
        assert_eq!(image.owner.as_deref(), Some("p"));
    }

    #[rstest]
    #[case(json!({"size": 1}), Fault::forbidden("Attribute 'size' is read-only."))]
    #[case(json!({"self": "x"}), Fault::forbidden("Attribute 'self' is read-only."))]
    #[case(
        json!({"os_glance_x": "x"}),
        Fault::forbidden_detail("Attribute 'os_glance_x' is reserved.")
    )]
    #[case(json!({"locations": []}), Fault::forbidden("Attribute 'locations' is reserved."))]
    #[case(
        json!({"owner": "x"}),
        Fault::forbidden_detail("You are not permitted to create images owned by 'x'")
    )]
    #[case(json!({"visibility": "public"}), Fault::not_authorized_to("publicize_image"))]
    fn what_is_glances_own_is_refused(#[case] body: Value, #[case] fault: Fault) {
        assert_eq!(create(&body), Err(fault));
    }
}
