//! What an operator asks for: deleted series, blocks without what was deleted, snapshots (upstream: `Delete`,
//! `CleanTombstones`, `Snapshot` in `tsdb/db.go`).
//!
//! These wait for upkeep that is under way, and upkeep for them: no block goes while it is copied.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use model::Matcher;
use storage::{QueryContext, StorageError};

use super::Inner;
use crate::block::{self, BlockMeta, CHUNKS_DIR, INDEX_FILE, META_FILE};
use crate::compact;
use crate::disk::Disk;
use crate::tombstones;

/// Folder of snapshots within the data folder.
const SNAPSHOTS_DIR: &str = "snapshots";

impl Inner {
    pub(super) fn delete_series(
        &self,
        ctx: &QueryContext,
        mint_ms: i64,
        maxt_ms: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        if self.head.late_overlaps(mint_ms, maxt_ms) {
            // Ranges of the head are about samples that came in order; in blocks these are like any other.
            self.cut_late()?;
        }
        let blocks = self.view.read().blocks.clone();
        for block in blocks.iter().filter(|b| b.meta().overlaps(mint_ms, maxt_ms)) {
            block.delete(ctx, mint_ms, maxt_ms, matchers)?;
        }
        self.head.delete(ctx, mint_ms, maxt_ms, matchers)
    }

    pub(super) fn clean_tombstones(&self) -> Result<(), StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        let began = Instant::now();
        let blocks = self.view.read().blocks.clone();
        let cleaned = blocks.iter().filter(|b| !b.tombstones().is_empty()).try_for_each(|old| {
            let ulid = self.new_ulid();
            let meta = compact::rewritten_meta(ulid, &old.meta());
            let one = std::slice::from_ref(old);
            let disk = Arc::clone(&self.options.disk);
            let done = compact::compact_as(disk, &self.options.path, meta, one, &self.cancel)?;
            let opened = self.open_written(done.meta.as_ref())?;
            tracing::info!(old = %old.meta().ulid, new = %ulid, "block rewritten without deleted samples");
            self.replace(one, opened)
        });
        self.metrics.tombstone_cleanup.observe(began.elapsed().as_secs_f64());
        cleaned
    }

    /// Copies the database into a folder below `snapshots`, whose name it returns. Blocks are hard links.
    pub(super) fn snapshot(&self, with_head: bool) -> Result<String, StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        if with_head {
            self.cut_late()?;
        }
        // As upstream: time, and sixteen digits of a number of 63 bits.
        let random = (ulid::Ulid::generate().random() as u64) >> 1;
        let name = format!("{}-{random:016x}", compact_utc(self.options.clock.0.now_ms().max(0) / 1000));
        let dir = self.options.path.join(SNAPSHOTS_DIR).join(&name);
        let disk = &self.options.disk;
        disk.create_dir_all(&dir)?;
        // Before the list of blocks is taken: what a block holds may leave the head meanwhile.
        let (mint, maxt) = (self.head.min_time(), self.head.max_time());
        let source = (with_head && mint <= maxt).then(|| self.head.cut_source(mint, maxt));
        for b in self.view.read().blocks.clone() {
            link_block(&**disk, b.dir(), &dir.join(b.meta().ulid.to_string()))?;
        }
        if let Some(source) = source {
            let meta = BlockMeta::level_one(self.new_ulid(), mint, maxt.saturating_add(1));
            let symbols = source.symbols().map(Ok);
            block::write_block(Arc::clone(disk), &dir, meta, symbols, source.series())?;
        }
        disk.sync_dir(&dir)?;
        Ok(name)
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.is_closed() { Err(StorageError::NotReady) } else { Ok(()) }
    }
}

fn link_block(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StorageError> {
    let (from_chunks, to_chunks) = (from.join(CHUNKS_DIR), to.join(CHUNKS_DIR));
    disk.create_dir_all(&to_chunks)?;
    for file in [META_FILE, INDEX_FILE, tombstones::FILE_NAME] {
        let (source, target) = (from.join(file), to.join(file));
        // Blocks of others may have no tombstones.
        if file != tombstones::FILE_NAME || disk.exists(&source)? {
            disk.hard_link(&source, &target)?;
        }
    }
    for segment in disk.list(&from_chunks)?.into_iter().filter(|e| !e.is_dir) {
        disk.hard_link(&from_chunks.join(&segment.name), &to_chunks.join(&segment.name))?;
    }
    disk.sync_dir(&to_chunks)?;
    Ok(disk.sync_dir(to)?)
}

/// `20060102T150405Z`.
fn compact_utc(unix_seconds: i64) -> String {
    // Beyond year 9999 there is no such name; the random digits behind it still tell snapshots apart.
    let time = jiff::Timestamp::from_second(unix_seconds).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_as_upstream_names_them() {
        for (unix, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_795_341_846, "20261122T100406Z"),
        ] {
            assert_eq!(super::compact_utc(unix), expected);
        }
    }
}
