//! A database for tools: a folder, in use or not, opened so that nothing in it changes (upstream:
//! `DBReadOnly` in `tsdb/db.go`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::StorageError;

use super::{Db, DbOptions, Retention};
use crate::block::{self, BlockMeta};
use crate::disk::{Disk, MemDisk, RealDisk, SandboxDisk};
use crate::wal;

/// A running server may take a block or a part of the log away while we look at it: then we look again, so
/// often. It does so once in some minutes.
const LOOKS_MAX: usize = 5;
/// Where what we write stands on the memory disk.
const MEMORY_FOLDER: &str = "/sandbox";

/// What became of a block that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its files are hard links to the originals.
    Linked,
    /// Its files are copies.
    Copied,
    /// Made of what log and head held.
    Made,
    /// It was there already.
    Present,
    /// Left out: beyond retention.
    Unwanted,
}

impl How {
    /// As a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            How::Linked => "linked",
            How::Copied => "copied",
            How::Made => "made from the log",
            How::Present => "already there",
            How::Unwanted => "beyond retention",
        }
    }
}

/// A block that was to be copied.
#[derive(Clone, Debug)]
pub struct CopiedBlock {
    /// Its description.
    pub meta: BlockMeta,
    /// What became of it.
    pub how: How,
}

/// Which blocks are copied, and how.
pub(super) struct CopyRules<'a> {
    pub(super) with_head: bool,
    /// Read all of a block first, and refuse a damaged one.
    pub(super) verify: bool,
    pub(super) wanted: &'a dyn Fn(&BlockMeta) -> bool,
    /// Whether a head may have samples of its time where it goes; see [`block::BlockSource::foreign`].
    pub(super) foreign: &'a dyn Fn(&BlockMeta) -> bool,
    /// Whether a block's directory is on the real disk what it is here.
    pub(super) unchanged: &'a dyn Fn(&Path) -> bool,
}

/// An open database whose folder stays as it is.
#[derive(Debug)]
pub struct ReadOnlyDb {
    db: Db,
    disk: Arc<SandboxDisk>,
    path: PathBuf,
    /// Removed with this.
    folder: Option<PathBuf>,
}

/// What tells one state of a folder from another.
fn state(disk: &dyn Disk, path: &Path) -> Result<(Vec<String>, Option<u64>, Vec<u64>), StorageError> {
    let blocks = block::list_blocks(disk, path)?.into_iter().map(|(ulid, _)| ulid.to_string()).collect();
    let log = path.join("wal");
    let first = wal::segments(disk, &log).unwrap_or_default().first().copied();
    Ok((blocks, first, wal::checkpoints(disk, &log).unwrap_or_default()))
}

impl ReadOnlyDb {
    /// Opens a folder with all it holds, log and late samples included. What the replay writes is kept in
    /// memory, or in a folder below `sandbox_root` that goes with this.
    ///
    /// # Errors
    /// The folder is absent or cannot be read.
    pub fn open(path: &Path, sandbox_root: Option<&Path>) -> Result<ReadOnlyDb, StorageError> {
        let real: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut before = state(&*real, path)?;
        let mut looks = 0;
        loop {
            looks += 1;
            let opened = Self::open_once(&real, path, sandbox_root);
            let after = state(&*real, path)?;
            if after == before || looks >= LOOKS_MAX {
                return opened;
            }
            before = after;
        }
    }

    fn open_once(
        real: &Arc<dyn Disk>,
        path: &Path,
        sandbox_root: Option<&Path>,
    ) -> Result<ReadOnlyDb, StorageError> {
        let (upper, own): (Arc<dyn Disk>, PathBuf) = match sandbox_root {
            Some(root) => {
                let name = format!("tmp_dbro_sandbox{:016x}", ulid::Ulid::generate().random() as u64);
                (Arc::new(RealDisk), root.join(name))
            }
            None => (Arc::new(MemDisk::new()), PathBuf::from(MEMORY_FOLDER)),
        };
        upper.create_dir_all(&own)?;
        let disk = Arc::new(SandboxDisk::new(Arc::clone(real), upper, &own));
        let mut options = DbOptions::new(path);
        options.disk = Arc::<SandboxDisk>::clone(&disk);
        options.retention = Retention::default();
        options.lockfile = false;
        options.scrub_bytes = 0;
        let folder = sandbox_root.map(|_| own);
        match Db::open(options) {
            Ok(db) => Ok(ReadOnlyDb { db, disk, path: path.to_path_buf(), folder }),
            Err(e) => {
                if let Some(folder) = folder {
                    RealDisk.remove_dir_all(&folder)?;
                }
                Err(e)
            }
        }
    }

