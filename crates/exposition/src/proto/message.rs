//! The messages of `io.prometheus.client` (`metrics.proto`), decoded into one reused structure.

use model::{Exemplar, Labels, LabelsBuilder, Span};

use super::wire::{BYTES, FIXED64, Malformed, Reader, VARINT, expect, zigzag};

/// Enum `MetricType` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WireType {
    #[default]
    Counter,
    Gauge,
    Summary,
    Untyped,
    Histogram,
    GaugeHistogram,
}

/// Most elements of one repeated field of a metric: 2^20 buckets of 40 bytes are 40 MB, where a body could
/// claim twenty times its own size with empty messages of two bytes. Real histograms have hundreds.
const ELEMENTS_MAX: usize = 1 << 20;

fn push<T>(list: &mut Vec<T>, element: T) -> Result<(), Malformed> {
    if list.len() >= ELEMENTS_MAX {
        return Err(Malformed("more than 1048576 elements in one metric"));
    }
    list.push(element);
    Ok(())
}

/// A family without its metrics, which are read one by one in a second pass: their number is the sender's
/// to choose, and a list of them would be larger than the body.
#[derive(Debug, Default)]
pub(crate) struct FamilyHead<'b> {
    pub(crate) name: &'b [u8],
    pub(crate) help: &'b [u8],
    pub(crate) unit: &'b [u8],
    /// As on the wire, for the message where it is unknown.
    pub(crate) kind: u64,
    rest: Option<Reader<'b>>,
}

impl<'b> FamilyHead<'b> {
    pub(crate) fn decode(bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut head = FamilyHead { rest: Some(Reader::new(bytes)), ..FamilyHead::default() };
        let mut r = Reader::new(bytes);
        while let Some((field, kind)) = r.tag()? {
            match field {
                1 | 2 | 4 | 5 => {
                    expect(kind, BYTES)?;
                    let value = r.bytes()?;
                    match field {
                        1 => head.name = value,
                        2 => head.help = value,
                        4 => {}
                        _ => head.unit = value,
                    }
                }
                3 => {
                    expect(kind, VARINT)?;
                    head.kind = r.varint()?;
                }
                _ => r.skip(kind)?,
            }
        }
        Ok(head)
    }

    /// The next metric's bytes.
    pub(crate) fn next_metric(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        let Some(r) = &mut self.rest else { return Ok(None) };
        while let Some((field, kind)) = r.tag()? {
            if field == 4 && kind == BYTES {
                return r.bytes().map(Some);
            }
            r.skip(kind)?;
        }
        Ok(None)
    }

    pub(crate) fn wire_type(&self) -> Option<WireType> {
        Some(match self.kind {
            0 => WireType::Counter,
            1 => WireType::Gauge,
            2 => WireType::Summary,
            3 => WireType::Untyped,
            4 => WireType::Histogram,
            5 => WireType::GaugeHistogram,
            _ => return None,
        })
    }
}

/// `google.protobuf.Timestamp` in milliseconds.
fn timestamp_ms(bytes: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, VARINT)?;
                seconds = r.varint()? as i64;
            }
            2 => {
                expect(kind, VARINT)?;
                nanos = r.varint()? as i32;
            }
            _ => r.skip(kind)?,
        }
    }
    Ok(seconds.wrapping_mul(1000).wrapping_add(i64::from(nanos / 1_000_000)))
}

/// Refuses a malformed exemplar without building it: those that nobody asks for are never built, yet make
/// the body as invalid as upstream finds it.
fn checked_exemplar(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, BYTES)?;
                label_pair(r.bytes()?)?;
            }
            2 => {
                expect(kind, FIXED64)?;
                r.double()?;
            }
            3 => {
                expect(kind, BYTES)?;
                timestamp_ms(r.bytes()?)?;
            }
            _ => r.skip(kind)?,
        }
    }
    Ok(bytes)
}

/// An exemplar; labels that cannot be stored are left out.
pub(crate) fn exemplar(bytes: &[u8]) -> Result<Exemplar, Malformed> {
    let mut out = Exemplar { labels: Labels::empty(), value: 0.0, timestamp_ms: 0, has_timestamp: false };
    let mut labels = LabelsBuilder::new();
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, BYTES)?;
                let (name, value) = label_pair(r.bytes()?)?;
                let fits = name.len().max(value.len()) <= model::labels::STRING_BYTES_MAX;
                if let (true, Ok(name), Ok(value)) =
                    (fits, std::str::from_utf8(name), std::str::from_utf8(value))
                {
                    labels.set(name, value);
                }
            }
            2 => {
                expect(kind, FIXED64)?;
                out.value = r.double()?;
            }
            3 => {
                expect(kind, BYTES)?;
                out.timestamp_ms = timestamp_ms(r.bytes()?)?;
                out.has_timestamp = true;
            }
            _ => r.skip(kind)?,
        }
    }
    out.labels = labels.build();
    Ok(out)
}

