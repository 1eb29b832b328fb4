//! The operating system's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirEntry, Disk, DiskError, DiskResult, LockGuard, ReadFile, WriteFile, WriteMode};

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

trait Context<T> {
    fn at(self, op: &'static str, path: &Path) -> DiskResult<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, op: &'static str, path: &Path) -> DiskResult<T> {
        self.map_err(|e| DiskError::new(op, path, e))
    }
}

#[derive(Debug)]
struct RealRead {
    file: File,
    path: PathBuf,
}

impl ReadFile for RealRead {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        // The kernel refuses offsets that do not fit its signed type; such a place is behind any end.
        if offset > i64::MAX as u64 - buf.len() as u64 {
            return Ok(0);
        }
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.at("read", &self.path),
            }
        }
    }
    fn len(&self) -> DiskResult<u64> {
        Ok(self.file.metadata().at("stat", &self.path)?.len())
    }
    fn path(&self) -> &Path {
        &self.path
    }
    fn forget(&self, offset: u64, len: u64) {
        // A page that somebody has mapped, or that is not written yet, stays all the same.
        let _ = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(len),
            rustix::fs::Advice::DontNeed,
        );
    }
}

#[derive(Debug)]
struct RealWrite {
    file: File,
    path: PathBuf,
    len: u64,
}

impl WriteFile for RealWrite {
    fn append(&mut self, bytes: &[u8]) -> DiskResult<()> {
        self.file.write_all_at(bytes, self.len).at("write", &self.path)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> DiskResult<()> {
        self.file.write_all_at(bytes, offset).at("write", &self.path)?;
        self.len = self.len.max(offset + bytes.len() as u64);
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> DiskResult<()> {
        self.file.set_len(len).at("truncate", &self.path)?;
        self.len = len;
        Ok(())
    }
    fn len(&self) -> u64 {
        self.len
    }
    fn sync(&mut self) -> DiskResult<()> {
        self.file.sync_data().at("fsync", &self.path)
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct RealLock {
    // Held for its lock only: closing the file gives the lock back.
    _file: File,
}

impl LockGuard for RealLock {}

impl Disk for RealDisk {
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
        let file = File::open(path).at("open", path)?;
        Ok(Arc::new(RealRead { file, path: path.to_path_buf() }))
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> DiskResult<Box<dyn WriteFile>> {
        let mut options = OpenOptions::new();
        options.write(true);
        match mode {
            WriteMode::CreateNew => options.create_new(true),
            WriteMode::Truncate => options.create(true).truncate(true),
            // Not O_APPEND: Linux then ignores the offset of pwrite.
            WriteMode::Append => options.create(true),
            WriteMode::Existing => &mut options,
        };
        let file = options.open(path).at("open", path)?;
        let len = file.metadata().at("stat", path)?.len();
        Ok(Box::new(RealWrite { file, path: path.to_path_buf(), len }))
    }

    fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        fs::rename(from, to).at("rename", from)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> DiskResult<()> {
        fs::hard_link(from, to).at("link", from)
    }

    fn remove_file(&self, path: &Path) -> DiskResult<()> {
        fs::remove_file(path).at("remove", path)
    }

    fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.at("remove", path),
        }
    }

    fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        fs::create_dir_all(path).at("create directory", path)
    }

    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).at("list", path)? {
            let entry = entry.at("list", path)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Follows links: operators put block folders on other disks by symlink.
            let is_dir = match fs::metadata(entry.path()) {
                Ok(meta) => meta.is_dir(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => false,
                Err(e) => return Err(DiskError::new("stat", entry.path(), e)),
            };
            entries.push(DirEntry { name, is_dir });
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> DiskResult<bool> {
        path.try_exists().at("stat", path)
    }

    fn size(&self, path: &Path) -> DiskResult<u64> {
        Ok(fs::metadata(path).at("stat", path)?.len())
    }

    fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        File::open(path).and_then(|d| d.sync_all()).at("fsync", path)
    }

    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>> {
        // Read and write: NFS refuses an exclusive lock on a file that is open for reading only.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).at("open", path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => {
                Err(DiskError::new("lock", path, io::Error::from(io::ErrorKind::WouldBlock)))
            }
            Err(TryLockError::Error(e)) => Err(DiskError::new("lock", path, e)),
        }
    }

    fn free_bytes(&self, path: &Path) -> DiskResult<u64> {
        let stat = rustix::fs::statvfs(path).map_err(io::Error::from).at("statfs", path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self, path: &Path) -> DiskResult<u64> {
        let stat = rustix::fs::statvfs(path).map_err(io::Error::from).at("statfs", path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}
