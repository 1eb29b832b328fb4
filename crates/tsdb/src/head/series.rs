//! One series in memory: its open chunk and where its complete ones are. When chunks are cut decides what
//! blocks look like; the rules are upstream's to the letter (`tsdb/head_append.go`).

use std::sync::Arc;

use model::{FloatHistogram, Histogram, HistogramValue, is_stale_nan};
use storage::{AppendError, ChunkEncoding};

use super::mapped::{HeadChunks, MappedChunk};
use super::open::{self, Blocks, Chain, OpenBytes, Tail};
use crate::chunkenc::{
    Appended, CHUNK_BYTES_MAX, ChunkBuf, ChunkError, FloatHistogramAppender, HistogramAppender, XorAppender,
};

/// A float chunk above this many bytes is cut before the next sample: what one sample can take is 19.
pub(crate) const XOR_BYTES_BEFORE_APPEND_MAX: usize = CHUNK_BYTES_MAX - 19;
/// As many samples are never too long, so that the bytes need not be asked.
const SAMPLES_ALWAYS_FIT: usize = XOR_BYTES_BEFORE_APPEND_MAX / 21;
/// Bytes that a histogram chunk aims at.
const HISTOGRAM_BYTES_TARGET: usize = 1024;
/// Fewer samples than this are no chunk, however large they are.
const HISTOGRAM_SAMPLES_MIN: u16 = 10;

/// What decides where chunks end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRules {
    /// No chunk crosses a multiple of this.
    pub(crate) range_ms: i64,
    /// Samples that a float chunk aims at.
    pub(crate) samples: u32,
}

impl ChunkRules {
    fn range_end(&self, t: i64) -> i64 {
        (t / self.range_ms).wrapping_mul(self.range_ms).saturating_add(self.range_ms)
    }
}

/// An open histogram chunk and the newest sample, which duplicates are compared with.
#[derive(Debug)]
pub(super) enum OpenHistogram {
    Int(HistogramAppender, Arc<Histogram>),
    Float(FloatHistogramAppender, Arc<FloatHistogram>),
}

#[derive(Debug)]
pub(super) struct OpenHistogramChunk {
    pub(super) chunk: OpenHistogram,
    pub(super) end_computed: bool,
}

impl OpenHistogram {
    fn encoding(&self) -> ChunkEncoding {
        match self {
            OpenHistogram::Int(a, _) => a.encoding(),
            OpenHistogram::Float(a, _) => a.encoding(),
        }
    }
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            OpenHistogram::Int(a, _) => a.bytes(),
            OpenHistogram::Float(a, _) => a.bytes(),
        }
    }
    fn len(&self) -> u16 {
        match self {
            OpenHistogram::Int(a, _) => a.len(),
            OpenHistogram::Float(a, _) => a.len(),
        }
    }
    fn last_time(&self) -> Option<i64> {
        match self {
            OpenHistogram::Int(a, _) => a.last_time(),
            OpenHistogram::Float(a, _) => a.last_time(),
        }
    }
}

/// What an append did to a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The sample is in.
    pub(crate) in_order: bool,
    /// Chunks begun.
    pub(crate) chunks: u32,
}

/// What a series makes chunks with.
pub(crate) struct ChunkSink<'a> {
    pub(crate) rules: &'a ChunkRules,
    /// Where complete ones go.
    pub(crate) files: &'a HeadChunks,
    /// Where the open ones' bytes of its page are.
    pub(crate) blocks: &'a mut Blocks,
}

/// A series. An ordinary append touches its first 64 bytes and little else; the open chunk's older bytes and
/// the list of complete chunks are apart.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Slot {
    pub(super) xor: XorAppender,
    pub(super) tail: Tail,
    /// A transaction holds a sample for it: not to be removed.
    pub(crate) pending: bool,
    pub(super) histogram: Option<Box<OpenHistogramChunk>>,
    pub(super) next_at: i64,

    /// The newest sample is a staleness marker.
    pub(crate) stale: bool,
    pub(super) chain: Chain,
    /// Complete chunks, oldest first.
    pub(crate) mapped: Vec<MappedChunk>,
    pub(super) min_time: i64,
    /// Where its label pairs are in the page.
    pub(crate) labels_at: u32,
    /// How many.
    pub(crate) labels_len: u16,
}

const _: () = assert!(size_of::<Slot>() == 112);

