//! Buckets of OpenTelemetry's histograms as native ones have them: spans and deltas.

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{CounterResetHint, Histogram, STALE_NAN_BITS, Span};

use super::schema::{BUCKETS, EXPONENTIAL_POINT, HISTOGRAM_POINT, Range, each_field};
use crate::WireError;

/// Buckets of one histogram, as for those of remote write.
const BUCKETS_MAX: usize = 1 << 16;
/// Exemplars of one point: a batch of a minute has a few.
const EXEMPLARS_MAX: usize = 1 << 12;
/// Schemas that exist.
const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 8;
/// Upstream's, as the protocol's own threshold is not used.
const ZERO_THRESHOLD: f64 = 1e-128;

/// A gap of so many empty buckets is written as such.
const GAP_MAX: i64 = 2;

/// Adds to a list that the sender lengthens.
pub(super) fn push<T>(to: &mut Vec<T>, value: T, max: usize, what: &'static str) -> Result<(), WireError> {
    if to.len() >= max {
        return Err(WireError::TooMany(max, what));
    }
    to.push(value);
    Ok(())
}

/// What all kinds of points have.
#[derive(Debug, Default)]
pub(super) struct Point {
    pub(super) start_ms: i64,
    pub(super) t_ms: i64,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    /// Only says that nothing was recorded.
    pub(super) stale: bool,
    pub(super) exemplars: Vec<Range>,
}

/// Milliseconds of the protocol's nanoseconds.
pub(super) fn ms(nanos: u64) -> i64 {
    nanos as i64 / 1_000_000
}

