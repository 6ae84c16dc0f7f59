//! QEMU's copy-on-write format, versions 2 and 3.

use super::{Found, Safety, array, be64};

/// Of the incompatible features those that are known: dirty, corrupt and compression.
/// Bit 2, an external data file, is known as well, and refused.
const KNOWN_FEATURES: u64 = 0b1111;
const DATA_FILE: u64 = 0b100;

pub(super) fn detect(head: &[u8]) -> Option<Found> {
    (head.len() >= 512 && head.starts_with(b"QFI\xfb")).then(|| Found {
        format: "qcow2",
        virtual_size: be64(head, 24),
        safety: check(head),
    })
}

fn check(head: &[u8]) -> Safety {
    let version = u32::from_be_bytes(array(head, 4));
    let backing_file = be64(head, 8);
    let features = be64(head, 72);
    let known = match version {
        2 => true,
        3 => features & !KNOWN_FEATURES == 0,
        _ => false,
    };
    if backing_file == 0 && features & DATA_FILE == 0 && known {
        Safety::Safe
    } else {
        Safety::Unsafe
    }
}

#[cfg(test)]
mod tests {
    use crate::inspect::tests::{disk, inspected};

    fn qcow2(version: u8, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut all: Vec<(usize, &[u8])> = vec![(0, b"QFI\xfb"), (29, &[16])];
        let version = [version];
        all.push((7, &version));
        all.extend(parts);
        disk(1024, &all)
    }

    #[test]
    fn a_qcow2_says_how_large_its_disk_is() {
        for version in [2, 3] {
            assert_eq!(inspected(&qcow2(version, &[]), "qcow2"), Ok(Some(1 << 20)));
        }
        assert_eq!(inspected(&qcow2(3, &[]), "raw"), Ok(Some(1024)));
    }

    #[test]
    fn one_that_names_other_files_or_unknown_features_is_refused() {
        let refused = Err("Image failed safety checks".to_owned());
        let parts: [(usize, &[u8]); 4] =
            [(15, &[1]), (79, &[0b100]), (79, &[0b1_0000]), (72, &[1])];
        for part in parts {
            assert_eq!(inspected(&qcow2(3, &[part]), "qcow2"), refused);
            assert_eq!(inspected(&qcow2(3, &[part]), "raw"), refused);
        }
        assert_eq!(inspected(&qcow2(1, &[]), "qcow2"), refused);
    }

    #[test]
    fn a_header_that_is_cut_is_raw() {
        assert!(inspected(&qcow2(3, &[])[..500], "qcow2").is_err());
        assert_eq!(inspected(&qcow2(3, &[])[..500], "raw"), Ok(Some(500)));
    }
}