impl Slot {
    fn has_open(&self) -> bool {
        !self.xor.is_empty() || self.histogram.is_some()
    }

    fn open_last_time(&self) -> Option<i64> {
        match &self.histogram {
            Some(h) => h.chunk.last_time(),
            None => self.xor.last().map(|(t, _)| t),
        }
    }

    /// Time of the newest sample.
    pub(crate) fn max_time(&self) -> Option<i64> {
        self.open_last_time().or_else(|| self.mapped.last().map(MappedChunk::max_time))
    }

    /// Time of the oldest sample.
    pub(crate) fn min_time(&self) -> Option<i64> {
        self.mapped.first().map(|c| c.min_time).or_else(|| self.has_open().then_some(self.min_time))
    }

    /// Chunks, the open one included.
    pub(crate) fn chunk_count(&self) -> u32 {
        self.mapped.len() as u32 + u32::from(self.has_open())
    }

    /// Whether the newest chunk holds native histograms.
    pub(crate) fn is_histogram(&self) -> bool {
        match self.has_open() {
            true => self.histogram.is_some(),
            false => self.mapped.last().is_some_and(|c| {
                !matches!(c.encoding(), Some(ChunkEncoding::Xor | ChunkEncoding::Xor2) | None)
            }),
        }
    }

    /// The open chunk's encoding, first and last time.
    pub(crate) fn open_chunk(&self) -> Option<(ChunkEncoding, i64, i64)> {
        let last = self.open_last_time()?;
        let encoding = self.histogram.as_ref().map_or(ChunkEncoding::Xor, |h| h.chunk.encoding());
        Some((encoding, self.min_time, last))
    }

    /// The open chunk's bytes, as they would be written.
    pub(crate) fn open_bytes(&self, blocks: &Blocks) -> Vec<u8> {
        match &self.histogram {
            Some(h) => h.chunk.bytes().to_vec(),
            None => {
                let mut bytes = self.float_bytes(blocks);
                self.xor.put_count(&mut bytes);
                bytes
            }
        }
    }

    /// The bytes of an open float chunk, whose count is not right yet.
    pub(super) fn float_bytes(&self, blocks: &Blocks) -> Vec<u8> {
        let mut bytes = Vec::new();
        open::collect(&self.tail, &self.chain, blocks, &mut bytes);
        bytes
    }

    fn float_buf<'a>(&'a mut self, blocks: &'a mut Blocks) -> OpenBytes<'a> {
        OpenBytes { tail: &mut self.tail, chain: &mut self.chain, blocks }
    }

    /// Goes on with a float chunk, in a slot that has none.
    pub(super) fn resume_float(&mut self, blocks: &mut Blocks, xor: XorAppender, bytes: &[u8]) {
        self.float_buf(blocks).push_bytes(bytes);
        self.xor = xor;
    }

    /// Bytes behind the slot, for statistics.
    pub(crate) fn memory(&self) -> usize {
        self.mapped.capacity() * size_of::<MappedChunk>() + size_of::<Slot>()
    }

    /// Whether a float may come now: `Ok` also for an exact repetition of the newest sample.
    #[inline]
    pub(crate) fn check_float(&self, t: i64, v: f64, min_valid: i64) -> Result<(), AppendError> {
        if t < min_valid {
            return Err(AppendError::OutOfBounds);
        }
        if let Some(h) = &self.histogram {
            return match h.chunk.last_time() {
                Some(last) if t < last => Err(AppendError::OutOfOrder),
                Some(last) if t == last => Err(AppendError::Duplicate),
                _ => Ok(()),
            };
        }
        match self.xor.last() {
            Some((last, _)) if t < last => Err(AppendError::OutOfOrder),
            Some((last, old)) if t == last && old.to_bits() != v.to_bits() => Err(AppendError::Duplicate),
            Some(_) => Ok(()),
            None => self.check_behind_mapped(t),
        }
    }

    /// The check of a series that has complete chunks only, as a start leaves it where the log lost what came
    /// behind them. Whether a repeated time repeats the value too would take a read: it is refused. (Upstream
    /// takes all such samples and drops them without a word.)
    #[cold]
    fn check_behind_mapped(&self, t: i64) -> Result<(), AppendError> {
        match self.mapped.last().map(MappedChunk::max_time) {
            Some(last) if t < last => Err(AppendError::OutOfOrder),
            Some(last) if t == last => Err(AppendError::Duplicate),
            _ => Ok(()),
        }
    }

