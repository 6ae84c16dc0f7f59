//! `PATCH /v2/images/{id}`

use rusqlite::Connection;
use serde_json::Value;

use super::create::{integer, texts};
use super::{Response, limits, parse_body};
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::{Image, Status, Visibility};
use crate::patch::{self, Change, Dialect, Operation};
use crate::render::ImageView;
use crate::{policy, store, time};

/// The attributes that a patch may set. They always have a value, so they cannot be removed.
const SETTABLE: [&str; 10] = [
    "name",
    "disk_format",
    "container_format",
    "visibility",
    "min_disk",
    "min_ram",
    "protected",
    "tags",
    "owner",
    "os_hidden",
];

/// Applies a JSON Patch document.
pub(crate) fn call(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Response, Fault> {
    let dialect = Dialect::of(content_type).ok_or_else(|| Fault::not_a_patch(content_type))?;
    let changes = patch::parse(&parse_body(body)?, dialect)?;
    let before = super::look_up(connection, caller, id)?;
    let mut image = before.clone();
    for change in &changes {
        apply(caller, &mut image, change)?;
    }
    if !changes.is_empty() {
        save(connection, caller, &before, &mut image)?;
    }
    Response::json(
        200,
        &ImageView {
            image: &image,
            for_admin: caller.is_admin(),
        },
    )
}

/// Writes the image, unless the caller would lose sight of it by that.
fn save(
    connection: &Connection,
    caller: &Identity,
    before: &Image,
    image: &mut Image,
) -> Result<(), Fault> {
    if image
        .properties
        .iter()
        .any(|(name, _)| !before.properties.has(name))
    {
        limits::check_properties(image)?;
    }
    limits::check_record(image)?;
    image.updated_at = time::now();
    let mut stored = image.clone();
    // The answer shows an empty owner once; none is stored.
    stored.owner = stored.owner.filter(|owner| !owner.is_empty());
    store::images::update(connection, &stored)?;
    match super::visible(connection, caller, &image.id)? {
        Some(_) => Ok(()),
        None => Err(Fault::forbidden(format!(
            "Forbidding request, image {} not visible",
            image.id
        ))),
    }
}

fn apply(caller: &Identity, image: &mut Image, change: &Change) -> Result<(), Fault> {
    let name = change.name.as_str();
    if name == "locations" {
        return refuse_location(caller, image, &change.operation);
    }
    let is_replacement = matches!(change.operation, Operation::Replace(_));
    if is_replacement && name == "owner" && !caller.is_admin() {
        return Err(Fault::forbidden_detail(
            "Owner can't be updated by non admin.",
        ));
    }
    if name == "visibility"
        && let Operation::Add { value, .. } | Operation::Replace(value) = &change.operation
        && let Some(visibility) = value.as_str().and_then(Visibility::parse)
    {
        policy::set_visibility(caller, image.owner.as_deref(), visibility)?;
    }
    policy::change(caller, image, "modify_image")?;
    let is_attribute = SETTABLE.contains(&name);
    let exists = is_attribute || image.properties.has(name);
    match &change.operation {
        Operation::Add {
            must_be_new: true, ..
        } if exists => Err(Fault::conflict_detail(format!(
            "Property {name} already present."
        ))),
        Operation::Replace(_) | Operation::Remove if !exists => Err(Fault::conflict_detail(
            format!("Property {name} does not exist."),
        )),
        Operation::Remove if is_attribute => Err(Fault::forbidden_detail(format!(
            "Property {name} may not be removed."
        ))),
        Operation::Remove => {
            image.properties.remove(name);
            Ok(())
        }
        Operation::Add { value, .. } | Operation::Replace(value) => set(image, name, value),
    }
}

/// Where the data lies is neither shown nor set here, as in a Glance with its default settings.
fn refuse_location(caller: &Identity, image: &Image, operation: &Operation) -> Result<(), Fault> {
    let verb = match operation {
        Operation::Replace(value) if value.as_array().is_some_and(Vec::is_empty) => {
            return Err(Fault::forbidden_detail(
                "Cannot set locations to empty list.",
            ));
        }
        Operation::Replace(_) => "update",
        Operation::Add { .. } => "add",
        Operation::Remove => "remove",
    };
    if verb == "remove" {
        policy::delete_location(caller)?;
    } else {
        policy::change(caller, image, "set_image_location")?;
    }
    Err(Fault::forbidden(format!(
        "It's not allowed to {verb} locations if locations are invisible."
    )))
}

/// The schema has seen to it that the value has the attribute's type.
fn set(image: &mut Image, name: &str, value: &Value) -> Result<(), Fault> {
    let text = || value.as_str().map(str::to_owned);
    match name {
        "name" => image.name = text(),
        "owner" => image.owner = text(),
        "disk_format" | "container_format" => {
            if !matches!(image.status, Status::Queued | Status::Importing) {
                return Err(Fault::forbidden(format!(
                    "Attribute {name} can be only replaced for a queued image."
                )));
            }
            if name == "disk_format" {
                image.disk_format = text();
            } else {
                image.container_format = text();
            }
        }
        "visibility" => {
            if let Some(visibility) = value.as_str().and_then(Visibility::parse) {
                image.visibility = visibility;
            }
        }
        "min_disk" | "min_ram" => {
            let value = integer(value).unwrap_or(0);
            limits::check_minimum(name, value)?;
            if name == "min_disk" {
                image.min_disk = value;
            } else {
                image.min_ram = value;
            }
        }
        "protected" => image.protected = value.as_bool().unwrap_or(false),
        "os_hidden" => image.os_hidden = value.as_bool().unwrap_or(false),
        "tags" => {
            let tags = texts(Some(value.clone()));
            limits::check_tags(&tags)?;
            image.set_tags(tags);
        }
        property => image
            .properties
            .set(property.to_owned(), text().unwrap_or_default()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(image: &Image, document: &Value) -> Result<Image, Fault> {
        let mut image = image.clone();
        for change in patch::parse(document, Dialect::V21)? {
            apply(&Identity::member("p", "u"), &mut image, &change)?;
        }
        Ok(image)
    }

    #[test]
    fn changes_build_on_each_other() {
        let image = Image::queued("i".into(), Some("p".into()), 0);
        let document = json!([
            {"op": "add", "path": "/a", "value": "1"},
            {"op": "replace", "path": "/a", "value": "2"},
            {"op": "add", "path": "/b", "value": "3"},
            {"op": "remove", "path": "/b"},
            {"op": "replace", "path": "/name", "value": null},
            {"op": "add", "path": "/tags", "value": ["x", "x"]},
        ]);
        let after = patched(&image, &document).unwrap();
        assert_eq!(after.properties.iter().collect::<Vec<_>>(), [("a", "2")]);
        assert_eq!((after.name, after.tags), (None, vec!["x".to_owned()]));
    }

    #[test]
    fn the_formats_of_an_image_with_data_stand() {
        let mut image = Image::queued("i".into(), Some("p".into()), 0);
        image.status = Status::Active;
        let document = json!([{"op": "replace", "path": "/disk_format", "value": "raw"}]);
        let message = "Attribute disk_format can be only replaced for a queued image.";
        assert_eq!(patched(&image, &document), Err(Fault::forbidden(message)));
    }

    #[test]
    fn what_is_not_there_is_a_conflict() {
        let image = Image::queued("i".into(), Some("p".into()), 0);
        for document in [
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/x", "value": "1"}]),
        ] {
            let fault = Fault::conflict_detail("Property x does not exist.");
            assert_eq!(patched(&image, &document), Err(fault));
        }
    }
}
