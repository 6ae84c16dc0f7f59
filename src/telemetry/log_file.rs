//! `log.file`: a log file that can be rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Owner reads and writes, group reads.
const MODE: u32 = 0o640;

/// A file that lines are appended to. After [`Reopen::request`] the next write goes to the file that
/// then has the path.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Reopen,
}

/// Has the log file opened again; clones concern the same file.
#[derive(Debug, Clone, Default)]
pub struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// Has the file opened before the next line is written.
    pub fn request(&self) {
        self.0.store(true, Relaxed);
    }
}

impl LogFile {
    /// Opens the file, which is made where it is absent.
    pub(super) fn open(path: PathBuf, reopen: Reopen) -> io::Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, file, reopen })
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
}

impl Write for LogFile {
    /// A file that cannot be opened again leaves the old one in use, and the next write tries again.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Relaxed) {
            match open(&self.path) {
                Ok(file) => self.file = file,
                Err(_) => self.reopen.request(),
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_rotated_file_is_left_when_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let reopen = Reopen::default();
        let mut log = LogFile::open(path.clone(), reopen.clone()).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        log.write_all(b"two\n").unwrap();
        reopen.request();
        log.write_all(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_stays_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inner").join("log");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let reopen = Reopen::default();
        let mut log = LogFile::open(path.clone(), reopen.clone()).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(path.parent().unwrap(), &moved).unwrap();
        reopen.request();
        log.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("log")).unwrap(), "one\n");
        fs::create_dir(path.parent().unwrap()).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
