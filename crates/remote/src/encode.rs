//! Writes both messages: for the sender, and for tests and benches of the receiver.

use std::collections::HashMap;

use model::{CounterResetHint, Exemplar, HistogramValue, Labels, MetricMetadata, Span};

/// One series to be written.
#[derive(Clone, Debug, Default)]
pub struct OutSeries {
    /// Labels.
    pub labels: Labels,
    /// (time in ms, value).
    pub samples: Vec<(i64, f64)>,
    /// (time in ms, histogram).
    pub histograms: Vec<(i64, HistogramValue)>,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
    /// Metadata (2.0).
    pub metadata: MetricMetadata,
    /// Created timestamp of all samples, 0 for none (2.0).
    pub start_ms: i64,
}

pub(crate) fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

pub(crate) fn tag(out: &mut Vec<u8>, field: u32, wire: u8) {
    varint(out, u64::from(field << 3) | u64::from(wire));
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    tag(out, field, 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

pub(crate) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, field, &inner);
}

pub(crate) fn number(out: &mut Vec<u8>, field: u32, v: u64) {
    if v != 0 {
        tag(out, field, 0);
        varint(out, v);
    }
}

pub(crate) fn double(out: &mut Vec<u8>, field: u32, v: f64) {
    if v.to_bits() != 0 {
        tag(out, field, 1);
        out.extend_from_slice(&v.to_bits().to_le_bytes());
    }
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

pub(crate) fn labels_v1(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        message(out, 1, |l| {
            bytes(l, 1, name.as_bytes());
            bytes(l, 2, value.as_bytes());
        });
    }
}

/// A `prometheus.WriteRequest`, not compressed.
#[must_use]
pub fn write_v1(series: &[OutSeries]) -> Vec<u8> {
    let mut out = Vec::new();
    for s in series {
        message(&mut out, 1, |m| {
            labels_v1(m, &s.labels);
            for (t, v) in &s.samples {
                message(m, 2, |p| {
                    double(p, 1, *v);
                    number(p, 2, *t as u64);
                });
            }
            for e in &s.exemplars {
                message(m, 3, |p| {
                    labels_v1(p, &e.labels);
                    double(p, 2, e.value);
                    number(p, 3, e.timestamp_ms as u64);
                });
            }
            for (t, h) in &s.histograms {
                message(m, 4, |p| histogram(p, *t, 0, h));
            }
        });
    }
    out
}

/// Adds the metadata of a family to a `prometheus.WriteRequest`.
pub fn metadata_v1(out: &mut Vec<u8>, family: &str, metadata: &MetricMetadata) {
    message(out, 3, |m| {
        number(m, 1, metadata.kind as u64);
        for (field, text) in [(2, family), (4, &metadata.help), (5, &metadata.unit)] {
            if !text.is_empty() {
                bytes(m, field, text.as_bytes());
            }
        }
    });
}

/// The strings of a 2.0 message, each once.
#[derive(Default)]
pub(crate) struct Symbols<'a> {
    list: Vec<&'a str>,
    index: HashMap<&'a str, u32>,
}

impl<'a> Symbols<'a> {
    pub(crate) fn of(&mut self, s: &'a str) -> u32 {
        let next = self.list.len() as u32;
        let list = &mut self.list;
        *self.index.entry(s).or_insert_with(|| {
            list.push(s);
            next
        })
    }

    /// In the order of their numbers.
    pub(crate) fn list(&self) -> &[&'a str] {
        &self.list
    }

    fn refs(&mut self, labels: &'a Labels) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in labels {
            varint(&mut out, u64::from(self.of(name)));
            varint(&mut out, u64::from(self.of(value)));
        }
        out
    }
}

