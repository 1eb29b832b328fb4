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
use super::read_only::{CopiedBlock, CopyRules, How, ReadOnlyDb};
use crate::block::{
    self, Block, BlockMeta, BlockSource, CHUNKS_DIR, HINT_OUT_OF_ORDER, INDEX_FILE, META_FILE,
};
use crate::compact;
use crate::disk::{Disk, RealDisk};
use crate::tombstones;

/// Bytes read of a block between two words about the progress.
const MEND_STEP_BYTES: u64 = 16 << 20;
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
        // Also blocks that a round of upkeep wrote before it failed: the next one that succeeds finds them, with
        // samples that would be back.
        match self.load_blocks() {
            // Blocks that are damaged, or on their way into the folder, are no reason to refuse.
            Err(e) if !block::is_damage(&e) => return Err(e),
            _ => {}
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
            let done = self.compact_as(disk, meta, one)?;
            let opened = self.open_written(done.meta.as_ref())?;
            tracing::info!(old = %old.meta().ulid, new = %ulid, "block rewritten without deleted samples");
            self.note_deleted(one, opened.as_ref())?;
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
        let random = (self.new_ulid().random() as u64) >> 1;
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

    /// Blocks, and with `with_head` what the head holds as one more, into `dir` of the real file system,
    /// each whole or not at all. Those that are there already stay.
    pub(super) fn copy_to(
        &self,
        dir: &Path,
        rules: &CopyRules<'_>,
    ) -> Result<Vec<CopiedBlock>, StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        if rules.with_head {
            self.cut_late()?;
        }
        let target: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut copied = Vec::new();
        for b in self.view.read().blocks.clone() {
            let meta = (*b.meta()).clone();
            if !(rules.wanted)(&meta) {
                copied.push(CopiedBlock { meta, how: How::Unwanted });
                continue;
            }
            if rules.verify {
                verify_whole(&b)?;
            }
            let (disk, dir_of) = (&*self.options.disk, b.dir());
            let (link, foreign) = ((rules.unchanged)(dir_of), (rules.foreign)(&meta));
            let source = BlockSource { disk, dir: dir_of, link, foreign };
            let how = match target.exists(&dir.join(meta.ulid.to_string()))? {
                true => How::Present,
                false if block::transfer_block(&source, &*target, dir)? => How::Linked,
                false => How::Copied,
            };
            copied.push(CopiedBlock { meta, how });
        }
        let (mint, maxt) = (self.head.min_time(), self.head.max_time());
        if rules.with_head && mint <= maxt {
            let source = self.head.cut_source(mint, maxt);
            let mut meta = BlockMeta::level_one(self.new_ulid(), mint, maxt.saturating_add(1));
            if (rules.foreign)(&meta) {
                meta.compaction.set_hint(HINT_OUT_OF_ORDER);
            }
            if (rules.wanted)(&meta) {
                let symbols = source.symbols().map(Ok);
                let made = block::write_block(Arc::clone(&target), dir, meta, symbols, source.series())?;
                copied.extend(made.map(|meta| CopiedBlock { meta, how: How::Made }));
            }
        }
        target.sync_dir(dir)?;
        Ok(copied)
    }

    pub(super) fn import(&self, from: &Path) -> Result<Vec<CopiedBlock>, StorageError> {
        self.check_open()?;
        let source = ReadOnlyDb::open(from, None)?;
        let keep_ms = self.retention.lock().duration_ms;
        let metas: Vec<i64> = self.view.read().blocks.iter().map(|b| b.meta().maxt_ms).collect();
        let newest = metas.into_iter().max().unwrap_or(i64::MIN);
        // As upkeep would remove it again.
        let wanted = |m: &BlockMeta| keep_ms <= 0 || newest.saturating_sub(m.maxt_ms) < keep_ms;
        let foreign = |m: &BlockMeta| self.reaches_head(m);
        let copied = source.import_into(&self.options.path, &wanted, &foreign);
        let loaded = self.reload_now();
        for block in copied.iter().flatten() {
            let (mint, maxt) = (block.meta.mint_ms, block.meta.maxt_ms);
            tracing::info!(block = %block.meta.ulid, mint, maxt, how = block.how.word(), "import");
        }
        loaded.and(copied)
    }

    pub(super) fn reload_now(&self) -> Result<(), StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        self.reload()
    }

    /// Reads every block whole and writes those anew that are damaged. `progress` is told of bytes that were
    /// read, and of the bytes of all.
    pub(super) fn mend(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StorageError> {
        let _upkeep = self.upkeep.lock();
        self.check_open()?;
        let blocks = self.view.read().blocks.clone();
        let total = blocks.iter().map(Block::size_bytes).sum();
        for block in &blocks {
            let mut from = Some(0);
            while let Some(at) = from {
                let (next, bytes) = block.verify(at, MEND_STEP_BYTES)?;
                progress(bytes, total);
                from = next;
            }
        }
        self.mend_blocks()
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.is_closed() { Err(StorageError::NotReady) } else { Ok(()) }
    }
}

/// Reads all of a block.
fn verify_whole(block: &Block) -> Result<(), StorageError> {
    let mut from = Some(0);
    while let Some(at) = from {
        from = block.verify(at, MEND_STEP_BYTES)?.0;
    }
    match block.damage() {
        None => Ok(()),
        Some(damage) => Err(StorageError::Corrupt {
            place: block.dir().display().to_string(),
            what: format!(
                "{} damaged places, samples between {} and {} may be missing; first: {} (`godwit tsdb repair` cuts them out)",
                damage.count,
                damage.mint_ms,
                damage.maxt_ms,
                damage.places.first().map_or("", String::as_str)
            ),
        }),
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
