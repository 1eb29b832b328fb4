//! The two kinds of native histograms as one shape, so that the chunk code is written once.

use std::fmt::Debug;
use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span};
use storage::ChunkEncoding;

use super::cell::{Cell, DodCell, XorCell};
use super::layout::{Layout, ResetHeader};

/// Highest schema that queries know.
const SCHEMA_MAX: i32 = model::histogram::SCHEMA_MAX;

/// A histogram's parts, borrowed.
pub(super) struct View<'a, C, B> {
    pub(super) hint: CounterResetHint,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) count: C,
    pub(super) zero_count: C,
    pub(super) sum: f64,
    pub(super) positive_spans: &'a [Span],
    pub(super) negative_spans: &'a [Span],
    pub(super) positive: &'a [B],
    pub(super) negative: &'a [B],
    pub(super) custom: &'a Arc<[f64]>,
}

/// A sample's counts on the way out of a chunk.
pub(super) struct Counts<C, B> {
    pub(super) count: C,
    pub(super) zero_count: C,
    pub(super) sum: f64,
    pub(super) positive: Vec<B>,
    pub(super) negative: Vec<B>,
}

pub(super) trait Shape: Debug + Default + Clone + 'static {
    type Histogram;
    type Count: Cell;
    type Bucket: Cell;
    /// An absolute bucket count.
    type Absolute: Copy + PartialOrd + Default;

    fn encoding(with_starts: bool) -> ChunkEncoding;
    fn view(h: &Self::Histogram) -> View<'_, CountOf<Self>, BucketOf<Self>>;
    fn build(
        layout: &Layout,
        hint: CounterResetHint,
        counts: Counts<CountOf<Self>, BucketOf<Self>>,
    ) -> HistogramValue;
    fn stale(sum: f64) -> HistogramValue;
    fn count_less(a: CountOf<Self>, b: CountOf<Self>) -> bool;
    fn absolute(buckets: impl Iterator<Item = BucketOf<Self>>) -> impl Iterator<Item = Self::Absolute>;
    fn from_absolute(counts: Vec<Self::Absolute>) -> Vec<BucketOf<Self>>;
    fn add(a: Self::Absolute, b: Self::Absolute) -> Self::Absolute;
    /// Header of a chunk cut because the next sample did not fit the last one.
    fn header_of_cut(found: ResetHeader) -> ResetHeader;
    /// Header of a chunk cut for its size, compared with the chunk before.
    fn header_of_follow_up(found: ResetHeader) -> ResetHeader;
}

pub(super) type CountOf<K> = <<K as Shape>::Count as Cell>::Value;
pub(super) type BucketOf<K> = <<K as Shape>::Bucket as Cell>::Value;

/// A kind of native histogram; sealed: [`IntKind`] and [`FloatKind`].
#[allow(private_bounds)]
pub trait HistogramKind: Shape<Histogram = Self::Value> {
    /// The histogram type.
    type Value;
}

/// [`Histogram`].
#[derive(Clone, Copy, Debug, Default)]
pub struct IntKind;
/// [`FloatHistogram`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FloatKind;

impl HistogramKind for IntKind {
    type Value = Histogram;
}
impl HistogramKind for FloatKind {
    type Value = FloatHistogram;
}

impl Shape for IntKind {
    type Histogram = Histogram;
    type Count = DodCell<true>;
    type Bucket = DodCell<false>;
    type Absolute = i64;

    fn encoding(with_starts: bool) -> ChunkEncoding {
        if with_starts { ChunkEncoding::HistogramSt } else { ChunkEncoding::Histogram }
    }
    fn view(h: &Histogram) -> View<'_, i64, i64> {
        View {
            hint: h.reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            count: h.count as i64,
            zero_count: h.zero_count as i64,
            sum: h.sum,
            positive_spans: &h.positive_spans,
            negative_spans: &h.negative_spans,
            positive: &h.positive_buckets,
            negative: &h.negative_buckets,
            custom: &h.custom_values,
        }
    }
    fn build(layout: &Layout, hint: CounterResetHint, counts: Counts<i64, i64>) -> HistogramValue {
        let mut h = Histogram {
            reset_hint: hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: counts.zero_count as u64,
            count: counts.count as u64,
            sum: counts.sum,
            positive_spans: layout.positive.clone(),
            negative_spans: layout.negative.clone(),
            positive_buckets: counts.positive,
            negative_buckets: counts.negative,
            custom_values: Arc::clone(&layout.custom),
        };
        if h.schema > SCHEMA_MAX {
            let by = h.schema - SCHEMA_MAX;
            (h.positive_spans, h.positive_buckets) =
                coarsen::<Self>(&h.positive_spans, &h.positive_buckets, by);
            (h.negative_spans, h.negative_buckets) =
                coarsen::<Self>(&h.negative_spans, &h.negative_buckets, by);
            h.schema = SCHEMA_MAX;
        }
        HistogramValue::Int(Arc::new(h))
    }
    fn stale(sum: f64) -> HistogramValue {
        HistogramValue::Int(Arc::new(Histogram { sum, ..Histogram::default() }))
    }
    fn count_less(a: i64, b: i64) -> bool {
        (a as u64) < b as u64
    }
    fn absolute(buckets: impl Iterator<Item = i64>) -> impl Iterator<Item = i64> {
        let mut sum = 0_i64;
        buckets.map(move |d| {
            sum = sum.wrapping_add(d);
            sum
        })
    }
    fn from_absolute(mut counts: Vec<i64>) -> Vec<i64> {
        let mut before = 0_i64;
        for c in &mut counts {
            let delta = c.wrapping_sub(before);
            before = std::mem::replace(c, delta);
        }
        counts
    }
    fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
    fn header_of_cut(found: ResetHeader) -> ResetHeader {
        found
    }
    fn header_of_follow_up(found: ResetHeader) -> ResetHeader {
        found
    }
}

