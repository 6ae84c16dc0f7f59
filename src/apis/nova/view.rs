//! Glance's images in Nova's form.
//!
//! The views write JSON text straight into a buffer, without a tree of values in between. A field
//! of an unexpected type never makes an image or a list fail: it is copied, or its default is shown.

use super::links::LinkBase;
use super::list_query::next_query;
use crate::cache::Body;
use crate::glance::{Image, ImagePage, is_null, json_str, python_str, utc};
use crate::util::python_json;
use bytes::Bytes;
use python_compat::strip;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Which fields of an image a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Id, name and links.
    Basic,
    /// All fields.
    Full,
}

impl Detail {
    /// The path of the list, used in its next link.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Basic => "images",
            Self::Full => "images/detail",
        }
    }
}

/// Properties that Glance stores as JSON text and Nova shows as JSON values.
const JSON_PROPERTIES: [&str; 2] = ["block_device_mapping", "mappings"];

/// The body of a show: `{"image": {…}}`.
#[must_use]
pub fn image(image: &Image<'_>, links: &LinkBase) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    out.extend_from_slice(b"{\"image\": ");
    write_full(&mut out, image, links);
    out.push(b'}');
    out
}

/// The body of a metadata list: `{"metadata": {…}}`.
#[must_use]
pub fn metadata(image: &Image<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"metadata\": ");
    write_metadata(&mut out, image);
    out.push(b'}');
    out
}

/// The body of one metadata item: `{"meta": {"key": …}}`; `None` if the image has no such item.
#[must_use]
pub fn metadata_item(image: &Image<'_>, key: &str) -> Option<Vec<u8>> {
    let value = image.property(key)?;
    let mut out = Vec::with_capacity(64 + key.len() + value.get().len());
    out.extend_from_slice(b"{\"meta\": {");
    write_property(&mut out, key, value);
    out.extend_from_slice(b"}}");
    Some(out)
}

/// Builds the body of a list: one chunk of JSON per page of Glance. The last chunk is still open.
#[derive(Debug)]
pub struct ListView {
    detail: Detail,
    links: LinkBase,
    chunks: Vec<Bytes>,
    last: Vec<u8>,
    images: u64,
    last_id: Option<String>,
}

impl ListView {
    /// An empty list.
    #[must_use]
    pub fn new(detail: Detail, links: LinkBase) -> Self {
        Self {
            detail,
            links,
            chunks: Vec::new(),
            last: b"{\"images\": [".to_vec(),
            images: 0,
            last_id: None,
        }
    }

    /// Adds a page.
    pub fn push(&mut self, page: &ImagePage<'_>) {
        let each = match self.detail {
            Detail::Basic => 512,
            Detail::Full => 1536,
        };
        if self.images > 0 {
            self.close();
        }
        // The end of the list is written into the last chunk.
        self.last.reserve(512 + page.images.len() * each);
        let out = &mut self.last;
        for image in &page.images {
            if self.images > 0 {
                out.extend_from_slice(b", ");
            }
            self.images += 1;
            match self.detail {
                Detail::Basic => write_basic(out, image, &self.links),
                Detail::Full => write_full(out, image, &self.links),
            }
        }
        if let Some(last) = page.images.last() {
            self.last_id = last.id.and_then(json_str).map(Cow::into_owned);
        }
    }

    /// The length of the body so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum::<usize>() + self.last.len()
    }

    fn close(&mut self) {
        let chunk = std::mem::take(&mut self.last).into_boxed_slice();
        self.chunks.push(Bytes::from(chunk));
    }

    /// Ends the list. It gets a next link when it holds exactly as many images as one answer may: the
    /// client's `limit`, or `max_limit` when that is less or the client sent none.
    #[must_use]
    pub fn finish(
        mut self,
        parameters: &BTreeMap<String, String>,
        limit: Option<u64>,
        max_limit: u64,
    ) -> Body {
        let out = &mut self.last;
        out.push(b']');
        if self.images == limit.map_or(max_limit, |limit| limit.min(max_limit))
            && let Some(id) = &self.last_id
        {
            let next = next_query(parameters, id);
            let href = format!("{}?{next}", self.links.own(self.detail.path()));
            out.extend_from_slice(b", \"images_links\": [{\"rel\": \"next\", \"href\": ");
            python_json::write_str(out, &href);
            out.extend_from_slice(b"}]");
        }
        out.push(b'}');
        self.close();
        self.chunks.into()
    }
}

fn write_basic(out: &mut Vec<u8>, image: &Image<'_>, links: &LinkBase) {
    out.extend_from_slice(b"{\"id\": ");
    write_raw(out, image.id);
    out.extend_from_slice(b", \"name\": ");
    write_raw(out, image.name);
    write_image_links(out, image, links);
    out.push(b'}');
}

fn write_full(out: &mut Vec<u8>, image: &Image<'_>, links: &LinkBase) {
    out.extend_from_slice(b"{\"id\": ");
    write_raw(out, image.id);
    out.extend_from_slice(b", \"name\": ");
    write_raw(out, image.name);
    out.extend_from_slice(b", \"minRam\": ");
    out.extend_from_slice(number(image.min_ram).as_bytes());
    out.extend_from_slice(b", \"minDisk\": ");
    out.extend_from_slice(number(image.min_disk).as_bytes());
    out.extend_from_slice(b", \"metadata\": ");
    write_metadata(out, image);
    out.extend_from_slice(b", \"created\": ");
    write_date(out, image.created_at);
    out.extend_from_slice(b", \"updated\": ");
    write_date(out, image.updated_at);
    let (status, progress) = status(image.status);
    out.extend_from_slice(b", \"status\": \"");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\", \"progress\": ");
    out.extend_from_slice(progress.as_bytes());
    out.extend_from_slice(b", \"OS-EXT-IMG-SIZE:size\": ");
    match image.size {
        Some(size) if !is_null(size) => python_json::write_raw(out, size),
        Some(_) | None => out.push(b'0'),
    }
    write_image_links(out, image, links);
    write_server(out, image, links);
    write_disk_config(out, image);
    out.push(b'}');
}

