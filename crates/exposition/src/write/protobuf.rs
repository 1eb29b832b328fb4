//! Length-delimited `io.prometheus.client.MetricFamily`.

use model::name::EscapingScheme;
use model::{CounterResetHint, Exemplar, HistogramValue, MetricType, Span};

use super::{Head, labels};
use crate::{Metric, MetricData};

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

/// A message being written. Nested ones are built apart and copied in: families are small.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    fn tag(&mut self, field: u32, kind: u8) {
        self.varint(u64::from(field << 3 | u32::from(kind)));
    }
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn number(&mut self, field: u32, n: u64) {
        self.tag(field, VARINT);
        self.varint(n);
    }
    fn signed(&mut self, field: u32, n: i64) {
        self.number(field, zigzag(n));
    }
    fn double(&mut self, field: u32, v: f64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    fn time(&mut self, field: u32, ms: i64) {
        let mut t = Message::default();
        t.number(1, ms.div_euclid(1000) as u64);
        t.number(2, (ms.rem_euclid(1000) * 1_000_000) as u64);
        self.bytes(field, &t.0);
    }
    fn labels<'l>(&mut self, pairs: impl Iterator<Item = (std::borrow::Cow<'l, str>, &'l str)>) {
        for (name, value) in pairs {
            let mut pair = Message::default();
            pair.bytes(1, name.as_bytes());
            pair.bytes(2, value.as_bytes());
            self.bytes(1, &pair.0);
        }
    }
    fn exemplar(&mut self, field: u32, e: &Exemplar) {
        let mut m = Message::default();
        m.labels(e.labels.iter().map(|(n, v)| (n.into(), v)));
        m.double(2, e.value);
        if e.has_timestamp {
            m.time(3, e.timestamp_ms);
        }
        self.bytes(field, &m.0);
    }
    fn spans(&mut self, field: u32, spans: &[Span]) {
        for span in spans {
            let mut m = Message::default();
            m.signed(1, i64::from(span.offset));
            m.number(2, u64::from(span.length));
            self.bytes(field, &m.0);
        }
    }
    fn deltas(&mut self, field: u32, deltas: &[i64]) {
        for d in deltas {
            self.signed(field, *d);
        }
    }
    fn counts(&mut self, field: u32, counts: &[f64]) {
        for c in counts {
            self.double(field, *c);
        }
    }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

pub(super) fn write(out: &mut Vec<u8>, head: &Head<'_>, escaping: EscapingScheme) {
    let family = head.family;
    let mut m = Message::default();
    m.bytes(1, head.name.as_bytes());
    if !family.help.is_empty() {
        m.bytes(2, family.help.as_bytes());
    }
    let gauge = |h: &HistogramValue| {
        let hint = match h {
            HistogramValue::Int(h) => h.reset_hint,
            HistogramValue::Float(h) => h.reset_hint,
        };
        hint == CounterResetHint::Gauge
    };
    // The samples decide where the declared type could not hold them.
    let kind = match (family.kind, family.metrics.first().map(|m| &m.data)) {
        (_, Some(MetricData::Summary { .. })) => 2,
        (MetricType::GaugeHistogram, Some(MetricData::Histogram { .. } | MetricData::Native(_))) => 5,
        (_, Some(MetricData::Native(h))) if gauge(h) => 5,
        (_, Some(MetricData::Histogram { .. } | MetricData::Native(_))) => 4,
        (MetricType::Counter, _) => 0,
        (MetricType::Gauge | MetricType::Info | MetricType::Stateset, _) => 1,
        (MetricType::Summary, None) => 2,
        (MetricType::Histogram, None) => 4,
        (MetricType::GaugeHistogram, None) => 5,
        _ => 3,
    };
    m.number(3, kind);
    for metric in &family.metrics {
        let mut one = Message::default();
        one.labels(labels(metric, escaping));
        write_data(&mut one, kind, metric);
        if let Some(t) = metric.timestamp_ms {
            one.number(6, t as u64);
        }
        m.bytes(4, &one.0);
    }
    if !family.unit.is_empty() {
        m.bytes(5, family.unit.as_bytes());
    }
    let mut length = Message::default();
    length.varint(m.0.len() as u64);
    out.extend_from_slice(&length.0);
    out.extend_from_slice(&m.0);
}

fn write_data(one: &mut Message, kind: u64, metric: &Metric) {
    let mut inner = Message::default();
    match &metric.data {
        MetricData::Number(v) => {
            inner.double(1, *v);
            let field = match kind {
                0 => {
                    if let Some(e) = metric.exemplars.first() {
                        inner.exemplar(2, e);
                    }
                    if let Some(t) = metric.created_ms {
                        inner.time(3, t);
                    }
                    3
                }
                1 => 2,
                _ => 5,
            };
            one.bytes(field, &inner.0);
        }
        MetricData::Summary { count, sum, quantiles } => {
            inner.number(1, *count);
            inner.double(2, *sum);
            for (quantile, value) in quantiles {
                let mut q = Message::default();
                q.double(1, *quantile);
                q.double(2, *value);
                inner.bytes(3, &q.0);
            }
            if let Some(t) = metric.created_ms {
                inner.time(4, t);
            }
            one.bytes(4, &inner.0);
        }
        MetricData::Histogram { count, sum, buckets } => {
            inner.number(1, *count);
            inner.double(2, *sum);
            let mut below = f64::NEG_INFINITY;
            for (upper, cumulative) in buckets {
                let mut b = Message::default();
                b.number(1, *cumulative);
                b.double(2, *upper);
                if let Some(e) = metric.exemplars.iter().find(|e| e.value > below && e.value <= *upper) {
                    b.exemplar(3, e);
                }
                inner.bytes(3, &b.0);
                below = *upper;
            }
            if let Some(t) = metric.created_ms {
                inner.time(15, t);
            }
            one.bytes(7, &inner.0);
        }
        MetricData::Native(h) => {
            write_native(&mut inner, h);
            if let Some(t) = metric.created_ms {
                inner.time(15, t);
            }
            for e in &metric.exemplars {
                inner.exemplar(16, e);
            }
            one.bytes(7, &inner.0);
        }
    }
}

/// A span of length zero tells a native histogram without observations from a classic one.
const NO_OP_SPAN: Span = Span { offset: 0, length: 0 };

fn write_native(inner: &mut Message, h: &HistogramValue) {
    let empty = match h {
        HistogramValue::Int(h) => h.positive_spans.is_empty() && h.negative_spans.is_empty(),
        HistogramValue::Float(h) => h.positive_spans.is_empty() && h.negative_spans.is_empty(),
    };
    match h {
        HistogramValue::Int(h) => {
            inner.number(1, h.count);
            inner.double(2, h.sum);
            inner.signed(5, i64::from(h.schema));
            inner.double(6, h.zero_threshold);
            inner.number(7, h.zero_count);
            inner.spans(9, &h.negative_spans);
            inner.deltas(10, &h.negative_buckets);
            inner.spans(12, &h.positive_spans);
            inner.deltas(13, &h.positive_buckets);
        }
        HistogramValue::Float(h) => {
            inner.double(4, h.count);
            inner.double(2, h.sum);
            inner.signed(5, i64::from(h.schema));
            inner.double(6, h.zero_threshold);
            inner.double(8, h.zero_count);
            inner.spans(9, &h.negative_spans);
            inner.counts(11, &h.negative_buckets);
            inner.spans(12, &h.positive_spans);
            inner.counts(14, &h.positive_buckets);
        }
    }
    if empty {
        inner.spans(12, &[NO_OP_SPAN]);
    }
}
