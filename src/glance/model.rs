//! Images as Glance writes them, borrowed from the page they came in.
//!
//! Parsing is lenient by design: a legacy client's list must not fail because one image has a null, a
//! number or an unknown status somewhere. Only the fields that a rule needs are decoded; all others
//! stay the JSON text that Glance sent.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

/// Every base property of Glance's image schema; all other names are additional properties.
pub const BASE_PROPERTIES: [&str; 25] = [
    "id",
    "name",
    "status",
    "visibility",
    "protected",
    "os_hidden",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "owner",
    "size",
    "virtual_size",
    "container_format",
    "disk_format",
    "created_at",
    "updated_at",
    "tags",
    "direct_url",
    "min_ram",
    "min_disk",
    "self",
    "file",
    "stores",
    "schema",
    "locations",
];

/// The response is not one that Glance gives.
#[derive(Debug, Clone, Error)]
#[error("not a response of the Image service: {0}")]
pub struct InvalidResponse(String);

impl InvalidResponse {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

/// One image. Fields hold the JSON text as sent; `None` where Glance sent no such field.
#[derive(Debug, Clone, Default)]
pub struct Image<'j> {
    /// The image's id.
    pub id: Option<&'j RawValue>,
    /// The image's name, often null.
    pub name: Option<&'j RawValue>,
    /// The id of the project that the image belongs to.
    pub owner: Option<&'j RawValue>,
    /// `active`, `queued`, …
    pub status: Option<&'j RawValue>,
    /// Bytes of image data; null until there are any.
    pub size: Option<&'j RawValue>,
    /// MB of memory a server needs.
    pub min_ram: Option<&'j RawValue>,
    /// GB of disk a server needs.
    pub min_disk: Option<&'j RawValue>,
    /// When the record was made.
    pub created_at: Option<&'j RawValue>,
    /// When the record was last changed.
    pub updated_at: Option<&'j RawValue>,
    /// The additional properties in Glance's order, a repeated name once with its last value.
    pub properties: Vec<(Cow<'j, str>, &'j RawValue)>,
}

impl<'j> Image<'j> {
    /// Parses the response to a show.
    pub fn parse(body: &'j [u8]) -> Result<Self, InvalidResponse> {
        serde_json::from_slice(body).map_err(|error| InvalidResponse(error.to_string()))
    }

    /// The additional property `name`.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'j RawValue> {
        self.properties
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| *value)
    }
}

/// The text of a JSON string; `None` for anything else.
#[must_use]
pub fn json_str(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let text: Option<Text<'_>> = serde_json::from_str(quoted).ok();
    text.map(|text| text.0)
}

/// The text of a scalar as Python's `str` would give it; a string without its quotes.
#[must_use]
pub fn python_str(raw: &RawValue) -> Cow<'_, str> {
    json_str(raw).unwrap_or_else(|| match raw.get() {
        "null" => Cow::Borrowed("None"),
        "true" => Cow::Borrowed("True"),
        "false" => Cow::Borrowed("False"),
        other => Cow::Borrowed(other),
    })
}

/// Whether `raw` is `null`.
#[must_use]
pub fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

impl<'de> Deserialize<'de> for Image<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ImageVisitor)
    }
}

struct ImageVisitor;

impl<'de> Visitor<'de> for ImageVisitor {
    type Value = Image<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Image<'de>, A::Error> {
        let mut image = Image::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            let field = match key.0.as_ref() {
                "id" => &mut image.id,
                "name" => &mut image.name,
                "owner" => &mut image.owner,
                "status" => &mut image.status,
                "size" => &mut image.size,
                "min_ram" => &mut image.min_ram,
                "min_disk" => &mut image.min_disk,
                "created_at" => &mut image.created_at,
                "updated_at" => &mut image.updated_at,
                base if BASE_PROPERTIES.contains(&base) => continue,
                _ => {
                    image.properties.push((key.0, value));
                    continue;
                }
            };
            *field = Some(value);
        }
        keep_last_of_each(&mut image.properties);
        Ok(image)
    }
}

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Of a repeated name the last value counts. Glance repeats none; sorting keeps this O(n log n) even for a response
/// with a million properties.
fn keep_last_of_each(properties: &mut Vec<(Cow<'_, str>, &RawValue)>) {
    let mut order: Vec<usize> = (0..properties.len()).collect();
    let name = |index: usize| properties.get(index).map(|(key, _)| key.as_ref());
    order.sort_by(|&a, &b| name(a).cmp(&name(b)).then(b.cmp(&a)));
    let mut repeated: Vec<usize> = order
        .windows(2)
        .filter_map(|pair| match pair {
            [kept, other] if name(*kept) == name(*other) => Some(*other),
            _ => None,
        })
        .collect();
    if repeated.is_empty() {
        return;
    }
    repeated.sort_unstable();
    let mut index = 0;
    properties.retain(|_| {
        let keep = repeated.binary_search(&index).is_err();
        index += 1;
        keep
    });
}

/// One page of a list.
#[derive(Debug, Default)]
pub struct ImagePage<'j> {
    /// The images, in Glance's order.
    pub images: Vec<Image<'j>>,
    /// Glance's link to the next page; a full page has one even when it is the last.
    pub next: Option<&'j RawValue>,
}

