//! Reading the head: series by matchers, samples out of complete and open chunks.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Labels, Matcher};
use storage::{
    LabelHints, Querier, QueryContext, RawChunk, SampleBuf, SelectHints, Series, SeriesSet, StorageError,
};

use super::isolation::Snapshot;
use super::mapped::MappedChunk;
use super::ooo::{self, Part};
use super::{Head, ReaderGuard};
use crate::chunkenc;
use crate::compact::{ChunkBuilder, clip_chunk};
use crate::tombstones::{self, Interval};

/// Series looked at under one hold of the index, so that new series need not wait for a large query.
const SERIES_PER_HOLD: usize = 1024;

/// Bytes a handle costs beside its labels: itself, its counts, and its place in the list.
const HANDLE_BYTES: usize = size_of::<HeadSeries>() + 32;

impl Head {
    /// Series that match and have samples within [mint, maxt], with their labels, ascending by number.
    fn matching(
        &self,
        ctx: &QueryContext,
        matchers: &[Matcher],
        late_in_blocks: u64,
        (mint, maxt): (i64, i64),
    ) -> Result<Vec<(u64, Labels)>, StorageError> {
        let numbers = self.select_numbers(ctx, matchers)?;
        ctx.budget.charge((numbers.len() * size_of::<(u64, Labels)>()) as u64)?;
        let mut found = Vec::with_capacity(numbers.len());
        let mut bytes = 0;
        for part in numbers.chunks(SERIES_PER_HOLD) {
            ctx.check()?;
            let index = self.index.read();
            for series in part {
                let labels = self.table.with(*series, |page, slot| {
                    let (first, last) = page.times(*series, slot, late_in_blocks)?;
                    (first <= maxt && last >= mint).then(|| index.labels(page.pairs(slot)))
                });
                if let Some(labels) = labels.flatten() {
                    bytes += HANDLE_BYTES + labels.as_bytes().len();
                    found.push((*series, labels));
                }
            }
            drop(index);
            ctx.budget.charge(std::mem::take(&mut bytes) as u64)?;
        }
        Ok(found)
    }

