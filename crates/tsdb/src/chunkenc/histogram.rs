//! Native histograms of both kinds, with or without start timestamps (upstream: `chunkenc/histogram.go`,
//! `float_histogram.go`, `histogram_st.go`, `float_histogram_st.go`).
//!
//! A chunk begins with three bytes: number of samples and the reset header (with start timestamps: reset
//! header and number share two bytes, the third is the start header). The layout follows, then per sample
//! time, count, zero count, sum, positive and negative buckets, each against the sample before. A stale
//! marker has no buckets, and nothing but stale markers may follow it.

use model::{CounterResetHint, Span, is_stale_nan};
use storage::{ChunkEncoding, SampleBuf};

use super::bits::{BitReader, BitWriter};
use super::cell::{Cell, XorCell};
use super::kind::{BucketOf, CountOf, Counts, HistogramKind, Shape, View};
use super::layout::{Layout, ResetHeader};
use super::spans::{self, Difference};
use super::st::{self, StDecoder, StEncoder};
use super::varbit::{put_int, read_int};
use super::{ChunkError, Result};

/// Buckets of one side that are read: schema 8 has 2^8 buckets for each of 2,046 powers of two, 523,776 in
/// all; the next power of two, twice.
pub const MAX_BUCKETS: u64 = 1 << 20;

const HEADER_BYTES: usize = 3;

/// What an append did.
#[derive(Debug)]
pub enum Appended<A> {
    /// The sample is in the chunk.
    Here,
    /// The sample is in the chunk, all of whose bytes changed: its bucket layout grew.
    Recoded,
    /// The sample does not fit (counter reset, other schema, other bounds): it is the first of this new
    /// chunk, whose header is set. The old chunk is complete.
    Cut(Box<A>),
}

/// An open histogram chunk: its bytes and what the next sample is compared with. A series with histograms
/// is large anyway, so unlike [`super::XorAppender`] it owns its bytes.
#[derive(Clone, Debug)]
#[allow(private_bounds)]
pub struct HistogramChunkAppender<K: HistogramKind> {
    bytes: Vec<u8>,
    free: u8,
    num: u16,
    header: ResetHeader,
    layout: Layout,
    t: i64,
    t_delta: i64,
    count: K::Count,
    zero_count: K::Count,
    sum: XorCell,
    positive: Vec<K::Bucket>,
    negative: Vec<K::Bucket>,
    starts: Option<StEncoder>,
}

/// Whether a sample may follow the newest one.
struct Fit {
    ok: bool,
    header: ResetHeader,
    positive: Difference,
    negative: Difference,
}

impl Fit {
    fn refuse(header: ResetHeader) -> Self {
        Fit { ok: false, header, positive: Difference::default(), negative: Difference::default() }
    }
    fn accept(positive: Difference, negative: Difference) -> Self {
        Fit { ok: true, header: ResetHeader::NotReset, positive, negative }
    }
}

/// A sample brought to the chunk's layout.
struct Widened<K: Shape> {
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    positive: Vec<BucketOf<K>>,
    negative: Vec<BucketOf<K>>,
}

#[allow(private_bounds)]
impl<K: HistogramKind> HistogramChunkAppender<K> {
    /// A chunk without samples. `with_starts` chooses the encoding that keeps start timestamps, which only
    /// Prometheus 3.15 and later read.
    #[must_use]
    pub fn new(with_starts: bool) -> Self {
        HistogramChunkAppender {
            bytes: vec![0; HEADER_BYTES],
            free: 0,
            num: 0,
            header: ResetHeader::Unknown,
            layout: Layout::default(),
            t: 0,
            t_delta: 0,
            count: K::Count::default(),
            zero_count: K::Count::default(),
            sum: XorCell::default(),
            positive: Vec::new(),
            negative: Vec::new(),
            starts: with_starts.then(StEncoder::default),
        }
    }

