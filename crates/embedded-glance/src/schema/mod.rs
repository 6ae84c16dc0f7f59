//! The JSON schemas that Glance publishes for its images and members, and the check of a request
//! against the image schema, with the messages of Glance's validator.

mod python;

use std::cmp::Ordering;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::error::Fault;

pub(super) use python::{repr, text};

/// What a client gets from `/v2/schemas/image`. The rules of a request are read from it too.
pub(super) static IMAGE: LazyLock<Value> = LazyLock::new(|| document(include_str!("image.json")));
static TASK: LazyLock<Value> = LazyLock::new(|| document(include_str!("task.json")));
static LOCATION: LazyLock<Value> = LazyLock::new(|| document(include_str!("location.json")));
static METADEFS: LazyLock<Value> = LazyLock::new(|| document(include_str!("metadefs.json")));
static MEMBER: LazyLock<Value> = LazyLock::new(|| document(include_str!("member.json")));

/// The files are part of the program; a test reads them.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The schema of that name, as `/v2/schemas/NAME` answers.
pub(super) fn published(name: &str) -> Option<Value> {
    match name {
        "image" => Some(IMAGE.clone()),
        "images" => Some(images()),
        "member" => Some(MEMBER.clone()),
        "members" => Some(members()),
        "task" => Some(TASK.clone()),
        "tasks" => Some(tasks()),
        _ => None,
    }
}

/// The schema of that name, as `/v2/schemas/metadefs/NAME` answers.
pub(super) fn published_metadef(name: &str) -> Option<Value> {
    METADEFS.get(name).cloned()
}

