//! Letting go: chunks that blocks hold, series without any, and the log that is no longer needed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use hashbrown::HashSet;
use storage::StorageError;

use super::Head;
use super::series::Slot;
use super::table::PageInner;
use crate::disk::DiskResult;
use crate::wal::checkpoint;
use crate::wal::record::SeriesRecord;

/// Series taken out under one hold of the index: a millisecond.
const SERIES_PER_HOLD: usize = 1024;
/// List entries gone through under one hold of the index: a millisecond, but for a list that is longer.
const POSTINGS_PER_HOLD: usize = 1 << 16;

/// Block ranges for which exemplars are kept over a start: about what upstream's longer log has of them.
const EXEMPLAR_RANGES: i64 = 4;
/// Ranges that the head may hold before one is cut are three; the rest is room for failing disks.
const LOG_TURNS_MAX: usize = 64;

/// What became of a truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// Done (or nothing to do).
    Done,
    /// Someone still reads there: ask again later.
    Postponed,
}

impl Head {
    /// Lets go of samples before `mint`, which a block holds now. Queries must have been sent to that block
    /// before; those that were begun earlier are waited for, by being asked again.
    pub(crate) fn truncate(&self, mint: i64) -> Result<Truncation, StorageError> {
        if !self.is_initialized() || self.min_time() >= mint {
            return Ok(Truncation::Done);
        }
        if self.lost_pages() {
            return Ok(Truncation::Postponed);
        }
        // No sample before `mint` comes in from here on.
        self.min_valid.fetch_max(mint, Ordering::AcqRel);
        if self.late.has_unlogged() {
            return Ok(Truncation::Postponed);
        }
        // An image is being written, which may take seconds: as with readers.
        let Some(_one_at_a_time) = self.gc.try_lock() else { return Ok(Truncation::Postponed) };
        if self.has_readers_before(mint) {
            return Ok(Truncation::Postponed);
        }
        self.metrics.truncations.inc();
        self.max_time.fetch_max(mint, Ordering::AcqRel);
        let began = Instant::now();
        let (actual_mint, oldest_file) = self.collect(mint, false);
        self.metrics.gc_seconds.observe(began.elapsed().as_secs_f64());
        // The oldest sample left may be newer: then the head begins there, or where samples may still come.
        let begin =
            if actual_mint > mint { actual_mint.min(self.appendable_min_valid()).max(mint) } else { mint };
        self.min_time.store(begin, Ordering::Release);
        self.min_valid.fetch_max(begin, Ordering::AcqRel);
        self.files.truncate(oldest_file).inspect_err(|_| self.metrics.truncations_failed.inc())?;
        self.truncate_wal(mint)?;
        Ok(Truncation::Done)
    }

    /// Drops chunks that end before `mint`, and series without chunks. Returns the oldest time and chunk
    /// file that are left; not those of pages that sleep where these may go on to.
    pub(super) fn collect(&self, mint: i64, may_sleep: bool) -> (i64, u32) {
        let mut empty = Vec::new();
        let (mut oldest, mut oldest_file, mut dropped, mut stale) = (i64::MAX, u32::MAX, 0_u64, 0_i64);
        for page in self.table.all() {
            if may_sleep && page.sleeps_through(mint) {
                continue;
            }
            let mut inner = page.lock();
            for series in inner.numbers(page.base) {
                let Some((slot, blocks)) = inner.get_both(series) else { continue };
                dropped += u64::from(slot.truncate(mint, blocks));
                // Not the first one's: samples between chunks are written behind them.
                oldest_file = slot.mapped.iter().map(|c| c.file()).fold(oldest_file, u32::min);
                let (first, pending) = (slot.min_time(), slot.pending);
                let late = inner.late(series).filter(|l| !l.is_empty());
                if let Some(late) = late {
                    oldest_file = late.mapped.iter().map(|c| c.chunk.file()).fold(oldest_file, u32::min);
                }
                match first {
                    Some(first) => oldest = oldest.min(first),
                    None if !pending && late.is_none() => empty.push(series),
                    None => {}
                }
            }
        }
        if !empty.is_empty() {
            let numbers = self.remove_series(&empty, &mut |page, series, slot| {
                let late = page.late(series).is_some_and(|l| !l.is_empty());
                let gone = !(slot.pending || slot.chunk_count() > 0 || late);
                stale += i64::from(gone && slot.stale);
                gone
            });
            self.metrics.series_removed.add(numbers.len() as f64);
            let keep_until = if oldest == i64::MAX { self.max_time() } else { oldest };
            self.forget_removed(numbers.into_iter().map(|series| (series, keep_until)));
        }
        self.tombstones.write().retain(|_, ranges| {
            ranges.retain(|i| i.maxt_ms >= mint);
            !ranges.is_empty()
        });
        self.metrics.chunks_removed.add(dropped as f64);
        self.metrics.chunks.fetch_sub(dropped as i64, Ordering::Relaxed);
        self.metrics.stale.fetch_sub(stale, Ordering::Relaxed);
        (oldest, oldest_file)
    }