    /// Of a chunk without start timestamps that was written before, to go on with it.
    ///
    /// # Errors
    /// Malformed bytes, or bytes behind the last sample.
    pub fn resume(data: Vec<u8>) -> Result<Self> {
        let mut r = Reader::<K>::new(&data, false)?;
        while r.next()? {}
        let free = r.bits.free_at_end().ok_or(ChunkError::Invalid("bytes behind the last sample"))?;
        let Reader { total, header, layout, t, t_delta, count, zero_count, sum, positive, negative, .. } = r;
        Ok(HistogramChunkAppender {
            bytes: data,
            free,
            num: total,
            header,
            layout,
            t,
            t_delta,
            count,
            zero_count,
            sum,
            positive,
            negative,
            starts: None,
        })
    }

    /// The chunk's encoding.
    #[must_use]
    pub fn encoding(&self) -> ChunkEncoding {
        K::encoding(self.starts.is_some())
    }
    /// The chunk's bytes, complete after every append.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// The chunk's bytes, for good.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
    /// Number of samples so far.
    #[must_use]
    pub fn len(&self) -> u16 {
        self.num
    }
    /// True before the first sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.num == 0
    }
    /// The chunk's reset header.
    #[must_use]
    pub fn header(&self) -> ResetHeader {
        self.header
    }
    /// Time of the newest sample.
    #[must_use]
    pub fn last_time(&self) -> Option<i64> {
        (self.num > 0).then_some(self.t)
    }

    /// Appends a sample. `previous` is the series' chunk before, looked at with the first sample only, to
    /// find whether the counter was reset in between; `None` where there is none or it holds another kind.
    /// `start_ms` is kept by encodings with start timestamps.
    ///
    /// # Errors
    /// [`ChunkError::Full`]; a histogram whose buckets do not fit its spans.
    pub fn append(
        &mut self,
        previous: Option<&Self>,
        start_ms: i64,
        t_ms: i64,
        h: &K::Value,
    ) -> Result<Appended<Self>> {
        let v = K::view(h);
        if !spans::is_valid(v.positive_spans, v.positive.len())
            || !spans::is_valid(v.negative_spans, v.negative.len())
        {
            return Err(ChunkError::Invalid("histogram spans"));
        }
        let gauge = v.hint == CounterResetHint::Gauge;
        if self.num == 0 {
            self.push(start_ms, t_ms, &v);
            if gauge {
                self.set_header(ResetHeader::Gauge);
            } else if v.hint == CounterResetHint::Reset {
                self.set_header(ResetHeader::Reset);
            } else if let Some(previous) = previous {
                self.set_header(K::header_of_follow_up(previous.fit_counter(&v).header));
            }
            return Ok(Appended::Here);
        }
        let full = if self.starts.is_some() { st::SAMPLES_MAX } else { super::SAMPLES_MAX };
        if self.num >= full {
            return Err(ChunkError::Full);
        }
        let fit = if gauge { self.fit_gauge(&v) } else { self.fit_counter(&v) };
        if !fit.ok {
            let mut next = Self::new(self.starts.is_some());
            next.push(start_ms, t_ms, &v);
            next.set_header(if gauge { ResetHeader::Gauge } else { K::header_of_cut(fit.header) });
            return Ok(Appended::Cut(Box::new(next)));
        }
        let widened = self.widen(&v, &fit, gauge);
        let v = match &widened {
            Some(w) => View {
                positive_spans: &w.positive_spans,
                negative_spans: &w.negative_spans,
                positive: &w.positive,
                negative: &w.negative,
                ..v
            },
            None => v,
        };
        let recode = fit.positive.forward || fit.negative.forward;
        if recode {
            self.recode(v.positive_spans, v.negative_spans)?;
        }
        self.push(start_ms, t_ms, &v);
        Ok(if recode { Appended::Recoded } else { Appended::Here })
    }

    fn fit_counter(&self, v: &View<'_, CountOf<K>, BucketOf<K>>) -> Fit {
        if self.num > 0 && self.header == ResetHeader::Gauge {
            return Fit::refuse(ResetHeader::NotReset);
        }
        if v.hint == CounterResetHint::Reset {
            return Fit::refuse(ResetHeader::Reset);
        }
        if is_stale_nan(v.sum) {
            return Fit::accept(Difference::default(), Difference::default());
        }
        if is_stale_nan(self.sum.value()) {
            return Fit::refuse(ResetHeader::Unknown);
        }
        if K::count_less(v.count, self.count.value()) {
            return Fit::refuse(ResetHeader::Reset);
        }
        if v.schema != self.layout.schema || v.zero_threshold != self.layout.zero_threshold {
            return Fit::refuse(ResetHeader::Unknown);
        }
        if !self.same_bounds(v) || K::count_less(v.zero_count, self.zero_count.value()) {
            return Fit::refuse(ResetHeader::Reset);
        }
        let compare = |old_spans: &[Span], old: &[K::Bucket], new_spans: &[Span], new: &[BucketOf<K>]| {
            let old = K::absolute(old.iter().map(|c| c.value()));
            spans::compare_counters(old_spans, old, new_spans, K::absolute(new.iter().copied()))
        };
        let positive = compare(&self.layout.positive, &self.positive, v.positive_spans, v.positive);
        let negative = compare(&self.layout.negative, &self.negative, v.negative_spans, v.negative);
        match (positive, negative) {
            (Some(p), Some(n)) => Fit::accept(p, n),
            _ => Fit::refuse(ResetHeader::Reset),
        }
    }

    fn fit_gauge(&self, v: &View<'_, CountOf<K>, BucketOf<K>>) -> Fit {
        if self.num > 0 && self.header != ResetHeader::Gauge {
            return Fit::refuse(ResetHeader::Gauge);
        }
        if is_stale_nan(v.sum) {
            return Fit::accept(Difference::default(), Difference::default());
        }
        let other_shape = v.schema != self.layout.schema || v.zero_threshold != self.layout.zero_threshold;
        if is_stale_nan(self.sum.value()) || other_shape || !self.same_bounds(v) {
            return Fit::refuse(ResetHeader::Gauge);
        }
        Fit::accept(
            spans::compare_layouts(&self.layout.positive, v.positive_spans),
            spans::compare_layouts(&self.layout.negative, v.negative_spans),
        )
    }

    fn same_bounds(&self, v: &View<'_, CountOf<K>, BucketOf<K>>) -> bool {
        v.schema != model::histogram::CUSTOM_BUCKETS_SCHEMA || self.layout.custom[..] == v.custom[..]
    }

    /// Brings a sample that lacks buckets of the chunk to a layout that has them.
    fn widen(&self, v: &View<'_, CountOf<K>, BucketOf<K>>, fit: &Fit, gauge: bool) -> Option<Widened<K>> {
        let (p, n) = (fit.positive, fit.negative);
        if !p.backward && !n.backward {
            return None;
        }
        let target = |old: &[Span], new: &[Span], difference: Difference| {
            if gauge || difference.backward { spans::union(old, new) } else { new.to_vec() }
        };
        // A counter without new buckets takes the chunk's layout as it is written there.
        let (positive_spans, negative_spans) = if !gauge && !p.forward && !n.forward {
            (self.layout.positive.clone(), self.layout.negative.clone())
        } else {
            (
                target(&self.layout.positive, v.positive_spans, p),
                target(&self.layout.negative, v.negative_spans, n),
            )
        };
        let move_to = |from: &[Span], buckets: &[BucketOf<K>], to: &[Span]| {
            K::from_absolute(spans::relayout(from, K::absolute(buckets.iter().copied()), to))
        };
        let positive = move_to(v.positive_spans, v.positive, &positive_spans);
        let negative = move_to(v.negative_spans, v.negative, &negative_spans);
        Some(Widened { positive_spans, negative_spans, positive, negative })
    }

    /// Writes the chunk anew with a wider layout.
    fn recode(&mut self, positive_spans: &[Span], negative_spans: &[Span]) -> Result<()> {
        let mut next = Self::new(self.starts.is_some());
        let mut reader = Reader::<K>::new(&self.bytes, self.starts.is_some())?;
        while reader.next()? {
            let absolute = |cells: &[K::Bucket]| {
                K::absolute(cells.iter().map(|c| c.value()).collect::<Vec<_>>().into_iter())
            };
            let positive =
                spans::relayout(&reader.layout.positive, absolute(&reader.positive), positive_spans);
            let negative =
                spans::relayout(&reader.layout.negative, absolute(&reader.negative), negative_spans);
            let (positive, negative) = (K::from_absolute(positive), K::from_absolute(negative));
            let v = View {
                hint: CounterResetHint::Unknown,
                schema: reader.layout.schema,
                zero_threshold: reader.layout.zero_threshold,
                count: reader.count.value(),
                zero_count: reader.zero_count.value(),
                sum: reader.sum.value(),
                positive_spans,
                negative_spans,
                positive: &positive,
                negative: &negative,
                custom: &reader.layout.custom,
            };
            next.push(reader.starts.start(), reader.t, &v);
        }
        next.set_header(self.header);
        *self = next;
        Ok(())
    }

    /// Writes a sample that fits.
    fn push(&mut self, start_ms: i64, t_ms: i64, v: &View<'_, CountOf<K>, BucketOf<K>>) {
        let stale = is_stale_nan(v.sum);
        let (first, previous_t) = (self.num == 0, self.t);
        if first {
            self.layout = if stale {
                Layout::default()
            } else {
                Layout {
                    schema: v.schema,
                    zero_threshold: v.zero_threshold,
                    positive: v.positive_spans.to_vec(),
                    negative: v.negative_spans.to_vec(),
                    custom: std::sync::Arc::clone(v.custom),
                }
            };
            let cells = |spans: &[Span]| vec![K::Bucket::default(); spans::bucket_count(spans)];
            self.positive = cells(&self.layout.positive);
            self.negative = cells(&self.layout.negative);
        }
        let mut w = BitWriter { buf: &mut self.bytes, free: self.free };
        if first {
            self.layout.put(&mut w);
            put_int(&mut w, t_ms);
        } else {
            let delta = t_ms.wrapping_sub(self.t);
            put_int(&mut w, delta.wrapping_sub(self.t_delta));
            self.t_delta = delta;
        }
        self.t = t_ms;
        match (first, stale) {
            (true, false) => {
                self.count.put_first(&mut w, v.count);
                self.zero_count.put_first(&mut w, v.zero_count);
                self.sum.put_first(&mut w, v.sum);
            }
            (true, true) => {
                let zero = K::Count::default().value();
                self.count.put_first(&mut w, zero);
                self.zero_count.put_first(&mut w, zero);
                self.sum.put_first(&mut w, v.sum);
            }
            (false, false) => {
                self.count.put_next(&mut w, v.count);
                self.zero_count.put_next(&mut w, v.zero_count);
                self.sum.put_next(&mut w, v.sum);
            }
            (false, true) => {
                self.count.put_stale(&mut w);
                self.zero_count.put_stale(&mut w);
                self.sum.put_next(&mut w, v.sum);
            }
        }
        if !stale {
            let positive = self.positive.iter_mut().zip(v.positive);
            for (cell, value) in positive.chain(self.negative.iter_mut().zip(v.negative)) {
                if first { cell.put_first(&mut w, *value) } else { cell.put_next(&mut w, *value) }
            }
        }
        let mut st_header = None;
        if let Some(starts) = &mut self.starts {
            st_header = starts.put(&mut w, self.num, t_ms, previous_t, start_ms);
        }
        self.free = w.free;
        if let Some(byte) = st_header {
            self.bytes[2] = byte;
        }
        self.num += 1;
        self.put_header();
    }

    fn set_header(&mut self, header: ResetHeader) {
        self.header = header;
        self.put_header();
    }

    fn put_header(&mut self) {
        let [high, low] = self.num.to_be_bytes();
        let reset = self.header as u8;
        if self.starts.is_some() {
            self.bytes[0] = reset | high;
        } else {
            self.bytes[0] = high;
            self.bytes[2] = reset;
        }
        self.bytes[1] = low;
    }
}