    /// Whether a histogram may come now.
    pub(crate) fn check_histogram(
        &self,
        t: i64,
        v: &HistogramValue,
        min_valid: i64,
    ) -> Result<(), AppendError> {
        if t < min_valid {
            return Err(AppendError::OutOfBounds);
        }
        match self.open_last_time() {
            Some(last) if t < last => Err(AppendError::OutOfOrder),
            Some(last) if t == last => {
                let same = match (self.histogram.as_ref().map(|h| &h.chunk), v) {
                    (Some(OpenHistogram::Int(_, old)), HistogramValue::Int(new)) => old == new,
                    (Some(OpenHistogram::Float(_, old)), HistogramValue::Float(new)) => old == new,
                    _ => false,
                };
                if same { Ok(()) } else { Err(AppendError::Duplicate) }
            }
            Some(_) => Ok(()),
            None => self.check_behind_mapped(t),
        }
    }

    /// Closes the open chunk, if there is one.
    pub(crate) fn close_open(&mut self, series: u64, sink: &mut ChunkSink<'_>) {
        let min = self.min_time;
        if let Some(h) = self.histogram.take() {
            if let Some(max) = h.chunk.last_time() {
                let (n, encoding) = (h.chunk.len(), h.chunk.encoding());
                let chunk = sink.files.write(series, min, max, n, encoding, h.chunk.bytes());
                self.push_mapped(chunk);
            }
        } else if let Some((max, _)) = self.xor.last() {
            let bytes = self.open_bytes(sink.blocks);
            let chunk = sink.files.write(series, min, max, self.xor.len(), ChunkEncoding::Xor, &bytes);
            self.push_mapped(chunk);
        }
        self.forget_float(sink.blocks);
    }

    fn forget_float(&mut self, blocks: &mut Blocks) {
        self.xor = XorAppender::new();
        self.float_buf(blocks).clear();
    }

    fn push_mapped(&mut self, chunk: MappedChunk) {
        // A head holds some six of them; doubling from four would reserve eight.
        if self.mapped.len() == self.mapped.capacity() {
            self.mapped.reserve_exact(1);
        }
        self.mapped.push(chunk);
    }

    /// Forgets the open chunk (its samples are in a block or in `mapped` by another way, or nobody wants them).
    pub(crate) fn drop_open(&mut self, blocks: &mut Blocks) {
        self.histogram = None;
        self.forget_float(blocks);
        self.next_at = 0;
    }

    /// Whether the next sample could make the float chunk too long.
    #[inline]
    fn is_full(&self) -> bool {
        usize::from(self.xor.len()) > SAMPLES_ALWAYS_FIT
            && open::len(&self.tail, &self.chain) > XOR_BYTES_BEFORE_APPEND_MAX
    }

    fn begin_float(&mut self, series: u64, t: i64, sink: &mut ChunkSink<'_>) {
        self.close_open(series, sink);
        self.min_time = t;
        self.next_at = sink.rules.range_end(t);
    }

    #[inline]
    fn append_xor(&mut self, blocks: &mut Blocks, t: i64, v: f64) -> Result<(), ChunkError> {
        self.xor.append(&mut OpenBytes { tail: &mut self.tail, chain: &mut self.chain, blocks }, t, v)
    }

    /// Adds a float; a sample that is not newer than the newest is left out. A staleness marker becomes one
    /// of the series' kind.
    #[inline]
    pub(crate) fn append_float(&mut self, series: u64, t: i64, v: f64, sink: &mut ChunkSink<'_>) -> Applied {
        if is_stale_nan(v) && self.is_histogram() {
            return self.append_stale_histogram(series, t, v, sink);
        }
        let mut applied = Applied::default();
        let mut fresh = false;
        if !self.has_open() {
            if self.mapped.last().is_some_and(|c| c.max_time() >= t) {
                return applied;
            }
            self.begin_float(series, t, sink);
            fresh = true;
        } else if self.open_last_time().is_some_and(|last| last >= t) {
            return applied;
        } else if self.histogram.is_some() || self.is_full() {
            self.begin_float(series, t, sink);
            fresh = true;
        }
        let n = u32::from(self.xor.len());
        if n > 0 {
            if n == sink.rules.samples / 4 {
                let last = self.xor.last().map_or(self.min_time, |(t, _)| t);
                self.next_at = chunk_end(self.min_time, last, self.next_at, 4.0);
            }
            if t >= self.next_at || n >= sink.rules.samples * 2 {
                self.begin_float(series, t, sink);
                fresh = true;
            }
        }
        if self.append_xor(sink.blocks, t, v).is_err() {
            // Full by the header's count, which is far above any rule.
            self.begin_float(series, t, sink);
            fresh = true;
            let _ = self.append_xor(sink.blocks, t, v);
        }
        self.stale = is_stale_nan(v);
        applied.in_order = true;
        applied.chunks = u32::from(fresh);
        applied
    }

