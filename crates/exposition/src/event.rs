//! What parsers hand out: one event per metadata line or sample, borrowing from the body and the parser.

use std::borrow::Cow;

use model::labels::{METRIC_NAME, STRING_BYTES_MAX};
use model::{Exemplar, HistogramValue, Labels, LabelsBuilder, MetricType};

use crate::number::{openmetrics_float, parse_float};

/// One step of a parser.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sample.
    Series(SeriesEvent<'a>),
    /// TYPE.
    Type {
        /// Family.
        family: Cow<'a, str>,
        /// Its type.
        kind: MetricType,
    },
    /// HELP.
    Help {
        /// Family.
        family: Cow<'a, str>,
        /// Unescaped text.
        help: Cow<'a, str>,
    },
    /// UNIT.
    Unit {
        /// Family.
        family: Cow<'a, str>,
        /// The unit, "" for none.
        unit: Cow<'a, str>,
    },
    /// A comment that is none of these.
    Comment,
    /// The end, properly reached.
    Eof,
}

/// A sample with what is needed to find or to make its series.
#[derive(Debug)]
pub struct SeriesEvent<'a> {
    /// Bytes that name the series within this target and format: equal bytes, equal series. In the text
    /// formats, the part of the line before the value.
    pub key: &'a [u8],
    /// Timestamp in the body.
    pub timestamp_ms: Option<i64>,
    /// The value.
    pub value: SampleValue<'a>,
    /// Created timestamp in milliseconds, 0 where unknown or not asked for.
    pub start_ms: i64,
    /// Exemplars, most often none.
    pub exemplars: &'a [Exemplar],
    /// Where the labels are.
    pub source: LabelSource<'a>,
}

/// Value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum SampleValue<'a> {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(&'a HistogramValue),
}

/// Labels not yet built: most samples belong to a known series and never need them.
#[derive(Clone, Copy, Debug)]
pub enum LabelSource<'a> {
    /// A line of text.
    Text(TextLabels<'a>),
    /// A metric of a protobuf body.
    Proto(crate::proto::ProtoLabels<'a>),
    /// Built already.
    Ready(&'a ReadyLabels),
}

/// Labels built ahead of their use, with what was noticed on the way.
#[derive(Clone, Debug, Default)]
pub struct ReadyLabels {
    /// The set.
    pub labels: Labels,
    /// As from [`LabelSource::build`].
    pub notes: BuildNotes,
}

/// What a set in a builder no longer shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildNotes {
    /// A name that occurs twice. Upstream's store refuses such a set after relabeling; so the caller is to
    /// refuse it if the name is still there then.
    pub duplicate: Option<String>,
    /// Names that were exposed with an empty value: with `honor_labels` they keep the target's label out.
    pub emptied: Vec<String>,
}

/// Ranges of names and values in a line of text.
#[derive(Clone, Copy, Debug)]
pub struct TextLabels<'a> {
    /// The whole body.
    pub(crate) body: &'a [u8],
    /// Range of the metric's name.
    pub(crate) name: (usize, usize),
    /// Ranges of (name start, name end, value start, value end).
    pub(crate) pairs: &'a [[usize; 4]],
    /// TYPE in force.
    pub(crate) kind: MetricType,
    /// UNIT in force.
    pub(crate) unit: &'a str,
    /// Whether `__type__` and `__unit__` are wanted.
    pub(crate) type_and_unit: bool,
}

/// A label set that cannot be stored: a string that is too long or no UTF-8; says which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLabels(pub String);

/// Name of the label that carries the type with `type-and-unit-labels`.
pub(crate) const TYPE_LABEL: &str = "__type__";
/// Name of the label that carries the unit with `type-and-unit-labels`.
pub(crate) const UNIT_LABEL: &str = "__unit__";

impl LabelSource<'_> {
    /// Replaces what is in a builder by the labels, name included.
    ///
    /// # Errors
    /// Strings that no label can hold.
    pub fn build(&self, out: &mut LabelsBuilder) -> Result<BuildNotes, InvalidLabels> {
        out.clear();
        match self {
            LabelSource::Text(text) => text.build(out),
            LabelSource::Proto(proto) => proto.build(out),
            LabelSource::Ready(ready) => {
                for (name, value) in &ready.labels {
                    out.set(name, value);
                }
                Ok(ready.notes.clone())
            }
        }
    }
}

