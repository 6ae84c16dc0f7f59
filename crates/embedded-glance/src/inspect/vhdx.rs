//! Microsoft's VHDX: the disk's size is an item of a metadata region that a region table names.

use std::io::{self, Read, Seek};

use super::{Found, Source, array, le16, le32, le64};

const REGION_TABLE: u64 = 192 << 10;
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E, as it lies in the file.
const METADATA_REGION: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8, as it lies in the file.
const DISK_SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
/// The most entries that either table has.
const MAX_ENTRIES: usize = 2047;
const ENTRY: usize = 32;

pub(super) fn detect(
    source: &mut Source<impl Read + Seek>,
    head: &[u8],
) -> io::Result<Option<Found>> {
    if !head.starts_with(b"vhdxfile") {
        return Ok(None);
    }
    let table = source.read(REGION_TABLE, 64 << 10)?;
    if table.len() < 64 << 10 {
        return Ok(Some(Found::unchecked("vhdx", 0, false)));
    }
    let (size, is_complete) = disk_size(source, &table)?;
    Ok(Some(Found::unchecked("vhdx", size, is_complete)))
}

/// The size, zero where none is told, and whether every structure on the way to it is complete.
fn disk_size(source: &mut Source<impl Read + Seek>, table: &[u8]) -> io::Result<(u64, bool)> {
    let count = le32(table, 8) as usize;
    let region = entry(table, 16, count, &METADATA_REGION);
    let Some(region) = region.filter(|_| table.starts_with(b"regi") && count <= MAX_ENTRIES) else {
        return Ok((0, true));
    };
    let region = le64(region, 16);
    let length = ENTRY * (MAX_ENTRIES + 1);
    let metadata = source.read(region, length)?;
    let count = usize::from(le16(&metadata, 10));
    let item = entry(&metadata, ENTRY, count, &DISK_SIZE);
    let Some(item) = item.filter(|_| metadata.starts_with(b"metadata") && count <= MAX_ENTRIES)
    else {
        return Ok((0, metadata.len() == length));
    };
    let place = region.saturating_add(u64::from(le32(item, 16)));
    let size = source.read(place, 8)?;
    Ok((u64::from_le_bytes(array(&size, 0)), size.len() == 8))
}

/// The entry of that kind in a table of `count` entries that begin at `first`.
fn entry<'a>(table: &'a [u8], first: usize, count: usize, kind: &[u8; 16]) -> Option<&'a [u8]> {
    let entries = table.get(first..)?.chunks_exact(ENTRY);
    let mut entries = entries.take(count.min(MAX_ENTRIES));
    entries.find(|entry| entry.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::tests::{disk, inspected};

    #[test]
    fn a_vhdx_says_how_large_its_disk_is() {
        let table = 192 << 10;
        let region = 1 << 20;
        let data = disk(
            (1 << 20) + (128 << 10),
            &[
                (0, b"vhdxfile"),
                (table, b"regi"),
                (table + 8, &[1]),
                (table + 16, &METADATA_REGION),
                (table + 34, &[0x10]),
                (region, b"metadata"),
                (region + 10, &[1]),
                (region + 32, &DISK_SIZE),
                (region + 50, &[1]),
                (region + (64 << 10) + 1, &[2]),
            ],
        );
        assert_eq!(inspected(&data, "vhdx"), Ok(Some(512)));
        assert!(inspected(&data[..100_000], "vhdx").is_err());
    }
}
