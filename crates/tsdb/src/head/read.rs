//! Reading the head: series by matchers, samples out of complete and open chunks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Labels, Matcher};
use storage::{
    LabelHints, Querier, QueryContext, RawChunk, SampleBuf, SelectHints, Series, SeriesSet, StorageError,
};

use super::mapped::MappedChunk;
use super::{Head, ReaderGuard};
use crate::chunkenc;
use crate::compact::clip_chunk;
use crate::tombstones::Interval;

/// Series looked at under one hold of the index, so that new series need not wait for a large query.
const SERIES_PER_HOLD: usize = 1024;

impl Head {
    /// Says that someone reads from `mint` on.
    pub(crate) fn reader(self: &Arc<Self>, mint: i64) -> ReaderGuard {
        let id = self.readers.next.fetch_add(1, Ordering::Relaxed);
        self.readers.open.lock().insert(id, mint);
        ReaderGuard { head: Arc::clone(self), id }
    }

    /// Whether someone reads what lies before `mint`.
    pub(crate) fn has_readers_before(&self, mint: i64) -> bool {
        self.readers.open.lock().values().any(|from| *from < mint)
    }

    /// Series that match and have samples within [mint, maxt], with their labels, ascending by number.
    fn matching(
        &self,
        ctx: &QueryContext,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
    ) -> Result<Vec<(u64, Labels)>, StorageError> {
        let numbers = self.index.read().select(matchers);
        let mut found = Vec::with_capacity(numbers.len());
        for part in numbers.chunks(SERIES_PER_HOLD) {
            ctx.check()?;
            let index = self.index.read();
            for series in part {
                let labels = self.table.with(*series, |page, slot| {
                    let (Some(first), Some(last)) = (slot.min_time(), slot.max_time()) else { return None };
                    (first <= maxt && last >= mint).then(|| index.labels(page.pairs(slot)))
                });
                if let Some(labels) = labels.flatten() {
                    found.push((*series, labels));
                }
            }
        }
        Ok(found)
    }

    /// Names and values of the labels of matching series, each pair once.
    fn pairs_matching(
        &self,
        ctx: &QueryContext,
        matchers: &[Matcher],
        mint: i64,
        maxt: i64,
        mut each: impl FnMut(&str, &str),
    ) -> Result<(), StorageError> {
        let numbers = self.index.read().select(matchers);
        let mut seen: hashbrown::HashSet<u32> = hashbrown::HashSet::new();
        for part in numbers.chunks(SERIES_PER_HOLD) {
            ctx.check()?;
            let index = self.index.read();
            let mut fresh = Vec::new();
            for series in part {
                self.table.with(*series, |page, slot| {
                    let (Some(first), Some(last)) = (slot.min_time(), slot.max_time()) else { return };
                    if first <= maxt && last >= mint {
                        fresh.extend(page.pairs(slot).iter().filter(|p| seen.insert(**p)));
                    }
                });
            }
            for pair in fresh {
                if let Some((name, value)) = index.pair_strings(pair) {
                    each(name, value);
                }
            }
        }
        Ok(())
    }

    fn deleted(&self, series: u64) -> Option<Vec<Interval>> {
        let tombstones = self.tombstones.read();
        if tombstones.is_empty() {
            return None;
        }
        tombstones.get(&series).cloned()
    }

    /// Reads a series' samples within [mint, maxt].
    pub(super) fn read_series(
        &self,
        series: u64,
        mint: i64,
        maxt: i64,
        out: &mut SampleBuf,
    ) -> Result<(), StorageError> {
        let deleted = self.deleted(series);
        let mut own = SampleBuf::default();
        let target = if deleted.is_some() { &mut own } else { &mut *out };
        self.each_chunk(series, mint, maxt, |encoding, _, _, data| {
            chunkenc::decode(encoding, data, mint, maxt, target).map_err(|e| StorageError::Corrupt {
                place: format!("head chunk of series {series}"),
                what: e.to_string(),
            })
        })?;
        for (i, t) in own.times.iter().enumerate() {
            if deleted.iter().flatten().any(|d| d.contains(*t)) {
                continue;
            }
            match own.histogram_at(i) {
                Some(h) => out.push_histogram(*t, h.clone()),
                None => out.push(*t, own.values.get(i).copied().unwrap_or_default()),
            }
        }
        Ok(())
    }

