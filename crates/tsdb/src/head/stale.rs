//! Series that ended leave memory before the rest of their hours does: a block of them is written, readers are
//! sent there, then they go, and the log says so. With 10 % of the series replaced each minute, a head of three
//! hours would hold eighteen times the active ones otherwise.
//!
//! What the log gets is a deleted range from the beginning of time to the series' newest sample. Upstream
//! (from 3.14 on) writes one to the end of time, which older versions take for all that ever comes under these
//! labels. With a bounded range every version gives the same answers: what it hides is in the block, and a
//! series that returns is not touched, whichever of the two records comes first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use storage::StorageError;

use super::Head;
use super::cut::CutSource;
use super::series::Slot;
use super::table::PageInner;
use crate::wal::record::{self, TombstoneRecord};

/// Entries in one record of the log: some 16 bytes each.
const STONES_PER_RECORD: usize = 1 << 16;

/// Series that ended, with the time of the newest sample of each.
#[derive(Debug)]
pub(crate) struct StaleCut {
    /// By number.
    pub(crate) series: HashMap<u64, i64>,
    /// First and last time of their samples.
    pub(crate) range: (i64, i64),
}

fn ended(inner: &PageInner, series: u64, slot: &Slot) -> Option<(i64, i64)> {
    // Late samples leave memory by blocks of their own.
    let late = inner.late(series).is_some_and(|l| !l.is_empty());
    if slot.pending || late { None } else { slot.min_time().zip(slot.max_time()) }
}

impl Head {
    /// Series in memory, and those whose newest sample is a staleness marker.
    pub(crate) fn stale_and_all(&self) -> (u64, u64) {
        let stale = self.metrics.stale.load(Ordering::Relaxed);
        (u64::try_from(stale).unwrap_or(0), self.index.read().len())
    }

    /// Takes down the series that ended: marked stale before `stale_before`, or without a sample since
    /// `idle_before`. What they have then is complete and seen by every reader that begins later.
    pub(crate) fn begin_stale_cut(&self, stale_before: i64, idle_before: i64) -> StaleCut {
        let mut cut = StaleCut { series: HashMap::new(), range: (i64::MAX, i64::MIN) };
        for page in self.table.all() {
            let inner = page.lock();
            for number in inner.numbers(page.base) {
                let Some(slot) = inner.get(number) else { continue };
                let Some((first, last)) = ended(&inner, number, slot) else { continue };
                if slot.stale && last < stale_before || last < idle_before {
                    cut.series.insert(number, last);
                    cut.range = (cut.range.0.min(first), cut.range.1.max(last));
                }
            }
        }
        // A commit may have put a sample in place that readers do not see yet: it ends before this returns. One
        // that comes later makes a newer sample, and its series stays.
        drop(self.applying.write());
        cut
    }

    /// What a block of these is made of.
    pub(crate) fn stale_source(self: &Arc<Self>, cut: Arc<StaleCut>) -> CutSource {
        self.source_of_ended(cut)
    }

    /// Lets go of the series, which blocks hold now, but for those that returned meanwhile. `None` where a
    /// reader from before `reader` is left; else the number of those that left.
    pub(crate) fn finish_stale_cut(
        &self,
        cut: &StaleCut,
        reader: u64,
    ) -> Result<Option<usize>, StorageError> {
        // An image is being written: as with readers.
        let Some(_one_at_a_time) = self.gc.try_lock() else { return Ok(None) };
        if self.isolation.has_readers_below(reader) {
            return Ok(None);
        }
        let mut numbers: Vec<u64> = cut.series.keys().copied().collect();
        numbers.sort_unstable();
        let (mut chunks, mut stale) = (0, 0);
        let gone = self.remove_series(&numbers, &mut |inner, number, slot| {
            let same = ended(inner, number, slot).map(|(_, last)| last) == cut.series.get(&number).copied();
            if same {
                chunks += i64::from(slot.chunk_count());
                stale += i64::from(slot.stale);
            }
            same
        });
        self.forget_removed(gone.iter().filter_map(|n| Some((*n, *cut.series.get(n)?))));
        self.metrics.series_removed.add(gone.len() as f64);
        self.metrics.chunks_removed.add(chunks as f64);
        self.metrics.chunks.fetch_sub(chunks, Ordering::Relaxed);
        self.metrics.stale.fetch_sub(stale, Ordering::Relaxed);
        // Only such as are gone: a range of one that returned would hide what it got since. Where this is not
        // written, a restart has them in memory and in the block, with equal samples.
        let last = |series: &u64| cut.series.get(series).copied().unwrap_or(i64::MIN);
        let stone = |series: u64| TombstoneRecord { series, mint_ms: i64::MIN, maxt_ms: last(&series) };
        let mut stones: Vec<TombstoneRecord> = gone.iter().copied().map(stone).collect();
        stones.sort_unstable_by_key(|s| s.series);
        let mut records = Vec::new();
        for part in stones.chunks(STONES_PER_RECORD) {
            let mut bytes = Vec::new();
            record::encode_tombstones(&mut bytes, part);
            records.push(bytes);
        }
        self.log.append(Vec::new, records.iter().map(|r| (r.as_slice(), 0)))?;
        Ok(Some(gone.len()))
    }
}
