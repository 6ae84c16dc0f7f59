//! What disk format data is in, and whether it is safe: the checks that Glance makes of an upload.
//!
//! The data is looked at when it has come whole. The rules are those of `oslo.utils`' format
//! inspectors: each looks for its signature, none of them at the declared format.

mod partitions;
mod qcow2;
mod vhdx;
mod vmdk;

use std::io::{self, Read, Seek, SeekFrom};

/// Formats that can be told from data. Glance accepts whatever it finds raw for any other.
const INSPECTABLE: [&str; 10] = [
    "raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks",
];

/// Data that can be read at any place.
pub(crate) struct Source<T> {
    data: T,
    size: u64,
}

impl<T: Read + Seek> Source<T> {
    pub(crate) fn new(mut data: T) -> io::Result<Self> {
        let size = data.seek(SeekFrom::End(0))?;
        Ok(Self { data, size })
    }

    /// The bytes from `offset` on, fewer than `length` where the data ends.
    fn read(&mut self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.data.seek(SeekFrom::Start(offset))?;
        (&mut self.data)
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A format whose signature was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    format: &'static str,
    /// Bytes of the disk; zero where the data does not say.
    virtual_size: u64,
    safety: Safety,
}

/// Whether data that has a format's signature can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safety {
    Safe,
    /// Too short for its own headers.
    Incomplete,
    /// It names other files, has features that are not known, or contradicts itself.
    Unsafe,
    /// Its partition table is wrong.
    UnsafePartitions,
}

impl Found {
    /// A format of which nothing but the signature is checked; `is_complete` says whether its
    /// header is all there.
    fn unchecked(format: &'static str, virtual_size: u64, is_complete: bool) -> Self {
        let safety = if is_complete {
            Safety::Safe
        } else {
            Safety::Incomplete
        };
        Self {
            format,
            virtual_size,
            safety,
        }
    }
}

/// Compares data with the declared format: its virtual size, if it has one, or the reason to refuse
/// it.
pub(crate) fn inspect(
    source: &mut Source<impl Read + Seek>,
    declared: &str,
) -> io::Result<Result<Option<u64>, String>> {
    let found = match choose(detect(source)?, source.size) {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(judge(&found, declared, source.size))
}

fn judge(found: &Found, declared: &str, size: u64) -> Result<Option<u64>, String> {
    let virtual_size = if found.format == declared {
        found.virtual_size
    } else if found.format == "raw" && !INSPECTABLE.contains(&declared) {
        0
    } else if declared == "raw" {
        size
    } else {
        let format = found.format;
        return Err(format!(
            "Image disk_format {declared} does not match stream data {format}"
        ));
    };
    match found.safety {
        Safety::Safe => {}
        Safety::Incomplete => return Err("Incomplete file cannot be safety checked".to_owned()),
        // Kernels may hold what looks like a partition table.
        Safety::UnsafePartitions if ["aki", "ari"].contains(&declared) => {}
        Safety::Unsafe | Safety::UnsafePartitions => {
            return Err("Image failed safety checks".to_owned());
        }
    }
    Ok(Some(virtual_size).filter(|size| *size > 0))
}

/// Every format whose signature is there.
fn detect(source: &mut Source<impl Read + Seek>) -> io::Result<Vec<Found>> {
    let head = source.read(0, 592)?;
    let mut found = Vec::new();
    found.extend(qcow2::detect(&head));
    found.extend(vhd(&head));
    found.extend(vhdx::detect(source, &head)?);
    found.extend(vmdk::detect(source, &head)?);
    found.extend(vdi(&head));
    found.extend(qed(&head));
    found.extend(iso(source)?);
    found.extend(partitions::detect(&head));
    found.extend(luks(&head, source.size));
    Ok(found)
}

/// The one format. An ISO that boots has a partition table as well; other pairs are refused.
fn choose(found: Vec<Found>, size: u64) -> Result<Found, String> {
    let names: Vec<&str> = found.iter().map(|found| found.format).collect();
    if let ["iso", "gpt"] = names.as_slice() {
        let iso = found.into_iter().next();
        return iso.ok_or_else(String::new);
    }
    if names.len() > 1 {
        return Err(format!("Multiple formats detected: {}", names.join(",")));
    }
    Ok(found.into_iter().next().unwrap_or(Found {
        format: "raw",
        virtual_size: size,
        safety: Safety::Safe,
    }))
}

fn vhd(head: &[u8]) -> Option<Found> {
    head.starts_with(b"conectix").then(|| {
        let is_complete = head.len() >= 512;
        let size = if is_complete { be64(head, 40) } else { 0 };
        Found::unchecked("vhd", size, is_complete)
    })
}

fn vdi(head: &[u8]) -> Option<Found> {
    (head.len() >= 512 && le32(head, 0x40) == 0xBEDA_107F)
        .then(|| Found::unchecked("vdi", le64(head, 0x170), true))
}

/// A format that Glance knows only to refuse it.
fn qed(head: &[u8]) -> Option<Found> {
    (head.len() >= 512 && head.starts_with(b"QED\0")).then_some(Found {
        format: "qed",
        virtual_size: 0,
        safety: Safety::Unsafe,
    })
}

fn iso(source: &mut Source<impl Read + Seek>) -> io::Result<Option<Found>> {
    let header = source.read(32 << 10, 2 << 10)?;
    let signature = header.get(1..6).unwrap_or_default();
    let is_iso =
        header.len() == 2 << 10 && [b"CD001".as_slice(), b"NSR02", b"NSR03"].contains(&signature);
    Ok(is_iso.then(|| {
        // Only a primary volume descriptor says how large the volume is.
        let size = match header.first() {
            Some(1) => u64::from(le16(&header, 128)) * u64::from(le32(&header, 80)),
            Some(_) | None => 0,
        };
        Found::unchecked("iso", size, true)
    }))
}

fn luks(head: &[u8], size: u64) -> Option<Found> {
    head.starts_with(b"LUKS\xba\xbe").then(|| {
        let version = u16::from_be_bytes(array(head, 6));
        let payload = u64::from(u32::from_be_bytes(array(head, 104))) * 512;
        let safety = match (head.len() >= 592, version) {
            (false, _) => Safety::Incomplete,
            (true, 1) => Safety::Safe,
            (true, _) => Safety::Unsafe,
        };
        Found {
            format: "luks",
            virtual_size: size.saturating_sub(payload),
            safety,
        }
    })
}

/// The bytes at `offset`; zeros where there are not enough.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes
        .get(offset..offset + N)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; N])
}

