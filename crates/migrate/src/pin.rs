//! Keeping the files of a running Prometheus from going while they are read: hard links, which cost nothing at first
//! and hold what compaction and retention remove.
//!
//! Order matters. A sample is in the log until a block has it, so the log is pinned first and the blocks after it:
//! whatever was committed before is in one of the two. The other way round, which a copy of the folder by name takes,
//! loses what was compacted in between.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;
use tsdb::block::{BlockMeta, META_FILE};
use tsdb::disk::{Disk, DiskError, DiskResult, read_all, write_atomic};
use tsdb::tombstones::FILE_NAME as TOMBSTONES;
use tsdb::wal::{checkpoint_path, checkpoints, segment_path, segments};

use crate::blocks::list_blocks;
use crate::error::MigrateError;
use crate::source::{Place, Source, Who, read_piece};
use crate::verify::{Digest, digest};

/// Files go only when a block was written or one was merged: minutes lie between, a round of links takes
/// milliseconds. So many rounds are only met on a disk that hangs.
const ROUNDS_MAX: usize = 50;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PinnedLog {
    /// Samples as they came, series, exemplars, deletions.
    Wal,
    /// Late (out-of-order) samples once more.
    Wbl,
}

impl PinnedLog {
    /// Both.
    pub const ALL: [PinnedLog; 2] = [PinnedLog::Wal, PinnedLog::Wbl];

    /// Name of its folder.
    #[must_use]
    pub fn dir(self) -> &'static str {
        match self {
            PinnedLog::Wal => "wal",
            PinnedLog::Wbl => "wbl",
        }
    }
}

/// A source whose files stay.
#[derive(Clone, Debug)]
pub struct Pin {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    dir: PathBuf,
    id: String,
}

impl Pin {
    /// Pins the data folder of a Prometheus in `dir`, which is made where it is not there; or goes on with a pin that
    /// an earlier run made: segments that came since are linked, blocks are not looked at again.
    ///
    /// # Errors
    /// No data folder, another file system, no permission; [`MigrateError::Gap`] where segments that came since the
    /// earlier run are gone already.
    pub fn open(disk: Arc<dyn Disk>, data: &Path, dir: &Path) -> Result<Self, MigrateError> {
        Pin::check(&*disk, data)?;
        let mut pin = Pin { disk, data: data.to_path_buf(), dir: dir.to_path_buf(), id: String::new() };
        if Pin::is_made(&*pin.disk, dir)? {
            let id = read_all(&*pin.disk, &dir.join(DONE_FILE), ID_BYTES_MAX)?;
            pin.id = String::from_utf8_lossy(&id).into_owned();
            pin.follow()?;
            return Ok(pin);
        }
        // What an earlier pin holds says which samples came from here, until all that is new was looked at.
        let aside = dir.with_extension(BEFORE_DIR);
        if pin.disk.exists(&pin.dir)? {
            pin.disk.remove_dir_all(&aside)?;
            pin.disk.remove_dir_all(&pin.dir.join(BEFORE_DIR))?;
            pin.disk.rename(&pin.dir, &aside)?;
        }
        pin.disk.create_dir_all(&pin.dir)?;
        for log in PinnedLog::ALL {
            pin.pin_log(log)?;
        }
        pin.pin_blocks()?;
        // Segments that came meanwhile.
        pin.follow()?;
        if pin.disk.exists(&aside)? {
            pin.disk.rename(&aside, &pin.dir.join(BEFORE_DIR))?;
        }
        pin.id = ulid::Ulid::generate().to_string();
        write_atomic(&*pin.disk, &pin.dir.join(DONE_FILE), pin.id.as_bytes())?;
        Ok(pin)
    }

    /// Whether a folder is that of a Prometheus.
    pub(crate) fn check(disk: &dyn Disk, data: &Path) -> Result<(), MigrateError> {
        match disk.exists(&data.join("wal"))? {
            true => Ok(()),
            false => {
                let why = "it has no folder wal".to_string();
                Err(MigrateError::NoSource { path: data.to_path_buf(), why })
            }
        }
    }

