//! The data of images: files in a folder, written whole or not at all.
//!
//! `images/ID` is the data of an image. An upload is written to `incoming/` and renamed when it is
//! complete, so a file in `images/` is never half-written.

pub(crate) mod range;
pub(crate) mod upload;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream};

/// Bytes of one read from a file.
const READ_SIZE: usize = 256 << 10;

/// Why the folder for data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be created, read or cleaned.
    #[error("cannot use the folder for image data {path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A process holds the lock file.
    #[error("another process uses the folder for image data {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// A Glance that is ending may hold the folder this long: a writer thread still has its file.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// The folder with the data of all images.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Whether what is written must survive a power cut.
    is_durable: bool,
    /// Held locked for as long as the folder is in use.
    _lock: File,
    /// Removes a folder that is not to outlive the process.
    _temporary: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens a folder, which is created when it is missing; without one, a temporary folder that
    /// ends with the value.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, DataDirError> {
        let (root, temporary) = if let Some(path) = path {
            (path.to_owned(), None)
        } else {
            let temporary = tempfile::Builder::new()
                .prefix("embedded-glance-")
                .tempdir()
                .map_err(|source| DataDirError::Io {
                    path: std::env::temp_dir(),
                    source,
                })?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let failed = |source| DataDirError::Io {
            path: root.clone(),
            source,
        };
        for folder in ["images", "incoming"] {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(root.join("lock"))
            .map_err(failed)?;
        let give_up_at = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(fs::TryLockError::WouldBlock) if Instant::now() < give_up_at => {
                    thread::sleep(LOCK_INTERVAL);
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(DataDirError::InUse { path: root });
                }
                Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Ok(Self {
            root,
            is_durable: temporary.is_none(),
            _lock: lock,
            _temporary: temporary,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes unfinished uploads and the data of images that `has_data` denies. Files that are not
    /// named like an image stay.
    pub(crate) fn clean(&self, has_data: impl Fn(&str) -> bool) -> Result<(), DataDirError> {
        let failed = |source| DataDirError::Io {
            path: self.root.clone(),
            source,
        };
        for entry in fs::read_dir(self.root.join("incoming")).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        for entry in fs::read_dir(self.root.join("images")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let orphan = name
                .to_str()
                .is_some_and(|name| is_image_id(name) && !has_data(name));
            if orphan {
                tracing::info!(image = ?name, "removing data that belongs to no image");
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes the data of every image; uploads that are being written stay.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("images"))? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_image_id) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// A new file for an upload.
    pub(crate) fn incoming(&self) -> io::Result<Incoming> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let path = self.root.join("incoming").join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Incoming { file, path })
    }

    /// Makes an upload the data of an image. When this returns, a crash does not lose it.
    pub(crate) fn keep(&self, incoming: &mut Incoming, id: &str) -> io::Result<()> {
        let place = self
            .file(id)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        if self.is_durable {
            incoming.file.sync_all()?;
        }
        fs::rename(&incoming.path, &place)?;
        if self.is_durable {
            File::open(self.root.join("images"))?.sync_all()?;
        }
        Ok(())
    }

    /// The data of an image, where there is any.
    pub(crate) fn read(&self, id: &str) -> io::Result<Option<File>> {
        let Some(path) = self.file(id) else {
            return Ok(None);
        };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the data of an image. A file that cannot be removed is an orphan until the next
    /// start.
    pub(crate) fn remove(&self, id: &str) {
        let Some(path) = self.file(id) else { return };
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot remove an image's data");
            }
        }
    }

    fn file(&self, id: &str) -> Option<PathBuf> {
        is_image_id(id).then(|| self.root.join("images").join(id))
    }
}

/// Ids that are safe file names; the API's schema admits no others.
fn is_image_id(id: &str) -> bool {
    id.len() == 36
        && id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A file that is being written. It is removed when it is dropped before it was kept.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) file: File,
    path: PathBuf,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A file that was kept is no longer there.
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "cannot remove an upload");
            }
        }
    }
}

/// `length` bytes of a file from `offset` on, read piece by piece on threads that may block.
pub(crate) fn stream(
    file: File,
    offset: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, offset, length), |(file, offset, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let size = usize::try_from(left).unwrap_or(READ_SIZE).min(READ_SIZE);
        let read = actix_web::web::block(move || read_at(file, offset, size)).await;
        let (file, piece) = read.map_err(io::Error::other)??;
        let taken = piece.len() as u64;
        Ok(Some((piece, (file, offset + taken, left - taken))))
    })
}

fn read_at(mut file: File, offset: u64, size: usize) -> io::Result<(File, Bytes)> {
    let mut piece = vec![0; size];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut piece)?;
    Ok((file, piece.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const ID: &str = "00000000-0000-4000-8000-000000000001";
    const OTHER: &str = "00000000-0000-4000-8000-000000000002";

    fn write(data: &DataDir, id: &str, text: &str) {
        let mut incoming = data.incoming().unwrap();
        incoming.file.write_all(text.as_bytes()).unwrap();
        data.keep(&mut incoming, id).unwrap();
    }

    fn text(data: &DataDir, id: &str) -> Option<String> {
        let file = data.read(id).unwrap()?;
        Some(io::read_to_string(file).unwrap())
    }

    #[test]
    fn an_upload_is_seen_when_it_is_kept_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(folder.path())).unwrap();
        let mut incoming = data.incoming().unwrap();
        incoming.file.write_all(b"x").unwrap();
        assert_eq!(text(&data, ID), None);
        data.keep(&mut incoming, ID).unwrap();
        drop(incoming);
        assert_eq!(text(&data, ID).as_deref(), Some("x"));
        data.remove(ID);
        assert_eq!(text(&data, ID), None);
    }

    #[test]
    fn a_start_removes_orphans_and_unfinished_uploads_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(Some(folder.path())).unwrap();
        write(&data, ID, "kept");
        write(&data, OTHER, "orphan");
        fs::write(folder.path().join("images/readme"), "x").unwrap();
        fs::write(folder.path().join("incoming/half"), "x").unwrap();
        data.clean(|id| id == ID).unwrap();
        assert_eq!(text(&data, ID).as_deref(), Some("kept"));
        assert_eq!(text(&data, OTHER), None);
        assert!(folder.path().join("images/readme").exists());
        assert!(!folder.path().join("incoming/half").exists());
    }

    #[test]
    fn a_folder_has_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(Some(folder.path())).unwrap();
        let second = DataDir::open(Some(folder.path()));
        assert!(matches!(second, Err(DataDirError::InUse { .. })));
        drop(first);
        assert!(DataDir::open(Some(folder.path())).is_ok());
    }

    #[test]
    fn an_id_cannot_leave_the_folder() {
        let data = DataDir::open(None).unwrap();
        for id in ["../lock", "", "..", "/etc/passwd"] {
            assert!(data.read(id).unwrap().is_none());
        }
    }

    #[test]
    fn a_temporary_folder_ends_with_its_user() {
        let data = DataDir::open(None).unwrap();
        let root = data.root().to_owned();
        assert!(root.exists());
        drop(data);
        assert!(!root.exists());
    }
}
