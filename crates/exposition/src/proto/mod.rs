//! Prometheus's protobuf format: length-delimited `io.prometheus.client.MetricFamily`, one event per series
//! as in the text formats (upstream: `protobufparse.go`, `prompb/io/prometheus/client/decoder.go`).

mod message;
mod wire;

use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{
    CounterResetHint, Exemplar, FloatHistogram, Histogram, HistogramValue, LabelsBuilder, MetricType, Span,
};

use crate::classic::ClassicHistogram;
use crate::event::{
    BuildNotes, Collector, Event, InvalidLabels, LabelSource, SampleValue, SeriesEvent, TYPE_LABEL,
    UNIT_LABEL, overridden,
};
use crate::number::openmetrics_float;
use crate::scan::{lossy, quote};
use crate::sparse::Sparse;
use crate::{ParseError, ParserOptions};
use message::{FamilyHead, MetricMessage, WireType};
use wire::{Malformed, Reader};

/// Upstream reads a family's length as a varint of at most five bytes.
const LENGTH_BYTES_MAX: usize = 5;

/// Parser of a whole body.
#[derive(Debug)]
pub struct ProtobufParser<'b> {
    body: &'b [u8],
    at: usize,
    family: FamilyHead<'b>,
    family_at: usize,
    kind: WireType,
    metric: MetricMessage<'b>,
    step: Step,
    options: ParserOptions,
    key: Vec<u8>,
    exemplars: Vec<Exemplar>,
    classic: ClassicHistogram,
    histogram: HistogramValue,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Family,
    Help,
    Unit,
    Type,
    /// Look at the next metric of the family.
    Metric,
    /// A metric's only sample.
    Single,
    /// The native histogram of a metric.
    Native,
    /// Part of a summary or a classic histogram: count, sum, then quantiles or buckets.
    Part(usize),
    /// The converted classic histogram.
    Converted,
}

/// Which series of a metric: its name's suffix and its own label.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Plain,
    Count,
    Sum,
    Bucket(f64),
    Quantile(f64),
}

/// Labels of a metric of a protobuf body.
#[derive(Clone, Copy, Debug)]
pub struct ProtoLabels<'a> {
    key: &'a [u8],
}

impl<'b> ProtobufParser<'b> {
    /// A parser at the body's beginning.
    #[must_use]
    pub fn new(body: &'b [u8], options: &ParserOptions) -> Self {
        ProtobufParser {
            body,
            at: 0,
            family: FamilyHead::default(),
            family_at: 0,
            kind: WireType::Untyped,
            metric: MetricMessage::default(),
            step: Step::Family,
            options: options.clone(),
            key: Vec::new(),
            exemplars: Vec::new(),
            classic: ClassicHistogram::default(),
            histogram: HistogramValue::Int(Arc::default()),
        }
    }

    fn error(&self, message: String) -> ParseError {
        ParseError { message, line: 0, column: self.family_at }
    }

    fn malformed(&self, e: Malformed) -> ParseError {
        self.error(format!("malformed protobuf: {}", e.0))
    }

