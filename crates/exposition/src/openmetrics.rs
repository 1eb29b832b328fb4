//! OpenMetrics text 0.0.1 and 1.0.0, accepting and refusing what upstream's `openmetricslex.l` and
//! `openmetricsparse.go` do: single blanks, no free comments, no blank lines, `# EOF` at the very end.

use model::{Exemplar, LabelsBuilder, MetricType};

use crate::event::{Event, LabelSource, SampleValue, SeriesEvent, TextLabels, unescape_label};
use crate::number::{go_i64, parse_float};
use crate::scan::{self, Quoting, error_at, lossy, message_at, quote};
use crate::{ParseError, ParserOptions};

const VALUE: Quoting = Quoting { newlines: false, zeros: true };
const NAME: Quoting = Quoting { newlines: true, zeros: false };
const EXEMPLAR: Quoting = Quoting { newlines: false, zeros: false };
/// Suffix of the lines that hold created timestamps.
const CREATED: &[u8] = b"_created";

/// Parser of a whole body.
#[derive(Debug)]
pub struct OpenMetricsParser<'b> {
    lines: Lines<'b>,
    exemplars: Vec<Exemplar>,
    start_timestamps: bool,
    type_and_unit: bool,
    created: CreatedLookup,
}

/// The lexical part, which the search for `_created` lines runs a second instance of.
#[derive(Clone, Debug, Default)]
struct Lines<'b> {
    body: &'b [u8],
    at: usize,
    start: usize,
    name: Option<(usize, usize)>,
    pairs: Vec<[usize; 4]>,
    kind: MetricType,
    unit: String,
    family_bytes: usize,
    timestamp_ms: Option<i64>,
    value: f64,
    key_end: usize,
    exemplar: Option<RawExemplar>,
    /// A sample was handed out whose line goes on in a wrong way: the next step fails, as upstream's does.
    broken: bool,
    read_exemplars: bool,
}

#[derive(Clone, Debug, Default)]
struct RawExemplar {
    pairs: Vec<[usize; 4]>,
    value: f64,
    timestamp_ms: Option<i64>,
}

enum Line {
    Sample,
    Help { family: (usize, usize), text: (usize, usize) },
    Type { family: (usize, usize) },
    Unit { family: (usize, usize) },
    Eof,
}

/// Where the next `_created` line is and whose it is. Each line of a body is searched once; upstream
/// searches from every sample anew, which is quadratic for families without such lines.
#[derive(Debug, Default)]
struct CreatedLookup {
    /// The result below holds for samples that end in this range.
    from: usize,
    to: usize,
    ahead: Option<(Vec<u8>, i64)>,
    last: Option<(Vec<u8>, i64)>,
    scratch: Vec<u8>,
}

impl<'b> OpenMetricsParser<'b> {
    /// A parser at the body's beginning.
    #[must_use]
    pub fn new(body: &'b [u8], options: &ParserOptions) -> Self {
        OpenMetricsParser {
            lines: Lines { body, read_exemplars: true, ..Lines::default() },
            exemplars: Vec::new(),
            start_timestamps: options.start_timestamps,
            type_and_unit: options.type_and_unit_labels,
            created: CreatedLookup::default(),
        }
    }

    /// Where the next line begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.lines.at
    }

    /// Goes to the beginning of a line, with the TYPE and UNIT in force there.
    pub fn seek(&mut self, at: usize, kind: MetricType, unit: &str) {
        self.lines.at = at;
        self.lines.kind = kind;
        if self.lines.unit != unit {
            self.lines.unit = unit.to_string();
        }
    }

    /// TYPE in force.
    #[must_use]
    pub fn kind(&self) -> MetricType {
        self.lines.kind
    }

    /// UNIT in force: of the last UNIT line, whatever family it named.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.lines.unit
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// Anything outside the format, and a body without `# EOF`; the parser must not be used further.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'_>, ParseError> {
        let line = loop {
            let line = self.lines.next()?;
            let skip = self.start_timestamps
                && matches!(line, Line::Sample)
                && has_start(self.lines.kind)
                && self.lines.name_bytes().ends_with(CREATED);
            if !skip {
                break line;
            }
        };
        if matches!(line, Line::Sample) {
            return Ok(self.sample());
        }
        let lines = &self.lines;
        match line {
            Line::Eof | Line::Sample => Ok(Event::Eof),
            Line::Type { family } => {
                Ok(Event::Type { family: lossy(lines.slice(family.0, family.1)), kind: lines.kind })
            }
            Line::Unit { family } => Ok(Event::Unit {
                family: lossy(lines.slice(family.0, family.1)),
                unit: lines.unit.as_str().into(),
            }),
            Line::Help { family, text } => {
                let raw = lines.slice(text.0, text.1);
                let Ok(help) = std::str::from_utf8(raw) else {
                    let message = format!("help text {} is not a valid utf8 string", quote(raw));
                    return Err(message_at(lines.body, text.0, message));
                };
                Ok(Event::Help { family: lossy(lines.slice(family.0, family.1)), help: unescape_label(help) })
            }
        }
    }

    fn sample(&mut self) -> Event<'_> {
        let start_ms = if self.start_timestamps { self.created.start_ms(&self.lines) } else { 0 };
        self.exemplars.clear();
        let lines = &self.lines;
        if let Some(raw) = &lines.exemplar
            && let Some(exemplar) = raw.build(lines.body)
        {
            self.exemplars.push(exemplar);
        }
        Event::Series(SeriesEvent {
            key: lines.slice(lines.start, lines.key_end),
            timestamp_ms: lines.timestamp_ms,
            value: SampleValue::Float(lines.value),
            start_ms,
            exemplars: &self.exemplars,
            source: LabelSource::Text(TextLabels {
                body: lines.body,
                name: lines.name.unwrap_or_default(),
                pairs: &lines.pairs,
                kind: lines.kind,
                unit: &lines.unit,
                type_and_unit: self.type_and_unit,
            }),
        })
    }
}

