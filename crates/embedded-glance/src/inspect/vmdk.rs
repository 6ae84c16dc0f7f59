//! `VMware`'s VMDK. Of its kinds only those that are one file are safe.

use std::io::{self, Read, Seek};

use super::{Found, Safety, Source, array, le32, le64};

const SECTOR: u64 = 512;
const DESCRIPTOR: u64 = 0x200;
const MAX_DESCRIPTOR: usize = (1 << 20) - 1;
const HEADER: usize = 64;
/// The grain directory's place when the header is repeated at the end.
const AT_END: u64 = u64::MAX;
const FOOTER: usize = 3 * 512;

pub(super) fn detect(
    source: &mut Source<impl Read + Seek>,
    head: &[u8],
) -> io::Result<Option<Found>> {
    let Some(header) = head.get(..HEADER) else {
        return Ok(None);
    };
    if !header.starts_with(b"KDMV") {
        return text_descriptor(source, head);
    }
    let found = |virtual_size, safety| {
        Ok(Some(Found {
            format: "vmdk",
            virtual_size,
            safety,
        }))
    };
    let header = Header::read(header);
    if !(1..=3).contains(&header.version) || header.descriptor.saturating_mul(SECTOR) != DESCRIPTOR
    {
        return found(0, Safety::Unsafe);
    }
    let length = usize::try_from(header.descriptor_sectors.saturating_mul(SECTOR))
        .unwrap_or(MAX_DESCRIPTOR)
        .min(MAX_DESCRIPTOR);
    let descriptor = source.read(DESCRIPTOR, length)?;
    let footer = match header.grain_directory {
        AT_END => Some(source.read(source.size.saturating_sub(FOOTER as u64), FOOTER)?),
        _ => None,
    };
    if descriptor.len() < length || footer.as_ref().is_some_and(|footer| footer.len() < FOOTER) {
        return found(0, Safety::Incomplete);
    }
    let text = text(&descriptor);
    if !is_one_file(&text) {
        return found(0, Safety::Unsafe);
    }
    let is_safe =
        check_descriptor(&text) && footer.is_none_or(|footer| header.agrees_with(&footer));
    let safety = if is_safe {
        Safety::Safe
    } else {
        Safety::Unsafe
    };
    found(header.sectors.saturating_mul(SECTOR), safety)
}

/// A descriptor alone, which names the files with the data.
fn text_descriptor(
    source: &mut Source<impl Read + Seek>,
    head: &[u8],
) -> io::Result<Option<Found>> {
    let head = head.get(..512).unwrap_or(head);
    let is_text = head
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'..=b'\r' | 0x1c..=0x1f));
    if !is_text || create_type(&text(&source.read(0, 64 << 10)?)).is_none() {
        return Ok(None);
    }
    Ok(Some(Found {
        format: "vmdk",
        virtual_size: 0,
        safety: Safety::Unsafe,
    }))
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    signature: [u8; 4],
    version: u32,
    sectors: u64,
    descriptor: u64,
    descriptor_sectors: u64,
    grain_directory: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Self {
        Self {
            signature: array(bytes, 0),
            version: le32(bytes, 4),
            sectors: le64(bytes, 12),
            descriptor: le64(bytes, 28),
            descriptor_sectors: le64(bytes, 36),
            grain_directory: le64(bytes, 56),
        }
    }

    /// The end of a file whose header is repeated there: a marker, the header, an end marker.
    fn agrees_with(&self, end: &[u8]) -> bool {
        let (marker, rest) = end.split_at(512.min(end.len()));
        let (footer, last) = rest.split_at(512.min(rest.len()));
        let repeated = Self::read(footer);
        let is_empty = |marker: &[u8]| {
            marker
                .get(16..)
                .is_some_and(|pad| pad.iter().all(|b| *b == 0))
        };
        self.signature == repeated.signature
            && self.version == repeated.version
            && self.descriptor == repeated.descriptor
            && self.descriptor_sectors == repeated.descriptor_sectors
            && repeated.grain_directory != AT_END
            && le32(marker, 8) == 0
            && le32(marker, 12) == 3
            && is_empty(marker)
            && last.iter().all(|byte| *byte == 0)
    }
}

/// A descriptor up to its padding, in lower case; nothing where it is no ASCII.
fn text(descriptor: &[u8]) -> String {
    let text = descriptor
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    if !text.is_ascii() {
        return String::new();
    }
    String::from_utf8_lossy(text).to_lowercase()
}

fn create_type(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("createtype=\"")?;
    let kind = rest.split_once('"').map_or(rest, |(kind, _)| kind);
    (kind.len() < 64).then_some(kind)
}

fn is_one_file(text: &str) -> bool {
    matches!(
        create_type(text),
        Some("monolithicsparse" | "streamoptimized")
    )
}

/// Every line is known, there is an extent, and no extent names a path.
fn check_descriptor(text: &str) -> bool {
    let mut extents = 0;
    for line in text.split('\n').map(python_compat::strip) {
        let is_field = line
            .split_once('=')
            .is_some_and(|(name, _)| !name.contains(' '));
        if line.is_empty() || line.starts_with('#') || line.starts_with("ddb") || is_field {
            continue;
        }
        let access = line.split(' ').next().unwrap_or_default();
        if !["rw", "rdonly", "noaccess"].contains(&access) || line.contains('/') {
            return false;
        }
        extents += 1;
    }
    extents > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::tests::{disk, inspected};

    const TEXT: &str = "# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicSparse\"\n\
                        RW 2048 SPARSE \"d.vmdk\"\nddb.adapterType = \"ide\"\n";

    fn vmdk(text: &str) -> Vec<u8> {
        disk(
            4096,
            &[
                (0, b"KDMV\x01"),
                (13, &[8]),
                (28, &[1]),
                (36, &[2]),
                (512, text.as_bytes()),
            ],
        )
    }

    #[test]
    fn a_sparse_one_says_how_large_its_disk_is() {
        assert_eq!(inspected(&vmdk(TEXT), "vmdk"), Ok(Some(2048 * 512)));
        assert_eq!(inspected(&vmdk(TEXT), "raw"), Ok(Some(4096)));
    }

    #[test]
    fn one_that_names_other_files_is_refused() {
        let refused = Err("Image failed safety checks".to_owned());
        for text in [
            TEXT.replace("monolithicSparse", "monolithicFlat"),
            TEXT.replace("d.vmdk", "/etc/passwd"),
            TEXT.replace("RW 2048", "XX 2048"),
            TEXT.replace("RW 2048 SPARSE \"d.vmdk\"\n", ""),
            String::new(),
        ] {
            assert_eq!(inspected(&vmdk(&text), "vmdk"), refused, "{text}");
        }
        let alone = TEXT
            .replace("monolithicSparse", "monolithicFlat")
            .into_bytes();
        assert_eq!(inspected(&alone, "vmdk"), refused);
    }

    #[test]
    fn a_footer_must_agree_with_the_header() {
        let refused = Err("Image failed safety checks".to_owned());
        let mut data = vmdk(TEXT);
        data[56..64].fill(0xff);
        assert_eq!(inspected(&data, "vmdk"), refused);
        let header = data[..64].to_vec();
        let end = data.len() - FOOTER;
        data[end + 12] = 3;
        data[end + 512..end + 576].copy_from_slice(&header);
        data[end + 512 + 56..end + 576].fill(1);
        assert_eq!(inspected(&data, "vmdk"), Ok(Some(2048 * 512)));
        data[end + 512 + 4] = 2;
        assert_eq!(inspected(&data, "vmdk"), refused);
    }
}
