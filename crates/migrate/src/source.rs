//! A source whose files stay, wherever it is: a folder of this machine ([`crate::Pin`]), or one behind an agent
//! ([`crate::wire::RemoteSource`]). What has to be quick beside a living Prometheus (making links) is done where the
//! files are; reading them goes by [`Disk`], whose paths mean the source's.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;
use tsdb::block::BlockMeta;
use tsdb::disk::Disk;

use crate::error::MigrateError;
use crate::look::Facts;
use crate::pin::{Pin, PinnedLog};
use crate::verify::Digest;

/// A pinned source. Each method costs one exchange with an agent.
pub trait Source: Debug + Send + Sync {
    /// Reads its files.
    fn disk(&self) -> &Arc<dyn Disk>;
    /// Where the pinned files are: a data folder of its own, without `chunks_head`, whose samples the log has.
    fn dir(&self) -> &Path;
    /// The source's data folder.
    fn data(&self) -> &Path;
    /// What tells this pin from one that was made later in its place.
    fn id(&self) -> &str;
    /// The machine that it is on, as it was when it was asked last; `None` for this one.
    fn machine(&self) -> Option<Machine> {
        None
    }
    /// Reads at most `len` bytes of a file into `into`, fewer only at its end; gives their BLAKE3 as it is where the
    /// file is. For what is read once: it does not stay in the page cache.
    ///
    /// # Errors
    /// The device or the network failed.
    fn piece(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<Hash, MigrateError>;
    /// Whether nobody writes it: what was deleted there is known from the begin, and is left out instead of deleted
    /// here, where this server has samples of its own.
    fn is_still(&self) -> bool {
        false
    }
    /// Reads all of a block before it is copied, where that is asked for: of a source that nobody can be asked for again.
    ///
    /// # Errors
    /// It is damaged, or of a kind that this version does not know.
    fn check_block(&self, _name: &str) -> Result<(), MigrateError> {
        Ok(())
    }
    /// Links segments that came since the last call.
    ///
    /// # Errors
    /// [`MigrateError::Gap`]; the device failed.
    fn follow(&self) -> Result<(), MigrateError>;
    /// Takes over which samples of the source's blocks were deleted since, see [`Pin::follow_deletions`].
    ///
    /// # Errors
    /// The device failed.
    fn follow_deletions(&self) -> Result<(), MigrateError>;
    /// The first segment that the source itself has of a log.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn first_held(&self, log: PinnedLog) -> Result<Option<u64>, MigrateError>;
    /// Names of the blocks that the source has now.
    ///
    /// # Errors
    /// The folder cannot be listed.
    fn block_names(&self) -> Result<BTreeSet<String>, MigrateError>;
    /// A block of the source; `None` where it went.
    ///
    /// # Errors
    /// Its description cannot be read.
    fn describe(&self, name: &str) -> Result<Option<BlockMeta>, MigrateError>;
    /// Descriptions of all blocks that the source has now.
    ///
    /// # Errors
    /// A description cannot be read.
    fn all_blocks(&self) -> Result<Vec<BlockMeta>, MigrateError>;
    /// Descriptions of the blocks in one of the pin's folders, newest first: people look at what is new.
    ///
    /// # Errors
    /// The folder or a description cannot be read.
    fn blocks_in(&self, place: Place) -> Result<Vec<BlockMeta>, MigrateError>;
    /// Links all blocks of [mint, end) for `who`, until [`Source::let_go`]; `None` where they changed meanwhile.
    ///
    /// # Errors
    /// The device failed.
    fn hold(&self, who: Who, range: (i64, i64)) -> Result<Option<Vec<BlockMeta>>, MigrateError>;
    /// Removes what [`Source::hold`] linked.
    ///
    /// # Errors
    /// The device failed.
    fn let_go(&self, who: Who) -> Result<(), MigrateError>;
    /// What each series has in the source's blocks within a range, both ends included, see [`Digest`]; `None` where that
    /// changed meanwhile.
    ///
    /// # Errors
    /// A block cannot be read.
    fn digest(&self, range: (i64, i64)) -> Result<Option<Vec<Digest>>, MigrateError>;
    /// Removes what is kept of the pin before this one: all that is deleted in the source is known.
    ///
    /// # Errors
    /// No permission.
    fn forget_before(&self) -> Result<(), MigrateError>;
    /// Says that what is here is no pin: it is made anew when it is opened again.
    ///
    /// # Errors
    /// No permission.
    fn void(&self) -> Result<(), MigrateError>;
    /// Removes the links. The source's own files stay.
    ///
    /// # Errors
    /// No permission.
    fn release(&self) -> Result<(), MigrateError>;

    /// Folder of a pinned log.
    fn log_dir(&self, log: PinnedLog) -> PathBuf {
        self.dir().join(log.dir())
    }
    /// Blocks that are linked only for what is deleted in them.
    fn deletions_dir(&self) -> PathBuf {
        self.dir().join(DELETIONS)
    }
    /// Where [`Source::hold`] links.
    fn held_dir(&self, who: Who) -> PathBuf {
        self.dir().join("held").join(who.name())
    }
}

/// Name of the folder of blocks that are linked for their deletions.
pub(crate) const DELETIONS: &str = "deletions";

/// A source's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name, as a Prometheus there sees it.
    pub host: String,
    /// Its clock is so many milliseconds ahead of ours, give or take half a round trip.
    pub ahead_ms: i64,
}