/// Types whose samples may have a created timestamp.
fn has_start(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}

impl RawExemplar {
    /// Upstream does not unescape exemplar labels; neither is done here.
    fn build(&self, body: &[u8]) -> Option<Exemplar> {
        let mut labels = LabelsBuilder::new();
        for [a, b, c, d] in &self.pairs {
            let name = std::str::from_utf8(body.get(*a..*b)?).ok()?;
            let value = std::str::from_utf8(body.get(*c..*d)?).ok()?;
            if name.len().max(value.len()) > model::labels::STRING_BYTES_MAX {
                return None;
            }
            labels.set(name, value);
        }
        Some(Exemplar {
            labels: labels.build(),
            value: self.value,
            timestamp_ms: self.timestamp_ms.unwrap_or(0),
            has_timestamp: self.timestamp_ms.is_some(),
        })
    }
}

impl CreatedLookup {
    fn start_ms(&mut self, lines: &Lines<'_>) -> i64 {
        if !has_start(lines.kind) {
            self.last = None;
            return 0;
        }
        let name = lines.name_bytes();
        let family = name.get(..lines.family_bytes).unwrap_or(name);
        lines.identity(family, &mut self.scratch);
        if let Some((identity, start_ms)) = &self.last
            && *identity == self.scratch
            && *start_ms > 0
        {
            return *start_ms;
        }
        if !(self.from..=self.to).contains(&lines.at) || self.to == 0 {
            self.search(lines);
        }
        match &self.ahead {
            Some((identity, start_ms)) if *identity == self.scratch => {
                let start_ms = *start_ms;
                self.last = self.ahead.clone();
                start_ms
            }
            _ => {
                self.last = None;
                0
            }
        }
    }

    fn search(&mut self, lines: &Lines<'_>) {
        let mut scout = lines.clone();
        scout.read_exemplars = false;
        (self.from, self.ahead) = (lines.at, None);
        loop {
            self.to = scout.at;
            match scout.next() {
                Ok(Line::Sample) => {}
                _ => return,
            }
            let name = scout.name_bytes();
            if let Some(family) = name.strip_suffix(CREATED) {
                let mut identity = Vec::new();
                scout.identity(family, &mut identity);
                self.ahead = Some((identity, go_i64(scout.value * 1000.0)));
                return;
            }
        }
    }
}

impl<'b> Lines<'b> {
    fn slice(&self, from: usize, to: usize) -> &'b [u8] {
        self.body.get(from..to).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn fail(&self, expected: &str) -> ParseError {
        error_at(self.body, self.start, self.at, expected)
    }

    fn missing_eof(&self) -> ParseError {
        message_at(self.body, self.at, "data does not end with # EOF".to_string())
    }

