//! The rules by which a metadata write changes an image's properties. Pure.

use crate::glance::{BASE_PROPERTIES, Image, Properties, is_null, python_str};
use python_compat::strip;
use thiserror::Error;

/// Properties that Glance keeps for itself.
const GLANCE_PREFIX: &str = "os_glance";
/// Not in Glance's schema, yet not for clients: Glance acts on the one, and takes the other for the
/// id of another image.
const NOT_IN_SCHEMA: [&str; 2] = ["location", "image_id"];
/// A value of `none` or an empty one for these is not written: the image keeps its own.
const MACHINE_IMAGES: [&str; 2] = ["kernel_id", "ramdisk_id"];

/// A change of an image's properties. Keys are as the client sent them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataUpdate {
    /// Set these, keep the others.
    Merge(Vec<(String, Option<String>)>),
    /// Set these, drop the others.
    Replace(Vec<(String, Option<String>)>),
    /// Drop this one.
    Delete(String),
}

/// Why an update is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// Glance keeps this key for itself.
    #[error("the key '{0}' is reserved")]
    ReservedKey(String),
    /// The key to delete does not exist.
    #[error("no such key")]
    KeyNotFound,
    /// The image would have more properties than allowed.
    #[error("too many properties")]
    TooManyItems,
}

/// An image's additional properties.
#[must_use]
pub fn properties(image: &Image<'_>) -> Properties {
    let value = |raw| (!is_null(raw)).then(|| python_str(raw).into_owned());
    image
        .properties
        .iter()
        .map(|(name, raw)| (name.to_string(), value(raw)))
        .collect()
}

impl MetadataUpdate {
    /// The properties after the change. `quota` is the most that an image may have, or -1.
    pub fn apply(&self, before: &Properties, quota: i64) -> Result<Properties, UpdateError> {
        match self {
            Self::Delete(key) => delete(before, key),
            Self::Merge(items) => {
                self.check_reserved(before)?;
                let added = items
                    .iter()
                    .filter(|(key, _)| !before.contains_key(key))
                    .count();
                check_quota(before.len() + added, quota)?;
                Ok(set(before.clone(), items))
            }
            Self::Replace(items) => {
                self.check_reserved(before)?;
                check_quota(items.len(), quota)?;
                // Glance's own properties stay, sent or not; so do values that are sent and not written.
                let kept = before.iter().filter(|(name, _)| {
                    name.starts_with(GLANCE_PREFIX) || is_sent_unwritten(name, items)
                });
                Ok(set(
                    kept.map(|(name, value)| (name.clone(), value.clone()))
                        .collect(),
                    items,
                ))
            }
        }
    }

    /// Clients write back all they read, so one of Glance's own may be sent, unchanged.
    fn check_reserved(&self, before: &Properties) -> Result<(), UpdateError> {
        let items = match self {
            Self::Merge(items) | Self::Replace(items) => items,
            Self::Delete(_) => return Ok(()),
        };
        let offends = |(key, value): &&(String, Option<String>)| {
            let key = strip(key);
            is_base(key) || (key.starts_with(GLANCE_PREFIX) && before.get(key) != Some(value))
        };
        match items.iter().find(offends) {
            Some((key, _)) => Err(UpdateError::ReservedKey(strip(key).to_owned())),
            None => Ok(()),
        }
    }
}

fn delete(before: &Properties, key: &str) -> Result<Properties, UpdateError> {
    if !before.contains_key(key) {
        return Err(UpdateError::KeyNotFound);
    }
    if key.starts_with(GLANCE_PREFIX) {
        return Err(UpdateError::ReservedKey(key.to_owned()));
    }
    let mut after = before.clone();
    after.remove(key);
    Ok(after)
}

/// Glance strips keys, so they are compared stripped; but only a key sent without blanks is left
/// unwritten.
fn set(mut properties: Properties, items: &[(String, Option<String>)]) -> Properties {
    let written = items
        .iter()
        .filter(|(key, value)| !is_unwritten(key, value.as_deref()));
    for (key, value) in written {
        properties.insert(strip(key).to_owned(), value.clone());
    }
    properties
}

fn is_sent_unwritten(name: &str, items: &[(String, Option<String>)]) -> bool {
    MACHINE_IMAGES.contains(&name)
        && items
            .iter()
            .any(|(key, value)| key == name && is_unwritten(key, value.as_deref()))
}

fn is_unwritten(key: &str, value: Option<&str>) -> bool {
    let value = value.map(|value| strip(value).to_lowercase());
    MACHINE_IMAGES.contains(&key) && matches!(value.as_deref(), Some("none" | ""))
}

fn is_base(key: &str) -> bool {
    BASE_PROPERTIES.contains(&key) || NOT_IN_SCHEMA.contains(&key)
}

