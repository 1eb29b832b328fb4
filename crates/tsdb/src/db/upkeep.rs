//! Upkeep: what a running database does on its own. Blocks are looked for, cut, compacted and let go here,
//! one round after the other, never two at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use storage::StorageError;
use ulid::Ulid;

use super::metrics::DbMetrics;
use super::{DbOptions, Inner, PendingLate, View};
use crate::block::{self, Block, BlockMeta, HINT_OUT_OF_ORDER, HINT_STALE_SERIES};
use crate::compact;
use crate::head::{CutSource, Truncation};
use crate::tombstones::Tombstones;

/// Largest file of uploads that is read: some 500,000 blocks.
const UPLOADS_BYTES_MAX: u64 = 16 << 20;

/// Opens a block; damaged small files are made anew, a block with a damaged index is written anew from the
/// series in it, and what cannot be opened for damage is moved aside, so that whoever opens the folder next
/// is not stopped by it. A file that is missing is damage at the start only: while we run, a block may be
/// on its way into the folder. `note_gone` keeps a range from coming back out of the head's files.
pub(super) fn open_or_repair(
    options: &DbOptions,
    metrics: &DbMetrics,
    dir: &Path,
    at_start: bool,
    note_gone: &dyn Fn(i64, i64) -> Result<(), StorageError>,
) -> Result<Block, StorageError> {
    let disk = &options.disk;
    let open = || match Block::open(Arc::clone(disk), dir) {
        Err(e) if at_start && block::is_missing(&e) => {
            Err(StorageError::Corrupt { place: dir.display().to_string(), what: e.to_string() })
        }
        other => other,
    };
    let opened = open();
    let Err(e @ StorageError::Corrupt { .. }) = opened else { return opened };
    let repaired = block::repair_block(disk, dir);
    for what in repaired.iter().flatten() {
        metrics.damage.with(&["file"]).inc();
        tracing::error!(block = %dir.display(), what, "block was damaged");
    }
    match (&repaired, open()) {
        (Ok(_) | Err(StorageError::Corrupt { .. }), Err(e @ StorageError::Corrupt { .. })) => {
            let mut why = String::from("none of its series is left");
            let saved = match block::salvage_block(disk, dir, salvaged_ulid(options, dir)) {
                Ok(saved) => saved.meta.clone().map(|meta| (meta, saved)),
                Err(e) if block::is_damage(&e) => {
                    why = e.to_string();
                    None
                }
                // No room, or the device failed: tried again by the next upkeep.
                Err(_) => return Err(e),
            };
            let meta = BlockMeta::read(&**disk, dir).ok();
            let range = meta.as_ref().map(|m| (m.mint_ms, m.maxt_ms));
            if let (None, Some(meta), Ok(stones)) = (&saved, &meta, Tombstones::read(&**disk, dir))
                && let Some((mint, end)) = deleted_range(meta, &stones)
            {
                note_gone(mint, end)?;
            }
            let place = block::quarantine_block(&**disk, dir)?;
            metrics.damage.with(&["block"]).inc();
            let Some((meta, saved)) = saved else {
                tracing::error!(error = %e, why, ?range, kept = %place.display(), "block is damaged beyond repair and moved aside");
                return Err(e);
            };
            tracing::error!(
                error = %e, ?range, new = %meta.ulid, series = meta.stats.num_series,
                lost_series = saved.lost_series, lost_chunks = saved.lost_chunks, kept = %place.display(),
                "block has a damaged index and was written anew from its series"
            );
            Block::open(Arc::clone(disk), &options.path.join(meta.ulid.to_string()))
        }
        (Ok(_), Ok(block)) => Ok(block),
        (Err(_), Ok(_)) => Err(e),
        (_, Err(e)) => Err(e),
    }
}

/// Blocks of series that ended, behind what blocks of the head end with, above which they are not left for later.
/// A head that is cut each two hours has at most 18 of them; where every pod lives ten minutes it is never cut,
/// for nothing in it is ever three hours old, and there would be 144 a day.
const STALE_WAITING_MAX: usize = 8;

