//! `PUT` and `GET /v2/images/{id}/file`: what the two mean for the image's record.

use std::io;

use rusqlite::Connection;

use super::{Body, Download, Response};
use crate::data::upload::UploadDigest;
use crate::data::{DataDir, range};
use crate::error::Fault;
use crate::identity::Identity;
use crate::inspect::{self, Source};
use crate::model::{Image, Status};
use crate::params::Params;
use crate::render::STORE;
use crate::{policy, store, time};

/// The properties that make Glance verify a signature.
const SIGNATURE_PROPERTIES: [&str; 4] = [
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
];

/// Takes an image into the state `saving`, if the caller may send data for it now.
pub(crate) fn begin(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    let mut image = super::look_up(connection, caller, id)?;
    policy::change(caller, &image, "upload_image")?;
    if image.status != Status::Queued {
        return Err(Fault::conflict(format!(
            "Image status transition from {} to saving is not allowed",
            image.status.name()
        )));
    }
    check_formats(&image)?;
    check_signature(&image)?;
    image.status = Status::Saving;
    save(connection, &mut image)?;
    Ok(image)
}

fn check_formats(image: &Image) -> Result<(), Fault> {
    let formats = [
        ("disk_format", &image.disk_format),
        ("container_format", &image.container_format),
    ];
    let missing: Vec<&str> = formats
        .iter()
        .filter(|(_, format)| format.is_none())
        .map(|(name, _)| *name)
        .collect();
    let noun = match missing.as_slice() {
        [] => return Ok(()),
        [_] => "Property",
        _ => "Properties",
    };
    let missing = missing.join(", ");
    Err(Fault::bad_request(format!(
        "{noun} {missing} must be set prior to saving data."
    )))
}

/// There are no certificates here, so no signature is ever good.
fn check_signature(image: &Image) -> Result<(), Fault> {
    let [signature, ..] = SIGNATURE_PROPERTIES;
    if !SIGNATURE_PROPERTIES
        .iter()
        .all(|name| image.properties.has(name))
    {
        return Ok(());
    }
    let signature = image.properties.get(signature).unwrap_or_default();
    let reason = if is_base64(signature) {
        let certificate = image
            .properties
            .get("img_signature_certificate_uuid")
            .unwrap_or_default();
        format!("Unable to retrieve certificate with ID: {certificate}")
    } else {
        "The signature data was not properly encoded using base64".to_owned()
    };
    Err(Fault::bad_request(format!(
        "Signature verification failed for image {}: Signature verification for the image failed: \
         {reason}.",
        image.id
    )))
}

/// What Python's decoder accepts: characters of other kinds do not count, and the rest is padded.
fn is_base64(text: &str) -> bool {
    let letters = text
        .bytes()
        .filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
        .count();
    let padding = text.bytes().filter(|byte| *byte == b'=').count();
    match letters % 4 {
        0 => true,
        1 => false,
        rest => padding >= 4 - rest,
    }
}

/// An upload came to nothing: the image waits for data again.
pub(crate) fn restore(connection: &Connection, id: &str) -> Result<(), Fault> {
    if let Some(mut image) = store::images::find(connection, id)?
        && image.status == Status::Saving
    {
        image.status = Status::Queued;
        save(connection, &mut image)?;
    }
    Ok(())
}

/// The data came whole and was refused for what it is. Glance keeps its hashes.
pub(crate) fn refuse(connection: &Connection, id: &str, digest: UploadDigest) -> Result<(), Fault> {
    if let Some(mut image) = store::images::find(connection, id)?
        && image.status == Status::Saving
    {
        image.status = Status::Queued;
        image.checksum = Some(digest.md5);
        image.os_hash_value = Some(digest.sha512);
        save(connection, &mut image)?;
    }
    Ok(())
}