/// Nova counts no items as within any quota.
fn check_quota(items: usize, quota: i64) -> Result<(), UpdateError> {
    let within = items == 0 || u64::try_from(quota).is_ok_and(|quota| items as u64 <= quota);
    if within || quota < 0 {
        Ok(())
    } else {
        Err(UpdateError::TooManyItems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn items(pairs: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
            .collect()
    }

    fn map(pairs: &[(&str, &str)]) -> Properties {
        items(pairs).into_iter().collect()
    }

    const BEFORE: &[(&str, &str)] = &[
        ("a", "1"),
        ("kernel_id", "k"),
        ("os_glance_import_task", "t"),
    ];

    #[rstest]
    #[case(MetadataUpdate::Merge(items(&[("a", "2"), ("c", "3")])),
        &[("a", "2"), ("c", "3"), ("kernel_id", "k"), ("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Merge(items(&[(" a\n", "2")])),
        &[("a", "2"), ("kernel_id", "k"), ("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Merge(items(&[("\u{1c}a\u{1f}", "2")])),
        &[("a", "2"), ("kernel_id", "k"), ("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Merge(items(&[("kernel_id", " None ")])), BEFORE)]
    #[case(MetadataUpdate::Merge(items(&[("kernel_id", "\u{1c}none\u{1f}")])), BEFORE)]
    #[case(MetadataUpdate::Merge(items(&[(" kernel_id", "none")])),
        &[("a", "1"), ("kernel_id", "none"), ("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Replace(items(&[("kernel_id", "")])),
        &[("kernel_id", "k"), ("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Replace(items(&[("ramdisk_id", "none")])), &[("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Merge(items(&[("ramdisk_id", "")])), BEFORE)]
    #[case(MetadataUpdate::Merge(items(&[("os_glance_import_task", "t")])), BEFORE)]
    #[case(MetadataUpdate::Replace(items(&[("z", "1")])), &[("os_glance_import_task", "t"), ("z", "1")])]
    #[case(MetadataUpdate::Replace(items(&[])), &[("os_glance_import_task", "t")])]
    #[case(MetadataUpdate::Delete("a".into()), &[("kernel_id", "k"), ("os_glance_import_task", "t")])]
    fn a_change_leaves_these(#[case] change: MetadataUpdate, #[case] after: &[(&str, &str)]) {
        assert_eq!(change.apply(&map(BEFORE), 128).unwrap(), map(after));
    }

    #[rstest]
    #[case(MetadataUpdate::Merge(items(&[("name", "x")])), "name")]
    #[case(MetadataUpdate::Merge(items(&[(" status ", "x")])), "status")]
    #[case(MetadataUpdate::Merge(items(&[("\u{1c}owner\u{1f}", "x")])), "owner")]
    #[case(MetadataUpdate::Replace(items(&[("\u{1d}os_glance_new\u{1e}", "x")])), "os_glance_new")]
    #[case(MetadataUpdate::Replace(items(&[("location", "x")])), "location")]
    #[case(MetadataUpdate::Merge(items(&[("image_id", "x")])), "image_id")]
    #[case(MetadataUpdate::Replace(items(&[("os_glance_import_task", "other")])), "os_glance_import_task")]
    #[case(MetadataUpdate::Merge(items(&[("os_glance_new", "x")])), "os_glance_new")]
    #[case(MetadataUpdate::Delete("os_glance_import_task".into()), "os_glance_import_task")]
    fn what_is_glance_s_own_is_named_and_refused(
        #[case] change: MetadataUpdate,
        #[case] key: &str,
    ) {
        match change.apply(&map(BEFORE), 128) {
            Err(UpdateError::ReservedKey(named)) => assert_eq!(named, key),
            other => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case("nope")]
    #[case("name")]
    #[case("A")]
    fn only_a_key_that_is_there_can_be_deleted(#[case] key: &str) {
        let refused = MetadataUpdate::Delete(key.into()).apply(&map(BEFORE), 128);
        assert!(matches!(refused, Err(UpdateError::KeyNotFound)));
    }

    #[rstest]
    #[case(MetadataUpdate::Merge(items(&[("b", "1")])), 4, true)]
    #[case(MetadataUpdate::Merge(items(&[("b", "1")])), 3, false)]
    #[case(MetadataUpdate::Merge(items(&[("a", "2")])), 3, true)]
    #[case(MetadataUpdate::Replace(items(&[("x", ""), ("y", "")])), 2, true)]
    #[case(MetadataUpdate::Replace(items(&[("x", ""), ("y", "")])), 1, false)]
    #[case(MetadataUpdate::Replace(items(&[])), 0, true)]
    #[case(MetadataUpdate::Merge(items(&[("b", "1")])), -1, true)]
    #[case(MetadataUpdate::Delete("a".into()), 0, true)]
    fn the_quota_counts_what_is_there_afterwards(
        #[case] change: MetadataUpdate,
        #[case] quota: i64,
        #[case] fits: bool,
    ) {
        assert_eq!(change.apply(&map(BEFORE), quota).is_ok(), fits);
    }

    fn arbitrary() -> impl Strategy<Value = Vec<(String, Option<String>)>> {
        let key = prop_oneof!["[ab/~ ü]{0,3}", "\\PC{0,6}", Just("kernel_id".to_owned())];
        proptest::collection::vec((key, proptest::option::of("[xy]{0,2}")), 0..8)
    }

    proptest! {
        #[test]
        fn merging_sets_what_was_sent_and_keeps_the_rest(
            before in arbitrary(), sent in arbitrary(),
        ) {
            let before: Properties = before.into_iter().collect();
            let after = MetadataUpdate::Merge(sent.clone()).apply(&before, -1).unwrap();
            for (name, value) in &before {
                let touched = sent.iter().any(|(key, _)| strip(key) == name);
                prop_assert!(touched || after.get(name) == Some(value));
            }
            let written: Properties = sent
                .into_iter()
                .filter(|(key, value)| !is_unwritten(key, value.as_deref()))
                .map(|(key, value)| (strip(&key).to_owned(), value))
                .collect();
            for (name, value) in written {
                prop_assert_eq!(after.get(&name), Some(&value));
            }
        }

        #[test]
        fn replacing_leaves_nothing_else(before in arbitrary(), sent in arbitrary()) {
            let before: Properties = before.into_iter().collect();
            let after = MetadataUpdate::Replace(sent.clone()).apply(&before, -1).unwrap();
            for name in after.keys() {
                prop_assert!(sent.iter().any(|(key, _)| strip(key) == name));
            }
        }
    }
}