    /// The next event.
    ///
    /// # Errors
    /// A malformed message, or one that contradicts itself; the parser must not be used further.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'_>, ParseError> {
        loop {
            match self.step {
                Step::Family => {
                    if !self.next_family()? {
                        return Ok(Event::Eof);
                    }
                }
                Step::Help => {
                    self.step = if self.family.unit.is_empty() { Step::Type } else { Step::Unit };
                    let help = lossy(self.family.help);
                    return Ok(Event::Help { family: lossy(self.family.name), help });
                }
                Step::Unit => {
                    self.step = Step::Type;
                    let unit = lossy(self.family.unit);
                    return Ok(Event::Unit { family: lossy(self.family.name), unit });
                }
                Step::Type => {
                    self.begin_metric();
                    return Ok(Event::Type { family: lossy(self.family.name), kind: self.metric_type() });
                }
                Step::Metric => match self.family.next_metric().map_err(|e| self.malformed(e))? {
                    Some(bytes) => {
                        self.decode_metric(bytes)?;
                        self.begin_metric();
                    }
                    None => self.step = Step::Family,
                },
                Step::Single | Step::Native | Step::Part(_) | Step::Converted => {
                    if self.prepare()? {
                        return Ok(self.emit());
                    }
                }
            }
        }
    }

    /// Reads the next family's head and its first metric; families without metrics are passed over.
    fn next_family(&mut self) -> Result<bool, ParseError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        self.family_at = self.at;
        let mut r = Reader::new(rest);
        let length = r.varint().map_err(|_| self.error("invalid varint encountered".to_string()))?;
        let prefix = rest.len() - r.left();
        if prefix > LENGTH_BYTES_MAX {
            return Err(self.error("invalid varint encountered".to_string()));
        }
        let end = usize::try_from(length).ok().and_then(|n| n.checked_add(prefix));
        let Some(bytes) = end.and_then(|end| rest.get(prefix..end)) else {
            let have = rest.len();
            return Err(self.error(format!(
                "insufficient length of buffer, expected at least {} bytes, got {have} bytes",
                length.saturating_add(prefix as u64)
            )));
        };
        self.at += prefix + bytes.len();
        self.family = FamilyHead::decode(bytes).map_err(|e| self.malformed(e))?;
        let Some(first) = self.family.next_metric().map_err(|e| self.malformed(e))? else {
            return Ok(true);
        };
        self.decode_metric(first)?;
        if self.family.name.is_empty() || std::str::from_utf8(self.family.name).is_err() {
            return Err(
                self.error(format!("invalid metric name: {}", lossy(crate::event::clip(self.family.name))))
            );
        }
        if std::str::from_utf8(self.family.help).is_err() {
            let name = quote(self.family.name);
            return Err(self.error(format!("invalid help for metric {name}: {}", quote(self.family.help))));
        }
        let Some(kind) = self.family.wire_type() else {
            let name = quote(self.family.name);
            return Err(self.error(format!("unknown metric type for metric {name}: {}", self.family.kind)));
        };
        self.kind = kind;
        self.step = Step::Help;
        Ok(true)
    }

    fn decode_metric(&mut self, bytes: &'b [u8]) -> Result<(), ParseError> {
        self.metric.decode(bytes).map_err(|e| self.malformed(e))?;
        for (name, value) in &self.metric.labels {
            // An absent name is let pass here and refused with the whole label set, as upstream does.
            if std::str::from_utf8(name).is_err() {
                return Err(self.error(format!("invalid label name: {}", quote(name))));
            }
            if std::str::from_utf8(value).is_err() {
                return Err(self.error(format!("invalid label value: {}", quote(value))));
            }
        }
        Ok(())
    }

    fn is_histogram(&self) -> bool {
        matches!(self.kind, WireType::Histogram | WireType::GaugeHistogram)
    }

    fn is_native(&self) -> bool {
        self.options.native_histograms && self.metric.histogram.is_native()
    }

    /// Chooses the first sample of the metric just decoded.
    fn begin_metric(&mut self) {
        self.step = match self.kind {
            WireType::Summary => Step::Part(0),
            _ if !self.is_histogram() => Step::Single,
            _ if self.is_native() => Step::Native,
            _ if self.options.convert_classic_to_nhcb && !self.options.keep_classic => Step::Converted,
            _ => Step::Part(0),
        };
    }

    /// Makes ready what the current step emits and sets the following one. False where the step turned out
    /// empty.
    fn prepare(&mut self) -> Result<bool, ParseError> {
        self.exemplars.clear();
        let (part, next) = match self.step {
            Step::Single => {
                self.take_exemplar(if self.kind == WireType::Counter {
                    self.metric.counter_exemplar
                } else {
                    None
                })?;
                (Part::Plain, Step::Metric)
            }
            Step::Native => {
                self.histogram = self.native()?;
                self.take_native_exemplars()?;
                let again = self.options.keep_classic && !self.metric.histogram.buckets.is_empty();
                (Part::Plain, if again { Step::Part(0) } else { Step::Metric })
            }
            Step::Converted => {
                self.histogram = self.converted()?;
                self.take_native_exemplars()?;
                (Part::Plain, Step::Metric)
            }
            Step::Part(n) => match self.part(n) {
                Some(part) => {
                    if let (Part::Bucket(_), Some(bucket)) =
                        (part, self.metric.histogram.buckets.get(n.wrapping_sub(2)))
                    {
                        self.take_exemplar(bucket.exemplar)?;
                    }
                    self.step = Step::Part(n + 1);
                    self.set_key(part);
                    return Ok(true);
                }
                None => {
                    let convert =
                        self.is_histogram() && !self.is_native() && self.options.convert_classic_to_nhcb;
                    self.step = if convert { Step::Converted } else { Step::Metric };
                    return Ok(false);
                }
            },
            _ => return Ok(false),
        };
        self.set_key(part);
        self.step = next;
        Ok(true)
    }

    /// The n-th part of a summary or classic histogram.
    fn part(&self, n: usize) -> Option<Part> {
        match n {
            0 => return Some(Part::Count),
            1 => return Some(Part::Sum),
            _ => {}
        }
        if self.kind == WireType::Summary {
            return self.metric.summary.quantiles.get(n - 2).map(|q| Part::Quantile(q.0));
        }
        let buckets = &self.metric.histogram.buckets;
        // Upstream stops at the first infinite bucket, and makes one up where there is none.
        let ended = n > 2 && buckets.get(n - 3).is_none_or(|b| b.upper == f64::INFINITY);
        if ended {
            return None;
        }
        Some(Part::Bucket(buckets.get(n - 2).map_or(f64::INFINITY, |b| b.upper)))
    }

    fn take_exemplar(&mut self, bytes: Option<&'b [u8]>) -> Result<(), ParseError> {
        if let Some(bytes) = bytes {
            let exemplar = message::exemplar(bytes).map_err(|e| self.malformed(e))?;
            self.exemplars.push(exemplar);
        }
        Ok(())
    }

    /// Exemplars of a native histogram: its own, else those of its classic buckets; only with timestamps.
    fn take_native_exemplars(&mut self) -> Result<(), ParseError> {
        let h = &self.metric.histogram;
        let own = h.exemplars.iter().copied();
        let classic = h.buckets.iter().filter_map(|b| b.exemplar);
        let mut add = |bytes: &[u8]| -> Result<(), Malformed> {
            let exemplar = message::exemplar(bytes)?;
            if exemplar.has_timestamp {
                self.exemplars.push(exemplar);
            }
            Ok(())
        };
        let done = if h.exemplars.is_empty() {
            classic.into_iter().try_for_each(&mut add)
        } else {
            own.into_iter().try_for_each(&mut add)
        };
        done.map_err(|e| self.malformed(e))
    }

    fn native(&self) -> Result<HistogramValue, ParseError> {
        let h = &self.metric.histogram;
        let float = h.is_float();
        let sides = [
            ("positive", &h.positive_spans, h.positive_counts.len(), h.positive_deltas.len()),
            ("negative", &h.negative_spans, h.negative_counts.len(), h.negative_deltas.len()),
        ];
        for (side, spans, counts, deltas) in sides {
            let need: u64 = spans.iter().map(|s: &Span| u64::from(s.length)).sum();
            let have = if float { counts } else { deltas };
            if need != have as u64 {
                return Err(self.error(format!(
                    "histogram {}: {side} side: spans require {need} buckets, have {have}",
                    quote(self.family.name)
                )));
            }
        }
        let reset_hint = self.reset_hint();
        if float {
            let mut out = FloatHistogram {
                reset_hint,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                zero_count: h.zero_count_float,
                count: h.count_float,
                sum: h.sum,
                positive_spans: h.positive_spans.clone(),
                negative_spans: h.negative_spans.clone(),
                positive_buckets: h.positive_counts.clone(),
                negative_buckets: h.negative_counts.clone(),
                ..FloatHistogram::default()
            };
            out.drop_empty(0);
            return Ok(HistogramValue::Float(Arc::new(out)));
        }
        let mut out = Histogram {
            reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive_spans: h.positive_spans.clone(),
            negative_spans: h.negative_spans.clone(),
            positive_buckets: h.positive_deltas.clone(),
            negative_buckets: h.negative_deltas.clone(),
            ..Histogram::default()
        };
        out.drop_empty(0);
        Ok(HistogramValue::Int(Arc::new(out)))
    }

    fn reset_hint(&self) -> CounterResetHint {
        if self.kind == WireType::GaugeHistogram {
            CounterResetHint::Gauge
        } else {
            CounterResetHint::Unknown
        }
    }

    fn converted(&mut self) -> Result<HistogramValue, ParseError> {
        let h = &self.metric.histogram;
        self.classic.clear();
        self.classic.set_count(h.observations());
        self.classic.set_sum(h.sum);
        for bucket in &h.buckets {
            self.classic.set_bucket(bucket.upper, bucket.cumulative());
        }
        let gauge = self.kind == WireType::GaugeHistogram;
        self.classic.convert(gauge).map_err(|e| self.error(e.to_string()))
    }

    fn metric_type(&self) -> MetricType {
        match self.kind {
            WireType::Counter => MetricType::Counter,
            WireType::Gauge => MetricType::Gauge,
            WireType::Summary => MetricType::Summary,
            WireType::Untyped => MetricType::Unknown,
            WireType::Histogram => MetricType::Histogram,
            WireType::GaugeHistogram => MetricType::GaugeHistogram,
        }
    }

    /// Writes the key of the series at hand. Layout, readable back by [`ProtoLabels`]: part, bound, type,
    /// then strings ended by 0xff, which no UTF-8 text holds: name, unit, and each label's name and value.
    fn set_key(&mut self, part: Part) {
        let (tag, bound) = match part {
            Part::Plain => (0, 0.0),
            Part::Count => (1, 0.0),
            Part::Sum => (2, 0.0),
            Part::Bucket(b) => (3, b),
            Part::Quantile(q) => (4, q),
        };
        let typed = self.options.type_and_unit_labels;
        self.key.clear();
        self.key.push(tag);
        self.key.extend_from_slice(&bound.to_bits().to_le_bytes());
        self.key.push(if typed { self.metric_type() as u8 } else { u8::MAX });
        self.key.extend_from_slice(self.family.name);
        self.key.push(0xff);
        if typed {
            self.key.extend_from_slice(lossy(self.family.unit).as_bytes());
        }
        self.key.push(0xff);
        for (name, value) in &self.metric.labels {
            self.key.extend_from_slice(name);
            self.key.push(0xff);
            self.key.extend_from_slice(value);
            self.key.push(0xff);
        }
    }

    /// The sample whose key and exemplars were prepared.
    fn emit(&self) -> Event<'_> {
        let m = &self.metric;
        let tag = self.key.first().copied().unwrap_or(0);
        let index = match self.step {
            Step::Part(next) => next.wrapping_sub(3),
            _ => usize::MAX,
        };
        let value = match (self.kind, tag) {
            (WireType::Counter, _) => SampleValue::Float(m.counter),
            (WireType::Gauge, _) => SampleValue::Float(m.gauge),
            (WireType::Untyped, _) => SampleValue::Float(m.untyped),
            (WireType::Summary, 1) => SampleValue::Float(m.summary.count as f64),
            (WireType::Summary, 2) => SampleValue::Float(m.summary.sum),
            (WireType::Summary, _) => SampleValue::Float(m.summary.quantiles.get(index).map_or(0.0, |q| q.1)),
            (_, 0) => SampleValue::Histogram(&self.histogram),
            (_, 1) => SampleValue::Float(m.histogram.observations()),
            (_, 2) => SampleValue::Float(m.histogram.sum),
            _ => SampleValue::Float(
                m.histogram.buckets.get(index).map_or_else(|| m.histogram.observations(), |b| b.cumulative()),
            ),
        };
        let start_ms = match self.kind {
            _ if !self.options.start_timestamps => 0,
            WireType::Counter => m.counter_start_ms,
            WireType::Summary => m.summary.start_ms,
            WireType::Histogram | WireType::GaugeHistogram => m.histogram.start_ms,
            WireType::Gauge | WireType::Untyped => 0,
        };
        Event::Series(SeriesEvent {
            key: &self.key,
            // Zero means none: the format cannot tell them apart.
            timestamp_ms: (m.timestamp_ms != 0).then_some(m.timestamp_ms),
            value,
            start_ms,
            exemplars: &self.exemplars,
            source: LabelSource::Proto(ProtoLabels { key: &self.key }),
        })
    }
}