/// Name and value of a label.
pub(crate) fn label_pair(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, BYTES)?;
                name = r.bytes()?;
            }
            2 => {
                expect(kind, BYTES)?;
                value = r.bytes()?;
            }
            _ => r.skip(kind)?,
        }
    }
    Ok((name, value))
}

/// A bucket of a classic histogram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClassicBucket<'b> {
    pub(crate) count: u64,
    pub(crate) count_float: f64,
    pub(crate) upper: f64,
    pub(crate) exemplar: Option<&'b [u8]>,
}

impl ClassicBucket<'_> {
    /// The count in use: the float one where it is not zero.
    pub(crate) fn cumulative(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }
}

/// One metric, whatever its type. Reused from metric to metric.
#[derive(Debug, Default)]
pub(crate) struct MetricMessage<'b> {
    pub(crate) labels: Vec<(&'b [u8], &'b [u8])>,
    pub(crate) timestamp_ms: i64,
    /// Gauge, counter, untyped: each its own, as upstream reads the one that the family's type names.
    pub(crate) gauge: f64,
    pub(crate) counter: f64,
    pub(crate) untyped: f64,
    pub(crate) counter_exemplar: Option<&'b [u8]>,
    pub(crate) counter_start_ms: i64,
    pub(crate) summary: SummaryMessage,
    pub(crate) histogram: HistogramMessage<'b>,
}

#[derive(Debug, Default)]
pub(crate) struct SummaryMessage {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) quantiles: Vec<(f64, f64)>,
    pub(crate) start_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct HistogramMessage<'b> {
    pub(crate) count: u64,
    pub(crate) count_float: f64,
    pub(crate) sum: f64,
    pub(crate) buckets: Vec<ClassicBucket<'b>>,
    pub(crate) start_ms: i64,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: u64,
    pub(crate) zero_count_float: f64,
    pub(crate) negative_spans: Vec<Span>,
    pub(crate) negative_deltas: Vec<i64>,
    pub(crate) negative_counts: Vec<f64>,
    pub(crate) positive_spans: Vec<Span>,
    pub(crate) positive_deltas: Vec<i64>,
    pub(crate) positive_counts: Vec<f64>,
    pub(crate) exemplars: Vec<&'b [u8]>,
}

impl<'b> MetricMessage<'b> {
    fn clear(&mut self) {
        self.labels.clear();
        (self.timestamp_ms, self.gauge, self.counter, self.untyped) = (0, 0.0, 0.0, 0.0);
        (self.counter_exemplar, self.counter_start_ms) = (None, 0);
        let mut quantiles = std::mem::take(&mut self.summary.quantiles);
        quantiles.clear();
        self.summary = SummaryMessage { quantiles, ..SummaryMessage::default() };
        self.histogram.clear();
    }

    pub(crate) fn decode(&mut self, bytes: &'b [u8]) -> Result<(), Malformed> {
        self.clear();
        let mut r = Reader::new(bytes);
        while let Some((field, kind)) = r.tag()? {
            match field {
                1..=5 | 7 => {
                    expect(kind, BYTES)?;
                    let inner = r.bytes()?;
                    match field {
                        1 => push(&mut self.labels, label_pair(inner)?)?,
                        2 => value_only(inner, &mut self.gauge)?,
                        3 => self.decode_counter(inner)?,
                        4 => self.summary.decode(inner)?,
                        5 => value_only(inner, &mut self.untyped)?,
                        _ => self.histogram.decode(inner)?,
                    }
                }
                6 => {
                    expect(kind, VARINT)?;
                    self.timestamp_ms = r.varint()? as i64;
                }
                _ => r.skip(kind)?,
            }
        }
        Ok(())
    }

    fn decode_counter(&mut self, bytes: &'b [u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(bytes);
        while let Some((field, kind)) = r.tag()? {
            match field {
                1 => {
                    expect(kind, FIXED64)?;
                    self.counter = r.double()?;
                }
                2 => {
                    expect(kind, BYTES)?;
                    self.counter_exemplar = Some(checked_exemplar(r.bytes()?)?);
                }
                3 => {
                    expect(kind, BYTES)?;
                    self.counter_start_ms = timestamp_ms(r.bytes()?)?;
                }
                _ => r.skip(kind)?,
            }
        }
        Ok(())
    }
}

fn value_only(bytes: &[u8], out: &mut f64) -> Result<(), Malformed> {
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        if field == 1 {
            expect(kind, FIXED64)?;
            *out = r.double()?;
        } else {
            r.skip(kind)?;
        }
    }
    Ok(())
}

impl SummaryMessage {
    fn decode(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(bytes);
        while let Some((field, kind)) = r.tag()? {
            match field {
                1 => {
                    expect(kind, VARINT)?;
                    self.count = r.varint()?;
                }
                2 => {
                    expect(kind, FIXED64)?;
                    self.sum = r.double()?;
                }
                3 => {
                    expect(kind, BYTES)?;
                    let (mut quantile, mut value) = (0.0, 0.0);
                    let mut q = Reader::new(r.bytes()?);
                    while let Some((field, kind)) = q.tag()? {
                        match field {
                            1 | 2 => {
                                expect(kind, FIXED64)?;
                                *(if field == 1 { &mut quantile } else { &mut value }) = q.double()?;
                            }
                            _ => q.skip(kind)?,
                        }
                    }
                    push(&mut self.quantiles, (quantile, value))?;
                }
                4 => {
                    expect(kind, BYTES)?;
                    self.start_ms = timestamp_ms(r.bytes()?)?;
                }
                _ => r.skip(kind)?,
            }
        }
        Ok(())
    }
}

