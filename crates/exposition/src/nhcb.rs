//! The layer that turns the classic histograms of text bodies into native ones with custom bounds
//! (upstream: `textparse/nhcbparse.go`). Lines of one histogram that stand together are collected; the
//! native histogram comes out when another series, a metadata line or the end follows. A histogram that does
//! not convert is lost, unless classic series are kept, as upstream has it.

use model::labels::METRIC_NAME;
use model::{Exemplar, HistogramValue, Labels, LabelsBuilder, MetricType};

use crate::classic::ClassicHistogram;
use crate::event::{BuildNotes, Event, LabelSource, ReadyLabels, SampleValue, SeriesEvent};
use crate::number::parse_float;
use crate::{Format, OpenMetricsParser, ParseError, ParserOptions, TextParser};

/// Exemplars kept for one histogram: one a bucket is what targets send.
const EXEMPLARS_MAX: usize = 1 << 12;

/// A text parser with the conversion on top.
#[derive(Debug)]
pub struct NhcbParser<'b> {
    inner: Inner<'b>,
    keep_classic: bool,
    collecting: bool,
    family: String,
    kind: MetricType,
    classic: ClassicHistogram,
    /// Of the histogram being collected: its labels without suffix and `le`.
    base: Labels,
    start_ms: i64,
    timestamp_ms: Option<i64>,
    collected_exemplars: Vec<Exemplar>,
    /// What was last handed out, and what waits behind it.
    out: Owned,
    pending: Option<Owned>,
    builder: LabelsBuilder,
}

