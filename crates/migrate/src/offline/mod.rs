//! A source that nobody writes: the folder of a Prometheus that was stopped, a snapshot, or an archive of one.
//!
//! No links are made and nothing is written there, so it may be of another owner, on another file system, read-only.
//! What else is done is what is done with a living source: blocks are copied and read back, the log is put into the
//! store, it goes on after a kill. Each block is read whole before it is copied: nobody is asked again later.

mod archive;
mod still;
mod stones;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::CancelToken;
use tsdb::disk::Disk;

use crate::error::MigrateError;
use crate::look::Facts;
use crate::source::{Door, Machine, Source, read_piece};

use still::Still;
pub(crate) use stones::Stones;

/// Where archives are unpacked, in our data folder: beside the blocks that are on their way.
const UNPACKED_DIR: &str = "godwit-unpacked";

/// The way to a source that nobody writes.
#[derive(Debug)]
pub struct StillDoor {
    /// The disk of this machine.
    pub disk: Arc<dyn Disk>,
    /// A folder, or an archive of one.
    pub source: PathBuf,
    /// Our data folder.
    pub ours: PathBuf,
    /// Ends an unpacking.
    pub cancel: CancelToken,
    /// Bytes that were unpacked.
    pub unpacked: Arc<AtomicU64>,
}

impl StillDoor {
    /// Whether a source can only be one that nobody writes: a file, or a folder without a log.
    #[must_use]
    pub fn fits(source: &Path) -> bool {
        source.is_file() || (source.is_dir() && !source.join("wal").exists() && has_blocks(source))
    }

    /// Whether the source is there and is what it should be: at once, also where opening it takes long.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub fn check(&self) -> Result<(), MigrateError> {
        if self.source.is_file() { archive::check(&self.source) } else { self.lock(&self.source).map(|_| ()) }
    }

    /// Takes away what was unpacked.
    ///
    /// # Errors
    /// The disk refused it.
    pub fn clear(disk: &dyn Disk, ours: &Path) -> Result<(), MigrateError> {
        Ok(disk.remove_dir_all(&ours.join(UNPACKED_DIR))?)
    }

    /// Keeps a Prometheus from being started on it meanwhile. Folders without the file were never one's own.
    fn lock(&self, folder: &Path) -> Result<Option<File>, MigrateError> {
        let no = |why: String| MigrateError::Offline { path: self.source.clone(), why };
        let same = |path: &Path| std::fs::canonicalize(path).ok();
        if same(folder).is_some() && same(folder) == same(&self.ours) {
            return Err(no("it is this server's own folder".into()));
        }
        if let Err(e) = std::fs::read_dir(folder) {
            return Err(no(format!(
                "{e}; name a folder or an archive on the server's machine, and let its user read it"
            )));
        }
        if !has_blocks(folder) && !folder.join("wal").is_dir() {
            return Err(no("it has neither blocks nor a folder wal".into()));
        }
        let Ok(file) = File::open(folder.join("lock")) else { return Ok(None) };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(no("a process runs on it: take it over while it runs, without --offline".into()))
            }
            // A file system without locks: nothing can be said.
            Err(std::fs::TryLockError::Error(_)) => Ok(None),
        }
    }
}

fn has_blocks(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|e| ulid::Ulid::from_string(&e.file_name().to_string_lossy()).is_ok())
}

impl Door for StillDoor {
    fn name(&self) -> &Path {
        &self.source
    }

    fn is_still(&self) -> bool {
        true
    }

    fn look(&self) -> Result<(Facts, Option<Machine>), MigrateError> {
        if self.source.is_file() {
            let why = "a plan looks at folders; what an archive has is known when it is unpacked".to_string();
            return Err(MigrateError::Offline { path: self.source.clone(), why });
        }
        // Nothing is linked.
        Facts::of_still(&self.source).map(|facts| (Facts { can_link: true, ..facts }, None))
    }

    fn read(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), MigrateError> {
        read_piece(&*self.disk, &self.source.join(path), offset, len, into).map(|_| ())
    }

    fn open(&self, _place: Option<&Path>, _anew: bool) -> Result<Arc<dyn Source>, MigrateError> {
        if !self.source.is_file() {
            let lock = self.lock(&self.source)?;
            return Ok(Arc::new(Still::open(
                Arc::clone(&self.disk),
                (&self.source, lock),
                &self.ours,
                false,
            )?));
        }
        let place = self.ours.join(UNPACKED_DIR);
        self.unpacked.store(0, Ordering::Relaxed);
        archive::unpack(&*self.disk, &self.source, &place, (&self.cancel, &self.unpacked))?;
        Ok(Arc::new(Still::open(Arc::clone(&self.disk), (&place, None), &self.ours, true)?))
    }
}