/// Whether blocks of series that ended are to be joined before the head has given their time. They keep their
/// mark, if all of them have it; joined more often, each sample would be written more often.
fn crowd_of_stale(metas: &[BlockMeta], end: i64) -> bool {
    let stale = metas.iter().filter(|m| m.compaction.has_hint(HINT_STALE_SERIES));
    let marked = stale.clone().all(|m| m.compaction.has_hint(HINT_OUT_OF_ORDER));
    marked && stale.filter(|m| m.maxt_ms > end).count() > STALE_WAITING_MAX
}

/// From the first deleted time of a block until behind the last one: what nothing may bring back when the block
/// goes. One range for all its series, as a start knows them by other numbers.
fn deleted_range(meta: &BlockMeta, stones: &Tombstones) -> Option<(i64, i64)> {
    let deleted = stones.bounds()?;
    let (mint, end) =
        (deleted.mint_ms.max(meta.mint_ms), deleted.maxt_ms.saturating_add(1).min(meta.maxt_ms));
    (mint < end).then_some((mint, end))
}

/// Name of what a damaged block becomes.
fn salvaged_ulid(options: &DbOptions, dir: &Path) -> Ulid {
    let random = match options.simulated {
        Some(seed) => u128::from(crc32c::crc32c(dir.as_os_str().as_encoded_bytes())) ^ u128::from(seed),
        None => Ulid::generate().random(),
    };
    Ulid::from_parts(options.clock.0.now_ms().max(0) as u64, random)
}

impl Inner {
    /// Everything that is due. Returns the first error; what could be done was done.
    pub(super) fn maintain(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.upkeep.lock();
        if self.is_closed() {
            return Err(StorageError::NotReady);
        }
        self.metrics.triggered.inc();
        self.head.tick_limits(self.options.clock.0.now_ms());
        let reloaded = self.reload();
        self.head.flush_chunks();
        let cut = self.finish_late().and_then(|_| self.cut_head());
        // As upstream: late samples go when others went.
        let cut = cut.and_then(|cut| if cut { self.cut_late() } else { Ok(()) });
        let cut = cut.and_then(|()| self.cut_stale());
        let scrubbed = self.scrub();
        let mended = self.mend_blocks();
        let compacted = cut.and_then(|()| self.compact_blocks().and_then(|()| self.apply_keep_rules()));
        let compacted = compacted.inspect_err(|e| {
            if !matches!(e, StorageError::Cancelled) {
                self.metrics.failed.inc();
            }
        });
        reloaded.and(compacted).and(mended).and(scrubbed)
    }

    /// Lets the head go on where readers held it up, if they are gone. True where there is nothing pending.
    pub(super) fn finish_truncation(&self) -> Result<bool, StorageError> {
        let mut pending = self.pending_truncation.lock();
        let Some(mint) = *pending else { return Ok(true) };
        if self.head.truncate(mint)? == Truncation::Postponed {
            return Ok(false);
        }
        *pending = None;
        Ok(true)
    }

    /// Whether the head has a block to give and nothing holds it up.
    pub(super) fn wants_cut(&self) -> bool {
        self.head.is_compactable() && self.pending_truncation.lock().is_none()
    }

    /// Cuts blocks off the head; true where there was one.
    fn cut_head(&self) -> Result<bool, StorageError> {
        let mut cut = false;
        while self.finish_truncation()? && self.head.is_compactable() {
            if self.cancel.is_cancelled() {
                break;
            }
            // A block must not lack a page that turns out to be none while the block is written.
            self.head.wake(&mut || !self.cancel.is_cancelled());
            if !self.head.is_compactable() {
                break;
            }
            let (mint, maxt) = self.head.next_block_range();
            self.cut_block(mint, maxt)?;
            cut = true;
        }
        Ok(cut)
    }

    /// Lets go of late samples that blocks hold: from the log at once, from memory if their readers are gone.
    /// True where nothing is pending.
    pub(super) fn finish_late(&self) -> Result<bool, StorageError> {
        let mut pending = self.pending_late.lock();
        for late in pending.iter_mut().filter(|late| late.logged) {
            self.head.drop_late_log(&late.cut)?;
            late.logged = false;
        }
        while let Some(late) = pending.front() {
            if !self.head.finish_late_cut(&late.cut, late.reader) {
                return Ok(false);
            }
            pending.pop_front();
        }
        Ok(true)
    }