    /// The database. What it is told to write stays in the sandbox.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// What was mended or made in the sandbox is not what lies on the disk under that name.
    fn is_unchanged(&self, dir: &Path) -> bool {
        !self.disk.changed().iter().any(|p| p.starts_with(dir) || dir.starts_with(p))
    }

    /// Copies the folder's data into `target`, which must not exist: blocks as hard links where that works,
    /// and with `with_head` what log and head hold as a block. It is there whole or not at all.
    ///
    /// # Errors
    /// The target exists; no room; damaged data.
    pub fn snapshot(&self, target: &Path, with_head: bool) -> Result<Vec<CopiedBlock>, StorageError> {
        // `copy/` is `copy`.
        let target: PathBuf = target.components().collect();
        if RealDisk.exists(&target)? {
            return Err(StorageError::Other(format!(
                "{} exists already; name a new folder",
                target.display()
            )));
        }
        let mut scratch = target.as_os_str().to_os_string();
        scratch.push(".tmp");
        let scratch = PathBuf::from(scratch);
        let rules = CopyRules {
            with_head,
            verify: false,
            wanted: &|_| true,
            foreign: &|_| false,
            unchanged: &|dir| self.is_unchanged(dir),
        };
        RealDisk.remove_dir_all(&scratch)?;
        RealDisk.create_dir_all(&scratch)?;
        let done = self.db.0.copy_to(&scratch, &rules).and_then(|copied| {
            RealDisk.rename(&scratch, &target)?;
            let parent = target.parent().filter(|p| !p.as_os_str().is_empty());
            RealDisk.sync_dir(parent.unwrap_or(Path::new(".")))?;
            Ok(copied)
        });
        if done.is_err() {
            // What went wrong before is what matters.
            let _ = RealDisk.remove_dir_all(&scratch);
        }
        done
    }

    /// Puts the folder's data into another data folder, which may be in use: blocks that are `wanted`, each
    /// read whole before, and what log and head hold as one block more. Each block is there whole or not at
    /// all; those that are there already stay, so that it can be repeated. Those for which `foreign` holds are
    /// marked as blocks of late samples: a head there may have others of their time.
    ///
    /// # Errors
    /// A damaged block, no room. What was done before stays.
    pub fn import_into(
        &self,
        target: &Path,
        wanted: &dyn Fn(&BlockMeta) -> bool,
        foreign: &dyn Fn(&BlockMeta) -> bool,
    ) -> Result<Vec<CopiedBlock>, StorageError> {
        let same = |path: &Path| std::fs::canonicalize(path).ok();
        if same(target).is_some_and(|t| same(&self.path).as_ref() == Some(&t)) {
            return Err(StorageError::Other(format!("{} is the data folder itself", target.display())));
        }
        let unchanged = |dir: &Path| self.is_unchanged(dir);
        let rules = CopyRules { with_head: true, verify: true, wanted, foreign, unchanged: &unchanged };
        self.db.0.copy_to(target, &rules)
    }

    /// Files and folders that a start of the server would change, as of now.
    #[must_use]
    pub fn changed(&self) -> Vec<PathBuf> {
        self.disk.changed()
    }
}

impl Drop for ReadOnlyDb {
    fn drop(&mut self) {
        // Into the sandbox: nothing to lose.
        let _ = self.db.close();
        if let Some(folder) = self.folder.take() {
            let _ = RealDisk.remove_dir_all(&folder);
        }
    }
}