struct Reader<'a, K: Shape> {
    bits: BitReader<'a>,
    total: u16,
    read: u16,
    header: ResetHeader,
    layout: Layout,
    t: i64,
    t_delta: i64,
    count: K::Count,
    zero_count: K::Count,
    sum: XorCell,
    positive: Vec<K::Bucket>,
    negative: Vec<K::Bucket>,
    starts: StDecoder,
}

impl<'a, K: Shape> Reader<'a, K> {
    fn new(data: &'a [u8], with_starts: bool) -> Result<Self> {
        let Some(([high, low, third], rest)) = data.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ChunkError::TooShort(data.len()));
        };
        let number = u16::from_be_bytes([*high, *low]);
        let (total, header, starts) =
            if with_starts { (number & st::SAMPLES_MAX, *high, *third) } else { (number, *third, 0) };
        Ok(Reader {
            bits: BitReader::new(rest),
            total,
            read: 0,
            header: ResetHeader::from_byte(header),
            layout: Layout::default(),
            t: 0,
            t_delta: 0,
            count: K::Count::default(),
            zero_count: K::Count::default(),
            sum: XorCell::default(),
            positive: Vec::new(),
            negative: Vec::new(),
            starts: StDecoder::new(starts),
        })
    }

    /// Goes to the next sample; false behind the last.
    fn next(&mut self) -> Result<bool> {
        if self.read >= self.total {
            return Ok(false);
        }
        let (previous_t, index) = (self.t, self.read);
        self.bits.sample = index;
        let r = &mut self.bits;
        if index == 0 {
            self.layout = Layout::read(r)?;
            let (positive, negative) =
                (spans::bucket_count(&self.layout.positive), spans::bucket_count(&self.layout.negative));
            if (positive + negative) as u64 > r.bits_left() / K::Bucket::FIRST_BITS_MIN {
                return Err(ChunkError::Truncated(0));
            }
            self.positive = vec![K::Bucket::default(); positive];
            self.negative = vec![K::Bucket::default(); negative];
            self.t = read_int(r)?;
            self.count.read_first(r)?;
            self.zero_count.read_first(r)?;
            self.sum.read_first(r)?;
            for cell in self.positive.iter_mut().chain(&mut self.negative) {
                cell.read_first(r)?;
            }
        } else {
            self.t_delta = self.t_delta.wrapping_add(read_int(r)?);
            self.t = self.t.wrapping_add(self.t_delta);
            self.count.read_next(r)?;
            self.zero_count.read_next(r)?;
            self.sum.read_next(r)?;
            if !is_stale_nan(self.sum.value()) {
                for cell in self.positive.iter_mut().chain(&mut self.negative) {
                    cell.read_next(r)?;
                }
            }
        }
        self.starts.read(r, index, self.t, previous_t)?;
        self.read += 1;
        Ok(true)
    }

    fn value(&self) -> model::HistogramValue {
        let sum = self.sum.value();
        if is_stale_nan(sum) {
            return K::stale(sum);
        }
        // Within a counter chunk there is no reset; before it nobody can be sure, whatever the header says:
        // the chunk before may be gone, or another may have come in between.
        let hint = match self.header {
            ResetHeader::Gauge => CounterResetHint::Gauge,
            _ if self.read > 1 => CounterResetHint::NotReset,
            _ => CounterResetHint::Unknown,
        };
        let counts = Counts {
            count: self.count.value(),
            zero_count: self.zero_count.value(),
            sum,
            positive: self.positive.iter().map(|c| c.value()).collect(),
            negative: self.negative.iter().map(|c| c.value()).collect(),
        };
        K::build(&self.layout, hint, counts)
    }
}

pub(super) fn decode<K: HistogramKind>(
    data: &[u8],
    with_starts: bool,
    mint_ms: i64,
    maxt_ms: i64,
    out: &mut SampleBuf,
) -> Result<()> {
    let mut reader = Reader::<K>::new(data, with_starts)?;
    while reader.next()? && reader.t <= maxt_ms {
        if reader.t >= mint_ms {
            out.push_histogram(reader.t, reader.value());
            out.set_last_start(reader.starts.start());
        }
    }
    Ok(())
}