/// Nova's `status` and `progress` for Glance's status.
fn status(raw: Option<&RawValue>) -> (&'static str, &'static str) {
    match raw.and_then(json_str).as_deref() {
        Some("active") => ("ACTIVE", "100"),
        Some("queued") => ("SAVING", "25"),
        Some("saving") => ("SAVING", "50"),
        Some("deleted" | "pending_delete") => ("DELETED", "0"),
        Some("killed") => ("ERROR", "0"),
        Some(_) | None => ("UNKNOWN", "0"),
    }
}

/// Nova's `int(value or 0)`; 0 if the value is no number.
fn number(raw: Option<&RawValue>) -> Cow<'_, str> {
    let Some(text) = raw.map(python_str) else {
        return Cow::Borrowed("0");
    };
    let text = strip(&text);
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    let is_integer = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
    if !is_integer || digits.contains(['e', 'E']) {
        return Cow::Borrowed("0");
    }
    let whole = whole.trim_start_matches('0');
    match (whole.is_empty(), text.starts_with('-')) {
        (true, _) => Cow::Borrowed("0"),
        (false, true) => Cow::Owned(format!("-{whole}")),
        (false, false) => Cow::Owned(whole.to_owned()),
    }
}

fn write_metadata(out: &mut Vec<u8>, image: &Image<'_>) {
    out.push(b'{');
    for (index, (key, value)) in image.properties.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        write_property(out, key, value);
    }
    out.push(b'}');
}

fn write_property(out: &mut Vec<u8>, key: &str, value: &RawValue) {
    python_json::write_str(out, key);
    out.extend_from_slice(b": ");
    if JSON_PROPERTIES.contains(&key)
        && let Some(inner) = json_str(value)
        && let Ok(json) = serde_json::from_str::<&RawValue>(&inner)
    {
        python_json::write_raw(out, json);
    } else {
        python_json::write_raw(out, value);
    }
}

/// Writes a date as `YYYY-MM-DDThh:mm:ssZ`. Text that is no date is copied.
fn write_date(out: &mut Vec<u8>, raw: Option<&RawValue>) {
    let Some(raw) = raw else {
        out.extend_from_slice(b"null");
        return;
    };
    let text = json_str(raw);
    match text.as_deref().filter(|text| !is_final(text)).and_then(utc) {
        Some(date) => {
            let shown = date.format("%Y-%m-%dT%H:%M:%SZ").to_string();
            python_json::write_str(out, &shown);
        }
        None => python_json::write_raw(out, raw),
    }
}

/// Whether the text has the form `YYYY-MM-DDThh:mm:ssZ` already, as Glance's own dates do.
fn is_final(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    text.len() == FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *form,
        })
}

fn write_image_links(out: &mut Vec<u8>, image: &Image<'_>, links: &LinkBase) {
    let id = image
        .id
        .filter(|raw| !is_null(raw))
        .map(python_str)
        .unwrap_or_default();
    let path = format!("images/{id}");
    out.extend_from_slice(b", \"links\": [{\"rel\": \"self\", \"href\": ");
    python_json::write_str(out, &links.own(&path));
    out.extend_from_slice(b"}, {\"rel\": \"bookmark\", \"href\": ");
    python_json::write_str(out, &links.bookmark(&path));
    out.extend_from_slice(
        b"}, {\"rel\": \"alternate\", \"type\": \"application/vnd.openstack.image\", \"href\": ",
    );
    python_json::write_str(out, &links.alternate(&path));
    out.extend_from_slice(b"}]");
}

/// A snapshot links to its server.
fn write_server(out: &mut Vec<u8>, image: &Image<'_>, links: &LinkBase) {
    let Some(server) = image.property("instance_uuid").filter(|raw| !is_null(raw)) else {
        return;
    };
    let path = format!("servers/{}", python_str(server));
    out.extend_from_slice(b", \"server\": {\"id\": ");
    python_json::write_raw(out, server);
    out.extend_from_slice(b", \"links\": [{\"rel\": \"self\", \"href\": ");
    python_json::write_str(out, &links.own(&path));
    out.extend_from_slice(b"}, {\"rel\": \"bookmark\", \"href\": ");
    python_json::write_str(out, &links.bookmark(&path));
    out.extend_from_slice(b"}]}");
}

fn write_disk_config(out: &mut Vec<u8>, image: &Image<'_>) {
    let Some(config) = image
        .property("auto_disk_config")
        .filter(|raw| !is_null(raw))
    else {
        return;
    };
    let word = strip(&python_str(config)).to_lowercase();
    let auto = matches!(word.as_str(), "1" | "t" | "true" | "on" | "y" | "yes");
    out.extend_from_slice(b", \"OS-DCF:diskConfig\": ");
    out.extend_from_slice(if auto { b"\"AUTO\"" } else { b"\"MANUAL\"" });
}

fn write_raw(out: &mut Vec<u8>, raw: Option<&RawValue>) {
    match raw {
        Some(raw) => python_json::write_raw(out, raw),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests;
