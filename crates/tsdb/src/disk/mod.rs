//! The only door from this crate to a file system: everything that reads or writes goes through [`Disk`],
//! so that one test-suite and one simulator can run the store on a real, an in-memory or a faulty disk.
//!
//! No memory maps: a file that is cut while mapped kills the process with SIGBUS, and a page fault blocks
//! a thread where nobody expects it. Reads are positioned (`pread`) and callers batch them.

mod atomic;
mod faulty;
mod memory;
mod mount;
mod real;
mod sandbox;
#[cfg(test)]
mod tests;
mod unreadable;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use atomic::{create_dir_durable, read_all, write_atomic};
pub use faulty::{Fault, FaultCounts, FaultDisk, FaultKind, Op, Restart, Rng, Spoil};
pub use memory::MemDisk;
pub use mount::Mount;
pub use real::RealDisk;
pub use sandbox::SandboxDisk;
pub(crate) use unreadable::{open_around, read_all_around, read_around};

/// An operation on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb: `open`, `read`, `rename`.
    pub op: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: io::Error,
}

impl DiskError {
    /// Wraps an answer of the operating system.
    pub fn new(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        DiskError { op, path: path.into(), source }
    }
    /// The path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
    /// No room: disk full, quota used up or file too large. Retried when there is room, never fatal.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
    /// The device has bytes there that it cannot give: EIO, and what file systems with checksums and disks
    /// that know of a bad sector say (ENODATA, EBADMSG, EILSEQ, EUCLEAN). The numbers are Linux's on all
    /// architectures but MIPS and SPARC.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.op == "read" && matches!(self.source.raw_os_error(), Some(5 | 61 | 74 | 84 | 117))
    }
}

impl From<DiskError> for storage::StorageError {
    fn from(e: DiskError) -> Self {
        storage::StorageError::Io { what: format!("{} {}", e.op, e.path.display()), source: e.source }
    }
}

/// Result of a disk operation.
pub type DiskResult<T> = Result<T, DiskError>;

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Must not exist yet.
    CreateNew,
    /// Created, or emptied where it exists.
    Truncate,
    /// Created where absent; [`WriteFile::append`] goes behind what is there.
    Append,
    /// As `Append`, but must be there.
    Existing,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Name without the directory. Names that are not UTF-8 are left out of listings: none of ours is.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
}

/// A file system, as far as this crate needs one. Paths are absolute or relative to the process.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file for positioned reads.
    ///
    /// # Errors
    /// Absent, no permission.
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>>;
    /// Opens a file for writing.
    ///
    /// # Errors
    /// No permission, no room, exists already ([`WriteMode::CreateNew`]).
    fn open_write(&self, path: &Path, mode: WriteMode) -> DiskResult<Box<dyn WriteFile>>;
    /// Moves a file or directory; a file at `to` is replaced, and so is an empty directory.
    ///
    /// # Errors
    /// Absent source, non-empty directory at `to`.
    fn rename(&self, from: &Path, to: &Path) -> DiskResult<()>;
    /// Gives a file a second name.
    ///
    /// # Errors
    /// Absent source, existing target.
    fn hard_link(&self, from: &Path, to: &Path) -> DiskResult<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// Absent, or a directory.
    fn remove_file(&self, path: &Path) -> DiskResult<()>;
    /// Removes a directory and all below it; nothing to do where it is absent.
    ///
    /// # Errors
    /// No permission.
    fn remove_dir_all(&self, path: &Path) -> DiskResult<()>;
    /// Makes a directory and its parents; nothing to do where it exists.
    ///
    /// # Errors
    /// No permission, no room, a file in the way.
    fn create_dir_all(&self, path: &Path) -> DiskResult<()>;
    /// Entries of a directory, sorted by name.
    ///
    /// # Errors
    /// Absent, not a directory.
    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>>;
    /// Whether something is at this path.
    ///
    /// # Errors
    /// The path cannot be looked at.
    fn exists(&self, path: &Path) -> DiskResult<bool>;
    /// Size of a file in bytes.
    ///
    /// # Errors
    /// Absent.
    fn size(&self, path: &Path) -> DiskResult<u64>;
    /// Makes a directory's entries (creations, renames, removals) survive a power cut.
    ///
    /// # Errors
    /// Absent, or the device failed.
    fn sync_dir(&self, path: &Path) -> DiskResult<()>;
    /// Takes an exclusive lock on a file, which is created where absent and stays. The lock ends with the
    /// guard or the process.
    ///
    /// # Errors
    /// `WouldBlock` where another holder has it.
    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>>;
    /// Bytes that this process may still write on the file system of `path`.
    ///
    /// # Errors
    /// Absent.
    fn free_bytes(&self, path: &Path) -> DiskResult<u64>;
    /// Size of the file system of `path` in bytes.
    ///
    /// # Errors
    /// Absent.
    fn total_bytes(&self, path: &Path) -> DiskResult<u64>;
}

/// A held lock.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// A file open for positioned reads, from any thread.
pub trait ReadFile: Send + Sync + fmt::Debug {
    /// Reads at most `buf.len()` bytes at `offset`; 0 at or behind the end.
    ///
    /// # Errors
    /// The device failed.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize>;
    /// Size in bytes now.
    ///
    /// # Errors
    /// The device failed.
    fn len(&self) -> DiskResult<u64>;
    /// Where the file is (for error texts).
    fn path(&self) -> &Path;

    /// Says that a part of it will not be read again soon: it need not stay in memory. A hint.
    fn forget(&self, _offset: u64, _len: u64) {}

    /// True for a file without bytes.
    ///
    /// # Errors
    /// The device failed.
    fn is_empty(&self) -> DiskResult<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset.saturating_add(done as u64))? {
                0 => {
                    let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(DiskError::new("read", self.path(), eof));
                }
                n => done += n,
            }
        }
        Ok(())
    }
}

/// A file open for writing, by one owner. Not buffered: callers collect.
pub trait WriteFile: Send + fmt::Debug {
    /// Writes all bytes at the end. After an error an unknown part of them is in the file: cut it off with
    /// [`WriteFile::set_len`] before going on.
    ///
    /// # Errors
    /// No room, device failed.
    fn append(&mut self, bytes: &[u8]) -> DiskResult<()>;
    /// Overwrites bytes that were written before (a length that was not known then).
    ///
    /// # Errors
    /// No room, device failed.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> DiskResult<()>;
    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// No room, device failed.
    fn set_len(&mut self, len: u64) -> DiskResult<()>;
    /// Size in bytes, as this handle left it.
    fn len(&self) -> u64;
    /// True for a file without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes content and size survive a power cut.
    ///
    /// # Errors
    /// The device failed: what was written since the last success may be lost, also after a retry.
    fn sync(&mut self) -> DiskResult<()>;
    /// Where the file is.
    fn path(&self) -> &Path;
}
