//! JSON Patch, in Glance's version 2.1 of it.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The media type of a patch.
pub const MEDIA_TYPE: &str = "application/openstack-images-v2.1-json-patch";

/// Additional properties by name; `None` is a JSON null.
pub type Properties = BTreeMap<String, Option<String>>;

/// One change to an image's additional properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchOp {
    /// Sets a property, whether or not it is there.
    Add {
        /// The property.
        name: String,
        /// Its new value.
        value: Option<String>,
    },
    /// Removes a property that is there.
    Remove {
        /// The property.
        name: String,
    },
}

/// The fewest operations that turn `before` into `after`. Removals come first, so that an image at
/// Glance's own limit of properties can have one replaced by another.
#[must_use]
pub fn diff(before: &Properties, after: &Properties) -> Vec<PatchOp> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let set = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value));
    gone.map(|name| PatchOp::Remove { name: name.clone() })
        .chain(set.map(|(name, value)| PatchOp::Add {
            name: name.clone(),
            value: value.clone(),
        }))
        .collect()
}

/// The request body.
#[must_use]
pub fn to_json(ops: &[PatchOp]) -> Vec<u8> {
    let ops: Vec<Value> = ops
        .iter()
        .map(|op| match op {
            PatchOp::Add { name, value } => {
                json!({ "op": "add", "path": pointer(name), "value": value })
            }
            PatchOp::Remove { name } => json!({ "op": "remove", "path": pointer(name) }),
        })
        .collect();
    Value::from(ops).to_string().into_bytes()
}

/// A JSON pointer to one property.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(before: &Properties, ops: &[PatchOp]) -> Properties {
        let mut after = before.clone();
        for op in ops {
            match op {
                PatchOp::Add { name, value } => {
                    after.insert(name.clone(), value.clone());
                }
                PatchOp::Remove { name } => {
                    assert!(after.remove(name).is_some(), "removed what was not there");
                }
            }
        }
        after
    }

    fn properties() -> impl Strategy<Value = Properties> {
        let name = prop_oneof!["[ab/~ ü]{0,3}", "\\PC{0,6}"];
        let value = proptest::option::of("[xy]{0,2}");
        proptest::collection::btree_map(name, value, 0..8)
    }

    proptest! {
        #[test]
        fn the_operations_lead_from_before_to_after(before in properties(), after in properties()) {
            let ops = diff(&before, &after);
            prop_assert_eq!(&apply(&before, &ops), &after);
            prop_assert!(before != after || ops.is_empty());
            let touched = ops.len();
            let changed = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>()
                .into_iter().filter(|name| before.get(*name) != after.get(*name)).count();
            prop_assert_eq!(touched, changed);
        }

        #[test]
        fn a_pointer_reads_back(name in "\\PC{0,20}") {
            let pointer = pointer(&name);
            let rest = pointer.strip_prefix('/').unwrap();
            prop_assert!(!rest.contains('/'));
            prop_assert_eq!(rest.replace("~1", "/").replace("~0", "~"), name);
        }
    }

    #[test]
    fn a_patch_is_written_as_glance_reads_it() {
        let ops = [
            PatchOp::Remove { name: "a~b".into() },
            PatchOp::Add {
                name: "c/d".into(),
                value: Some("v".into()),
            },
        ];
        assert_eq!(
            String::from_utf8(to_json(&ops)).unwrap(),
            r#"[{"op":"remove","path":"/a~0b"},{"op":"add","path":"/c~1d","value":"v"}]"#
        );
    }
}
