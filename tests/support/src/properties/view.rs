//! What Glance sends, shown. The first line is one image, the rest a page of a list.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use nova_image_proxy::apis::nova::links::LinkBase;
use nova_image_proxy::apis::nova::routes::ApiVersion;
use nova_image_proxy::apis::nova::view::{self, Detail, ListView};
use nova_image_proxy::glance::{Image, ImagePage};
use nova_image_proxy::util::python_json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// # Panics
/// The input breaks a rule.
pub fn holds(data: &[u8]) {
    let (one, rest) = super::first_line(data);
    if let Ok(image) = Image::parse(one) {
        shown(&image);
    }
    if let Ok(page) = ImagePage::parse(rest, usize::MAX) {
        for detail in [Detail::Basic, Detail::Full] {
            listed(&page, detail);
        }
    }
}

fn links() -> LinkBase {
    LinkBase::new(
        "http://compute",
        ApiVersion::V21,
        Some("abc"),
        "http://glance:9292",
    )
}

fn shown(image: &Image<'_>) {
    let answer = view::image(image, &links());
    let fields = object(only(&answer, "image"));
    is_image(&fields, image, Detail::Full);
    let answer = view::metadata(image);
    has_properties(only(&answer, "metadata"), image);
    for (key, _) in &image.properties {
        let item = view::metadata_item(image, key).expect("a property that is not found");
        let item = object(only(&item, "meta"));
        assert_eq!(item.keys().collect::<Vec<_>>(), [key]);
    }
    let longer_than_all: String = image
        .properties
        .iter()
        .map(|(key, _)| key.as_ref())
        .collect();
    assert!(view::metadata_item(image, &(longer_than_all + "x")).is_none());
}

/// Two pages of the same images: each is there twice, in order.
fn listed(page: &ImagePage<'_>, detail: Detail) {
    let mut view = ListView::new(detail, links());
    view.push(page);
    view.push(page);
    let all = page.images.len() * 2;
    let chunks = view.finish(&BTreeMap::new(), None, all as u64);
    let answer = chunks.concat();
    let fields = object(raw(&answer));
    let images: Vec<&RawValue> =
        serde_json::from_str(fields["images"].get()).expect("no list of images");
    assert_eq!(images.len(), all);
    for (shown, image) in images.iter().zip(page.images.iter().chain(&page.images)) {
        is_image(&object(shown), image, detail);
    }
}

fn is_image(fields: &BTreeMap<Cow<'_, str>, &RawValue>, image: &Image<'_>, detail: Detail) {
    let same = |name: &str, sent: Option<&RawValue>| {
        assert_eq!(
            fields[name].get(),
            sent.map_or("null", RawValue::get),
            "{name}"
        );
    };
    same("id", image.id);
    same("name", image.name);
    let links: Vec<&RawValue> = serde_json::from_str(fields["links"].get()).expect("no links");
    assert_eq!(links.len(), 3);
    if detail == Detail::Full {
        has_properties(fields["metadata"], image);
        for number in ["minRam", "minDisk", "progress"] {
            let digits = fields[number].get();
            let digits = digits.strip_prefix('-').unwrap_or(digits);
            assert!(
                digits.bytes().all(|byte| byte.is_ascii_digit()),
                "{number}: {digits}"
            );
        }
    }
}

fn has_properties(shown: &RawValue, image: &Image<'_>) {
    let shown = object(shown);
    let sent: HashSet<&str> = image
        .properties
        .iter()
        .map(|(key, _)| key.as_ref())
        .collect();
    assert_eq!(sent.len(), image.properties.len(), "a name twice");
    assert_eq!(
        shown.keys().map(AsRef::as_ref).collect::<HashSet<&str>>(),
        sent
    );
    for (key, value) in &image.properties {
        if !["block_device_mapping", "mappings"].contains(&key.as_ref()) {
            let mut expected = Vec::new();
            python_json::write_raw(&mut expected, value);
            assert_eq!(shown[key].get().as_bytes(), expected);
        }
    }
}

fn raw(json: &[u8]) -> &RawValue {
    serde_json::from_slice(json)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {}", String::from_utf8_lossy(json)))
}

/// The one field of an answer.
fn only<'a>(json: &'a [u8], name: &str) -> &'a RawValue {
    let fields = object(raw(json));
    assert_eq!(fields.len(), 1);
    fields[name]
}

/// The fields of an object, none of which may come twice.
fn object(raw: &RawValue) -> BTreeMap<Cow<'_, str>, &RawValue> {
    let fields: Fields<'_> =
        serde_json::from_str(raw.get()).unwrap_or_else(|error| panic!("{error}: {raw}"));
    fields.0
}

struct Fields<'j>(BTreeMap<Cow<'j, str>, &'j RawValue>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            let before = fields.insert(Cow::Owned(name), value);
            assert!(before.is_none(), "a field twice");
        }
        Ok(Fields(fields))
    }
}