    /// Forgets what is kept beside series that were removed. Each with the time until which the log may need
    /// its record.
    pub(super) fn forget_removed(&self, series: impl Iterator<Item = (u64, i64)>) {
        let mut expiry = self.wal_expiry.lock();
        let mut metadata = self.metadata.lock();
        let mut tombstones = self.tombstones.write();
        for (series, keep_until) in series {
            expiry.insert(series, keep_until);
            metadata.remove(&series);
            tombstones.remove(&series);
        }
    }

    /// Removes series, whose numbers are ascending, for which `goes` holds still, and returns those. The index
    /// is held for some thousand of them, or one list, at a time: a scrape with new series, and all behind it,
    /// would wait.
    pub(super) fn remove_series(
        &self,
        series: &[u64],
        goes: &mut dyn FnMut(&PageInner, u64, &Slot) -> bool,
    ) -> HashSet<u64> {
        let (mut numbers, mut pairs) = (HashSet::with_capacity(series.len()), Vec::new());
        for batch in series.chunks(SERIES_PER_HOLD) {
            let mut gone: Vec<(u64, u64, Vec<u32>)> = Vec::with_capacity(batch.len());
            {
                let index = self.index.read();
                for series in batch {
                    let own = self.table.with(*series, |page, slot| page.pairs(slot).to_vec());
                    gone.extend(own.map(|own| (index.labels(&own).hash(), *series, own)));
                }
            }
            let mut index = self.index.write();
            // Looked at again under the index's lock: nobody finds it by labels from here on, and a
            // transaction that found it before has marked it.
            gone.retain(|(_, series, _)| {
                self.table.with(*series, |page, slot| goes(page, *series, slot)) == Some(true)
            });
            let removed: Vec<u64> = gone.iter().map(|(_, n, _)| *n).collect();
            gone.iter().for_each(|(hash, number, _)| index.unlink(*hash, *number));
            self.table.remove(&removed);
            drop(index);
            numbers.extend(removed);
            pairs.extend(gone.into_iter().flat_map(|(_, _, own)| own));
            pairs.sort_unstable();
            pairs.dedup();
        }
        let mut pairs = pairs.into_iter().peekable();
        while pairs.peek().is_some() {
            let mut index = self.index.write();
            let mut swept = 0;
            while let Some(id) = pairs.next_if(|_| swept < POSTINGS_PER_HOLD) {
                swept += index.sweep(id, &numbers) + 1;
            }
        }
        self.index.write().sweep_all(&numbers);
        numbers
    }

    /// Turns the older part of the log into a checkpoint of what is still needed from it.
    fn truncate_wal(&self, mint: i64) -> Result<(), StorageError> {
        if mint <= self.last_wal_truncation.swap(mint, Ordering::AcqRel) {
            return Ok(());
        }
        if !self.check_unread_log_whole()? {
            return Ok(());
        }
        let all = self.wal_segments()?;
        let (Some(first), Some(last)) = (all.first().copied(), all.last().copied()) else { return Ok(()) };
        match self.checkpoint_to(first, last, mint)? {
            Some(to) => self.checkpoint_log(first, to, mint, false),
            None => Ok(()),
        }
    }

    /// Turns the log up to a segment into a checkpoint, where `lost` is known or damage is met with the records
    /// of all series before everything else.
    pub(super) fn checkpoint_log(
        &self,
        first: u64,
        to: u64,
        mint: i64,
        lost: bool,
    ) -> Result<(), StorageError> {
        let began = Instant::now();
        self.metrics.checkpoints.inc();
        let from = (mint, mint.saturating_sub(self.rules.range_ms.saturating_mul(EXEMPLAR_RANGES)));
        let keep = |series: u64| {
            self.table.with(series, |_, _| ()).is_some()
                || self.wal_expiry.lock().get(&series).is_some_and(|until| *until >= mint)
        };
        let living = |f: &mut dyn FnMut(&[SeriesRecord])| self.each_series(f);
        let done =
            checkpoint::write(&self.disk, &self.wal_dir, to, self.compression, from, &keep, (lost, &living))
                .inspect_err(|_| self.metrics.checkpoints_failed.inc())?;
        for loss in &done.losses {
            self.metrics.wal_corruptions.inc();
            tracing::error!(%loss, "log damaged; a checkpoint was made without this part");
        }
        if !done.losses.is_empty() && !lost {
            // Memory has what the log lost: where a start finds it, before that goes too.
            self.close_open_chunks();
            if self.files.sync_all()?.is_none() {
                tracing::error!("head chunks cannot be written: what the log lost is in memory alone");
            }
        }
        self.image.expire();
        self.wal_expiry.lock().retain(|_, until| *until >= mint);
        self.metrics.checkpoint_deletions.inc();
        if let Err(e) = checkpoint::truncate(&*self.disk, &self.wal_dir, to) {
            self.metrics.checkpoint_deletions_failed.inc();
            tracing::warn!(error = %e, "old log segments stay; they are deleted with the next checkpoint");
        }
        self.metrics.wal_truncate_seconds.observe(began.elapsed().as_secs_f64());
        tracing::info!(
            first,
            last = to,
            series = done.series,
            samples = done.samples,
            "WAL checkpoint complete"
        );
        Ok(())
    }

