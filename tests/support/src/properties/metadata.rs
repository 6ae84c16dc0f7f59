//! Metadata writes. The first line is the operation's letter and a key, the second the image as
//! Glance has it, the rest the client's body.

use nova_image_proxy::apis::nova::json::Json;
use nova_image_proxy::apis::nova::routes::ApiVersion;
use nova_image_proxy::apis::nova::{ApiError, metadata_body};
use nova_image_proxy::glance::{BASE_PROPERTIES, Image, Properties, patch};
use nova_image_proxy::images::{MetadataUpdate, properties};
use serde::Deserialize;

/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let (first, rest) = super::first_line(data);
    let (image, body) = super::first_line(rest);
    let Some((letter, key)) = first.split_first() else {
        return;
    };
    let key = String::from_utf8_lossy(key);
    let api = if letter.is_ascii_uppercase() {
        ApiVersion::V2
    } else {
        ApiVersion::V21
    };
    let Ok(image) = Image::parse(image) else {
        return;
    };
    let before = properties(&image);
    let sent = metadata_body::parse(body);
    if let Ok(json) = &sent {
        reads_back(json);
    }
    let change = match letter.to_ascii_lowercase() {
        b'd' => Ok(MetadataUpdate::Delete(key.into_owned())),
        b'r' => sent.and_then(|json| {
            Ok(MetadataUpdate::Replace(
                metadata_body::metadata(&json, api)?.items,
            ))
        }),
        b'i' => sent.and_then(|json| {
            Ok(MetadataUpdate::Merge(
                metadata_body::item(&json, &key, api)?.items,
            ))
        }),
        _ => sent.and_then(|json| {
            Ok(MetadataUpdate::Merge(
                metadata_body::metadata(&json, api)?.items,
            ))
        }),
    };
    match change {
        Ok(change) => {
            applied(&before, &change, 3);
            applied(&before, &change, -1);
        }
        Err(refused) => {
            let body = ApiError::from(refused).fault().body();
            serde_json::from_str::<serde::de::IgnoredAny>(&body).expect("a fault that is no JSON");
        }
    }
}

/// What is echoed is JSON, and means what was sent.
fn reads_back(json: &Json) {
    let mut written = Vec::new();
    json.write(&mut written);
    serde_json::from_slice::<serde::de::IgnoredAny>(&written).expect("an echo that is no JSON");
    let once = Json::parse(&written).expect("an echo that is refused");
    let mut again = Vec::new();
    once.write(&mut again);
    assert_eq!(written, again);
}

fn applied(before: &Properties, change: &MetadataUpdate, quota: i64) {
    let Ok(after) = change.apply(before, quota) else {
        return;
    };
    for (name, value) in &after {
        let unchanged = before.get(name) == Some(value);
        let reserved = BASE_PROPERTIES.contains(&name.as_str()) || name.starts_with("os_glance");
        assert!(unchanged || !reserved, "{name:?} is not for clients");
    }
    for name in before.keys().filter(|name| name.starts_with("os_glance")) {
        assert!(after.contains_key(name), "{name:?} is not for clients");
    }
    match change {
        MetadataUpdate::Merge(_) => assert!(before.keys().all(|name| after.contains_key(name))),
        MetadataUpdate::Replace(_) => {}
        MetadataUpdate::Delete(key) => assert_eq!(after.len() + 1, before.len(), "{key:?}"),
    }
    let ops = patch::diff(before, &after);
    assert_eq!(patched(before, &patch::to_json(&ops)), after);
    let kept = before
        .iter()
        .filter(|(name, value)| after.get(*name) == Some(value))
        .count();
    let removed = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .count();
    assert_eq!(
        ops.len(),
        after.len() - kept + removed,
        "more operations than needed"
    );
}

#[derive(Deserialize)]
struct Op {
    #[serde(rename = "op")]
    kind: String,
    path: String,
    #[serde(default)]
    value: Option<String>,
}

/// What a patch makes of an image, read as RFC 6902 and RFC 6901 have it.
fn patched(before: &Properties, json: &[u8]) -> Properties {
    let ops: Vec<Op> = serde_json::from_slice(json).expect("a patch that is no patch");
    let mut properties = before.clone();
    for Op { kind, path, value } in ops {
        let token = path
            .strip_prefix('/')
            .expect("a pointer begins with a slash");
        assert!(
            !token.contains('/'),
            "a pointer to something deeper: {path:?}"
        );
        let name = token.replace("~1", "/").replace("~0", "~");
        match kind.as_str() {
            "add" => {
                properties.insert(name, value);
            }
            "remove" => assert!(properties.remove(&name).is_some(), "{name:?} is not there"),
            other => panic!("an operation {other:?}"),
        }
    }
    properties
}