/// Collects labels into a builder and notices doubled names.
pub(crate) struct Collector<'o> {
    out: &'o mut LabelsBuilder,
    notes: BuildNotes,
}

impl<'o> Collector<'o> {
    pub(crate) fn new(out: &'o mut LabelsBuilder) -> Self {
        Collector { out, notes: BuildNotes::default() }
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) -> Result<(), InvalidLabels> {
        if name.len() > STRING_BYTES_MAX || value.len() > STRING_BYTES_MAX {
            let shown: String = name.chars().take(50).collect();
            return Err(InvalidLabels(format!("label {shown:?} is longer than {STRING_BYTES_MAX} bytes")));
        }
        // An empty value removes the label wherever it stands, as upstream's builder does.
        if value.is_empty() {
            self.out.del(name);
            self.notes.emptied.push(name.to_string());
            return Ok(());
        }
        if self.notes.emptied.iter().any(|n| n == name) {
            return Ok(());
        }
        if !self.out.get(name).is_empty() {
            self.notes.duplicate.get_or_insert_with(|| name.to_string());
            return Ok(());
        }
        self.out.set(name, value);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> BuildNotes {
        let out = self.out;
        self.notes.duplicate = self.notes.duplicate.filter(|name| !out.get(name).is_empty());
        self.notes
    }
}

/// True where the metadata labels override a label of this name.
pub(crate) fn overridden(name: &str, type_and_unit: bool, kind: MetricType, unit: &str) -> bool {
    type_and_unit
        && match name {
            METRIC_NAME => true,
            TYPE_LABEL => kind != MetricType::Unknown,
            UNIT_LABEL => !unit.is_empty(),
            _ => false,
        }
}

impl TextLabels<'_> {
    fn text(&self, from: usize, to: usize) -> Result<Cow<'_, str>, InvalidLabels> {
        let bytes = self.body.get(from..to).unwrap_or_default();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| InvalidLabels(format!("{:?}", String::from_utf8_lossy(clip(bytes)))))?;
        Ok(unescape_label(text))
    }

    fn build(&self, out: &mut LabelsBuilder) -> Result<BuildNotes, InvalidLabels> {
        let mut to = Collector::new(out);
        to.add(METRIC_NAME, &self.text(self.name.0, self.name.1)?)?;
        if self.type_and_unit {
            if self.kind != MetricType::Unknown {
                to.add(TYPE_LABEL, self.kind.as_str())?;
            }
            if !self.unit.is_empty() {
                to.add(UNIT_LABEL, self.unit)?;
            }
        }
        for [a, b, c, d] in self.pairs {
            let name = self.text(*a, *b)?;
            if overridden(&name, self.type_and_unit, self.kind, self.unit) {
                continue;
            }
            let value = normalize(self.kind, &name, self.text(*c, *d)?);
            to.add(&name, &value)?;
        }
        Ok(to.finish())
    }
}

/// `le` of histograms and `quantile` of summaries in OpenMetrics's form, whatever form the target chose.
fn normalize<'v>(kind: MetricType, name: &str, value: Cow<'v, str>) -> Cow<'v, str> {
    let numeric = matches!((kind, name), (MetricType::Summary, "quantile") | (MetricType::Histogram, "le"));
    match numeric.then(|| parse_float(value.as_bytes())) {
        Some(Ok(number)) => Cow::Owned(openmetrics_float(number)),
        _ => value,
    }
}

/// At most this many bytes of foreign text go into a message.
pub(crate) const CLIP_BYTES: usize = 120;

pub(crate) fn clip(bytes: &[u8]) -> &[u8] {
    bytes.get(..CLIP_BYTES).unwrap_or(bytes)
}

/// `\"`, `\\` and `\n`; other backslashes stay as they are.
pub(crate) fn unescape_label(text: &str) -> Cow<'_, str> {
    unescape(text, true)
}

/// `\\` and `\n` only.
pub(crate) fn unescape_help(text: &str) -> Cow<'_, str> {
    unescape(text, false)
}

fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (c, used) = match rest.as_bytes().first() {
            Some(b'\\') => ('\\', 1),
            Some(b'n') => ('\n', 1),
            Some(b'"') if quotes => ('"', 1),
            _ => ('\\', 0),
        };
        out.push(c);
        rest = &rest[used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