/// Repeated numbers: packed or one by one.
fn deltas(r: &mut Reader<'_>, kind: u8, out: &mut Vec<i64>) -> Result<(), Malformed> {
    if kind == BYTES {
        let mut packed = Reader::new(r.bytes()?);
        while packed.left() > 0 {
            push(out, zigzag(packed.varint()?))?;
        }
        return Ok(());
    }
    expect(kind, VARINT)?;
    push(out, zigzag(r.varint()?))
}

fn counts(r: &mut Reader<'_>, kind: u8, out: &mut Vec<f64>) -> Result<(), Malformed> {
    if kind == BYTES {
        let mut packed = Reader::new(r.bytes()?);
        while packed.left() > 0 {
            push(out, packed.double()?)?;
        }
        return Ok(());
    }
    expect(kind, FIXED64)?;
    push(out, r.double()?)
}

fn span(bytes: &[u8]) -> Result<Span, Malformed> {
    let mut out = Span::default();
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, VARINT)?;
                out.offset = zigzag(u64::from(r.varint()? as u32)) as i32;
            }
            2 => {
                expect(kind, VARINT)?;
                out.length = r.varint()? as u32;
            }
            _ => r.skip(kind)?,
        }
    }
    Ok(out)
}

impl<'b> HistogramMessage<'b> {
    fn clear(&mut self) {
        let keep = std::mem::take(self);
        macro_rules! reuse {
            ($($field:ident),*) => { $( let mut $field = keep.$field; $field.clear(); )*
                *self = HistogramMessage { $( $field, )* ..HistogramMessage::default() }; };
        }
        reuse!(
            buckets,
            negative_spans,
            negative_deltas,
            negative_counts,
            positive_spans,
            positive_deltas,
            positive_counts,
            exemplars
        );
    }

    fn decode(&mut self, bytes: &'b [u8]) -> Result<(), Malformed> {
        let mut r = Reader::new(bytes);
        while let Some((field, kind)) = r.tag()? {
            match field {
                1 | 5 | 7 => {
                    expect(kind, VARINT)?;
                    let n = r.varint()?;
                    match field {
                        1 => self.count = n,
                        5 => self.schema = zigzag(u64::from(n as u32)) as i32,
                        _ => self.zero_count = n,
                    }
                }
                2 | 4 | 6 | 8 => {
                    expect(kind, FIXED64)?;
                    let v = r.double()?;
                    match field {
                        2 => self.sum = v,
                        4 => self.count_float = v,
                        6 => self.zero_threshold = v,
                        _ => self.zero_count_float = v,
                    }
                }
                3 | 9 | 12 | 15 | 16 => {
                    expect(kind, BYTES)?;
                    let inner = r.bytes()?;
                    match field {
                        3 => push(&mut self.buckets, bucket(inner)?)?,
                        9 => push(&mut self.negative_spans, span(inner)?)?,
                        12 => push(&mut self.positive_spans, span(inner)?)?,
                        15 => self.start_ms = timestamp_ms(inner)?,
                        _ => push(&mut self.exemplars, checked_exemplar(inner)?)?,
                    }
                }
                10 => deltas(&mut r, kind, &mut self.negative_deltas)?,
                11 => counts(&mut r, kind, &mut self.negative_counts)?,
                13 => deltas(&mut r, kind, &mut self.positive_deltas)?,
                14 => counts(&mut r, kind, &mut self.positive_counts)?,
                _ => r.skip(kind)?,
            }
        }
        Ok(())
    }

    /// Upstream's test: any span, a zero threshold or a zero count. A histogram without all of these is
    /// classic, even with buckets of the native kind.
    pub(crate) fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// Whether the float fields count.
    pub(crate) fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    /// All observations.
    pub(crate) fn observations(&self) -> f64 {
        if self.count_float == 0.0 { self.count as f64 } else { self.count_float }
    }
}

fn bucket(bytes: &[u8]) -> Result<ClassicBucket<'_>, Malformed> {
    let mut out = ClassicBucket::default();
    let mut r = Reader::new(bytes);
    while let Some((field, kind)) = r.tag()? {
        match field {
            1 => {
                expect(kind, VARINT)?;
                out.count = r.varint()?;
            }
            2 => {
                expect(kind, FIXED64)?;
                out.upper = r.double()?;
            }
            3 => {
                expect(kind, BYTES)?;
                out.exemplar = Some(checked_exemplar(r.bytes()?)?);
            }
            4 => {
                expect(kind, FIXED64)?;
                out.count_float = r.double()?;
            }
            _ => r.skip(kind)?,
        }
    }
    Ok(out)
}