    /// Writes the late samples of the head as blocks, one for each block range.
    pub(super) fn cut_late(&self) -> Result<(), StorageError> {
        if !self.head.has_late() {
            return Ok(());
        }
        self.finish_late()?;
        let began = Instant::now();
        let Some(cut) = self.head.begin_late_cut()?.map(Arc::new) else { return Ok(()) };
        let (first, last) = cut.range;
        let range = self.options.min_block_ms.max(1);
        let mut source = self.head.late_source(Arc::clone(&cut));
        // As upstream: the quotient is cut towards zero.
        let begin = (first / range).saturating_mul(range);
        let opened = self.write_parts(&mut source, (begin, last), &[HINT_OUT_OF_ORDER])?;
        drop(source);
        let blocks = opened.len();
        let reader = {
            let mut view = self.view.write();
            view.add(opened);
            self.head.publish_late_cut(&cut)
        };
        self.pending_late.lock().push_back(PendingLate { cut, reader, logged: true });
        self.finish_late()?;
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        self.count_blocks();
        tracing::info!(
            blocks,
            mint = first,
            maxt = last,
            seconds = began.elapsed().as_secs_f64(),
            "wrote late samples as blocks"
        );
        Ok(())
    }

    /// Writes a source as blocks with hints, one for each block range from `begin` on that has anything up to
    /// `last`.
    pub(super) fn write_parts(
        &self,
        source: &mut CutSource,
        (begin, last): (i64, i64),
        hints: &[&str],
    ) -> Result<Vec<Block>, StorageError> {
        let range = self.options.min_block_ms.max(1);
        let (mut opened, mut mint) = (Vec::new(), begin);
        while mint <= last {
            let maxt = mint.saturating_add(range);
            source.set_range(mint, maxt - 1);
            let mut meta = BlockMeta::level_one(self.new_ulid(), mint, maxt);
            hints.iter().for_each(|hint| meta.compaction.set_hint(hint));
            let disk = Arc::clone(&self.options.disk);
            let symbols = source.symbols().map(Ok);
            let written = block::write_block(disk, &self.options.path, meta, symbols, source.series())?;
            if let Some(block) = self.open_written(written.as_ref())? {
                opened.push(block);
                self.metrics.compactions.inc();
            }
            mint = maxt;
        }
        Ok(opened)
    }

    /// Writes [mint, maxt) of the head as a block and sends queries there.
    pub(super) fn cut_block(&self, mint: i64, maxt: i64) -> Result<(), StorageError> {
        let began = Instant::now();
        // Nothing more comes into the range, and what is on its way has arrived.
        self.head.fence(maxt);
        let source = self.head.cut_source(mint, maxt - 1);
        let ulid = self.new_ulid();
        let meta = BlockMeta::level_one(ulid, mint, maxt);
        let disk = Arc::clone(&self.options.disk);
        let symbols = source.symbols().map(Ok);
        let recode = *self.recode.lock();
        let mut work = compact::RecodeWork::default();
        let series = source.series().map(|item| match (recode, item?) {
            (None, item) => Ok(item),
            (Some(wanted), (labels, chunks)) => match compact::recode_floats(chunks, wanted, &mut work) {
                Ok(chunks) => Ok((labels, chunks)),
                Err(e) => Err(StorageError::Other(format!("encode series {labels} anew: {e}"))),
            },
        });
        let written = block::write_block(disk, &self.options.path, meta, symbols, series)?;
        drop(source);
        let opened = self.open_written(written.as_ref())?;
        if opened.is_none() && self.head.has_deleted(mint, maxt) {
            // No block says that the head has been through here.
            self.head.note_gone(mint, maxt)?;
        }
        {
            // At once: queries find the range in the block or in the head, never in neither.
            let mut view = self.view.write();
            view.add(opened);
            view.head_from = view.head_from.max(maxt);
        }
        *self.pending_truncation.lock() = Some(maxt);
        self.metrics.compactions.inc();
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        self.count_blocks();
        tracing::info!(mint, maxt, ulid = %ulid, seconds = began.elapsed().as_secs_f64(), "wrote a block from the head");
        Ok(())
    }