    /// Shows the encoded chunks of a series that overlap [mint, maxt], oldest first.
    fn each_chunk(
        &self,
        series: u64,
        mint: i64,
        maxt: i64,
        mut each: impl FnMut(storage::ChunkEncoding, i64, i64, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut complete: Vec<MappedChunk> = Vec::new();
        let mut open = None;
        self.table.with(series, |_, slot| {
            let overlaps = |c: &&MappedChunk| c.min_time <= maxt && c.max_time() >= mint;
            complete.extend(slot.mapped.iter().filter(overlaps));
            if let Some((encoding, first, last, data)) = slot.open_chunk()
                && first <= maxt
                && last >= mint
            {
                open = Some((encoding, first, last, data.to_vec()));
            }
        });
        let mut bytes = Vec::new();
        for chunk in &complete {
            self.files.read(chunk, &mut bytes)?;
            let Some(encoding) = chunk.encoding() else { continue };
            each(encoding, chunk.min_time, chunk.max_time(), &bytes)?;
        }
        match open {
            Some((encoding, first, last, data)) => each(encoding, first, last, &data),
            None => Ok(()),
        }
    }

    /// The encoded chunks of a series that overlap [mint, maxt], oldest first; deleted samples taken out.
    pub(super) fn raw_chunks(
        &self,
        series: u64,
        mint: i64,
        maxt: i64,
    ) -> Result<Vec<RawChunk>, StorageError> {
        let deleted = self.deleted(series).unwrap_or_default();
        let mut all = Vec::new();
        self.each_chunk(series, mint, maxt, |encoding, mint_ms, maxt_ms, data| {
            let chunk = RawChunk { mint_ms, maxt_ms, encoding, data: Arc::from(data) };
            // Only deleted ranges are cut out here; what reaches outside stays, as the caller was told.
            clip_chunk(chunk, i64::MIN, i64::MAX, &deleted, &mut all).map_err(|e| StorageError::Corrupt {
                place: format!("head chunk of series {series}"),
                what: e.to_string(),
            })
        })?;
        Ok(all)
    }
}

/// A view on the head.
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    guard: Arc<ReaderGuard>,
    mint: i64,
    maxt: i64,
}

impl HeadQuerier {
    /// A view on [mint, maxt].
    pub(crate) fn new(head: &Arc<Head>, mint: i64, maxt: i64) -> Self {
        HeadQuerier { guard: Arc::new(head.reader(mint)), head: Arc::clone(head), mint, maxt }
    }
}

impl Querier for HeadQuerier {
    fn select(
        &self,
        ctx: &QueryContext,
        sorted: bool,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<SeriesSet, StorageError> {
        let mut found = self.head.matching(ctx, matchers, self.mint, self.maxt)?;
        if sorted {
            found.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        }
        if hints.limit > 0 {
            found.truncate(hints.limit);
        }
        let handle = |(series, labels)| {
            Arc::new(HeadSeries {
                head: Arc::clone(&self.head),
                _guard: Arc::clone(&self.guard),
                series,
                labels,
                mint: self.mint,
                maxt: self.maxt,
            }) as Arc<dyn Series>
        };
        Ok(SeriesSet { series: found.into_iter().map(handle).collect(), warnings: Vec::new() })
    }

    fn label_values(
        &self,
        ctx: &QueryContext,
        name: &str,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        if self.head.max_time() < self.mint || self.head.min_time() > self.maxt {
            return Ok(Vec::new());
        }
        let mut values = if matchers.is_empty() {
            self.head.index.read().label_values(name)
        } else {
            let mut set = BTreeSet::new();
            self.head.pairs_matching(ctx, matchers, self.mint, self.maxt, |n, v| {
                if n == name {
                    set.insert(v.to_string());
                }
            })?;
            set.into_iter().collect()
        };
        if hints.limit > 0 {
            values.truncate(hints.limit);
        }
        Ok(values)
    }

    fn label_names(
        &self,
        ctx: &QueryContext,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        if self.head.max_time() < self.mint || self.head.min_time() > self.maxt {
            return Ok(Vec::new());
        }
        let mut names = if matchers.is_empty() {
            self.head.index.read().label_names()
        } else {
            let mut set = BTreeSet::new();
            self.head.pairs_matching(ctx, matchers, self.mint, self.maxt, |n, _| {
                if !set.contains(n) {
                    set.insert(n.to_string());
                }
            })?;
            set.into_iter().collect()
        };
        if hints.limit > 0 {
            names.truncate(hints.limit);
        }
        Ok(names)
    }
}

/// A series of a view.
struct HeadSeries {
    head: Arc<Head>,
    _guard: Arc<ReaderGuard>,
    series: u64,
    labels: Labels,
    mint: i64,
    maxt: i64,
}

impl Series for HeadSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }
    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        self.head.read_series(self.series, mint_ms.max(self.mint), maxt_ms.min(self.maxt), out)
    }
    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        self.head.raw_chunks(self.series, mint_ms.max(self.mint), maxt_ms.min(self.maxt))
    }
}
