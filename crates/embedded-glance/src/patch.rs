//! The JSON Patch documents of an image update: both of Glance's dialects, to a list of changes.

use serde_json::{Map, Value};

use super::error::Fault;
use super::schema;

/// One change to one attribute or property.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) operation: Operation,
}

/// What is done to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    /// In the older dialect an addition must not meet a value.
    Add {
        value: Value,
        must_be_new: bool,
    },
    Replace(Value),
    Remove,
}

/// Which media type the document came under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `{"add": "/name", "value": "x"}`
    V20,
    /// `{"op": "add", "path": "/name", "value": "x"}`
    V21,
}

const OPERATIONS: [&str; 3] = ["add", "remove", "replace"];

/// Attributes that a caller can never set.
const READ_ONLY: [&str; 13] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "direct_url",
    "self",
    "file",
    "schema",
    "id",
    "os_hash_algo",
    "os_hash_value",
];

/// Names that Glance keeps for itself.
pub(super) const RESERVED: [&str; 3] = ["location", "deleted", "deleted_at"];
/// The start of the property names that Glance keeps for itself.
pub(super) const RESERVED_NAMESPACE: &str = "os_glance";

impl Dialect {
    /// The dialect of a `Content-Type`, whose parameters do not count.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media {
            "application/openstack-images-v2.0-json-patch" => Some(Self::V20),
            "application/openstack-images-v2.1-json-patch" => Some(Self::V21),
            _ => None,
        }
    }
}

/// Reads a document; the first mistake is the one that is named.
pub(super) fn parse(document: &Value, dialect: Dialect) -> Result<Vec<Change>, Fault> {
    let Value::Array(operations) = document else {
        let message = "Request body must be a JSON array of operation objects.";
        return Err(Fault::bad_request(message));
    };
    operations
        .iter()
        .map(|operation| parse_change(operation, dialect))
        .collect()
}