impl<'j> ImagePage<'j> {
    /// Parses the response to a list of at most `max_images` images. One with more is invalid, and parsing stops
    /// there: the images of a page take many times the memory of their JSON.
    pub fn parse(body: &'j [u8], max_images: usize) -> Result<Self, InvalidResponse> {
        let mut json = serde_json::Deserializer::from_slice(body);
        json.deserialize_map(PageVisitor { max_images })
            .and_then(|page| json.end().map(|()| page))
            .map_err(|error| InvalidResponse(error.to_string()))
    }
}

struct PageVisitor {
    max_images: usize,
}

impl<'de> Visitor<'de> for PageVisitor {
    type Value = ImagePage<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of images")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ImagePage<'de>, A::Error> {
        let mut images = None;
        let mut next = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match key.0.as_ref() {
                "images" => {
                    let max = self.max_images;
                    images = Some(map.next_value_seed(Images { max })?);
                }
                "next" => {
                    let pointer: &'de RawValue = map.next_value()?;
                    next = Some(pointer).filter(|pointer| !is_null(pointer));
                }
                _ => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        let images = images.ok_or_else(|| Error::missing_field("images"))?;
        Ok(ImagePage { images, next })
    }
}

/// Reads an array of at most `max` images.
struct Images {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Images {
    type Value = Vec<Image<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Images {
    type Value = Vec<Image<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} images", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut images = Vec::new();
        while let Some(image) = seq.next_element()? {
            if images.len() == self.max {
                return Err(Error::invalid_length(self.max + 1, &self));
            }
            images.push(image);
        }
        Ok(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base_properties_are_told_from_additional_ones() {
        let image = Image::parse(
            br#"{"id": "x", "owner": null, "os_distro": "ubuntu", "n": 5, "min_ram": null,
                 "nested": {"a": [1]}, "key/with ~": null}"#,
        )
        .unwrap();
        assert_eq!(image.id.unwrap().get(), "\"x\"");
        assert_eq!(image.min_ram.unwrap().get(), "null");
        assert!(image.size.is_none());
        let names: Vec<_> = image
            .properties
            .iter()
            .map(|(name, _)| name.as_ref())
            .collect();
        assert_eq!(names, ["os_distro", "n", "nested", "key/with ~"]);
        assert_eq!(image.property("nested").unwrap().get(), r#"{"a": [1]}"#);
    }

    #[test]
    fn a_repeated_name_counts_once_with_its_last_value() {
        let image = Image::parse(br#"{"a": 1, "b": 2, "a": 3, "c": 4, "a": 5}"#).unwrap();
        let pairs: Vec<_> = image
            .properties
            .iter()
            .map(|(name, raw)| (name.as_ref(), raw.get()))
            .collect();
        assert_eq!(pairs, [("b", "2"), ("c", "4"), ("a", "5")]);
    }

    #[test]
    fn a_page_needs_images_and_may_have_a_next() {
        let page = ImagePage::parse(
            br#"{"images": [{}, {"id": 1}], "next": "/v2/x", "z": 1}"#,
            2,
        );
        let page = page.unwrap();
        assert_eq!(page.images.len(), 2);
        assert_eq!(page.next.unwrap().get(), "\"/v2/x\"");
        let last = ImagePage::parse(br#"{"images": [], "next": null}"#, 2).unwrap();
        assert!(last.next.is_none());
        for invalid in [
            r#"{"next": "x"}"#,
            r#"{"images": null}"#,
            r#"{"images": [1]}"#,
            "[]",
            "<html>",
            r#"{"images": []} {}"#,
        ] {
            let page = ImagePage::parse(invalid.as_bytes(), 2);
            assert!(page.is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_page_longer_than_requested_is_invalid_from_its_first_excess_image() {
        let page = r#"{"images": [{}, {}, {}, this is not read any more"#;
        let error = ImagePage::parse(page.as_bytes(), 2).unwrap_err();
        assert!(error.to_string().contains("at most 2 images"), "{error}");
        assert!(ImagePage::parse(br#"{"images": [{}, {}, {}]}"#, 3).is_ok());
    }

    proptest! {
        #[test]
        fn text_is_what_json_says_it_is(json in r#""([^"\\]|\\["\\nu/]|\\u[0-9a-fd]{4})*"|[0-9]+|null|\{\}"#) {
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&json) {
                let expected: Option<String> = serde_json::from_str(&json).ok();
                prop_assert_eq!(json_str(raw).map(Cow::into_owned), expected);
            }
        }
    }
}
