//! Deleting from the head: ranges of times, hidden from readers at once and left out of blocks (upstream:
//! `Head.Delete` in `tsdb/head.go`).

use model::Matcher;
use storage::{QueryContext, StorageError};

use super::Head;
use crate::disk::DiskResult;
use crate::tombstones::{Interval, add_interval};
use crate::wal::record::{self, TombstoneRecord};

/// Ranges in one record of the log: some 20 bytes each.
const RANGES_PER_RECORD: usize = 1 << 16;

impl Head {
    /// Deletes samples within [mint, maxt] of the series that match. In the log when this returns. Samples
    /// that come later are not touched.
    ///
    /// # Errors
    /// Cancelled; the log could not be written: then nothing is deleted.
    pub(crate) fn delete(
        &self,
        ctx: &QueryContext,
        mint: i64,
        maxt: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError> {
        let numbers = self.select_numbers(ctx, matchers)?;
        let mut stones = Vec::new();
        for (n, series) in numbers.into_iter().enumerate() {
            if n.is_multiple_of(1024) {
                ctx.check()?;
            }
            stones.extend(self.stone(series, mint, maxt));
        }
        if stones.is_empty() {
            return Ok(());
        }
        let _under_way = self.commits.enter();
        self.log_stones(&stones)?;
        self.hide(&stones);
        Ok(())
    }

    /// What hides a series' samples within [mint, maxt] that came in order; no further than there are any.
    pub(super) fn stone(&self, series: u64, mint: i64, maxt: i64) -> Option<TombstoneRecord> {
        let range = self.table.with(series, |_, slot| Some((slot.min_time()?, slot.max_time()?)));
        let (first, last) = range.flatten()?;
        let (mint_ms, maxt_ms) = (mint.max(first), maxt.min(last));
        (mint_ms <= maxt_ms).then_some(TombstoneRecord { series, mint_ms, maxt_ms })
    }

    pub(super) fn log_stones(&self, stones: &[TombstoneRecord]) -> DiskResult<()> {
        let mut records = Vec::new();
        for part in stones.chunks(RANGES_PER_RECORD) {
            let mut bytes = Vec::new();
            record::encode_tombstones(&mut bytes, part);
            records.push(bytes);
        }
        self.log.append(Vec::new, records.iter().map(|r| (r.as_slice(), 0)))
    }

    pub(super) fn hide(&self, stones: &[TombstoneRecord]) {
        let mut tombstones = self.tombstones.write();
        for s in stones {
            let interval = Interval { mint_ms: s.mint_ms, maxt_ms: s.maxt_ms };
            add_interval(tombstones.entry(s.series).or_default(), interval);
        }
    }
}