impl Shape for FloatKind {
    type Histogram = FloatHistogram;
    type Count = XorCell;
    type Bucket = XorCell;
    type Absolute = f64;

    fn encoding(with_starts: bool) -> ChunkEncoding {
        if with_starts { ChunkEncoding::FloatHistogramSt } else { ChunkEncoding::FloatHistogram }
    }
    fn view(h: &FloatHistogram) -> View<'_, f64, f64> {
        View {
            hint: h.reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            count: h.count,
            zero_count: h.zero_count,
            sum: h.sum,
            positive_spans: &h.positive_spans,
            negative_spans: &h.negative_spans,
            positive: &h.positive_buckets,
            negative: &h.negative_buckets,
            custom: &h.custom_values,
        }
    }
    fn build(layout: &Layout, hint: CounterResetHint, counts: Counts<f64, f64>) -> HistogramValue {
        let mut h = FloatHistogram {
            reset_hint: hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            zero_count: counts.zero_count,
            count: counts.count,
            sum: counts.sum,
            positive_spans: layout.positive.clone(),
            negative_spans: layout.negative.clone(),
            positive_buckets: counts.positive,
            negative_buckets: counts.negative,
            custom_values: Arc::clone(&layout.custom),
        };
        if h.schema > SCHEMA_MAX {
            let by = h.schema - SCHEMA_MAX;
            (h.positive_spans, h.positive_buckets) =
                coarsen::<Self>(&h.positive_spans, &h.positive_buckets, by);
            (h.negative_spans, h.negative_buckets) =
                coarsen::<Self>(&h.negative_spans, &h.negative_buckets, by);
            h.schema = SCHEMA_MAX;
        }
        HistogramValue::Float(Arc::new(h))
    }
    fn stale(sum: f64) -> HistogramValue {
        HistogramValue::Float(Arc::new(FloatHistogram { sum, ..FloatHistogram::default() }))
    }
    fn count_less(a: f64, b: f64) -> bool {
        a < b
    }
    fn absolute(buckets: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
        buckets
    }
    fn from_absolute(counts: Vec<f64>) -> Vec<f64> {
        counts
    }
    fn add(a: f64, b: f64) -> f64 {
        a + b
    }
    fn header_of_cut(found: ResetHeader) -> ResetHeader {
        // Float chunks have only ever said "reset" here.
        if found == ResetHeader::Reset { found } else { ResetHeader::Unknown }
    }
    fn header_of_follow_up(found: ResetHeader) -> ResetHeader {
        if found == ResetHeader::Reset { found } else { ResetHeader::NotReset }
    }
}

/// Merges buckets as a schema lower by `by` has them (chunks of a later Prometheus with finer schemas).
fn coarsen<K: Shape>(spans: &[Span], buckets: &[BucketOf<K>], by: i32) -> (Vec<Span>, Vec<BucketOf<K>>) {
    let mut out_spans: Vec<Span> = Vec::new();
    let mut out: Vec<K::Absolute> = Vec::new();
    let mut next = 0_i64;
    let absolute = K::absolute(buckets.iter().copied());
    for (index, count) in super::spans::indices(spans).zip(absolute) {
        let target = ((index - 1) >> by.min(63)) + 1;
        match (out_spans.last_mut(), out.last_mut()) {
            (Some(_), Some(last)) if target + 1 == next => *last = K::add(*last, count),
            (Some(span), Some(_)) if target == next => {
                span.length += 1;
                out.push(count);
            }
            _ => {
                out_spans.push(Span { offset: (target - next) as i32, length: 1 });
                out.push(count);
            }
        }
        next = target + 1;
    }
    (out_spans, K::from_absolute(out))
}