    /// Up to which segment the log becomes a checkpoint when samples before `mint` go; `None` where it is
    /// not worth one.
    fn checkpoint_to(&self, first: u64, last: u64, mint: i64) -> DiskResult<Option<u64>> {
        let turned = {
            let mut turns = self.log_turns.lock();
            turns.extend(self.log.take_turns());
            let passed = turns.iter().take_while(|(time, _)| *time <= mint).count();
            turns.drain(..passed).next_back()
        };
        // What is before the segment that began with `mint` is in blocks, but for what came late: the
        // checkpoint has little to keep.
        if let Some((_, segment)) = turned {
            return Ok(segment.checked_sub(1).filter(|to| *to >= first));
        }
        // Not known, after a start: the older two thirds, as upstream, and a new segment each time, so that a
        // server with little to log does not keep more than it needs.
        self.log.next_segment()?;
        let last = last.saturating_sub(1).max(first);
        Ok(Some(first + (last - first) * 2 / 3).filter(|to| *to > first))
    }

    /// Begins a segment of the log with the first samples of each block range, so that the log can go with
    /// the block. Upstream's segments are as long as they are, and the log has four ranges and more.
    pub(super) fn turn_log(&self, newest_ms: i64) {
        let begin = newest_ms.div_euclid(self.rules.range_ms).saturating_mul(self.rules.range_ms);
        let before = self.log_turned.load(Ordering::Relaxed);
        if begin <= before {
            return;
        }
        if self.log_turned.swap(begin, Ordering::Relaxed) >= begin {
            return;
        }
        // The first range of a life begins in the segment that is open.
        if before == i64::MIN {
            return;
        }
        // A clock gone wild must not leave a segment for each jump.
        let mut turns = self.log_turns.lock();
        turns.extend(self.log.take_turns());
        if turns.len() < LOG_TURNS_MAX {
            self.log.turn(begin);
        }
    }

    /// Calls with the records of all series, under every number that files know them by, some thousand at a time.
    fn each_series(&self, f: &mut dyn FnMut(&[SeriesRecord])) {
        for page in self.table.all() {
            let numbers: Vec<u64> = page.lock().numbers(page.base).collect();
            let record = |series: u64| Some(SeriesRecord { series, labels: self.labels_of(series)? });
            f(&numbers.into_iter().filter_map(record).collect::<Vec<_>>());
        }
        // Chunks in head files keep the number under which a log before knew their series: a start that has no
        // record of it could not tell whose they are. Behind all others, as the first record of a label set
        // gives it its number.
        let mut renamed: Vec<(u64, u64)> =
            self.renamed.lock().iter().map(|(old, now)| (*old, *now)).collect();
        renamed.sort_unstable();
        for part in renamed.chunks(SERIES_PER_HOLD) {
            let record =
                |(old, now): &(u64, u64)| Some(SeriesRecord { series: *old, labels: self.labels_of(*now)? });
            f(&part.iter().filter_map(record).collect::<Vec<_>>());
        }
    }

    /// Refuses samples before `mint` from here on, and waits for commits that are under way.
    pub(crate) fn fence(&self, mint: i64) {
        self.min_valid.fetch_max(mint, Ordering::AcqRel);
        drop(self.applying.write());
    }

    /// Whether the head will have a block to give within this time, by the pace of its newest samples.
    pub(crate) fn cuts_within(&self, ms: i64) -> bool {
        self.is_initialized()
            && self.max_time().saturating_add(ms).saturating_sub(self.min_time())
                > self.rules.range_ms / 2 * 3
    }

    /// Range of the next block to be cut: from the oldest time to the next multiple of the block range.
    pub(crate) fn next_block_range(&self) -> (i64, i64) {
        let mint = self.min_time();
        (
            mint,
            (mint.div_euclid(self.rules.range_ms))
                .wrapping_mul(self.rules.range_ms)
                .saturating_add(self.rules.range_ms),
        )
    }
}