fn parse_change(raw: &Value, dialect: Dialect) -> Result<Change, Fault> {
    let Value::Object(raw) = raw else {
        return Err(Fault::bad_request("Operations must be JSON objects."));
    };
    let (operation, pointer) = match dialect {
        Dialect::V20 => head_v20(raw)?,
        Dialect::V21 => head_v21(raw)?,
    };
    // A pointer that is no text breaks Glance.
    let pointer = pointer.as_str().ok_or_else(Fault::internal)?;
    let path = decode_pointer(pointer)?;
    let name = check_depth(operation, &path)?;
    let value = match (operation, raw.get("value")) {
        ("remove", _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => {
            return Err(Fault::bad_request(format!(
                "Operation \"{operation}\" requires a member named \"value\"."
            )));
        }
    };
    check_name(&name)?;
    if operation != "remove" {
        check_value(&name, path.len(), &value)?;
    }
    let operation = match operation {
        "add" => Operation::Add {
            value,
            must_be_new: dialect == Dialect::V20,
        },
        "remove" => Operation::Remove,
        _ => Operation::Replace(value),
    };
    Ok(Change { name, operation })
}

fn head_v20(raw: &Map<String, Value>) -> Result<(&'static str, &Value), Fault> {
    let mut found = None;
    for operation in OPERATIONS {
        if let Some(pointer) = raw.get(operation) {
            if found.is_some() {
                return Err(Fault::bad_request(
                    "Operation objects must contain only one member named \"add\", \"remove\", or \
                     \"replace\".",
                ));
            }
            found = Some((operation, pointer));
        }
    }
    found.ok_or_else(|| {
        Fault::bad_request(
            "Operation objects must contain exactly one member named \"add\", \"remove\", or \
             \"replace\".",
        )
    })
}

fn head_v21(raw: &Map<String, Value>) -> Result<(&'static str, &Value), Fault> {
    let must = format!(
        "It must be one of the following: {}.",
        OPERATIONS.join(", ")
    );
    let asked = match raw.get("op") {
        None | Some(Value::Null) => {
            let message = format!("Unable to find `op` in JSON Schema change. {must}");
            return Err(Fault::bad_request(message));
        }
        Some(asked) => asked,
    };
    let Some(operation) = OPERATIONS
        .iter()
        .find(|known| asked.as_str() == Some(known))
    else {
        let asked = match asked {
            Value::String(text) => text.clone(),
            other => schema::repr(other),
        };
        return Err(Fault::bad_request(format!(
            "Invalid operation: `{asked}`. {must}"
        )));
    };
    match raw.get("path") {
        Some(pointer) => Ok((operation, pointer)),
        None => Err(Fault::bad_request(
            "Unable to find 'path' in JSON Schema change",
        )),
    }
}

/// Splits a pointer at its slashes, with `~1` and `~0` decoded and outer spaces gone.
fn decode_pointer(pointer: &str) -> Result<Vec<String>, Fault> {
    let complain = |what: &str| Err(Fault::bad_request(format!("Pointer `{pointer}` {what}")));
    let Some(behind) = pointer.strip_prefix('/') else {
        return complain("does not start with \"/\".");
    };
    let parts: Vec<&str> = behind.split('/').collect();
    let inner = parts
        .get(1..parts.len().saturating_sub(1))
        .unwrap_or_default();
    if inner
        .iter()
        .any(|part| python_compat::strip(part).is_empty())
    {
        return complain("contains adjacent \"/\".");
    }
    if !behind.is_empty() && behind.ends_with('/') {
        return complain("end with \"/\".");
    }
    if python_compat::strip(behind) == "/" {
        return complain("does not contains valid token.");
    }
    let escapes_are_known = pointer
        .split('~')
        .skip(1)
        .all(|part| part.starts_with('0') || part.starts_with('1'));
    if !escapes_are_known {
        return complain("contains \"~\" not part of a recognized escape sequence.");
    }
    let decode =
        |part: &str| python_compat::strip(&part.replace("~1", "/").replace("~0", "~")).to_owned();
    Ok(pointer
        .trim_start_matches('/')
        .split('/')
        .map(decode)
        .collect())
}

/// Only an image has properties; only `locations` has elements that can be named.
fn check_depth(operation: &str, path: &[String]) -> Result<String, Fault> {
    let name = path.first().cloned().unwrap_or_default();
    let depth = if name == "locations" && operation != "replace" {
        2
    } else {
        1
    };
    if path.len() == depth {
        return Ok(name);
    }
    let path = path.join("/");
    Err(Fault::bad_request(format!(
        "Invalid JSON pointer for this resource: '/{path}'"
    )))
}

fn check_name(name: &str) -> Result<(), Fault> {
    if READ_ONLY.contains(&name) {
        return Err(Fault::forbidden(format!(
            "Attribute '{name}' is read-only."
        )));
    }
    if RESERVED.contains(&name) || name.starts_with(RESERVED_NAMESPACE) {
        return Err(Fault::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    Ok(())
}

fn check_value(name: &str, depth: usize, value: &Value) -> Result<(), Fault> {
    let value = if depth == 1 {
        value.clone()
    } else {
        Value::Array(vec![value.clone()])
    };
    schema::check_image(&Map::from_iter([(name.to_owned(), value)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn pointers_are_decoded() {
        let document = json!([
            {"op": "add", "path": "/a~1b~0c", "value": "1"},
            {"op": "remove", "path": "/ spaced "},
            {"op": "replace", "path": "/", "value": "x"},
        ]);
        let changes = parse(&document, Dialect::V21).unwrap();
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["a/b~c", "spaced", ""]);
    }

    #[rstest]
    #[case(json!({}), "Request body must be a JSON array of operation objects.")]
    #[case(json!([1]), "Operations must be JSON objects.")]
    #[case(
        json!([{"op": ["add"], "path": "/x"}]),
        "Invalid operation: `['add']`. It must be one of the following: add, remove, replace."
    )]
    #[case(json!([{"op": "add"}]), "Unable to find 'path' in JSON Schema change")]
    #[case(
        json!([{"op": "add", "path": "/x"}]),
        "Operation \"add\" requires a member named \"value\"."
    )]
    #[case(json!([{"op": "remove", "path": "x"}]), "Pointer `x` does not start with \"/\".")]
    #[case(json!([{"op": "remove", "path": "/a//b"}]), "Pointer `/a//b` contains adjacent \"/\".")]
    #[case(json!([{"op": "remove", "path": "/a/"}]), "Pointer `/a/` end with \"/\".")]
    #[case(json!([{"op": "remove", "path": "//"}]), "Pointer `//` end with \"/\".")]
    #[case(
        json!([{"op": "remove", "path": "/x~2"}]),
        "Pointer `/x~2` contains \"~\" not part of a recognized escape sequence."
    )]
    #[case(
        json!([{"op": "remove", "path": "/x/y"}]),
        "Invalid JSON pointer for this resource: '/x/y'"
    )]
    fn mistakes_are_named_as_glance_does(#[case] document: Value, #[case] message: &str) {
        assert_eq!(
            parse(&document, Dialect::V21),
            Err(Fault::bad_request(message))
        );
    }

    #[test]
    fn what_is_glances_own_cannot_be_touched() {
        for (name, what) in [
            ("id", "read-only"),
            ("location", "reserved"),
            ("os_glance_x", "reserved"),
        ] {
            let document = json!([{"op": "remove", "path": format!("/{name}")}]);
            let fault = Fault::forbidden(format!("Attribute '{name}' is {what}."));
            assert_eq!(parse(&document, Dialect::V21), Err(fault));
        }
    }

    #[test]
    fn the_older_dialect_names_the_operation_by_its_member() {
        let changes = parse(&json!([{"add": "/x", "value": "1"}]), Dialect::V20).unwrap();
        let operation = Operation::Add {
            value: json!("1"),
            must_be_new: true,
        };
        assert_eq!(
            changes,
            [Change {
                name: "x".into(),
                operation
            }]
        );
        assert!(parse(&json!([{"add": "/x", "remove": "/y"}]), Dialect::V20).is_err());
        assert!(parse(&json!([{"op": "add", "path": "/x"}]), Dialect::V20).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_pointer_panics(pointer in "[/~01 a映]{0,12}") {
            let _ = decode_pointer(&pointer);
        }
    }
}
