//! Receives an upload: from the pieces of a request's body to a file with its size and hashes.

use std::io::{self, Write as _};

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha512};
use tokio::sync::mpsc::Receiver;

use super::Incoming;
use crate::error::Fault;

/// The most bytes an image may have: Glance's default, 1 TiB.
const SIZE_CAP: u64 = 1 << 40;
/// The block in which Glance's file store writes, and after which it compares sizes.
const BLOCK: u64 = 64 << 10;

/// What the handler sends to the writer. A channel that closes without [`Piece::End`] is an upload
/// that broke off.
pub(crate) enum Piece {
    Data(Bytes),
    End,
}

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UploadDigest {
    pub(crate) size: u64,
    /// In hex.
    pub(crate) md5: String,
    /// In hex.
    pub(crate) sha512: String,
}

/// Why an upload ended early.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client went away, or sent nothing for too long.
    BrokenOff,
    /// More than an image may have.
    TooLarge,
    /// Not as many bytes as the client announced.
    WrongSize(String),
    /// The file cannot be written.
    Io(io::Error),
}

impl From<io::Error> for UploadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::BrokenOff => Self::bad_request("The image data ended early."),
            UploadError::TooLarge => {
                Self::too_large("The incoming image is too large: The provided image is too large.")
            }
            UploadError::WrongSize(explanation) => Self::bad_request(explanation),
            UploadError::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::too_large(
                    "Image storage media is full: There is not enough disk space on the image \
                     storage media.",
                )
            }
            UploadError::Io(error) => {
                tracing::error!(%error, "cannot write the data of an image");
                Self::internal()
            }
        }
    }
}

/// Writes the pieces to the file until the upload ends; blocks. `announced` is the size that the
/// client named, zero for none.
pub(crate) fn receive(
    pieces: &mut Receiver<Piece>,
    incoming: &mut Incoming,
    announced: i64,
) -> Result<UploadDigest, UploadError> {
    let mut size: u64 = 0;
    let mut md5 = Md5::default();
    let mut sha512 = Sha512::default();
    loop {
        let piece = match pieces.blocking_recv() {
            None => return Err(UploadError::BrokenOff),
            Some(Piece::End) => break,
            Some(Piece::Data(piece)) => piece,
        };
        size = size.saturating_add(piece.len() as u64);
        if size > SIZE_CAP {
            return Err(UploadError::TooLarge);
        }
        if let Some(block_end) = excess(announced, size) {
            let got = read_to(pieces, size, block_end)?;
            return Err(UploadError::WrongSize(format!(
                "Size exceeds: expected {announced} bytes, got {got} bytes"
            )));
        }
        md5.update(&piece);
        sha512.update(&piece);
        incoming.file.write_all(&piece)?;
    }
    if announced != 0 && i128::from(announced) != i128::from(size) {
        return Err(UploadError::WrongSize(format!(
            "Size mismatch: expected {announced} bytes, got {size} bytes"
        )));
    }
    Ok(UploadDigest {
        size,
        md5: hex(&md5.finalize()),
        sha512: hex(&sha512.finalize()),
    })
}

/// Writes data that is at hand; blocks.
pub(crate) fn write(incoming: &mut Incoming, data: &[u8]) -> io::Result<UploadDigest> {
    incoming.file.write_all(data)?;
    Ok(UploadDigest {
        size: data.len() as u64,
        md5: hex(&Md5::digest(data)),
        sha512: hex(&Sha512::digest(data)),
    })
}

/// Where more has come than was announced: the end of the block in which the excess lies.
fn excess(announced: i64, size: u64) -> Option<u64> {
    if announced == 0 || i128::from(size) <= i128::from(announced) {
        return None;
    }
    let announced = u64::try_from(announced).unwrap_or(0);
    Some((announced / BLOCK + 1) * BLOCK)
}

/// Reads on to the end of a block, or of the data; the bytes up to there.
fn read_to(
    pieces: &mut Receiver<Piece>,
    mut size: u64,
    block_end: u64,
) -> Result<u64, UploadError> {
    while size < block_end {
        match pieces.blocking_recv() {
            None => return Err(UploadError::BrokenOff),
            Some(Piece::End) => break,
            Some(Piece::Data(piece)) => size += piece.len() as u64,
        }
    }
    Ok(size.min(block_end))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataDir;
    use tokio::sync::mpsc;

    fn upload(data: &[&[u8]], ends: bool, announced: i64) -> Result<UploadDigest, UploadError> {
        let folder = DataDir::open(None).unwrap();
        let mut incoming = folder.incoming().unwrap();
        let (sender, mut receiver) = mpsc::channel(data.len() + 1);
        for piece in data {
            let piece = Piece::Data(Bytes::copy_from_slice(piece));
            sender.try_send(piece).ok().unwrap();
        }
        if ends {
            sender.try_send(Piece::End).ok().unwrap();
        }
        drop(sender);
        receive(&mut receiver, &mut incoming, announced)
    }

    fn wrong_size(result: Result<UploadDigest, UploadError>) -> String {
        match result {
            Err(UploadError::WrongSize(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn data_is_hashed_in_pieces() {
        let digest = upload(&[b"ab", b"", b"c"], true, 0).unwrap();
        assert_eq!(digest.size, 3);
        assert_eq!(digest.md5, "900150983cd24fb0d6963f7d28e17f72");
        assert!(digest.sha512.starts_with("ddaf35a193617aba"));
    }

    #[test]
    fn an_upload_without_its_end_is_none() {
        let result = upload(&[b"ab"], false, 0);
        assert!(matches!(result, Err(UploadError::BrokenOff)));
    }

    #[test]
    fn the_announced_size_must_come() {
        assert!(upload(&[b"abc"], true, 3).is_ok());
        assert_eq!(
            wrong_size(upload(&[b"abc"], true, 4)),
            "Size mismatch: expected 4 bytes, got 3 bytes"
        );
        assert_eq!(
            wrong_size(upload(&[b"a", b"bc"], true, -1)),
            "Size exceeds: expected -1 bytes, got 3 bytes"
        );
        let block = vec![0; 50_000];
        assert_eq!(
            wrong_size(upload(&[&block, &block, &block], true, 60_000)),
            "Size exceeds: expected 60000 bytes, got 65536 bytes"
        );
    }
}