impl<'a> ProtoLabels<'a> {
    /// Labels from a key that a [`ProtobufParser`] handed out earlier.
    #[must_use]
    pub fn from_key(key: &'a [u8]) -> Self {
        ProtoLabels { key }
    }

    pub(crate) fn build(&self, out: &mut LabelsBuilder) -> Result<BuildNotes, InvalidLabels> {
        let broken = || InvalidLabels("unreadable series key".to_string());
        let (tag, rest) = self.key.split_first().ok_or_else(broken)?;
        let (bound, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let bound = f64::from_bits(u64::from_le_bytes(*bound));
        let (kind, rest) = rest.split_first().ok_or_else(broken)?;
        let mut strings = rest.split(|b| *b == 0xff).map(|s| std::str::from_utf8(s).unwrap_or_default());
        let family = strings.next().unwrap_or_default();
        let unit = strings.next().unwrap_or_default();
        let typed = *kind != u8::MAX;
        let kind = kind_from(*kind);
        let suffix = match tag {
            1 => "_count",
            2 => "_sum",
            3 => "_bucket",
            _ => "",
        };
        let mut to = Collector::new(out);
        if suffix.is_empty() {
            to.add(METRIC_NAME, family)?;
        } else {
            to.add(METRIC_NAME, &format!("{family}{suffix}"))?;
        }
        if typed {
            if kind != MetricType::Unknown {
                to.add(TYPE_LABEL, kind.as_str())?;
            }
            if !unit.is_empty() {
                to.add(UNIT_LABEL, unit)?;
            }
        }
        while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
            if !overridden(name, typed, kind, unit) {
                to.add(name, value)?;
            }
        }
        match tag {
            3 => to.add("le", &openmetrics_float(bound))?,
            4 => to.add("quantile", &openmetrics_float(bound))?,
            _ => {}
        }
        Ok(to.finish())
    }
}

fn kind_from(n: u8) -> MetricType {
    use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, Stateset, Summary, Unknown};
    let all = [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, Stateset];
    all.get(usize::from(n)).copied().unwrap_or(Unknown)
}
