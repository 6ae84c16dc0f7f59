//! `PUT` and `GET /v2/images/{id}/file`. The data is measured and hashed while it streams by; it is
//! not kept, so there is never any to give back.

use md5::Md5;
use rusqlite::Connection;
use sha2::{Digest, Sha512};

use super::Answer;
use crate::error::Fault;
use crate::identity::Identity;
use crate::model::{Image, Status};
use crate::{policy, store, time};

/// The most bytes an image may have: Glance's default, 1 TiB.
const SIZE_CAP: u64 = 1 << 40;

/// What is measured of the data, in memory of a few hundred bytes.
#[derive(Default)]
pub(crate) struct Meter {
    size: u64,
    md5: Md5,
    sha512: Sha512,
    /// The begin of the data, where a qcow2 image says how large its disk is.
    head: Vec<u8>,
}

/// As many bytes as hold the disk size of a qcow2 image.
const HEAD: usize = 32;

impl Meter {
    /// Takes the next piece of the data.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.size = self.size.saturating_add(piece.len() as u64);
        if self.size > SIZE_CAP {
            return Err(Fault::too_large(
                "The incoming image is too large: The provided image is too large.",
            ));
        }
        self.head.extend(piece.iter().take(HEAD - self.head.len()));
        self.md5.update(piece);
        self.sha512.update(piece);
        Ok(())
    }

    fn virtual_size(&self, disk_format: Option<&str>) -> Option<i64> {
        // Glance looks at data only when there is any.
        if self.size == 0 {
            return None;
        }
        let bytes = match disk_format {
            Some("raw" | "iso" | "ami" | "ari" | "aki") => Some(self.size),
            Some("qcow2") if self.head.starts_with(b"QFI\xfb") => {
                let size = self.head.get(24..32)?.try_into().ok()?;
                Some(u64::from_be_bytes(size))
            }
            Some(_) | None => None,
        };
        i64::try_from(bytes?).ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Whether the caller may send data for this image now; asked before and after the data.
pub(crate) fn check(connection: &Connection, caller: &Identity, id: &str) -> Result<Image, Fault> {
    let image = super::look_up(connection, caller, id)?;
    policy::change(caller, &image, "upload_image")?;
    if image.status != Status::Queued {
        return Err(Fault::conflict(format!(
            "Image status transition from {} to saving is not allowed",
            image.status.name()
        )));
    }
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
        [] => return Ok(image),
        [_] => "Property",
        _ => "Properties",
    };
    let missing = missing.join(", ");
    Err(Fault::bad_request(format!(
        "{noun} {missing} must be set prior to saving data."
    )))
}

/// The data has come whole: the image is active.
pub(crate) fn finish(
    connection: &Connection,
    caller: &Identity,
    id: &str,
    meter: Meter,
) -> Result<Answer, Fault> {
    let mut image = check(connection, caller, id)?;
    image.virtual_size = meter.virtual_size(image.disk_format.as_deref());
    image.size = i64::try_from(meter.size).ok();
    image.checksum = Some(hex(&meter.md5.finalize()));
    image.os_hash_value = Some(hex(&meter.sha512.finalize()));
    image.status = Status::Active;
    image.updated_at = time::now();
    store::images::update(connection, &image)?;
    Ok(Answer::empty())
}

/// Answers as Glance does when the store has lost the data: 204.
pub(crate) fn download(
    connection: &Connection,
    caller: &Identity,
    id: &str,
) -> Result<Answer, Fault> {
    let image = super::look_up(connection, caller, id)?;
    if image.status == Status::Deactivated && !caller.is_admin() {
        return Err(Fault::forbidden(
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    if !policy::may_download(caller, &image) {
        return Err(Fault::not_authorized_to("download_image"));
    }
    Ok(Answer::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_measured_in_pieces() {
        let mut meter = Meter::default();
        for piece in [b"ab".as_slice(), b"", b"c"] {
            meter.take(piece).unwrap();
        }
        assert_eq!(meter.virtual_size(Some("raw")), Some(3));
        assert_eq!(meter.virtual_size(Some("qcow2")), None);
        assert_eq!(
            hex(&meter.md5.finalize()),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert!(hex(&meter.sha512.finalize()).starts_with("ddaf35a193617aba"));
    }

    #[test]
    fn a_qcow2_image_says_how_large_its_disk_is() {
        let mut meter = Meter::default();
        let mut header = b"QFI\xfb".to_vec();
        header.extend([0; 20]);
        header.extend(1_048_576_u64.to_be_bytes());
        for byte in header {
            meter.take(&[byte]).unwrap();
        }
        assert_eq!(meter.virtual_size(Some("qcow2")), Some(1_048_576));
    }
}