impl Point {
    /// A field that stands at the same number in both histograms.
    fn common(&mut self, field: u32, raw: super::schema::Raw) -> Result<(), WireError> {
        match field {
            2 => self.start_ms = ms(raw.number()),
            3 => self.t_ms = ms(raw.number()),
            4 => self.count = raw.number(),
            5 => self.sum = Some(raw.float()),
            10 => self.stale = raw.number() & 1 != 0,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn exemplar(&mut self, range: Range) -> Result<(), WireError> {
        push(&mut self.exemplars, range, EXEMPLARS_MAX, "exemplars in a data point")
    }

    /// Sum and count of a native histogram: a stale one is told by its sum.
    fn finish(&self, h: &mut Histogram) {
        (h.sum, h.count) = if self.stale {
            (f64::from_bits(STALE_NAN_BITS), STALE_NAN_BITS)
        } else {
            (self.sum.unwrap_or(0.0), self.count)
        };
    }

    /// Observations that are none and have a sum.
    pub(super) fn is_odd(&self) -> bool {
        !self.stale && self.count == 0 && self.sum.is_some_and(|s| s != 0.0)
    }
}

/// A histogram with bounds of its own.
#[derive(Debug, Default)]
pub(super) struct Explicit {
    pub(super) point: Point,
    pub(super) counts: Vec<u64>,
    pub(super) bounds: Vec<f64>,
}

impl Explicit {
    pub(super) fn read(body: &[u8], range: Range) -> Result<Explicit, WireError> {
        let mut own = Explicit::default();
        each_field(&HISTOGRAM_POINT, body, range, |field, raw| match field {
            6 => push(&mut own.counts, raw.number(), BUCKETS_MAX, "buckets in a histogram"),
            7 => push(&mut own.bounds, raw.float(), BUCKETS_MAX, "bounds in a histogram"),
            8 => own.point.exemplar(raw.range()),
            _ => own.point.common(field, raw),
        })?;
        Ok(own)
    }

    /// As a native histogram with these bounds.
    pub(super) fn native(&self, delta: bool) -> Histogram {
        let empty = self.counts.iter().take_while(|n| **n == 0).count();
        let counts = self.counts.get(empty..).unwrap_or_default();
        let (positive_spans, positive_buckets) = layout(counts, empty as i64, 0, false);
        let mut h = Histogram {
            reset_hint: hint(delta),
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans,
            positive_buckets,
            custom_values: Arc::from(self.bounds.as_slice()),
            ..Histogram::default()
        };
        self.point.finish(&mut h);
        h
    }
}

/// A histogram whose buckets grow by a factor.
#[derive(Debug, Default)]
pub(super) struct Exponential {
    pub(super) point: Point,
    scale: i32,
    zero_count: u64,
    positive: (i32, Vec<u64>),
    negative: (i32, Vec<u64>),
}

impl Exponential {
    pub(super) fn read(body: &[u8], range: Range) -> Result<Exponential, WireError> {
        let mut own = Exponential::default();
        each_field(&EXPONENTIAL_POINT, body, range, |field, raw| {
            match field {
                6 => own.scale = raw.signed(),
                7 => own.zero_count = raw.number(),
                8 => own.positive = side(body, raw.range())?,
                9 => own.negative = side(body, raw.range())?,
                11 => own.point.exemplar(raw.range())?,
                _ => own.point.common(field, raw)?,
            }
            Ok(())
        })?;
        Ok(own)
    }

    /// As a native histogram.
    pub(super) fn native(&self, delta: bool) -> Result<Histogram, String> {
        if self.scale < SCHEMA_MIN {
            return Err(format!(
                "cannot convert exponential to native histogram. Scale must be >= {SCHEMA_MIN}, was {}",
                self.scale
            ));
        }
        let down = i64::from(self.scale) - i64::from(SCHEMA_MAX);
        // Shifts beyond the width of an offset leave its sign alone.
        let down = u32::try_from(down).unwrap_or(0).min(63);
        let of = |(offset, counts): &(i32, Vec<u64>)| layout(counts, i64::from(*offset), down, true);
        let (positive_spans, positive_buckets) = of(&self.positive);
        let (negative_spans, negative_buckets) = of(&self.negative);
        let mut h = Histogram {
            reset_hint: hint(delta),
            schema: self.scale.min(SCHEMA_MAX),
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero_count,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            ..Histogram::default()
        };
        self.point.finish(&mut h);
        Ok(h)
    }
}

fn side(body: &[u8], range: Range) -> Result<(i32, Vec<u64>), WireError> {
    let (mut offset, mut counts) = (0, Vec::new());
    each_field(&BUCKETS, body, range, |field, raw| {
        match field {
            1 => offset = raw.signed(),
            _ => push(&mut counts, raw.number(), BUCKETS_MAX, "buckets in a histogram")?,
        }
        Ok(())
    })?;
    Ok((offset, counts))
}

fn hint(delta: bool) -> CounterResetHint {
    if delta { CounterResetHint::Gauge } else { CounterResetHint::Unknown }
}

/// Dense buckets from `offset` on as spans and deltas, 2^`down` of them merged into one. `exponential`: bucket 0
/// begins at 1 there, and ends at 1 here.
///
/// As upstream's `convertBucketsLayout`, empty buckets and all, so that chunks are the same.
fn layout(counts: &[u64], offset: i64, down: u32, exponential: bool) -> (Vec<Span>, Vec<i64>) {
    if counts.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let index = |i: usize| ((i as i64 + offset) >> down) + 1;
    let first = if exponential { (offset >> down) + 1 } else { offset };
    let mut out = Layout { spans: vec![Span { offset: first as i32, length: 0 }], ..Layout::default() };
    let (mut at, mut count) = (index(0), 0_i64);
    for (i, n) in counts.iter().enumerate() {
        let next = index(i);
        if next == at {
            count = count.wrapping_add(*n as i64);
            continue;
        }
        if count == 0 {
            count = *n as i64;
            continue;
        }
        out.gap(next - at - 1);
        out.push(count);
        (count, at) = (*n as i64, next);
    }
    out.gap(index(counts.len() - 1) - at);
    out.push(count);
    (out.spans, out.deltas)
}

#[derive(Default)]
struct Layout {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    before: i64,
}

impl Layout {
    fn push(&mut self, count: i64) {
        if let Some(span) = self.spans.last_mut() {
            span.length += 1;
        }
        self.deltas.push(count.wrapping_sub(self.before));
        self.before = count;
    }

    fn gap(&mut self, buckets: i64) {
        if buckets > GAP_MAX {
            self.spans.push(Span { offset: buckets as i32, length: 0 });
        } else {
            (0..buckets).for_each(|_| self.push(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(counts: &[u64], offset: i64, down: u32) -> (Vec<(i32, u32)>, Vec<i64>) {
        let (spans, deltas) = layout(counts, offset, down, true);
        (spans.iter().map(|s| (s.offset, s.length)).collect(), deltas)
    }

    #[test]
    fn layouts() {
        // Of upstream's own table: dense, gaps of two and of more, merged ones.
        assert_eq!(laid(&[4, 3, 2, 1], 0, 0), (vec![(1, 4)], vec![4, -1, -1, -1]));
        assert_eq!(laid(&[4, 0, 0, 2], 0, 0), (vec![(1, 4)], vec![4, -4, 0, 2]));
        assert_eq!(laid(&[4, 0, 0, 0, 2], 0, 0), (vec![(1, 1), (3, 1)], vec![4, -2]));
        assert_eq!(laid(&[4, 3, 2, 1], 0, 1), (vec![(1, 2)], vec![7, -4]));
        assert_eq!(laid(&[], 5, 0), (vec![], vec![]));
        // Nothing overflows at the ends of the offsets.
        assert_eq!(laid(&[1, 1], i64::from(i32::MAX), 63).1, [2]);
        assert_eq!(laid(&[1, 1], i64::from(i32::MIN), 63).1, [2]);
    }
}
