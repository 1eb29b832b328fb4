//! Letting go: chunks that blocks hold, series without any, and the log that is no longer needed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use storage::StorageError;

use super::Head;
use crate::wal::checkpoint;

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
        // No sample before `mint` comes in from here on.
        self.min_valid.fetch_max(mint, Ordering::AcqRel);
        if self.has_readers_before(mint) {
            return Ok(Truncation::Postponed);
        }
        self.metrics.truncations.inc();
        self.max_time.fetch_max(mint, Ordering::AcqRel);
        let began = Instant::now();
        let (actual_mint, oldest_file) = self.collect(mint);
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
    /// file that are left.
    pub(super) fn collect(&self, mint: i64) -> (i64, u32) {
        let mut empty = Vec::new();
        let (mut oldest, mut oldest_file, mut dropped, mut stale) = (i64::MAX, u32::MAX, 0_u64, 0_i64);
        for page in self.table.all() {
            let mut inner = page.lock();
            for series in inner.numbers(page.base) {
                let Some(slot) = inner.get_mut(series) else { continue };
                dropped += u64::from(slot.truncate(mint));
                // Not the first one's: samples between chunks are written behind them.
                oldest_file = slot.mapped.iter().map(|c| c.file()).fold(oldest_file, u32::min);
                match slot.min_time() {
                    Some(first) => oldest = oldest.min(first),
                    None if !slot.pending => empty.push(series),
                    None => {}
                }
            }
        }
        if !empty.is_empty() {
            let mut index = self.index.write();
            let mut gone = Vec::with_capacity(empty.len());
            for series in empty {
                // Looked at again under the index's lock: nobody finds it by labels from here on, and a
                // transaction that found it before has marked it.
                let pairs = self.table.with(series, |page, slot| {
                    if slot.pending || slot.chunk_count() > 0 {
                        return None;
                    }
                    stale += i64::from(slot.stale);
                    Some(page.pairs(slot).to_vec())
                });
                if let Some(pairs) = pairs.flatten() {
                    gone.push((index.labels(&pairs).hash(), series, pairs));
                }
            }
            index.remove(&gone);
            let numbers: Vec<u64> = gone.iter().map(|(_, n, _)| *n).collect();
            self.table.remove(&numbers);
            drop(index);
            self.metrics.series_removed.add(numbers.len() as f64);
            let keep_until = if oldest == i64::MAX { self.max_time() } else { oldest };
            let mut expiry = self.wal_expiry.lock();
            let mut metadata = self.metadata.lock();
            let mut tombstones = self.tombstones.write();
            for series in numbers {
                expiry.insert(series, keep_until);
                metadata.remove(&series);
                tombstones.remove(&series);
            }
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

    /// Turns the older two thirds of the log into a checkpoint of what is still needed from it.
    fn truncate_wal(&self, mint: i64) -> Result<(), StorageError> {
        if mint <= self.last_wal_truncation.swap(mint, Ordering::AcqRel) {
            return Ok(());
        }
        let began = Instant::now();
        let all = self.wal_segments()?;
        // A new one each time, so that a server with little to log does not keep more than it needs.
        self.log.next_segment()?;
        let (Some(first), Some(last)) = (all.first().copied(), all.last().copied()) else { return Ok(()) };
        let last = last.saturating_sub(1).max(first);
        let to = first + (last - first) * 2 / 3;
        if to <= first {
            return Ok(());
        }
        self.metrics.checkpoints.inc();
        let keep = |series: u64| {
            self.table.with(series, |_, _| ()).is_some()
                || self.wal_expiry.lock().get(&series).is_some_and(|until| *until >= mint)
        };
        let done = checkpoint::write(&self.disk, &self.wal_dir, to, self.compression, mint, &keep)
            .inspect_err(|_| self.metrics.checkpoints_failed.inc())?;
        for loss in &done.losses {
            self.metrics.wal_corruptions.inc();
            tracing::error!(%loss, "log damaged; a checkpoint was made without this part");
        }
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

    /// Refuses samples before `mint` from here on, and waits for commits that are under way.
    pub(crate) fn fence(&self, mint: i64) {
        self.min_valid.fetch_max(mint, Ordering::AcqRel);
        drop(self.applying.write());
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