/// An `io.prometheus.write.v2.Request`, not compressed.
#[must_use]
pub fn write_v2(series: &[OutSeries]) -> Vec<u8> {
    let mut symbols = Symbols::default();
    symbols.of("");
    let mut body = Vec::new();
    for s in series {
        let refs = symbols.refs(&s.labels);
        let (help, unit) = (symbols.of(&s.metadata.help), symbols.of(&s.metadata.unit));
        let exemplar_refs: Vec<Vec<u8>> = s.exemplars.iter().map(|e| symbols.refs(&e.labels)).collect();
        message(&mut body, 5, |m| {
            bytes(m, 1, &refs);
            for (t, v) in &s.samples {
                message(m, 2, |p| {
                    double(p, 1, *v);
                    number(p, 2, *t as u64);
                    number(p, 3, s.start_ms as u64);
                });
            }
            for (t, h) in &s.histograms {
                message(m, 3, |p| histogram(p, *t, s.start_ms, h));
            }
            for (e, refs) in s.exemplars.iter().zip(&exemplar_refs) {
                message(m, 4, |p| {
                    bytes(p, 1, refs);
                    double(p, 2, e.value);
                    number(p, 3, e.timestamp_ms as u64);
                });
            }
            message(m, 5, |p| {
                number(p, 1, s.metadata.kind as u64);
                number(p, 3, u64::from(help));
                number(p, 4, u64::from(unit));
            });
        });
    }
    let mut out = Vec::new();
    for s in &symbols.list {
        bytes(&mut out, 4, s.as_bytes());
    }
    out.extend_from_slice(&body);
    out
}

fn spans(out: &mut Vec<u8>, field: u32, spans: &[Span]) {
    for s in spans {
        message(out, field, |p| {
            number(p, 1, zigzag(i64::from(s.offset)));
            number(p, 2, u64::from(s.length));
        });
    }
}

fn packed<T: Copy>(out: &mut Vec<u8>, field: u32, values: &[T], write: impl Fn(&mut Vec<u8>, T)) {
    if !values.is_empty() {
        message(out, field, |p| values.iter().for_each(|v| write(p, *v)));
    }
}

pub(crate) fn histogram(out: &mut Vec<u8>, t_ms: i64, start_ms: i64, h: &HistogramValue) {
    let delta = |p: &mut Vec<u8>, d: i64| varint(p, zigzag(d));
    let count = |p: &mut Vec<u8>, c: f64| p.extend_from_slice(&c.to_bits().to_le_bytes());
    // A zero in a oneof is written, since its presence tells the kind.
    let (hint, custom) = match h {
        HistogramValue::Int(h) => {
            tag(out, 1, 0);
            varint(out, h.count);
            double(out, 3, h.sum);
            number(out, 4, zigzag(i64::from(h.schema)));
            double(out, 5, h.zero_threshold);
            tag(out, 6, 0);
            varint(out, h.zero_count);
            spans(out, 8, &h.negative_spans);
            packed(out, 9, &h.negative_buckets, delta);
            spans(out, 11, &h.positive_spans);
            packed(out, 12, &h.positive_buckets, delta);
            (h.reset_hint, &h.custom_values)
        }
        HistogramValue::Float(h) => {
            tag(out, 2, 1);
            count(out, h.count);
            double(out, 3, h.sum);
            number(out, 4, zigzag(i64::from(h.schema)));
            double(out, 5, h.zero_threshold);
            tag(out, 7, 1);
            count(out, h.zero_count);
            spans(out, 8, &h.negative_spans);
            packed(out, 10, &h.negative_buckets, count);
            spans(out, 11, &h.positive_spans);
            packed(out, 13, &h.positive_buckets, count);
            (h.reset_hint, &h.custom_values)
        }
    };
    let hint = match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    number(out, 14, hint);
    number(out, 15, t_ms as u64);
    packed(out, 16, custom, count);
    number(out, 17, start_ms as u64);
}

/// Compresses a message as remote write sends it.
#[must_use]
pub fn snappy(message: &[u8]) -> Vec<u8> {
    // Fails only above 4 GiB; a body that long cannot be sent anyway.
    snap::raw::Encoder::new().compress_vec(message).unwrap_or_default()
}