/// The data is in its place: the image is active.
pub(crate) fn finish(
    connection: &Connection,
    id: &str,
    digest: UploadDigest,
    virtual_size: Option<u64>,
) -> Result<(), Fault> {
    let image = store::images::find(connection, id)?;
    let Some(mut image) = image.filter(|image| image.status == Status::Saving) else {
        return Err(deleted_meanwhile(id));
    };
    image.virtual_size = virtual_size.and_then(|size| i64::try_from(size).ok());
    image.size = i64::try_from(digest.size).ok();
    image.checksum = Some(digest.md5);
    image.os_hash_value = Some(digest.sha512);
    image.status = Status::Active;
    save(connection, &mut image)
}

fn deleted_meanwhile(id: &str) -> Fault {
    Fault::gone(format!(
        "Image {id} could not be found after upload. The image may have been deleted during the \
         upload, cleaning up the chunks uploaded."
    ))
}

fn save(connection: &Connection, image: &mut Image) -> Result<(), Fault> {
    image.updated_at = time::now();
    store::images::update(connection, image)
}

/// Looks at data that has come: its virtual size, or the reason to refuse it.
pub(crate) fn inspect(
    image: &Image,
    data: impl io::Read + io::Seek,
    enforce: bool,
) -> io::Result<Result<Option<u64>, String>> {
    let declared = image.disk_format.as_deref().unwrap_or_default();
    if image.container_format.as_deref() != Some("bare") {
        return Ok(Ok(None));
    }
    let outcome = inspect::inspect(&mut Source::new(data)?, declared)?;
    Ok(match outcome {
        Err(_) if !enforce => Ok(None),
        outcome => outcome,
    })
}

/// What a download asks for.
pub(crate) struct Request<'a> {
    pub(crate) query: &'a str,
    pub(crate) range: Option<&'a str>,
    pub(crate) content_range: Option<&'a str>,
}

/// The data, or 204 where there is none.
pub(crate) fn download(
    connection: &Connection,
    data: &DataDir,
    caller: &Identity,
    id: &str,
    request: &Request<'_>,
) -> Result<Response, Fault> {
    let image = super::look_up(connection, caller, id)?;
    if image.status == Status::Deactivated && !caller.is_admin() {
        return Err(Fault::forbidden(
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    if !policy::may_download(caller, &image) {
        return Err(Fault::not_authorized_to("download_image"));
    }
    check_preferred_stores(request.query)?;
    let Some((file, size)) = open(data, &image)? else {
        return Ok(Response::empty());
    };
    let part = range::requested(request.range, request.content_range, size)?;
    Ok(Response {
        body: Body::Data(Download {
            file,
            size,
            checksum: image.checksum,
            part,
        }),
        ..Response::with_status(if part.is_some() { 206 } else { 200 })
    })
}

fn open(data: &DataDir, image: &Image) -> Result<Option<(std::fs::File, u64)>, Fault> {
    if !matches!(image.status, Status::Active | Status::Deactivated) {
        return Ok(None);
    }
    let opened = data.read(&image.id).and_then(|file| {
        let Some(file) = file else { return Ok(None) };
        let size = file.metadata()?.len();
        Ok(Some((file, size)))
    });
    opened.map_err(|error| {
        tracing::error!(%error, image = image.id, "cannot read the data of an image");
        Fault::internal()
    })
}

fn check_preferred_stores(query: &str) -> Result<(), Fault> {
    let params = Params::parse(query).unwrap_or_default();
    let preferred = params.last("prefer").unwrap_or_default();
    let stores = preferred.split(',').map(python_compat::strip);
    match stores
        .filter(|store| !store.is_empty())
        .find(|store| *store != STORE)
    {
        None => Ok(()),
        Some(store) => Err(Fault::bad_request(format!(
            "Store '{store}' is not configured."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("x", false)]
    #[case("eHg=", true)]
    #[case("eHg", false)]
    #[case("", true)]
    #[case("ab cd", true)]
    fn base64_is_told_apart(#[case] text: &str, #[case] is: bool) {
        assert_eq!(is_base64(text), is);
    }

    #[test]
    fn the_one_store_may_be_preferred() {
        assert_eq!(check_preferred_stores("prefer=fs,%20"), Ok(()));
        let fault = Fault::bad_request("Store 'nope' is not configured.");
        assert_eq!(check_preferred_stores("prefer=fs,%20nope"), Err(fault));
    }
}
