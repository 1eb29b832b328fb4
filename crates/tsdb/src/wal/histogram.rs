//! Native histograms inside log records. Field order of upstream's `EncodeHistogram` and
//! `EncodeFloatHistogram` in `tsdb/record/record.go`.

use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, SCHEMA_MAX, SCHEMA_MIN};
use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span};

use super::bytes::{Bytes, BytesError, put_u64, put_uvarint, put_varint};

fn hint(n: u8) -> CounterResetHint {
    match n {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    }
}

fn spans(b: &mut Bytes<'_>) -> Result<Vec<Span>, BytesError> {
    let n = b.count(2)?;
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        all.push(Span { offset: b.varint()? as i32, length: b.uvarint()? as u32 });
    }
    Ok(all)
}

fn list<'a, T>(
    b: &mut Bytes<'a>,
    min_size: usize,
    one: impl Fn(&mut Bytes<'a>) -> Result<T, BytesError>,
) -> Result<Vec<T>, BytesError> {
    let n = b.count(min_size)?;
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        all.push(one(b)?);
    }
    Ok(all)
}

fn custom(b: &mut Bytes<'_>, schema: i32) -> Result<Arc<[f64]>, BytesError> {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return Ok(Arc::default());
    }
    Ok(Arc::from(list(b, 8, Bytes::f64)?))
}

/// Decodes one histogram; `None` for one of a schema that this version does not know.
pub(super) fn decode(b: &mut Bytes<'_>, float: bool) -> Result<Option<HistogramValue>, BytesError> {
    let reset_hint = hint(b.byte()?);
    let schema = b.varint()? as i32;
    let zero_threshold = b.f64()?;
    let known = schema == CUSTOM_BUCKETS_SCHEMA || (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema);
    let value = if float {
        let (zero_count, count, sum) = (b.f64()?, b.f64()?, b.f64()?);
        HistogramValue::Float(Arc::new(FloatHistogram {
            reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans: spans(b)?,
            negative_spans: spans(b)?,
            positive_buckets: list(b, 8, Bytes::f64)?,
            negative_buckets: list(b, 8, Bytes::f64)?,
            custom_values: custom(b, schema)?,
        }))
    } else {
        let (zero_count, count, sum) = (b.uvarint()?, b.uvarint()?, b.f64()?);
        HistogramValue::Int(Arc::new(Histogram {
            reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans: spans(b)?,
            negative_spans: spans(b)?,
            positive_buckets: list(b, 1, Bytes::varint)?,
            negative_buckets: list(b, 1, Bytes::varint)?,
            custom_values: custom(b, schema)?,
        }))
    };
    Ok(known.then_some(value))
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_uvarint(out, spans.len() as u64);
    for s in spans {
        put_varint(out, i64::from(s.offset));
        put_uvarint(out, u64::from(s.length));
    }
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_uvarint(out, values.len() as u64);
    values.iter().for_each(|v| put_u64(out, v.to_bits()));
}

fn put_ints(out: &mut Vec<u8>, values: &[i64]) {
    put_uvarint(out, values.len() as u64);
    values.iter().for_each(|v| put_varint(out, *v));
}

/// Appends one histogram.
pub(super) fn encode(out: &mut Vec<u8>, value: &HistogramValue) {
    match value {
        HistogramValue::Int(h) => {
            out.push(h.reset_hint as u8);
            put_varint(out, i64::from(h.schema));
            put_u64(out, h.zero_threshold.to_bits());
            put_uvarint(out, h.zero_count);
            put_uvarint(out, h.count);
            put_u64(out, h.sum.to_bits());
            put_spans(out, &h.positive_spans);
            put_spans(out, &h.negative_spans);
            put_ints(out, &h.positive_buckets);
            put_ints(out, &h.negative_buckets);
            if h.uses_custom_buckets() {
                put_floats(out, &h.custom_values);
            }
        }
        HistogramValue::Float(h) => {
            out.push(h.reset_hint as u8);
            put_varint(out, i64::from(h.schema));
            for v in [h.zero_threshold, h.zero_count, h.count, h.sum] {
                put_u64(out, v.to_bits());
            }
            put_spans(out, &h.positive_spans);
            put_spans(out, &h.negative_spans);
            put_floats(out, &h.positive_buckets);
            put_floats(out, &h.negative_buckets);
            if h.uses_custom_buckets() {
                put_floats(out, &h.custom_values);
            }
        }
    }
}
