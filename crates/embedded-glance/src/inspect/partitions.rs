//! Partition tables: a GPT's protective MBR, and a plain one.

use super::{Found, Safety, le16, le32};

const PARTITIONS: usize = 446;
const GPT: u8 = 0xee;

pub(super) fn detect(head: &[u8]) -> Option<Found> {
    let is_table = head.len() >= 512 && le16(head, 510) == 0xaa55 && !is_fat(head);
    is_table.then(|| Found {
        format: "gpt",
        virtual_size: 0,
        safety: check(head),
    })
}

/// The boot sector of a FAT file system ends like a partition table.
fn is_fat(head: &[u8]) -> bool {
    head.get(0x10) == Some(&2) && head.get(0x15) == Some(&0xf8)
}

fn check(head: &[u8]) -> Safety {
    let mut used = Vec::new();
    let mut has_gpt = false;
    for number in 0..4 {
        let begin = PARTITIONS + 16 * number;
        let entry = head.get(begin..begin + 16).unwrap_or_default();
        let Some([boot, chs @ .., kind, _, _, _]) = entry.first_chunk::<8>() else {
            return Safety::UnsafePartitions;
        };
        if ![0, 0x80].contains(boot) {
            return Safety::UnsafePartitions;
        }
        if *kind != 0 {
            used.push(number);
        }
        if *kind == GPT {
            has_gpt = true;
            if *chs != [0, 2, 0] || le32(entry, 8) != 1 {
                return Safety::UnsafePartitions;
            }
        }
    }
    if used.is_empty() || (has_gpt && used != [0]) {
        Safety::UnsafePartitions
    } else {
        Safety::Safe
    }
}

#[cfg(test)]
mod tests {
    use crate::inspect::tests::{disk, inspected};

    /// A disk whose first partition has that entry.
    fn table(entry: [u8; 16]) -> Vec<u8> {
        disk(1024, &[(446, &entry), (510, &[0x55, 0xaa])])
    }

    const PROTECTIVE: [u8; 16] = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 9, 0, 0, 0];

    #[test]
    fn a_disk_with_a_good_table_may_be_raw() {
        assert_eq!(inspected(&table(PROTECTIVE), "raw"), Ok(Some(1024)));
        let mut plain = [0; 16];
        plain[4] = 0x83;
        assert_eq!(inspected(&table(plain), "raw"), Ok(Some(1024)));
    }

    #[test]
    fn a_wrong_table_is_refused_but_in_a_kernel() {
        let refused = Err("Image failed safety checks".to_owned());
        assert_eq!(inspected(&table([0; 16]), "raw"), refused);
        for (place, byte) in [(0, 7), (2, 1), (8, 2)] {
            let mut entry = PROTECTIVE;
            entry[place] = byte;
            assert_eq!(inspected(&table(entry), "raw"), refused);
        }
        let mut second = table(PROTECTIVE);
        second[446 + 16 + 4] = 0x83;
        assert_eq!(inspected(&second, "raw"), refused);
    }

    #[test]
    fn a_fat_file_system_is_no_table() {
        let mut data = table([0; 16]);
        (data[0x10], data[0x15]) = (2, 0xf8);
        assert_eq!(inspected(&data, "raw"), Ok(Some(1024)));
    }
}
