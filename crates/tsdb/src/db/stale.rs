//! When series that ended leave memory, and the blocks that they leave it for (upstream: `CompactStaleHead` in
//! `tsdb/db.go`, which is off unless configured).
//!
//! These blocks have a part of their range's series only, which their hints say. The hint of upstream 3.14
//! makes newer versions keep them apart; older ones know that of out-of-order blocks alone, without which they
//! would take everything in the log before the block's end for stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use storage::StorageError;

use super::Inner;
use crate::block::{HINT_OUT_OF_ORDER, HINT_STALE_SERIES};

/// When series that ended leave memory early.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaleRules {
    /// Share of the head's series that must have ended.
    pub share: f64,
    /// Fewer are not worth a block.
    pub series_min: usize,
    /// Time between two such blocks: each is merged into the one before, so a shorter one is paid in writes.
    pub interval_ms: i64,
    /// How long ago a series must have got its staleness marker: a target that answers again goes on with the
    /// series that it had.
    pub stale_ms: i64,
    /// How long a series without marker must have been without sample.
    pub idle_ms: i64,
}

impl Default for StaleRules {
    /// A quarter of the series, each ten minutes.
    fn default() -> Self {
        StaleRules {
            share: 0.25,
            series_min: 1000,
            interval_ms: 10 * MINUTE_MS,
            stale_ms: 5 * MINUTE_MS,
            idle_ms: 30 * MINUTE_MS,
        }
    }
}

const MINUTE_MS: i64 = 60_000;
/// Where memory is short, blocks are written this often.
const SHORT_MS: i64 = MINUTE_MS;
/// Where the head is cut within this time anyway, they go with it. Upstream's.
const CUT_SOON_MS: i64 = 10 * MINUTE_MS;

impl Inner {
    /// Lets series that ended leave memory where it is time for it.
    pub(super) fn cut_stale(&self) -> Result<(), StorageError> {
        let Some(rules) = self.options.stale else { return Ok(()) };
        if !self.finish_stale()? || self.pending_truncation.lock().is_some() {
            return Ok(());
        }
        let (head, now) = (&self.head, self.options.clock.0.now_ms());
        let short = head.is_short_of_memory();
        let newest = head.max_time();
        let since = now.saturating_sub(self.last_stale_cut.load(Ordering::Relaxed));
        let (stale, all) = head.stale_and_all();
        let configured = f64::from_bits(self.stale_share.load(Ordering::Relaxed));
        let (share, interval) = match configured > 0.0 {
            // As upstream: whenever the share is reached.
            true => (configured, 0),
            false => (rules.share, rules.interval_ms),
        };
        let interval = if short { interval.min(SHORT_MS) } else { interval };
        let soon = head.cuts_within(CUT_SOON_MS.min(self.options.min_block_ms / 4));
        // A clock that went back does not stop it.
        let due = !(0..interval).contains(&since) && (short || !soon);
        if !due || all == 0 || configured > 0.0 && !short && (stale as f64) < share * all as f64 {
            return Ok(());
        }
        self.last_stale_cut.store(now, Ordering::Relaxed);
        // Not sooner where memory is short: a target that comes back after a minute would find itself refused.
        let idle_before = newest.saturating_sub(rules.idle_ms);
        let cut = head.begin_stale_cut(newest.saturating_sub(rules.stale_ms), idle_before);
        let share = if short { 0.0 } else { share };
        if cut.series.len() < rules.series_min.max(1)
            || configured == 0.0 && (cut.series.len() as f64) < share * all as f64
        {
            return Ok(());
        }
        self.metrics.stale_triggered.inc();
        let began = Instant::now();
        let done = self.write_stale(Arc::new(cut));
        match &done {
            Ok(()) => self.metrics.stale_seconds.observe(began.elapsed().as_secs_f64()),
            Err(_) => self.metrics.stale_failed.inc(),
        }
        done
    }

    fn write_stale(&self, cut: Arc<crate::head::StaleCut>) -> Result<(), StorageError> {
        let began = Instant::now();
        let (first, last) = cut.range;
        let range = self.options.min_block_ms.max(1);
        let mut source = self.head.stale_source(Arc::clone(&cut));
        let begin = first.div_euclid(range).saturating_mul(range);
        let hints = [HINT_OUT_OF_ORDER, HINT_STALE_SERIES];
        let opened = self.write_parts(&mut source, (begin, last), &hints)?;
        drop(source);
        let (blocks, series) = (opened.len(), cut.series.len());
        let reader = {
            let mut view = self.view.write();
            view.add(opened);
            self.head.next_reader()
        };
        *self.pending_stale.lock() = Some((cut, reader));
        self.count_blocks();
        tracing::info!(
            blocks,
            series,
            seconds = began.elapsed().as_secs_f64(),
            "wrote series that ended as blocks; they leave memory"
        );
        self.finish_stale()?;
        Ok(())
    }

    /// Lets go of series that ended and that blocks hold, if their readers are gone. True where nothing is
    /// pending.
    pub(super) fn finish_stale(&self) -> Result<bool, StorageError> {
        let mut pending = self.pending_stale.lock();
        let Some((cut, reader)) = &*pending else { return Ok(true) };
        let done = self.head.finish_stale_cut(cut, *reader);
        if matches!(done, Ok(None)) {
            return Ok(false);
        }
        // Also where the log did not take it: they are gone from memory.
        *pending = None;
        done.map(|_| true)
    }
}