    /// Opens a block that was just written, if there was anything to write.
    pub(super) fn open_written(&self, written: Option<&BlockMeta>) -> Result<Option<Block>, StorageError> {
        let path = |meta: &BlockMeta| self.options.path.join(meta.ulid.to_string());
        written.map(|meta| Block::open(Arc::clone(&self.options.disk), &path(meta))).transpose()
    }

    pub(super) fn new_ulid(&self) -> Ulid {
        // Time from our clock, the rest random.
        let random = match &self.simulated {
            Some(rng) => u128::from(rng.lock().next_u64()),
            None => Ulid::generate().random(),
        };
        Ulid::from_parts(self.options.clock.0.now_ms().max(0) as u64, random)
    }

    fn compact_blocks(&self) -> Result<(), StorageError> {
        let ranges = compact::block_ranges(self.options.min_block_ms, self.options.max_block_ms);
        loop {
            // The head comes first: it is what memory and log depend on.
            if self.cancel.is_cancelled() || self.wants_cut() {
                return Ok(());
            }
            let blocks = self.view.read().blocks.clone();
            let mut metas: Vec<BlockMeta> = blocks.iter().map(|b| (*b.meta()).clone()).collect();
            metas.sort_by_key(|m| m.ulid);
            // Blocks of late or foreign samples that reach into the head wait for its block: joined with an
            // older one they would lose their mark (see `mark_foreign`), and the next start would take the
            // log's samples up to their end for stored.
            let head = if self.head.is_initialized() { self.head.min_time() } else { i64::MAX };
            let end = super::in_order_end(&blocks).unwrap_or(i64::MIN).min(head);
            let crowd = crowd_of_stale(&metas, end);
            metas.retain(|m| {
                let late = m.compaction.has_hint(HINT_OUT_OF_ORDER);
                !late || m.maxt_ms <= end || crowd && m.compaction.has_hint(HINT_STALE_SERIES)
            });
            if let Some(uploaded) = self.uploaded() {
                // As upstream: the first one that waits holds up those behind it.
                let waits = |m: &BlockMeta| {
                    m.compaction.level <= 1 && !uploaded.iter().any(|u| *u == m.ulid.to_string())
                };
                let ready = metas.iter().position(waits).unwrap_or(metas.len());
                metas.truncate(ready);
            }
            let planned = compact::plan(&metas, &ranges);
            if planned.is_empty() {
                return Ok(());
            }
            let mut sources: Vec<Block> =
                blocks.into_iter().filter(|b| planned.contains(&b.meta().ulid)).collect();
            sources.sort_by_key(|b| b.meta().mint_ms);
            if !self.has_room(&sources) {
                return Ok(());
            }
            self.compact_into_one(&sources)?;
        }
    }

    /// Whether what these blocks become can be written beside them: a compaction must not be what fills the
    /// disk, as the log then has no room.
    pub(super) fn has_room(&self, sources: &[Block]) -> bool {
        let needed: u64 = sources.iter().map(Block::size_bytes).sum();
        // Where the room is not known, the attempt tells.
        let free = self.options.disk.free_bytes(&self.options.path).unwrap_or(u64::MAX);
        let short = free < needed;
        if short && !self.no_room.swap(true, Ordering::AcqRel) {
            tracing::warn!(needed, free, "blocks are not compacted until there is room for the new one");
        }
        if !short {
            self.no_room.store(false, Ordering::Release);
        }
        !short
    }

