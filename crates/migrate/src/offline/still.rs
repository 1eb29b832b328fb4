//! A folder that stays as it is, read in place.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::{Hash, Hasher};
use storage::StorageError;
use tsdb::block::{Block, BlockMeta};
use tsdb::disk::Disk;
use tsdb::wal::segments;

use crate::blocks::list_blocks;
use crate::error::MigrateError;
use crate::pin::{PinnedLog, names};
use crate::source::{Place, Source, Who, read_piece};
use crate::verify::{Digest, digest};

/// Read of a block at once.
const STEP_BYTES: u64 = 16 << 20;
/// What has to stay free of our disk: a running server must not stand still for old data.
const SPARE_BYTES: u64 = 256 << 20;

/// A folder that nobody writes.
#[derive(Debug)]
pub(super) struct Still {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    id: String,
    /// It is ours, unpacked, and goes in the end.
    scratch: bool,
    _lock: Option<File>,
}

impl Still {
    /// `ours`: our data folder, which has to have room for it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        (data, lock): (&Path, Option<File>),
        ours: &Path,
        scratch: bool,
    ) -> Result<Self, MigrateError> {
        let mut still = Still { disk, data: data.to_path_buf(), id: String::new(), scratch, _lock: lock };
        let (mut hasher, mut wanted) = (Hasher::new(), 0_u64);
        for meta in list_blocks(&*still.disk, data)? {
            let name = meta.ulid.to_string();
            hasher.update(name.as_bytes());
            if !still.disk.exists(&ours.join(&name))? {
                wanted += bytes_of(&*still.disk, &data.join(&name))?;
            }
        }
        for log in PinnedLog::ALL {
            for segment in segments(&*still.disk, &still.log_dir(log))? {
                let size = still.disk.size(&tsdb::wal::segment_path(&still.log_dir(log), segment))?;
                hasher.update(&segment.to_le_bytes()).update(&size.to_le_bytes());
                // What it has goes into our log, and from there into blocks.
                wanted += size;
            }
        }
        still.id = hasher.finalize().to_hex().to_string();
        let free = still.disk.free_bytes(ours)?;
        if free < wanted.saturating_add(SPARE_BYTES) {
            let why = format!(
                "{wanted} bytes are to come and {free} are free in {}: make room for {} more",
                ours.display(),
                wanted.saturating_add(SPARE_BYTES) - free
            );
            return Err(MigrateError::Offline { path: data.to_path_buf(), why });
        }
        Ok(still)
    }
}

fn bytes_of(disk: &dyn Disk, dir: &Path) -> Result<u64, MigrateError> {
    let mut bytes = 0;
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        bytes += if entry.is_dir { bytes_of(disk, &path)? } else { disk.size(&path)? };
    }
    Ok(bytes)
}

impl Source for Still {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn dir(&self) -> &Path {
        &self.data
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn is_still(&self) -> bool {
        true
    }

    /// Reads all of it: every checksum, every kind of chunk.
    fn check_block(&self, name: &str) -> Result<(), MigrateError> {
        let dir = self.data.join(name);
        let block = Block::open(Arc::clone(&self.disk), &dir)?;
        let mut from = Some(0);
        while let Some(at) = from {
            from = block.verify(at, STEP_BYTES)?.0;
        }
        let Some(damage) = block.damage() else { return Ok(()) };
        let what = format!(
            "{} damaged places, first: {}; nothing of this block was taken. `godwit tsdb repair` cuts them out of a copy, or move the block away",
            damage.count,
            damage.places.first().map_or("", String::as_str)
        );
        Err(StorageError::Corrupt { place: dir.display().to_string(), what }.into())
    }

    fn piece(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<Hash, MigrateError> {
        read_piece(&*self.disk, path, offset, len, into)
    }

    fn follow(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    fn follow_deletions(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    fn first_held(&self, log: PinnedLog) -> Result<Option<u64>, MigrateError> {
        Ok(segments(&*self.disk, &self.log_dir(log))?.first().copied())
    }

    fn block_names(&self) -> Result<BTreeSet<String>, MigrateError> {
        Ok(names(&*self.disk, &self.data)?)
    }

    fn describe(&self, name: &str) -> Result<Option<BlockMeta>, MigrateError> {
        Ok(Some(BlockMeta::read(&*self.disk, &self.data.join(name))?))
    }

    fn all_blocks(&self) -> Result<Vec<BlockMeta>, MigrateError> {
        list_blocks(&*self.disk, &self.data)
    }

    fn blocks_in(&self, place: Place) -> Result<Vec<BlockMeta>, MigrateError> {
        match place {
            Place::Pinned => self.all_blocks(),
            Place::Deletions => Ok(Vec::new()),
        }
    }

    /// They stay where they are, see [`Source::held_dir`].
    fn hold(&self, _who: Who, (mint_ms, end_ms): (i64, i64)) -> Result<Option<Vec<BlockMeta>>, MigrateError> {
        let mut all = self.all_blocks()?;
        all.retain(|m| m.mint_ms < end_ms && m.maxt_ms > mint_ms);
        Ok(Some(all))
    }

    fn held_dir(&self, _who: Who) -> PathBuf {
        self.data.clone()
    }

    fn digest(&self, range: (i64, i64)) -> Result<Option<Vec<Digest>>, MigrateError> {
        digest(self, range)
    }

    fn let_go(&self, _who: Who) -> Result<(), MigrateError> {
        Ok(())
    }

    fn forget_before(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    fn void(&self) -> Result<(), MigrateError> {
        Ok(())
    }

    fn release(&self) -> Result<(), MigrateError> {
        if self.scratch {
            self.disk.remove_dir_all(&self.data)?;
        }
        Ok(())
    }
}
