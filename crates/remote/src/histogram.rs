//! Native histograms of both messages: the same fields but for 2.0's start timestamp.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span};

use crate::wire::{BYTES, FIXED64, Reader, VARINT, WireError, expect, zigzag};

/// Buckets and spans of one histogram: upstream's exponential histograms have a few hundred; a sender that
/// sends more than this is broken. 2^16 buckets of 8 bytes are 512 KiB.
const BUCKETS_MAX: usize = 1 << 16;

/// A decoded histogram.
pub(crate) struct Sampled {
    pub(crate) t_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) value: HistogramValue,
}

#[derive(Default)]
struct Raw {
    count_int: u64,
    count_float: Option<f64>,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_int: u64,
    zero_float: f64,
    spans: [Vec<Span>; 2],
    deltas: [Vec<i64>; 2],
    counts: [Vec<f64>; 2],
    custom: Vec<f64>,
    reset_hint: u64,
    t_ms: i64,
    start_ms: i64,
}

const NEGATIVE: usize = 0;
const POSITIVE: usize = 1;

/// Decodes the message at `range` of `buf`.
pub(crate) fn decode(buf: &[u8], range: (usize, usize)) -> Result<Sampled, WireError> {
    let mut raw = Raw::default();
    let mut r = Reader::range(buf, range.0, range.1);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => {
                expect(wire, VARINT, "CountInt")?;
                (raw.count_int, raw.count_float) = (r.varint()?, None);
            }
            2 => raw.count_float = Some(float(&mut r, wire, "CountFloat")?),
            3 => raw.sum = float(&mut r, wire, "Sum")?,
            4 => {
                expect(wire, VARINT, "Schema")?;
                raw.schema = zigzag(r.varint()?) as i32;
            }
            5 => raw.zero_threshold = float(&mut r, wire, "ZeroThreshold")?,
            6 => {
                expect(wire, VARINT, "ZeroCountInt")?;
                raw.zero_int = r.varint()?;
            }
            7 => raw.zero_float = float(&mut r, wire, "ZeroCountFloat")?,
            8 | 11 => {
                expect(wire, BYTES, "Spans")?;
                let at = r.bytes()?;
                let side = &mut raw.spans[usize::from(field == 11)];
                push(side, span(buf, at)?)?;
            }
            9 | 12 => {
                let side = &mut raw.deltas[usize::from(field == 12)];
                repeated(&mut r, buf, wire, VARINT, "Deltas", |r| push(side, zigzag(r.varint()?)))?;
            }
            10 | 13 => {
                let side = &mut raw.counts[usize::from(field == 13)];
                repeated(&mut r, buf, wire, FIXED64, "Counts", |r| push(side, f64::from_bits(r.fixed64()?)))?;
            }
            14 => {
                expect(wire, VARINT, "ResetHint")?;
                raw.reset_hint = r.varint()?;
            }
            15 => {
                expect(wire, VARINT, "Timestamp")?;
                raw.t_ms = r.varint()? as i64;
            }
            16 => {
                let custom = &mut raw.custom;
                repeated(&mut r, buf, wire, FIXED64, "CustomValues", |r| {
                    push(custom, f64::from_bits(r.fixed64()?))
                })?;
            }
            17 => {
                expect(wire, VARINT, "StartTimestamp")?;
                raw.start_ms = r.varint()? as i64;
            }
            _ => r.skip(wire)?,
        }
    }
    Ok(raw.finish())
}

fn float(r: &mut Reader<'_>, wire: u8, field: &'static str) -> Result<f64, WireError> {
    expect(wire, FIXED64, field)?;
    Ok(f64::from_bits(r.fixed64()?))
}

fn push<T>(to: &mut Vec<T>, v: T) -> Result<(), WireError> {
    if to.len() >= BUCKETS_MAX {
        return Err(WireError::TooMany(BUCKETS_MAX, "buckets in a histogram"));
    }
    to.push(v);
    Ok(())
}

/// A repeated number, packed or not.
fn repeated(
    r: &mut Reader<'_>,
    buf: &[u8],
    wire: u8,
    own: u8,
    field: &'static str,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    if wire == own {
        return one(r);
    }
    expect(wire, BYTES, field)?;
    let (start, end) = r.bytes()?;
    let mut packed = Reader::range(buf, start, end);
    while !packed.done() {
        one(&mut packed)?;
    }
    Ok(())
}

fn span(buf: &[u8], range: (usize, usize)) -> Result<Span, WireError> {
    let mut span = Span::default();
    let mut r = Reader::range(buf, range.0, range.1);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => {
                expect(wire, VARINT, "Offset")?;
                span.offset = zigzag(r.varint()?) as i32;
            }
            2 => {
                expect(wire, VARINT, "Length")?;
                span.length = r.varint()? as u32;
            }
            _ => r.skip(wire)?,
        }
    }
    Ok(span)
}

impl Raw {
    fn finish(mut self) -> Sampled {
        let reset_hint = match self.reset_hint {
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            3 => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        };
        let positive_spans = std::mem::take(&mut self.spans[POSITIVE]);
        let negative_spans = std::mem::take(&mut self.spans[NEGATIVE]);
        let value = match self.count_float {
            Some(count) => HistogramValue::Float(Arc::new(FloatHistogram {
                reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_float,
                count,
                sum: self.sum,
                positive_spans,
                negative_spans,
                positive_buckets: std::mem::take(&mut self.counts[POSITIVE]),
                negative_buckets: std::mem::take(&mut self.counts[NEGATIVE]),
                custom_values: self.custom.into(),
            })),
            None => HistogramValue::Int(Arc::new(Histogram {
                reset_hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_int,
                count: self.count_int,
                sum: self.sum,
                positive_spans,
                negative_spans,
                positive_buckets: std::mem::take(&mut self.deltas[POSITIVE]),
                negative_buckets: std::mem::take(&mut self.deltas[NEGATIVE]),
                custom_values: self.custom.into(),
            })),
        };
        Sampled { t_ms: self.t_ms, start_ms: self.start_ms, value }
    }
}