    /// Blocks that the file of uploads names; `None` where there is no such file to go by.
    fn uploaded(&self) -> Option<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Uploads {
            #[serde(default)]
            uploaded: Vec<String>,
        }
        let path = self.options.delay_compact_file.as_ref()?;
        let text = crate::disk::read_all(&*self.options.disk, path, UPLOADS_BYTES_MAX);
        let read = text.map_err(StorageError::from).and_then(|text| {
            serde_json::from_slice::<Uploads>(&text).map_err(|e| StorageError::Other(e.to_string()))
        });
        match read {
            Ok(uploads) => Some(uploads.uploaded),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the file of uploaded blocks; compactions go on without it");
                None
            }
        }
    }

    pub(super) fn compact_into_one(&self, sources: &[Block]) -> Result<(), StorageError> {
        let began = Instant::now();
        let disk = Arc::clone(&self.options.disk);
        let ulid = self.new_ulid();
        let metas: Vec<BlockMeta> = sources.iter().map(|b| (*b.meta()).clone()).collect();
        let done = self.compact_as(disk, compact::merged_meta(ulid, &metas), sources);
        let done = match done {
            Ok(done) => done,
            Err(StorageError::Cancelled) => return Err(StorageError::Cancelled),
            Err(e) => {
                // Not tried again until someone looks at it, as upstream.
                if matches!(e, StorageError::Corrupt { .. }) {
                    for source in sources {
                        source.update_meta(|m| m.compaction.failed = true)?;
                    }
                }
                return Err(e);
            }
        };
        let opened = self.open_written(done.meta.as_ref())?;
        self.note_deleted(sources, opened.as_ref())?;
        self.replace(sources, opened)?;
        self.metrics.compactions.inc();
        if done.overlapping {
            self.metrics.overlapping.inc();
        }
        self.metrics.seconds.observe(began.elapsed().as_secs_f64());
        tracing::info!(blocks = sources.len(), ulid = %ulid, seconds = began.elapsed().as_secs_f64(), "compacted blocks");
        Ok(())
    }

    /// Re-reads blocks, a part at a time, round and round, so that damage is found while copies elsewhere
    /// still exist.
    fn scrub(&self) -> Result<(), StorageError> {
        let mut left = self.options.scrub_bytes;
        if left > 0 {
            let bytes = self.head.check_unread_log(left)?;
            self.metrics.scrubbed.add(bytes as f64);
            left = left.saturating_sub(bytes);
        }
        let blocks = self.view.read().blocks.clone();
        let mut at = self.scrub.lock();
        for _ in 0..blocks.len() {
            if left == 0 || self.cancel.is_cancelled() {
                break;
            }
            let from = at.0;
            let next = blocks.iter().filter(|b| b.meta().ulid >= from).min_by_key(|b| b.meta().ulid);
            let Some(block) = next.or_else(|| blocks.iter().min_by_key(|b| b.meta().ulid)) else { break };
            let ulid = block.meta().ulid;
            let series = if ulid == from { at.1 } else { 0 };
            let (next, bytes) = block.verify(series, left)?;
            left = left.saturating_sub(bytes);
            self.metrics.scrubbed.add(bytes as f64);
            *at = match next {
                Some(series) => (ulid, series),
                None => (Ulid(ulid.0.wrapping_add(1)), 0),
            };
        }
        Ok(())
    }

    /// Rewrites blocks that were found damaged without what is damaged, and keeps the old ones aside.
    pub(super) fn mend_blocks(&self) -> Result<(), StorageError> {
        let blocks = self.view.read().blocks.clone();
        for block in blocks.into_iter().filter(|b| b.damage().is_some() && !b.meta().compaction.failed) {
            match self.compact_into_one(std::slice::from_ref(&block)) {
                Err(StorageError::Corrupt { .. }) => self.salvage(&block)?,
                done => done?,
            }
        }
        Ok(())
    }

    /// Writes a block anew from the series in its index, whose tables a compaction could not go by.
    fn salvage(&self, block: &Block) -> Result<(), StorageError> {
        let ulid = salvaged_ulid(&self.options, block.dir());
        let saved = block::salvage_block(&self.options.disk, block.dir(), ulid)?;
        tracing::error!(
            block = %block.meta().ulid, new = %ulid,
            lost_series = saved.lost_series, lost_chunks = saved.lost_chunks,
            "block has a damaged index and is written anew from its series"
        );
        let opened = self.open_written(saved.meta.as_ref())?;
        self.note_deleted(std::slice::from_ref(block), opened.as_ref())?;
        self.replace(std::slice::from_ref(block), opened)
    }

    /// Where nothing is left of blocks whose samples the log may have still, it must not bring back the deleted
    /// ones. What is not left because it is damaged may come from there.
    pub(super) fn note_deleted(&self, gone: &[Block], new: Option<&Block>) -> Result<(), StorageError> {
        if new.is_some() {
            return Ok(());
        }
        let whole = |b: &&Block| super::in_order_end(std::slice::from_ref(*b)).is_some();
        gone.iter().filter(whole).try_for_each(|b| {
            let deleted = match b.damage() {
                None => Some((b.meta().mint_ms, b.meta().maxt_ms)),
                Some(_) => deleted_range(&b.meta(), &b.tombstones()),
            };
            deleted.map_or(Ok(()), |(mint, end)| self.head.note_gone(mint, end))
        })
    }

    /// Takes blocks out of the view and off the disk; one may come in their place.
    pub(super) fn replace(&self, gone: &[Block], new: Option<Block>) -> Result<(), StorageError> {
        let ulids: Vec<Ulid> = gone.iter().map(|b| b.meta().ulid).collect();
        {
            let mut view = self.view.write();
            view.blocks.retain(|b| !ulids.contains(&b.meta().ulid));
            view.add(new);
        }
        self.count_blocks();
        gone.iter().try_for_each(|b| match b.damage() {
            None => block::remove_block(&*self.options.disk, b.dir()),
            Some(damage) => {
                self.metrics.damage.with(&["chunk"]).add(damage.count as f64);
                let place = block::quarantine_block(&*self.options.disk, b.dir())?;
                tracing::error!(
                    block = %b.meta().ulid,
                    damaged = damage.count,
                    mint = damage.mint_ms,
                    maxt = damage.maxt_ms,
                    first = damage.places.first().map_or("", String::as_str),
                    kept = %place.display(),
                    "block was damaged: written anew without the damaged parts"
                );
                Ok(())
            }
        })
    }

    pub(super) fn count_blocks(&self) {
        let view = self.view.read();
        self.metrics.blocks_loaded.set(view.blocks.len() as f64);
        self.metrics.blocks_bytes.set(view.blocks.iter().map(Block::size_bytes).sum::<u64>() as f64);
    }

    /// Looks for blocks that came or went, then applies retention.
    pub(super) fn reload(&self) -> Result<(), StorageError> {
        self.metrics.reloads.inc();
        let done = self.load_blocks().and_then(|()| self.apply_retention());
        if done.is_err() {
            self.metrics.reloads_failed.inc();
        }
        done
    }

    /// Makes the view what the folder has. A block that cannot be opened is named and left out, the others
    /// stay; the first such error is returned.
    pub(super) fn load_blocks(&self) -> Result<(), StorageError> {
        let disk = &self.options.disk;
        let found = block::list_blocks(&**disk, &self.options.path)?;
        let known = self.view.read().blocks.clone();
        let mut loaded: Vec<Block> = Vec::new();
        let mut failed: Vec<(Ulid, PathBuf, StorageError)> = Vec::new();
        let mut unmarked = None;
        for (ulid, dir) in found {
            let known = known.iter().find(|b| b.meta().ulid == ulid);
            if known.is_none() {
                self.unsettled.store(true, Ordering::Release);
            }
            let opened = match known {
                Some(known) => Ok(known.clone()),
                None => {
                    let note = |mint, end| self.head.note_gone(mint, end);
                    open_or_repair(&self.options, &self.metrics, &dir, false, &note)
                }
            };
            match opened {
                Ok(block) => {
                    // Where its description cannot be written it is of use all the same.
                    let marked = self.mark_foreign(&block, known.is_none());
                    marked.unwrap_or_else(|e| _ = unmarked.get_or_insert(e));
                    loaded.push(block);
                }
                // Gone since it was listed.
                Err(_) if matches!(disk.exists(&dir), Ok(false)) => {}
                Err(e) => failed.push((ulid, dir, e)),
            }
        }
        // A crash between writing a block and removing what it was made of.
        let replaced: Vec<Ulid> = loaded
            .iter()
            .flat_map(|b| b.meta().compaction.parents.iter().map(|p| p.ulid).collect::<Vec<_>>())
            .collect();
        let mut doomed = Vec::new();
        loaded.retain(|b| {
            let meta = b.meta();
            let keep = !meta.compaction.deletable && !replaced.contains(&meta.ulid);
            if !keep {
                doomed.push(b.dir().to_path_buf());
            }
            keep
        });
        self.unmarked.lock().retain(|ulid| loaded.iter().any(|b| b.meta().ulid == *ulid));
        loaded.sort_by_key(|b| b.meta().mint_ms);
        let mut first_error = unmarked;
        for (ulid, dir, error) in failed {
            if replaced.contains(&ulid) {
                doomed.push(dir);
                continue;
            }
            if self.told.lock().insert(ulid) {
                tracing::error!(block = %ulid, %error, "block cannot be opened and is left out");
            }
            first_error.get_or_insert(error);
        }
        let set = |view: &mut View| view.blocks = loaded;
        set(&mut self.view.write());
        self.count_blocks();
        // Names that another process gave may be in the cache alone, this one's before it was killed among them;
        // what a block stands for must not go before its name stays.
        if self.unsettled.load(Ordering::Acquire) {
            disk.sync_dir(&self.options.path)?;
            self.unsettled.store(false, Ordering::Release);
        }
        for dir in doomed {
            block::remove_block(&**disk, &dir)?;
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Whether the head has samples of a block's time, or may get some: one without any takes what comes.
    pub(super) fn reaches_head(&self, meta: &BlockMeta) -> bool {
        !self.head.is_initialized() || meta.maxt_ms > self.head.min_time()
    }

    /// A block that came from elsewhere and reaches into the time of the head is marked as one of late
    /// samples: a start takes the end of unmarked blocks for the begin of the head, and would leave out what
    /// the log has before that. What the disk does not take is written by a later round.
    fn mark_foreign(&self, block: &Block, new: bool) -> Result<(), StorageError> {
        let meta = block.meta();
        let foreign = new && self.reaches_head(&meta) && !meta.compaction.has_hint(HINT_OUT_OF_ORDER);
        if foreign {
            block.hint(HINT_OUT_OF_ORDER);
            self.unmarked.lock().insert(meta.ulid);
        }
        if self.unmarked.lock().contains(&meta.ulid) {
            block.update_meta(|_| {})?;
            self.unmarked.lock().remove(&meta.ulid);
        }
        Ok(())
    }

    pub(super) fn apply_retention(&self) -> Result<(), StorageError> {
        let retention = *self.retention.lock();
        let blocks = self.view.read().blocks.clone();
        let metas: Vec<BlockMeta> = blocks.iter().map(|b| (*b.meta()).clone()).collect();
        let by_age = compact::beyond_time(&metas, retention.duration_ms);
        if !by_age.is_empty() {
            self.metrics.time_retentions.inc();
        }
        let limit = match self.percentage_bytes(retention.percentage) {
            Some(bytes) => bytes,
            None => retention.size_bytes,
        };
        let sized: Vec<(BlockMeta, u64)> =
            metas.into_iter().zip(blocks.iter().map(Block::size_bytes)).collect();
        let by_size = match limit {
            0 => Vec::new(),
            _ => compact::beyond_size(&sized, self.head.disk_size(), limit),
        };
        if !by_size.is_empty() {
            self.metrics.size_retentions.inc();
        }
        let gone: Vec<Block> = blocks
            .into_iter()
            .filter(|b| by_age.contains(&b.meta().ulid) || by_size.contains(&b.meta().ulid))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for b in &gone {
            tracing::info!(block = %b.meta().ulid, maxt = b.meta().maxt_ms, "block is beyond retention and removed");
        }
        self.replace(&gone, None)
    }

    /// A share of the file system in bytes; `None` where it is off or the size is not known.
    fn percentage_bytes(&self, percentage: f64) -> Option<u64> {
        if percentage <= 0.0 {
            return None;
        }
        let total = self.options.disk.total_bytes(&self.options.path).ok()?;
        Some((total as f64 * percentage / 100.0) as u64)
    }
}