/// A list shows less of each task.
fn tasks() -> Value {
    let mut task = TASK.clone();
    if let Some(properties) = task.get_mut("properties").and_then(Value::as_object_mut) {
        for name in ["input", "result", "message"] {
            properties.shift_remove(name);
        }
    }
    json!({
        "name": "tasks",
        "properties": {
            "tasks": {"type": "array", "items": task},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

fn images() -> Value {
    json!({
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": *IMAGE},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

fn members() -> Value {
    json!({
        "name": "members",
        "properties": {
            "members": {"type": "array", "items": *MEMBER},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

/// Checks (a part of) an image against the schema.
pub(super) fn check_image(image: &Map<String, Value>) -> Result<(), Fault> {
    check_object("image", &IMAGE, &Value::Object(image.clone()))
}

/// Checks the body of a request to add a location.
pub(super) fn check_location(body: &Value) -> Result<(), Fault> {
    check_object("location", &LOCATION, &json!({"add_location": body}))
}

/// Checks the body of a request to create a task.
pub(super) fn check_task(body: &Value) -> Result<(), Fault> {
    check_object("task", &TASK, body)
}

fn check_object(name: &str, schema: &Value, object: &Value) -> Result<(), Fault> {
    let mut errors = Vec::new();
    check(schema, object, &Place::default(), &mut errors);
    match errors.into_iter().reduce(most_relevant) {
        None => Ok(()),
        Some(error) => Err(Fault::bad_request(format!(
            "Provided object does not match schema '{name}': {error}"
        ))),
    }
}

/// Where in the schema and where in the value the check is.
#[derive(Clone, Debug, Default)]
struct Place {
    rule: Vec<Step>,
    value: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Name(String),
}

impl Place {
    fn into(&self, rule: &[&str], value: Option<Step>) -> Self {
        let mut place = self.clone();
        place
            .rule
            .extend(rule.iter().map(|name| Step::Name((*name).to_owned())));
        place.value.extend(value);
        place
    }
}

struct Mismatch {
    message: String,
    keyword: &'static str,
    place: Place,
    rule: Value,
    value: Value,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let indented = |value: &Value| python::pretty(value).replace('\n', "\n    ");
        write!(
            formatter,
            "{}\n\nFailed validating '{}' in schema{}:\n    {}\n\nOn instance{}:\n    {}",
            self.message,
            self.keyword,
            subscripts(&self.place.rule),
            indented(&self.rule),
            subscripts(&self.place.value),
            indented(&self.value),
        )
    }
}

fn subscripts(path: &[Step]) -> String {
    let subscript = |step: &Step| match step {
        Step::Index(index) => format!("[{index}]"),
        Step::Name(name) => format!("[{}]", python::repr_text(name)),
    };
    path.iter().map(subscript).collect()
}

/// Of several mismatches the shallowest is told; among siblings the one whose path sorts last.
fn most_relevant(one: Mismatch, other: Mismatch) -> Mismatch {
    let shallower = other.place.value.len().cmp(&one.place.value.len());
    match shallower.then_with(|| one.place.value.cmp(&other.place.value)) {
        Ordering::Less => other,
        Ordering::Equal | Ordering::Greater => one,
    }
}

fn check(rule: &Value, value: &Value, place: &Place, errors: &mut Vec<Mismatch>) {
    let Value::Object(keywords) = rule else {
        return;
    };
    for (keyword, wanted) in keywords {
        let broken = match keyword.as_str() {
            "type" => check_type(wanted, value).map(|message| ("type", message)),
            "enum" => check_enum(wanted, value).map(|message| ("enum", message)),
            "maxLength" => too_long(wanted, value).map(|message| ("maxLength", message)),
            "minLength" => too_short(wanted, value).map(|message| ("minLength", message)),
            "pattern" => check_id(wanted, value).map(|message| ("pattern", message)),
            "required" => missing(wanted, value).map(|message| ("required", message)),
            "properties" | "additionalProperties" | "items" => {
                descend(keyword, wanted, keywords, value, place, errors);
                None
            }
            // Titles, links and notes are no rules.
            _ => None,
        };
        if let Some((keyword, message)) = broken {
            let (rule, value) = (rule.clone(), value.clone());
            errors.push(Mismatch {
                message,
                keyword,
                place: place.clone(),
                rule,
                value,
            });
        }
    }
}

fn descend(
    keyword: &str,
    wanted: &Value,
    keywords: &Map<String, Value>,
    value: &Value,
    place: &Place,
    errors: &mut Vec<Mismatch>,
) {
    match (keyword, wanted, value) {
        ("properties", Value::Object(rules), Value::Object(members)) => {
            for (name, rule) in rules {
                if let Some(member) = members.get(name) {
                    let step = Some(Step::Name(name.clone()));
                    check(
                        rule,
                        member,
                        &place.into(&["properties", name], step),
                        errors,
                    );
                }
            }
        }
        ("additionalProperties", rule @ Value::Object(_), Value::Object(members)) => {
            let known = keywords.get("properties").and_then(Value::as_object);
            for (name, member) in members {
                if known.is_none_or(|known| !known.contains_key(name)) {
                    let step = Some(Step::Name(name.clone()));
                    check(
                        rule,
                        member,
                        &place.into(&["additionalProperties"], step),
                        errors,
                    );
                }
            }
        }
        ("items", rule, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                check(
                    rule,
                    item,
                    &place.into(&["items"], Some(Step::Index(index))),
                    errors,
                );
            }
        }
        _ => {}
    }
}

fn check_type(wanted: &Value, value: &Value) -> Option<String> {
    let names: Vec<&str> = match wanted {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    };
    let is = |name: &str| match (name, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        ("integer", Value::Number(number)) => {
            number.is_i64()
                || number.is_u64()
                || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        _ => false,
    };
    if names.iter().any(|name| is(name)) {
        return None;
    }
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    Some(format!(
        "{} is not of type {}",
        repr(value),
        names.join(", ")
    ))
}

fn check_enum(wanted: &Value, value: &Value) -> Option<String> {
    let known = wanted.as_array().is_some_and(|known| known.contains(value));
    (!known).then(|| format!("{} is not one of {}", repr(value), repr(wanted)))
}

fn length_beyond(wanted: &Value, value: &Value, order: Ordering) -> bool {
    let (Some(wanted), Some(text)) = (wanted.as_u64(), value.as_str()) else {
        return false;
    };
    u64::try_from(text.chars().count())
        .unwrap_or(u64::MAX)
        .cmp(&wanted)
        == order
}

fn too_long(wanted: &Value, value: &Value) -> Option<String> {
    length_beyond(wanted, value, Ordering::Greater).then(|| format!("{} is too long", repr(value)))
}

fn too_short(wanted: &Value, value: &Value) -> Option<String> {
    length_beyond(wanted, value, Ordering::Less).then(|| format!("{} is too short", repr(value)))
}

/// The one pattern of the schemas is that of an id: five groups of hex digits.
fn check_id(pattern: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let groups: Vec<&str> = text.split('-').collect();
    let is_id = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (!is_id).then(|| format!("{} does not match {}", repr(value), repr(pattern)))
}

fn missing(wanted: &Value, value: &Value) -> Option<String> {
    let members = value.as_object()?;
    let name = wanted.as_array()?.iter().find(|name| {
        name.as_str()
            .is_some_and(|name| !members.contains_key(name))
    })?;
    Some(format!("{} is a required property", repr(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(image: &Value) -> String {
        check_image(image.as_object().unwrap())
            .unwrap_err()
            .explanation()
            .to_owned()
    }

    #[test]
    fn the_documents_are_whole() {
        for name in ["image", "images", "member", "members", "task", "tasks"] {
            assert!(published(name).unwrap()["properties"].is_object(), "{name}");
        }
        for name in ["namespace", "resource_types", "tags"] {
            let document = published_metadef(name).unwrap();
            assert!(document["properties"].is_object(), "{name}");
        }
        assert_eq!(published("metadefs"), None);
    }

    #[test]
    fn a_wrong_type_is_told_with_the_rule_and_the_value() {
        assert_eq!(
            complaint(&json!({"name": 1})),
            "Provided object does not match schema 'image': 1 is not of type 'null', 'string'\n\n\
             Failed validating 'type' in schema['properties']['name']:\n    \
             {'type': ['null', 'string'],\n     \
             'description': 'Descriptive name for the image',\n     \
             'maxLength': 255}\n\nOn instance['name']:\n    1"
        );
    }

    #[test]
    fn of_several_mistakes_the_last_of_the_shallowest_is_told() {
        let told = complaint(&json!({"disk_format": "x", "name": 2, "foo": 3, "tags": [1]}));
        assert!(told.contains("2 is not of type 'null', 'string'"), "{told}");
        let told = complaint(&json!({"tags": [1, 2]}));
        assert!(told.contains("On instance['tags'][1]:\n    2"), "{told}");
    }

    #[test]
    fn additional_properties_are_texts() {
        let told = complaint(&json!({"x": null}));
        assert!(told.contains("in schema['additionalProperties']:\n    {'type': 'string'}"));
    }

    #[test]
    fn a_whole_float_is_an_integer_and_a_truth_is_none() {
        assert!(check_image(json!({"min_ram": 1.0}).as_object().unwrap()).is_ok());
        assert!(check_image(json!({"min_ram": true}).as_object().unwrap()).is_err());
    }

    #[test]
    fn an_id_has_the_form_of_a_uuid() {
        assert!(complaint(&json!({"id": "abc"})).contains("'abc' does not match '^("));
    }
}