    /// Names and values of the labels of matching series, each pair once.
    fn pairs_matching(
        &self,
        ctx: &QueryContext,
        matchers: &[Matcher],
        late_in_blocks: u64,
        (mint, maxt): (i64, i64),
        mut each: impl FnMut(&str, &str),
    ) -> Result<(), StorageError> {
        let numbers = self.select_numbers(ctx, matchers)?;
        let mut seen: hashbrown::HashSet<u32> = hashbrown::HashSet::new();
        for part in numbers.chunks(SERIES_PER_HOLD) {
            ctx.check()?;
            let index = self.index.read();
            let mut fresh = Vec::new();
            for series in part {
                self.table.with(*series, |page, slot| {
                    let Some((first, last)) = page.times(*series, slot, late_in_blocks) else { return };
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

    pub(super) fn deleted(&self, series: u64) -> Option<Vec<Interval>> {
        let tombstones = self.tombstones.read();
        if tombstones.is_empty() {
            return None;
        }
        tombstones.get(&series).cloned()
    }

    /// Reads a series' samples within [mint, maxt], as far as the reader may see them and blocks do not have
    /// them.
    pub(super) fn read_series(
        &self,
        series: u64,
        snapshot: Option<&Snapshot>,
        (since, mint, maxt): (Since, i64, i64),
        out: &mut SampleBuf,
    ) -> Result<(), StorageError> {
        if self.late_overlaps(mint, maxt) {
            let mut parts = Vec::new();
            self.late_parts(series, since.late, (mint, maxt), &mut parts)?;
            if !parts.is_empty() {
                return self.read_merged(series, snapshot, (since.in_order.max(mint), maxt), parts, out);
            }
        }
        let from = out.len();
        let mint = mint.max(since.in_order);
        self.each_chunk(series, snapshot, mint, maxt, |encoding, (_, _), maxt, data| {
            chunkenc::decode(encoding, data, mint, maxt, out).map_err(|e| corrupt(series, &e))
        })?;
        if let Some(deleted) = self.deleted(series) {
            tombstones::apply(&deleted, out, from);
        }
        Ok(())
    }

    /// Times of a series' samples that came in order within [mint, maxt], deleted ones included.
    pub(super) fn in_order_times(&self, series: u64, mint: i64, maxt: i64) -> Result<Vec<i64>, StorageError> {
        let mut out = SampleBuf::default();
        self.each_chunk(series, None, mint, maxt, |encoding, (_, _), maxt, data| {
            chunkenc::decode(encoding, data, mint, maxt, &mut out).map_err(|e| corrupt(series, &e))
        })?;
        Ok(out.times)
    }

    /// Reads a series with late samples.
    fn read_merged(
        &self,
        series: u64,
        snapshot: Option<&Snapshot>,
        (mint, maxt): (i64, i64),
        mut parts: Vec<Part>,
        out: &mut SampleBuf,
    ) -> Result<(), StorageError> {
        let deleted = self.deleted(series).unwrap_or_default();
        self.each_chunk(series, snapshot, mint, maxt, |encoding, (begin, _), maxt, data| {
            let mut samples = SampleBuf::default();
            chunkenc::decode(encoding, data, mint, maxt, &mut samples).map_err(|e| corrupt(series, &e))?;
            tombstones::apply(&deleted, &mut samples, 0);
            parts.push(Part { begin, late: false, samples });
            Ok(())
        })?;
        ooo::merge(parts, out)
    }

    /// Shows the encoded chunks of a series that overlap [mint, maxt], oldest first: encoding, first and
    /// last time, the last time that may be seen (not above `maxt`), bytes.
    fn each_chunk(
        &self,
        series: u64,
        snapshot: Option<&Snapshot>,
        mint: i64,
        mut maxt: i64,
        mut each: impl FnMut(storage::ChunkEncoding, (i64, i64), i64, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut complete: Vec<MappedChunk> = Vec::new();
        let mut open = None;
        self.table.with(series, |page, slot| {
            if let Some(snapshot) = snapshot {
                maxt = maxt.min(page.hidden_from(series, snapshot).saturating_sub(1));
            }
            let overlaps = |c: &&MappedChunk| c.min_time <= maxt && c.max_time() >= mint;
            complete.extend(slot.mapped.iter().filter(overlaps));
            if let Some((encoding, first, last)) = slot.open_chunk()
                && first <= maxt
                && last >= mint
            {
                open = Some((encoding, first, last, slot.open_bytes(&page.blocks)));
            }
        });
        let mut bytes = Vec::new();
        for chunk in &complete {
            if !self.files.read(chunk, &mut bytes)? {
                continue;
            }
            let Some(encoding) = chunk.encoding() else { continue };
            each(encoding, (chunk.min_time, chunk.max_time()), maxt, &bytes)?;
        }
        match open {
            Some((encoding, first, last, data)) => each(encoding, (first, last), maxt, &data),
            None => Ok(()),
        }
    }

    /// The encoded chunks of a series that overlap [mint, maxt], oldest first. What reaches outside stays,
    /// but for deleted samples and such as the reader may not see.
    pub(super) fn raw_chunks(
        &self,
        series: u64,
        snapshot: Option<&Snapshot>,
        mint: i64,
        maxt: i64,
    ) -> Result<Vec<RawChunk>, StorageError> {
        let deleted = self.deleted(series).unwrap_or_default();
        let mut all = Vec::new();
        self.each_chunk(series, snapshot, mint, maxt, |encoding, (mint_ms, maxt_ms), seen, data| {
            let chunk = RawChunk { mint_ms, maxt_ms, encoding, data: Arc::from(data) };
            let seen = if seen < maxt { seen } else { i64::MAX };
            clip_chunk(chunk, i64::MIN, seen, &deleted, &mut all).map_err(|e| corrupt(series, &e))
        })?;
        Ok(all)
    }
}

pub(super) fn corrupt(series: u64, e: &chunkenc::ChunkError) -> StorageError {
    StorageError::Corrupt { place: format!("head chunk of series {series}"), what: e.to_string() }
}

/// What of the head a reader has from blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// Samples that came in order before this time.
    in_order: i64,
    /// Late ones in chunks up to this place.
    late: u64,
}

/// A view on the head.
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    guard: Arc<ReaderGuard>,
    since: Since,
    mint: i64,
    maxt: i64,
}

impl HeadQuerier {
    /// A view on [mint, maxt]; samples that came in order from `in_order_from` on only, and of late ones those
    /// that no block has which its owner knows: blocks are published under the same lock as this is made.
    pub(crate) fn new(head: &Arc<Head>, in_order_from: i64, mint: i64, maxt: i64) -> Self {
        let guard = Arc::new(head.reader(mint.max(in_order_from)));
        let since = Since { in_order: in_order_from, late: head.late.in_blocks() };
        HeadQuerier { guard, head: Arc::clone(head), since, mint, maxt }
    }

    fn misses(&self) -> bool {
        let head = &self.head;
        let in_order = self.mint.max(self.since.in_order);
        (head.max_time() < in_order || head.min_time() > self.maxt)
            && !head.late_overlaps(self.mint, self.maxt)
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
        let mut found = self.head.matching(ctx, matchers, self.since.late, (self.mint, self.maxt))?;
        if sorted {
            found.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        }
        if hints.limit > 0 {
            found.truncate(hints.limit);
        }
        let handle = |(series, labels)| {
            Arc::new(HeadSeries {
                head: Arc::clone(&self.head),
                guard: Arc::clone(&self.guard),
                series,
                labels,
                since: self.since,
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
        if self.misses() {
            return Ok(Vec::new());
        }
        let mut values = if matchers.is_empty() {
            self.head.index.read().label_values(name)
        } else {
            let mut set = BTreeSet::new();
            self.head.pairs_matching(ctx, matchers, self.since.late, (self.mint, self.maxt), |n, v| {
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
        if self.misses() {
            return Ok(Vec::new());
        }
        let mut names = if matchers.is_empty() {
            self.head.index.read().label_names()
        } else {
            let mut set = BTreeSet::new();
            self.head.pairs_matching(ctx, matchers, self.since.late, (self.mint, self.maxt), |n, _| {
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
    guard: Arc<ReaderGuard>,
    series: u64,
    labels: Labels,
    since: Since,
    mint: i64,
    maxt: i64,
}

impl Series for HeadSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }
    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        let (mint, maxt) = (mint_ms.max(self.mint), maxt_ms.min(self.maxt));
        let range = (self.since, mint, maxt);
        self.head.read_series(self.series, Some(self.guard.snapshot()), range, out)
    }
    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        let (mint, maxt) = (mint_ms.max(self.mint), maxt_ms.min(self.maxt));
        let snapshot = Some(self.guard.snapshot());
        let mut parts = Vec::new();
        if self.head.late_overlaps(mint, maxt) {
            self.head.late_parts(self.series, self.since.late, (mint, maxt), &mut parts)?;
        }
        if parts.is_empty() {
            return self.head.raw_chunks(self.series, snapshot, mint.max(self.since.in_order), maxt);
        }
        // Chunks of one series may not overlap: written anew.
        let mut samples = SampleBuf::default();
        let from = mint.max(self.since.in_order);
        self.head.read_merged(self.series, snapshot, (from, maxt), parts, &mut samples)?;
        let mut builder = ChunkBuilder::default();
        builder.push_all(&samples).map_err(|e| corrupt(self.series, &e))?;
        Ok(builder.finish())
    }
}