    /// Makes it none, if there is one: the next to open it pins anew.
    pub(crate) fn unmake(disk: &dyn Disk, dir: &Path) -> DiskResult<()> {
        match disk.remove_file(&dir.join(DONE_FILE)) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Whether there is a complete pin.
    pub(crate) fn is_made(disk: &dyn Disk, dir: &Path) -> DiskResult<bool> {
        disk.exists(&dir.join(DONE_FILE))
    }

    fn follow_deletions_of(&self, name: &str) -> DiskResult<()> {
        let disk = &*self.disk;
        let from = self.data.join(name);
        if disk.size(&from.join(TOMBSTONES))? <= NO_TOMBSTONES_BYTES {
            return Ok(());
        }
        let pinned = self.dir.join(name);
        let to = if disk.exists(&pinned)? { pinned } else { self.deletions_dir().join(name) };
        if !disk.exists(&to)? {
            let scratch = self.dir.join(format!("{name}.linking"));
            disk.remove_dir_all(&scratch)?;
            self.link_tree(&from, &scratch)?;
            disk.create_dir_all(&self.deletions_dir())?;
            return disk.rename(&scratch, &to);
        }
        let (from, to) = (from.join(TOMBSTONES), to.join(TOMBSTONES));
        if same(disk, &from, &to)? {
            return Ok(());
        }
        // The file is replaced when it changes, never written to.
        let scratch = to.with_extension("linking");
        match disk.remove_file(&scratch) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
        disk.hard_link(&from, &scratch)?;
        disk.rename(&scratch, &to)
    }

    /// The newest checkpoint and all segments behind it.
    fn pin_log(&self, log: PinnedLog) -> Result<(), MigrateError> {
        let (from, to) = (self.data.join(log.dir()), self.log_dir(log));
        for _ in 0..ROUNDS_MAX {
            self.disk.remove_dir_all(&to)?;
            self.disk.create_dir_all(&to)?;
            let Some(newest) = self.try_pin_log(&from, &to)? else { continue };
            // A checkpoint that came meanwhile is no harm: the segments it stands for are linked, or it would be
            // a link that failed. One that is there must not have a hole behind it.
            let all = segments(&*self.disk, &to)?;
            let hole = all.windows(2).any(|w| matches!(w, [a, b] if *b != a + 1));
            let behind = newest.is_none_or(|n| all.first().is_none_or(|first| *first <= n + 1));
            if !hole && behind {
                self.disk.sync_dir(&to)?;
                return Ok(());
            }
        }
        Err(MigrateError::Restless { path: from, tries: ROUNDS_MAX })
    }

    /// The checkpoint that was linked, or `None` where something went meanwhile.
    fn try_pin_log(&self, from: &Path, to: &Path) -> Result<Option<Option<u64>>, MigrateError> {
        let newest = checkpoints(&*self.disk, from)?.last().copied();
        let linked = || -> DiskResult<()> {
            for segment in segments(&*self.disk, from)? {
                self.link(&segment_path(from, segment), &segment_path(to, segment))?;
            }
            if let Some(n) = newest {
                let (source, target) = (checkpoint_path(from, n), checkpoint_path(to, n));
                self.disk.create_dir_all(&target)?;
                for part in segments(&*self.disk, &source)? {
                    self.link(&segment_path(&source, part), &segment_path(&target, part))?;
                }
            }
            Ok(())
        };
        match linked() {
            Ok(()) if checkpoints(&*self.disk, from)?.last().copied() == newest => Ok(Some(newest)),
            Ok(()) => Ok(None),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(self.linking(e)),
        }
    }

    /// All blocks, until two looks agree. What was merged meanwhile is there as what it became.
    fn pin_blocks(&self) -> Result<(), MigrateError> {
        for _ in 0..ROUNDS_MAX {
            let listed = names(&*self.disk, &self.data)?;
            for name in &listed {
                if !self.disk.exists(&self.dir.join(name))? {
                    self.pin_block(name)?;
                }
            }
            if names(&*self.disk, &self.data)? == listed {
                // Those that went are in others, or their time was over.
                for name in names(&*self.disk, &self.dir)?.difference(&listed) {
                    self.disk.remove_dir_all(&self.dir.join(name))?;
                }
                let whole = listed
                    .iter()
                    .map(|name| self.disk.exists(&self.dir.join(name)))
                    .collect::<DiskResult<Vec<bool>>>()?;
                if whole.iter().all(|there| *there) {
                    self.disk.sync_dir(&self.dir)?;
                    return Ok(());
                }
            }
        }
        Err(MigrateError::Restless { path: self.data.clone(), tries: ROUNDS_MAX })
    }

    fn pin_block(&self, name: &str) -> Result<(), MigrateError> {
        let (from, scratch) = (self.data.join(name), self.dir.join(format!("{name}.linking")));
        let linked = || -> DiskResult<()> {
            self.disk.remove_dir_all(&scratch)?;
            self.link_tree(&from, &scratch)?;
            self.disk.sync_dir(&scratch)?;
            self.disk.rename(&scratch, &self.dir.join(name))
        };
        match linked() {
            Ok(()) => Ok(()),
            // Removed while it was linked: the next look finds what it became.
            Err(e) if e.is_not_found() => Ok(self.disk.remove_dir_all(&scratch)?),
            Err(e) => Err(self.linking(e)),
        }
    }

    fn link_tree(&self, from: &Path, to: &Path) -> DiskResult<()> {
        self.disk.create_dir_all(to)?;
        for entry in self.disk.list(from)? {
            let (source, target) = (from.join(&entry.name), to.join(&entry.name));
            if entry.is_dir {
                self.link_tree(&source, &target)?;
            } else if !entry.name.ends_with(".tmp") {
                self.link(&source, &target)?;
            }
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> DiskResult<()> {
        match self.disk.hard_link(from, to) {
            Err(e) if e.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn linking(&self, e: DiskError) -> MigrateError {
        match e.source.kind() {
            std::io::ErrorKind::CrossesDevices => MigrateError::OtherFileSystem { path: self.dir.clone() },
            _ => e.into(),
        }
    }
}

impl Source for Pin {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn piece(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<Hash, MigrateError> {
        read_piece(&*self.disk, path, offset, len, into)
    }

    /// Costs two listings where no segment came.
    fn follow(&self) -> Result<(), MigrateError> {
        for log in PinnedLog::ALL {
            let (from, to) = (self.data.join(log.dir()), self.log_dir(log));
            if !self.disk.exists(&from)? {
                continue;
            }
            self.disk.create_dir_all(&to)?;
            for _ in 0..ROUNDS_MAX {
                let last = segments(&*self.disk, &to)?.last().copied();
                let new: Vec<u64> = segments(&*self.disk, &from)?
                    .into_iter()
                    .filter(|s| last.is_none_or(|l| *s > l))
                    .collect();
                if let (Some(last), Some(first)) = (last, new.first())
                    && *first > last + 1
                {
                    return Err(MigrateError::Gap { from: last + 1, found: *first });
                }
                let linked: DiskResult<()> =
                    new.iter().try_for_each(|s| self.link(&segment_path(&from, *s), &segment_path(&to, *s)));
                match linked {
                    Ok(()) => break,
                    // Cut while we looked: if it was needed the next round says so.
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(self.linking(e)),
                }
            }
        }
        Ok(())
    }

    /// Blocks that the source made after the pin hold what came by the log here: those are linked as well where
    /// something is deleted in them. Costs a look at each block's file, and reading those that have any.
    fn follow_deletions(&self) -> Result<(), MigrateError> {
        for name in names(&*self.disk, &self.data)? {
            match self.follow_deletions_of(&name) {
                // Compacted meanwhile: without what was deleted, which was seen by the look before, or will be
                // found when both sides are compared.
                Err(e) if e.is_not_found() => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn first_held(&self, log: PinnedLog) -> Result<Option<u64>, MigrateError> {
        let dir = self.data.join(log.dir());
        if !self.disk.exists(&dir)? { Ok(None) } else { Ok(segments(&*self.disk, &dir)?.first().copied()) }
    }

    fn block_names(&self) -> Result<BTreeSet<String>, MigrateError> {
        Ok(names(&*self.disk, &self.data)?)
    }

    fn describe(&self, name: &str) -> Result<Option<BlockMeta>, MigrateError> {
        let dir = self.data.join(name);
        match BlockMeta::read(&*self.disk, &dir) {
            Err(_) if !self.disk.exists(&dir)? => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    fn all_blocks(&self) -> Result<Vec<BlockMeta>, MigrateError> {
        self.block_names()?.iter().filter_map(|name| self.describe(name).transpose()).collect()
    }

    fn hold(&self, who: Who, (mint_ms, end_ms): (i64, i64)) -> Result<Option<Vec<BlockMeta>>, MigrateError> {
        self.let_go(who)?;
        let before = self.block_names()?;
        let mut held = Vec::new();
        for name in &before {
            let Some(meta) = self.describe(name)? else { return Ok(None) };
            if meta.mint_ms >= end_ms || meta.maxt_ms <= mint_ms {
                continue;
            }
            match self.link_tree(&self.data.join(name), &self.held_dir(who).join(name)) {
                Err(e) if e.is_not_found() => return Ok(None),
                other => other?,
            }
            held.push(meta);
        }
        Ok((self.block_names()? == before).then_some(held))
    }

    fn digest(&self, range: (i64, i64)) -> Result<Option<Vec<Digest>>, MigrateError> {
        digest(self, range)
    }

    fn let_go(&self, who: Who) -> Result<(), MigrateError> {
        Ok(self.disk.remove_dir_all(&self.held_dir(who))?)
    }

    fn forget_before(&self) -> Result<(), MigrateError> {
        Ok(self.disk.remove_dir_all(&self.dir.join(BEFORE_DIR))?)
    }

    fn void(&self) -> Result<(), MigrateError> {
        Ok(Pin::unmake(&*self.disk, &self.dir)?)
    }

    fn release(&self) -> Result<(), MigrateError> {
        // First, so that a half-removed pin is none.
        self.void()?;
        Ok(self.disk.remove_dir_all(&self.dir)?)
    }

    fn blocks_in(&self, place: Place) -> Result<Vec<BlockMeta>, MigrateError> {
        list_blocks(
            &*self.disk,
            &match place {
                Place::Pinned => self.dir.clone(),
                Place::Deletions => self.deletions_dir(),
            },
        )
    }
}

/// Magic number, version, checksum.
pub(crate) const NO_TOMBSTONES_BYTES: u64 = 9;
/// Twenty million deleted ranges: what a block's reader takes.
pub(crate) const TOMBSTONES_BYTES_MAX: u64 = 256 << 20;

fn same(disk: &dyn Disk, a: &Path, b: &Path) -> DiskResult<bool> {
    if !disk.exists(b)? || disk.size(a)? != disk.size(b)? {
        return Ok(false);
    }
    Ok(read_all(disk, a, TOMBSTONES_BYTES_MAX)? == read_all(disk, b, TOMBSTONES_BYTES_MAX)?)
}

/// Says that a pin is complete, and which one it is.
const DONE_FILE: &str = "pinned";
/// Where the pin before this one is kept.
pub(crate) const BEFORE_DIR: &str = "before";
/// A ULID has 26.
const ID_BYTES_MAX: u64 = 64;

/// Names of the blocks in a folder that are whole: such as have a description.
pub(crate) fn names(disk: &dyn Disk, data: &Path) -> DiskResult<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    if !disk.exists(data)? {
        return Ok(all);
    }
    for entry in disk.list(data)? {
        let block = entry.is_dir && ulid::Ulid::from_string(&entry.name).is_ok();
        if block && disk.exists(&data.join(&entry.name).join(META_FILE))? {
            all.insert(entry.name);
        }
    }
    Ok(all)
}

/// Descriptions of the pinned blocks.
pub(crate) fn metas(disk: &dyn Disk, dir: &Path) -> Result<Vec<BlockMeta>, MigrateError> {
    names(disk, dir)?.iter().map(|name| Ok(BlockMeta::read(disk, &dir.join(name))?)).collect()
}