fn be64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(array(bytes, offset))
}

fn le16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

fn le32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

fn le64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    pub(super) fn inspected(data: &[u8], declared: &str) -> Result<Option<u64>, String> {
        inspect(&mut Source::new(Cursor::new(data)).unwrap(), declared).unwrap()
    }

    /// Zeros with some bytes in them.
    pub(super) fn disk(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut data = vec![0; size];
        for (offset, part) in parts {
            data[*offset..*offset + part.len()].copy_from_slice(part);
        }
        data
    }

    fn mismatch(declared: &str, found: &str) -> Result<Option<u64>, String> {
        Err(format!(
            "Image disk_format {declared} does not match stream data {found}"
        ))
    }

    #[test]
    fn what_has_no_signature_is_raw() {
        assert_eq!(inspected(&[7; 4096], "raw"), Ok(Some(4096)));
        assert_eq!(inspected(b"", "raw"), Ok(None));
        assert_eq!(inspected(b"x", "ami"), Ok(None));
        for declared in ["qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso"] {
            assert_eq!(inspected(b"", declared), mismatch(declared, "raw"));
        }
    }

    #[test]
    fn a_vhd_says_how_large_its_disk_is() {
        let data = disk(512, &[(0, b"conectix"), (46, &[1, 0])]);
        assert_eq!(inspected(&data, "vhd"), Ok(Some(256)));
        assert_eq!(inspected(&data, "raw"), Ok(Some(512)));
        assert_eq!(inspected(&data, "vdi"), mismatch("vdi", "vhd"));
        let incomplete = Err("Incomplete file cannot be safety checked".to_owned());
        assert_eq!(inspected(&data[..100], "vhd"), incomplete);
    }

    #[test]
    fn a_vdi_says_how_large_its_disk_is() {
        let data = disk(512, &[(0x40, &[0x7f, 0x10, 0xda, 0xbe]), (0x171, &[1])]);
        assert_eq!(inspected(&data, "vdi"), Ok(Some(256)));
    }

    #[test]
    fn an_iso_may_have_a_partition_table() {
        let volume: &[(usize, &[u8])] = &[
            (32 << 10, b"\x01CD001"),
            ((32 << 10) + 80, &[3]),
            ((32 << 10) + 129, &[8]),
        ];
        let mut data = disk(40 << 10, volume);
        assert_eq!(inspected(&data, "iso"), Ok(Some(3 * 2048)));
        data[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(inspected(&data, "iso"), Ok(Some(3 * 2048)));
    }

    #[test]
    fn two_formats_at_once_are_refused() {
        let data = disk(512, &[(0, b"conectix"), (0x40, &[0x7f, 0x10, 0xda, 0xbe])]);
        let refused = Err("Multiple formats detected: vhd,vdi".to_owned());
        assert_eq!(inspected(&data, "raw"), refused);
    }

    #[test]
    fn qed_is_never_safe_and_luks_in_its_first_version() {
        let refused = Err("Image failed safety checks".to_owned());
        assert_eq!(inspected(&disk(512, &[(0, b"QED\0")]), "raw"), refused);
        let luks = |version| disk(4096, &[(0, b"LUKS\xba\xbe"), (7, &[version])]);
        assert_eq!(inspected(&luks(1), "raw"), Ok(Some(4096)));
        assert_eq!(inspected(&luks(2), "raw"), refused);
    }

    proptest! {
        #[test]
        fn no_data_makes_it_panic(
            signature in prop::sample::select(vec![
                &b"QFI\xfb"[..], b"KDMV\x01\0\0\0", b"vhdxfile", b"conectix", b"LUKS\xba\xbe", b"# Disk",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..2000),
            declared in prop::sample::select(INSPECTABLE.to_vec()),
        ) {
            let data = [signature, &rest].concat();
            let _ = inspected(&data, declared);
        }
    }
}