    /// A staleness marker of the kind of the newest chunk, which holds histograms.
    pub(crate) fn stale_histogram(&self, v: f64) -> HistogramValue {
        let float = match &self.histogram {
            Some(h) => matches!(h.chunk, OpenHistogram::Float(..)),
            None => self.mapped.last().is_some_and(|c| {
                matches!(c.encoding(), Some(ChunkEncoding::FloatHistogram | ChunkEncoding::FloatHistogramSt))
            }),
        };
        if float {
            HistogramValue::Float(Arc::new(FloatHistogram { sum: v, ..FloatHistogram::default() }))
        } else {
            HistogramValue::Int(Arc::new(Histogram { sum: v, ..Histogram::default() }))
        }
    }

    fn append_stale_histogram(&mut self, series: u64, t: i64, v: f64, sink: &mut ChunkSink<'_>) -> Applied {
        let value = self.stale_histogram(v);
        self.append_histogram(series, t, &value, sink)
    }

    /// Adds a histogram; a sample that is not newer than the newest is left out.
    pub(crate) fn append_histogram(
        &mut self,
        series: u64,
        t: i64,
        value: &HistogramValue,
        sink: &mut ChunkSink<'_>,
    ) -> Applied {
        let mut applied = Applied::default();
        let same_kind = match (&self.histogram, value) {
            (Some(h), HistogramValue::Int(_)) => matches!(h.chunk, OpenHistogram::Int(..)),
            (Some(h), HistogramValue::Float(_)) => matches!(h.chunk, OpenHistogram::Float(..)),
            (None, _) => false,
        };
        if self.has_open() {
            if self.open_last_time().is_some_and(|last| last >= t) {
                return applied;
            }
        } else if self.mapped.last().is_some_and(|c| c.max_time() >= t) {
            return applied;
        }
        let cut = match &mut self.histogram {
            Some(h) if same_kind => {
                let (n, bytes) = (h.chunk.len(), h.chunk.bytes().len());
                let range_end =
                    if h.end_computed { sink.rules.range_end(self.min_time) } else { self.next_at };
                if !h.end_computed && bytes >= HISTOGRAM_BYTES_TARGET / 4 {
                    let ratio = HISTOGRAM_BYTES_TARGET as f64 / bytes as f64;
                    let last = h.chunk.last_time().unwrap_or(self.min_time);
                    self.next_at = chunk_end(self.min_time, last, self.next_at, ratio);
                    h.end_computed = true;
                }
                (t >= self.next_at || bytes >= HISTOGRAM_BYTES_TARGET * 2)
                    && (n >= HISTOGRAM_SAMPLES_MIN || t >= range_end)
            }
            _ => true,
        };
        let mut previous = None;
        if cut {
            // The chunk before is looked at to find a counter reset, so it is taken out before it is
            // written away.
            previous = self.cut_histogram(series, t, value, sink);
            applied.chunks = 1;
        }
        let Some(h) = &mut self.histogram else { return applied };
        let recut = match (&mut h.chunk, value) {
            (OpenHistogram::Int(app, last), HistogramValue::Int(v)) => {
                let before = previous.as_ref().and_then(|p| match p {
                    OpenHistogram::Int(a, _) => Some(a),
                    OpenHistogram::Float(..) => None,
                });
                *last = Arc::clone(v);
                app.append(before, 0, t, v).map(|done| match done {
                    Appended::Cut(next) => Some(OpenHistogram::Int(*next, Arc::clone(v))),
                    _ => None,
                })
            }
            (OpenHistogram::Float(app, last), HistogramValue::Float(v)) => {
                let before = previous.as_ref().and_then(|p| match p {
                    OpenHistogram::Float(a, _) => Some(a),
                    OpenHistogram::Int(..) => None,
                });
                *last = Arc::clone(v);
                app.append(before, 0, t, v).map(|done| match done {
                    Appended::Cut(next) => Some(OpenHistogram::Float(*next, Arc::clone(v))),
                    _ => None,
                })
            }
            _ => return applied,
        };
        match recut {
            Err(_) => {
                // Refused by the encoder (validation lets none through): an empty chunk must not stay.
                if h.chunk.len() == 0 {
                    self.histogram = None;
                }
                return applied;
            }
            Ok(Some(next)) => {
                self.close_open(series, sink);
                self.min_time = t;
                self.next_at = sink.rules.range_end(t);
                self.histogram = Some(Box::new(OpenHistogramChunk { chunk: next, end_computed: false }));
                applied.chunks += 1;
            }
            Ok(None) => {}
        }
        self.stale = value.is_stale();
        applied.in_order = true;
        applied
    }