#[derive(Debug)]
enum Inner<'b> {
    Text(TextParser<'b>),
    OpenMetrics(Box<OpenMetricsParser<'b>>),
}

#[derive(Debug)]
enum Owned {
    Series {
        key: Vec<u8>,
        timestamp_ms: Option<i64>,
        float: f64,
        histogram: Option<HistogramValue>,
        start_ms: i64,
        exemplars: Vec<Exemplar>,
        labels: ReadyLabels,
    },
    Type(String, MetricType),
    Help(String, String),
    Unit(String, String),
    Comment,
    Eof,
}

/// Series of a histogram by its suffix.
enum Role {
    Bucket(f64),
    Sum,
    Count,
}

impl<'b> NhcbParser<'b> {
    /// A parser at the beginning of a text body.
    #[must_use]
    pub fn new(body: &'b [u8], format: Format, options: &ParserOptions) -> Self {
        let inner = match format {
            Format::OpenMetrics => Inner::OpenMetrics(Box::new(OpenMetricsParser::new(body, options))),
            Format::Text | Format::Protobuf => Inner::Text(TextParser::new(body, options)),
        };
        NhcbParser {
            inner,
            keep_classic: options.keep_classic,
            collecting: false,
            family: String::new(),
            kind: MetricType::Unknown,
            classic: ClassicHistogram::default(),
            base: Labels::empty(),
            start_ms: 0,
            timestamp_ms: None,
            collected_exemplars: Vec::new(),
            out: Owned::Eof,
            pending: None,
            builder: LabelsBuilder::new(),
        }
    }

    /// The next event.
    ///
    /// # Errors
    /// Those of the text formats.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'_>, ParseError> {
        loop {
            // What waited behind a converted histogram has been looked at already, save for its own role.
            let (event, fresh) = match self.pending.take() {
                Some(event) => (event, false),
                None => (self.read()?, true),
            };
            let mut event = event;
            if let Owned::Series { labels, .. } = &event {
                if fresh && self.collecting && self.differs(&labels.labels) && self.convert() {
                    self.pending = Some(event);
                    return Ok(self.out.event());
                }
            } else {
                if let Owned::Type(family, kind) = &event {
                    (self.family, self.kind) = (family.clone(), *kind);
                }
                if fresh && self.convert() {
                    self.pending = Some(event);
                    return Ok(self.out.event());
                }
            }
            if self.collect(&mut event) && !self.keep_classic {
                continue;
            }
            self.out = event;
            return Ok(self.out.event());
        }
    }

    fn read(&mut self) -> Result<Owned, ParseError> {
        let event = match &mut self.inner {
            Inner::Text(p) => p.next()?,
            Inner::OpenMetrics(p) => p.next()?,
        };
        Ok(match event {
            Event::Series(s) => {
                let notes = s.source.build(&mut self.builder).map_err(|e| ParseError {
                    message: format!("invalid metric name or label names: {e}"),
                    line: 0,
                    column: 0,
                })?;
                Owned::Series {
                    key: s.key.to_vec(),
                    timestamp_ms: s.timestamp_ms,
                    float: match s.value {
                        SampleValue::Float(v) => v,
                        SampleValue::Histogram(_) => 0.0,
                    },
                    histogram: None,
                    start_ms: s.start_ms,
                    exemplars: s.exemplars.to_vec(),
                    labels: ReadyLabels { labels: self.builder.build(), notes },
                }
            }
            Event::Type { family, kind } => Owned::Type(family.into_owned(), kind),
            Event::Help { family, help } => Owned::Help(family.into_owned(), help.into_owned()),
            Event::Unit { family, unit } => Owned::Unit(family.into_owned(), unit.into_owned()),
            Event::Comment => Owned::Comment,
            Event::Eof => Owned::Eof,
        })
    }

    /// Whether a series belongs to another histogram than the one being collected.
    fn differs(&self, labels: &Labels) -> bool {
        let name = base_name(labels.metric_name());
        let others = |l: &Labels| -> Vec<(String, String)> {
            l.iter()
                .filter(|(n, _)| *n != METRIC_NAME && *n != "le")
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect()
        };
        self.kind != MetricType::Histogram
            || name != self.base.metric_name()
            || others(labels) != others(&self.base)
    }

    fn role(&self, labels: &Labels) -> Option<Role> {
        if self.kind != MetricType::Histogram {
            return None;
        }
        let suffix = labels.metric_name().strip_prefix(self.family.as_str())?;
        match suffix {
            "_bucket" => {
                let le = parse_float(labels.find("le")?.as_bytes()).ok()?;
                (!le.is_nan()).then_some(Role::Bucket(le))
            }
            "_sum" => Some(Role::Sum),
            "_count" => Some(Role::Count),
            _ => None,
        }
    }

    /// Takes a series of a classic histogram in, exemplars included.
    fn collect(&mut self, event: &mut Owned) -> bool {
        let Owned::Series { labels, float, start_ms, timestamp_ms, exemplars, histogram: None, .. } = event
        else {
            return false;
        };
        let Some(role) = self.role(&labels.labels) else { return false };
        if !self.collecting {
            self.collecting = true;
            self.start_ms = *start_ms;
            let mut base = labels.labels.to_builder();
            base.set(METRIC_NAME, &self.family).del("le");
            self.base = base.build();
        }
        self.timestamp_ms = *timestamp_ms;
        let room = EXEMPLARS_MAX.saturating_sub(self.collected_exemplars.len());
        exemplars.truncate(room);
        self.collected_exemplars.append(exemplars);
        match role {
            Role::Bucket(le) => self.classic.set_bucket(le, *float),
            Role::Sum => self.classic.set_sum(*float),
            Role::Count => self.classic.set_count(*float),
        }
        true
    }

    /// Ends the collection. True where a native histogram came out of it.
    fn convert(&mut self) -> bool {
        if !std::mem::take(&mut self.collecting) {
            return false;
        }
        let converted = self.classic.convert(false);
        self.classic.clear();
        let exemplars = std::mem::take(&mut self.collected_exemplars);
        let Ok(value) = converted else { return false };
        // No line of text and no protobuf key begins with a byte of five.
        let mut key = vec![5];
        key.extend_from_slice(self.base.as_bytes());
        self.out = Owned::Series {
            key,
            timestamp_ms: self.timestamp_ms,
            float: 0.0,
            histogram: Some(value),
            start_ms: self.start_ms,
            exemplars,
            labels: ReadyLabels { labels: self.base.clone(), notes: BuildNotes::default() },
        };
        true
    }
}

fn base_name(name: &str) -> &str {
    let cut = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    cut.unwrap_or(name)
}

impl Owned {
    fn event(&self) -> Event<'_> {
        match self {
            Owned::Series { key, timestamp_ms, float, histogram, start_ms, exemplars, labels } => {
                Event::Series(SeriesEvent {
                    key,
                    timestamp_ms: *timestamp_ms,
                    value: match histogram {
                        Some(h) => SampleValue::Histogram(h),
                        None => SampleValue::Float(*float),
                    },
                    start_ms: *start_ms,
                    exemplars,
                    source: LabelSource::Ready(labels),
                })
            }
            Owned::Type(family, kind) => Event::Type { family: family.as_str().into(), kind: *kind },
            Owned::Help(family, help) => {
                Event::Help { family: family.as_str().into(), help: help.as_str().into() }
            }
            Owned::Unit(family, unit) => {
                Event::Unit { family: family.as_str().into(), unit: unit.as_str().into() }
            }
            Owned::Comment => Event::Comment,
            Owned::Eof => Event::Eof,
        }
    }
}