    fn name_bytes(&self) -> &'b [u8] {
        let (from, to) = self.name.unwrap_or_default();
        self.slice(from, to)
    }

    /// What tells series apart that share a created timestamp: labels but `le` and `quantile`, and family.
    fn identity(&self, family: &[u8], out: &mut Vec<u8>) {
        out.clear();
        for [a, b, c, d] in &self.pairs {
            let name = self.slice(*a, *b);
            let skipped = match self.kind {
                MetricType::Summary => name == b"quantile",
                MetricType::Histogram => name == b"le",
                _ => false,
            };
            if !skipped {
                out.extend_from_slice(name);
                out.extend_from_slice(self.slice(*c, *d));
            }
        }
        out.extend_from_slice(family);
    }

    fn next(&mut self) -> Result<Line, ParseError> {
        self.start = self.at;
        self.pairs.clear();
        self.name = None;
        self.exemplar = None;
        if self.broken {
            return Err(self.fail("expected a valid start token"));
        }
        match self.peek() {
            None => Err(self.missing_eof()),
            Some(b'#') => self.metadata(),
            Some(b'{') => {
                self.at += 1;
                let mut pairs = std::mem::take(&mut self.pairs);
                let done = self.braces(&mut pairs, false);
                self.pairs = pairs;
                done?;
                self.sample().map(|()| Line::Sample)
            }
            Some(b) if scan::is_name_start(b) => {
                self.at = scan::name_end(self.body, self.at);
                self.name = Some((self.start, self.at));
                if self.peek() == Some(b'{') {
                    self.at += 1;
                    let mut pairs = std::mem::take(&mut self.pairs);
                    let done = self.braces(&mut pairs, false);
                    self.pairs = pairs;
                    done?;
                }
                self.sample().map(|()| Line::Sample)
            }
            Some(_) => Err(self.fail("expected a valid start token")),
        }
    }

    fn metadata(&mut self) -> Result<Line, ParseError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if let Some(tail) = rest.strip_prefix(b"# EOF") {
            return match tail {
                b"" | b"\n" => Ok(Line::Eof),
                _ => {
                    self.at += 5;
                    Err(message_at(self.body, self.at, "unexpected data after # EOF".to_string()))
                }
            };
        }
        let word = match rest.get(..7) {
            Some(b"# HELP ") => "HELP",
            Some(b"# TYPE ") => "TYPE",
            Some(b"# UNIT ") => "UNIT",
            _ => return Err(self.fail("expected a valid start token")),
        };
        self.at += 7;
        let family = match scan::quoted_end(self.body, self.at, NAME) {
            Some(end) => {
                let inner = (self.at + 1, end - 1);
                self.at = end;
                inner
            }
            None => {
                let end = scan::name_end(self.body, self.at);
                if end == self.at {
                    return Err(self.fail(&format!("expected metric name after {word}")));
                }
                let from = self.at;
                self.at = end;
                (from, end)
            }
        };
        self.family_bytes = family.1 - family.0;
        let tail = self.body.get(self.at..).unwrap_or_default();
        let line_bytes = memchr::memchr(b'\n', tail);
        let (Some(b' '), Some(line_bytes)) = (tail.first(), line_bytes) else {
            return Err(message_at(self.body, self.at, format!("expected text in {word}")));
        };
        let text_range = (self.at + 1, self.at + line_bytes);
        let text = self.slice(text_range.0, text_range.1);
        self.at += line_bytes + 1;
        match word {
            "HELP" => Ok(Line::Help { family, text: text_range }),
            "TYPE" => {
                self.kind = match text {
                    b"counter" => MetricType::Counter,
                    b"gauge" => MetricType::Gauge,
                    b"histogram" => MetricType::Histogram,
                    b"gaugehistogram" => MetricType::GaugeHistogram,
                    b"summary" => MetricType::Summary,
                    b"info" => MetricType::Info,
                    b"stateset" => MetricType::Stateset,
                    b"unknown" => MetricType::Unknown,
                    _ => {
                        let message = format!("invalid metric type {}", quote(text));
                        return Err(message_at(self.body, text_range.0, message));
                    }
                };
                Ok(Line::Type { family })
            }
            _ => {
                let name = self.slice(family.0, family.1);
                let fits =
                    text.is_empty() || name.strip_suffix(text).is_some_and(|head| head.ends_with(b"_"));
                if !fits {
                    let message = format!("unit {} not a suffix of metric {}", quote(text), quote(name));
                    return Err(message_at(self.body, text_range.0, message));
                }
                self.unit = lossy(text).into_owned();
                Ok(Line::Unit { family })
            }
        }
    }

    /// Between the braces of a series or an exemplar, the opening one read.
    fn braces(&mut self, pairs: &mut Vec<[usize; 4]>, exemplar: bool) -> Result<(), ParseError> {
        loop {
            let from = self.at;
            let (name, quoted) = match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'"') => {
                    let quoting = if exemplar { EXEMPLAR } else { NAME };
                    let end = scan::quoted_end(self.body, from, quoting);
                    self.at = end.ok_or_else(|| self.fail("expected label name"))?;
                    ((from + 1, self.at - 1), true)
                }
                _ => {
                    let end = scan::label_end(self.body, from);
                    if end == from {
                        return Err(self.fail("expected label name"));
                    }
                    self.at = end;
                    ((from, end), false)
                }
            };
            // A quoted string on its own is the metric's name.
            if let (true, Some(mark @ (b',' | b'}'))) = (quoted, self.peek()) {
                if exemplar {
                    return Err(self.fail("expected label name"));
                }
                if self.name.is_some() {
                    let seen = quote(self.slice(self.start, self.at + 1));
                    let message = format!("metric name already set while parsing: {seen}");
                    return Err(message_at(self.body, from, message));
                }
                self.name = Some(name);
                self.at += 1;
                if mark == b'}' {
                    return Ok(());
                }
                continue;
            }
            if self.peek() != Some(b'=') {
                return Err(self.fail("expected equal"));
            }
            self.at += 1;
            let value_at = self.at;
            let quoting = if exemplar { EXEMPLAR } else { VALUE };
            let end = scan::quoted_end(self.body, value_at, quoting);
            let end = end.ok_or_else(|| self.fail("expected label value"))?;
            if std::str::from_utf8(self.slice(value_at, end)).is_err() {
                let message = format!("invalid UTF-8 label value: {}", quote(self.slice(value_at, end)));
                return Err(message_at(self.body, value_at, message));
            }
            pairs.push([name.0, name.1, value_at + 1, end - 1]);
            self.at = end;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.fail("expected comma or brace close")),
            }
        }
    }

    /// A blank and what follows it up to the next blank or the end of the line.
    fn word(&mut self) -> Option<(usize, &'b [u8])> {
        if self.peek() != Some(b' ') {
            return None;
        }
        let from = self.at + 1;
        let rest = self.body.get(from..).unwrap_or_default();
        let length = memchr::memchr2(b' ', b'\n', rest).unwrap_or(rest.len());
        if length == 0 {
            return None;
        }
        self.at = from + length;
        Some((from, rest.get(..length).unwrap_or_default()))
    }

    fn number(&mut self, expected: &str) -> Result<f64, ParseError> {
        let Some((from, token)) = self.word() else { return Err(self.fail(expected)) };
        parse_float(token).map_err(|e| {
            let seen = quote(self.slice(self.start, self.at));
            message_at(self.body, from, format!("{e} in {} while parsing: {seen}", quote(token)))
        })
    }

    fn timestamp(&mut self, what: &str) -> Result<i64, ParseError> {
        let from = self.at;
        let seconds = self.number("expected timestamp")?;
        if !seconds.is_finite() {
            return Err(message_at(self.body, from, format!("invalid {what} {seconds}")));
        }
        Ok(go_i64(seconds * 1000.0))
    }

    /// At what looks like an exemplar until its brace is missing.
    fn at_hash(&self) -> bool {
        self.body.get(self.at..).unwrap_or_default().starts_with(b" # ")
    }

    fn at_exemplar(&self) -> bool {
        self.body.get(self.at..).unwrap_or_default().starts_with(b" # {")
    }

    fn sample(&mut self) -> Result<(), ParseError> {
        self.key_end = self.at;
        if self.name.is_none() {
            let seen = quote(self.slice(self.start, self.at));
            let message = format!("metric name not set while parsing: {seen}");
            return Err(message_at(self.body, self.start, message));
        }
        self.value = self.number("expected value after metric")?;
        self.timestamp_ms = None;
        if self.at_exemplar() {
            return self.exemplar();
        }
        match self.peek() {
            Some(b'\n') => {
                self.at += 1;
                return Ok(());
            }
            None => return Err(self.missing_eof()),
            Some(b' ')
                if !matches!(self.body.get(self.at + 1), None | Some(b' ' | b'\n')) && !self.at_hash() => {}
            Some(_) => {
                self.broken = true;
                return Ok(());
            }
        }
        self.timestamp_ms = Some(self.timestamp("timestamp")?);
        if self.at_exemplar() {
            return self.exemplar();
        }
        if self.peek() != Some(b'\n') {
            return Err(self.fail("expected next entry after timestamp"));
        }
        self.at += 1;
        Ok(())
    }

    fn exemplar(&mut self) -> Result<(), ParseError> {
        self.at += 4;
        if !self.read_exemplars {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else { return Err(self.missing_eof()) };
            self.at += end + 1;
            return Ok(());
        }
        let mut raw = RawExemplar::default();
        self.braces(&mut raw.pairs, true)?;
        raw.value = self.number("expected value after exemplar labels")?;
        match self.peek() {
            None => return Err(self.missing_eof()),
            Some(b'\n') => {}
            Some(b' ') if !matches!(self.body.get(self.at + 1), None | Some(b' ' | b'\n')) => {
                raw.timestamp_ms = Some(self.timestamp("exemplar timestamp")?);
                if self.peek() != Some(b'\n') {
                    return Err(self.fail("expected next entry after exemplar timestamp"));
                }
            }
            Some(_) => return Err(self.fail("expected timestamp or comment")),
        }
        self.at += 1;
        self.exemplar = Some(raw);
        Ok(())
    }
}