    fn cut_histogram(
        &mut self,
        series: u64,
        t: i64,
        value: &HistogramValue,
        sink: &mut ChunkSink<'_>,
    ) -> Option<OpenHistogram> {
        let previous = match self.histogram.take() {
            Some(h) => {
                if let Some(max) = h.chunk.last_time() {
                    let (n, encoding) = (h.chunk.len(), h.chunk.encoding());
                    let chunk = sink.files.write(series, self.min_time, max, n, encoding, h.chunk.bytes());
                    self.push_mapped(chunk);
                }
                Some(h.chunk)
            }
            None => {
                self.close_open(series, sink);
                None
            }
        };
        self.min_time = t;
        self.next_at = sink.rules.range_end(t);
        let chunk = match value {
            HistogramValue::Int(h) => OpenHistogram::Int(HistogramAppender::new(false), Arc::clone(h)),
            HistogramValue::Float(h) => {
                OpenHistogram::Float(FloatHistogramAppender::new(false), Arc::clone(h))
            }
        };
        self.histogram = Some(Box::new(OpenHistogramChunk { chunk, end_computed: false }));
        previous
    }

    /// Whether one of its chunks spans this time.
    pub(crate) fn covers(&self, t: i64) -> bool {
        let behind = self.mapped.partition_point(|c| c.min_time <= t);
        let mapped = behind.checked_sub(1).and_then(|i| self.mapped.get(i));
        mapped.is_some_and(|c| c.max_time() >= t)
            || self.min_time <= t && self.open_last_time().is_some_and(|last| t <= last)
    }

    /// Adds complete chunks, in any order; of such that overlap the first one stays.
    pub(crate) fn add_mapped(&mut self, chunks: &[MappedChunk]) {
        self.mapped.extend_from_slice(chunks);
        MappedChunk::restore_order(&mut self.mapped);
        self.mapped.shrink_to_fit();
    }

    /// Drops chunks that end before `mint` and returns how many.
    pub(crate) fn truncate(&mut self, mint: i64, blocks: &mut Blocks) -> u32 {
        let mut dropped = 0;
        if self.open_last_time().is_some_and(|last| last < mint) {
            // As upstream: all complete ones are older still.
            dropped = 1;
            self.drop_open(blocks);
        }
        let keep_from = self.mapped.partition_point(|c| c.max_time() < mint);
        self.mapped.drain(..keep_from);
        if keep_from > 0 {
            self.mapped.shrink_to_fit();
        }
        dropped + keep_from as u32
    }
}

/// When a chunk should end so that those in its range become equally long, at the rate seen so far.
pub(crate) fn chunk_end(start: i64, cur: i64, max: i64, ratio_to_full: f64) -> i64 {
    let span = max.wrapping_sub(start) as f64;
    let n = span / ((cur.wrapping_sub(start).wrapping_add(1)) as f64 * ratio_to_full);
    if n <= 1.0 { max } else { (start as f64 + span / n.floor()) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_ends_are_upstreams() {
        // Cases of upstream's TestComputeChunkEndTime.
        for (start, cur, max, ratio, expected) in [
            (0, 250, 1000, 4.0, 1000),
            (100, 200, 1000, 4.0, 550),
            (0, 0, 1000, 4.0, 4),
            (50, 100, 350, 4.0, 350),
            (0, 110, 1000, 4.0, 500),
        ] {
            let got = chunk_end(start, cur, max, ratio);
            assert!((got - expected).abs() <= 50 || got == expected, "{start} {cur} {max}: {got}");
        }
        assert_eq!(size_of::<MappedChunk>(), 24);
        assert!(size_of::<Slot>() <= 136, "{}", size_of::<Slot>());
    }
}