/// A folder of a pin that has blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Place {
    /// Those of the time of the pin.
    Pinned,
    /// Those that are linked for their deletions.
    Deletions,
}

/// For whom blocks are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Who {
    /// Looking for deletions that nobody saw.
    Audit,
    /// Comparing both sides.
    Verify,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Audit => "audit",
            Who::Verify => "verify",
        }
    }
}

/// Where a source is found.
pub trait Door: Debug + Send + Sync {
    /// What names the source in a migration's state: a folder, or the address of an agent.
    fn name(&self) -> &Path;
    /// The file with the key of the migration, where there is one.
    fn key_file(&self) -> Option<&Path> {
        None
    }
    /// Whether nobody writes the source: see [`crate::StillDoor`].
    fn is_still(&self) -> bool {
        false
    }
    /// What the source is, and its machine where that is another one. Changes nothing.
    ///
    /// # Errors
    /// It cannot be looked at; no agent answers.
    fn look(&self) -> Result<(Facts, Option<Machine>), MigrateError>;
    /// Reads of a file in the source's folder that need not be pinned. Changes nothing.
    ///
    /// # Errors
    /// The device or the network failed.
    fn read(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), MigrateError>;
    /// Pins the source, or goes on with the pin that an earlier run made in `place`; `anew`: that one is void.
    ///
    /// # Errors
    /// See [`Pin::open`]; no agent answers.
    fn open(&self, place: Option<&Path>, anew: bool) -> Result<Arc<dyn Source>, MigrateError>;
}

/// A folder on a disk of this machine.
#[derive(Debug)]
pub struct LocalDoor {
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// The data folder of the Prometheus.
    pub data: PathBuf,
    /// Where the links are made, on the same file system; by default a folder within the source's.
    pub pin: Option<PathBuf>,
}

impl LocalDoor {
    /// Where the pin is, where an earlier run did not say so.
    pub(crate) fn place(&self, earlier: Option<&Path>) -> PathBuf {
        earlier.or(self.pin.as_deref()).map_or_else(|| self.data.join(PIN_DIR), Path::to_path_buf)
    }

    /// Goes on with a pin, if there is one.
    ///
    /// # Errors
    /// See [`Pin::open`].
    pub(crate) fn reopen(&self) -> Result<Option<Arc<dyn Source>>, MigrateError> {
        let place = self.place(None);
        Ok(match Pin::is_made(&*self.disk, &place)? {
            true => Some(Arc::new(Pin::open(Arc::clone(&self.disk), &self.data, &place)?)),
            false => None,
        })
    }

    /// Whether this is the data folder of a Prometheus.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn check(&self) -> Result<(), MigrateError> {
        Pin::check(&*self.disk, &self.data)
    }
}

/// Reads a piece that is not read again soon, and hashes it.
pub(crate) fn read_piece(
    disk: &dyn Disk,
    path: &Path,
    offset: u64,
    len: usize,
    into: &mut Vec<u8>,
) -> Result<Hash, MigrateError> {
    let file = disk.open_read(path)?;
    let left = file.len()?.saturating_sub(offset).min(len as u64);
    into.resize(left as usize, 0);
    file.read_exact_at(into, offset)?;
    file.forget(offset, left);
    Ok(blake3::hash(into))
}

/// Name of the pin's folder in the source's data folder, where Prometheus looks only at names of blocks.
pub(crate) const PIN_DIR: &str = "godwit-pin";

impl Door for LocalDoor {
    fn name(&self) -> &Path {
        &self.data
    }

    fn look(&self) -> Result<(Facts, Option<Machine>), MigrateError> {
        Facts::of(&self.data).map(|facts| (facts, None))
    }

    fn read(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), MigrateError> {
        read_piece(&*self.disk, &self.data.join(path), offset, len, into).map(|_| ())
    }

    fn open(&self, place: Option<&Path>, anew: bool) -> Result<Arc<dyn Source>, MigrateError> {
        let place = self.place(place);
        if anew {
            Pin::unmake(&*self.disk, &place)?;
        }
        Ok(Arc::new(Pin::open(Arc::clone(&self.disk), &self.data, &place)?))
    }
}
