//! Empty disks in QEMU's copy-on-write format, version 3.

const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
/// Bytes of a disk that one entry of the first-level table stands for.
const BYTES_PER_ENTRY: u64 = (CLUSTER as u64 / 8) << CLUSTER_BITS;
const HEADER_LENGTH: u32 = 104;
/// The type of a header extension that programs do not know, and skip.
const LABEL: &[u8; 4] = b"labl";
/// Clusters: the header, the refcount table, its block and the first-level table.
const CLUSTERS: usize = 4;

/// A disk of `virtual_size` bytes without any allocated cluster. The label, of at most a few hundred
/// bytes, makes the files of equal disks differ.
pub(super) fn empty_disk(virtual_size: u64, label: &str) -> Vec<u8> {
    let entries = virtual_size.div_ceil(BYTES_PER_ENTRY);
    let mut header = Vec::new();
    header.extend(b"QFI\xfb");
    header.extend(3_u32.to_be_bytes());
    // No backing file: its offset and length.
    header.extend([0; 12]);
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(virtual_size.to_be_bytes());
    // No encryption.
    header.extend([0; 4]);
    header.extend(u32::try_from(entries).unwrap_or(u32::MAX).to_be_bytes());
    header.extend((3 * CLUSTER as u64).to_be_bytes());
    header.extend((CLUSTER as u64).to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    // No snapshots (number and offset), no features (three sets).
    header.extend([0; 36]);
    // Reference counts of two to the fourth bits.
    header.extend(4_u32.to_be_bytes());
    header.extend(HEADER_LENGTH.to_be_bytes());
    header.extend(LABEL);
    header.extend(u32::try_from(label.len()).unwrap_or_default().to_be_bytes());
    header.extend(label.as_bytes());

    let mut disk = header;
    disk.resize(CLUSTER, 0);
    disk.extend((2 * CLUSTER as u64).to_be_bytes());
    disk.resize(2 * CLUSTER, 0);
    for _ in 0..CLUSTERS {
        disk.extend(1_u16.to_be_bytes());
    }
    disk.resize(3 * CLUSTER, 0);
    let table = usize::try_from(entries * 8).unwrap_or_default();
    disk.resize(3 * CLUSTER + table, 0);
    disk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{self, Source};
    use std::io::Cursor;

    #[test]
    fn a_disk_is_taken_for_what_it_is() {
        for virtual_size in [1 << 30, 10 << 30] {
            let disk = empty_disk(virtual_size, "label");
            let mut source = Source::new(Cursor::new(disk)).unwrap();
            let inspected = inspect::inspect(&mut source, "qcow2").unwrap();
            assert_eq!(inspected, Ok(Some(virtual_size)));
        }
    }

    #[test]
    fn the_header_has_its_length() {
        let disk = empty_disk(1 << 30, "label");
        assert_eq!(&disk[96..104], [0, 0, 0, 4, 0, 0, 0, 104]);
        assert_eq!(&disk[104..117], b"labl\0\0\0\x05label");
    }
}
