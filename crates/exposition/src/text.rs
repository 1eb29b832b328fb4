//! Prometheus text format 0.0.4 and 1.0.0, accepting and refusing what upstream's `promlex.l` and
//! `promparse.go` do, oddities included: blanks before a name belong to the name, commas between labels may
//! be missing, label values may span lines, a zero byte where a token begins ends the body.

use model::MetricType;

use crate::event::{Event, LabelSource, SampleValue, SeriesEvent, TextLabels, unescape_help};
use crate::number::parse_float;
use crate::scan::{self, Quoting, error_at, lossy, message_at, quote};
use crate::{ParseError, ParserOptions};

/// Label values may hold anything, names in quotes no zero bytes.
const VALUE: Quoting = Quoting { newlines: true, zeros: true };
const NAME: Quoting = Quoting { newlines: true, zeros: false };

/// Parser of a whole body. The end of the body counts as the end of a line.
#[derive(Debug)]
pub struct TextParser<'b> {
    body: &'b [u8],
    at: usize,
    start: usize,
    name: Option<(usize, usize)>,
    pairs: Vec<[usize; 4]>,
    kind: MetricType,
    type_and_unit: bool,
}

impl<'b> TextParser<'b> {
    /// A parser at the body's beginning.
    #[must_use]
    pub fn new(body: &'b [u8], options: &ParserOptions) -> Self {
        TextParser {
            body,
            at: 0,
            start: 0,
            name: None,
            pairs: Vec::new(),
            kind: MetricType::Unknown,
            type_and_unit: options.type_and_unit_labels,
        }
    }

    /// Where the next line begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes to the beginning of a line, with the TYPE in force there. For callers that read lines on their
    /// own.
    pub fn seek(&mut self, at: usize, kind: MetricType) {
        self.at = at;
        self.kind = kind;
    }

    /// TYPE in force: of the last TYPE line, whatever family it named.
    #[must_use]
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The next byte; a line feed at the end of the body, nothing behind it.
    fn peek(&self) -> Option<u8> {
        match self.body.get(self.at) {
            Some(b) => Some(*b),
            None if self.at == self.body.len() => Some(b'\n'),
            None => None,
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.body.get(self.at) {
            self.at += 1;
        }
    }

    fn fail(&self, expected: &str) -> ParseError {
        error_at(self.body, self.start, self.at, expected)
    }

    fn slice(&self, from: usize, to: usize) -> &'b [u8] {
        self.body.get(from..to).unwrap_or_default()
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// Anything outside the format; the parser must not be used further.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'_>, ParseError> {
        loop {
            self.start = self.at;
            self.pairs.clear();
            self.name = None;
            self.skip_blanks();
            match self.peek() {
                None | Some(0) => return Ok(Event::Eof),
                Some(b'\n') => self.at += 1,
                Some(b'#') => return self.comment(),
                Some(b'{') => {
                    self.at += 1;
                    self.braces()?;
                    return self.value();
                }
                Some(b) if scan::is_name_start(b) => {
                    self.at = scan::name_end(self.body, self.at);
                    self.name = Some((self.start, self.at));
                    let name_end = self.at;
                    self.skip_blanks();
                    if self.peek() == Some(b'{') {
                        self.at += 1;
                        self.braces()?;
                    } else {
                        self.at = name_end;
                    }
                    return self.value();
                }
                Some(_) => return Err(self.fail("expected a valid start token")),
            }
        }
    }

    fn line_end(&self) -> usize {
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.at + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
    }

    fn comment(&mut self) -> Result<Event<'_>, ParseError> {
        self.at += 1;
        let hash_end = self.at;
        self.skip_blanks();
        let blank = self.at > hash_end;
        let end = self.line_end();
        let rest = self.slice(self.at, end);
        let word = rest.get(..4).unwrap_or_default();
        let metadata =
            blank && matches!(word, b"HELP" | b"TYPE") && matches!(rest.get(4), Some(b' ' | b'\t'));
        if !metadata {
            // A zero byte ends the body where the lexer looks at it bare: behind a lone `#` anywhere in the
            // line, behind `# ` only at once.
            let bare = if blank { rest.get(..1).unwrap_or_default() } else { self.slice(hash_end, end) };
            if memchr::memchr(0, bare).is_some() {
                return Ok(Event::Eof);
            }
            self.at = end + 1;
            return Ok(Event::Comment);
        }
        let help = word == b"HELP";
        self.at += 5;
        self.skip_blanks();
        let (from, to) = match scan::quoted_end(self.body, self.at, NAME) {
            Some(quote_end) => {
                let inner = (self.at + 1, quote_end - 1);
                self.at = quote_end;
                inner
            }
            None => {
                let name_end = scan::name_end(self.body, self.at);
                if name_end == self.at {
                    let what = if help { "HELP" } else { "TYPE" };
                    return Err(self.fail(&format!("expected metric name after {what}")));
                }
                let from = self.at;
                self.at = name_end;
                (from, name_end)
            }
        };
        let family = lossy(self.slice(from, to));
        // A quoted name may have crossed lines.
        let end = self.line_end();
        // One character separates name and text, whatever it is.
        let mut text = self.slice(self.at, end);
        if text.iter().all(|b| matches!(b, b' ' | b'\t')) {
            text = &[];
        }
        let text = text.get(1..).unwrap_or_default();
        let text_at = self.at;
        self.at = end + 1;
        if help {
            let Ok(text) = std::str::from_utf8(text) else {
                let message = format!("help text {} is not a valid utf8 string", quote(text));
                return Err(message_at(self.body, text_at, message));
            };
            return Ok(Event::Help { family, help: unescape_help(text) });
        }
        self.kind = match text {
            b"counter" => MetricType::Counter,
            b"gauge" => MetricType::Gauge,
            b"histogram" => MetricType::Histogram,
            b"summary" => MetricType::Summary,
            b"untyped" => MetricType::Unknown,
            _ => {
                let message = format!("invalid metric type {}", quote(text));
                return Err(message_at(self.body, text_at, message));
            }
        };
        Ok(Event::Type { family, kind: self.kind })
    }

    /// Between the braces, the opening one read.
    fn braces(&mut self) -> Result<(), ParseError> {
        loop {
            self.skip_blanks();
            let from = self.at;
            let (name, quoted) = match self.body.get(from) {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'"') => {
                    let end = scan::quoted_end(self.body, from, NAME);
                    let end = end.ok_or_else(|| self.fail("expected label name"))?;
                    self.at = end;
                    ((from + 1, end - 1), true)
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
            self.skip_blanks();
            // A quoted string on its own is the metric's name.
            if let (true, Some(mark @ (b',' | b'}'))) = (quoted, self.body.get(self.at)) {
                if self.name.is_some() {
                    let seen = quote(self.slice(self.start, self.at + 1));
                    let message = format!("metric name already set while parsing: {seen}");
                    return Err(message_at(self.body, from, message));
                }
                self.name = Some(name);
                self.at += 1;
                if *mark == b'}' {
                    return Ok(());
                }
                continue;
            }
            if self.body.get(self.at) != Some(&b'=') {
                return Err(self.fail("expected equal"));
            }
            self.at += 1;
            self.skip_blanks();
            let value_at = self.at;
            let end = scan::quoted_end(self.body, value_at, VALUE);
            let end = end.ok_or_else(|| self.fail("expected label value"))?;
            if std::str::from_utf8(self.slice(value_at, end)).is_err() {
                let message = format!("invalid UTF-8 label value: {}", quote(self.slice(value_at, end)));
                return Err(message_at(self.body, value_at, message));
            }
            self.pairs.push([name.0, name.1, value_at + 1, end - 1]);
            self.at = end;
            self.skip_blanks();
            if self.body.get(self.at) == Some(&b',') {
                self.at += 1;
            }
        }
    }

    /// Value and timestamp; the series ends here.
    fn value(&mut self) -> Result<Event<'_>, ParseError> {
        let key = self.slice(self.start, self.at);
        let Some(name) = self.name else {
            let message = format!("metric name not set while parsing: {}", quote(key));
            return Err(message_at(self.body, self.start, message));
        };
        self.skip_blanks();
        let from = self.at;
        let rest = self.body.get(from..).unwrap_or_default();
        let length = rest.iter().position(|b| matches!(b, b'{' | b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.fail("expected value after metric"));
        }
        let token = rest.get(..length).unwrap_or_default();
        let value = parse_float(token).map_err(|e| {
            let seen = quote(self.slice(self.start, from + length));
            message_at(self.body, from, format!("{e} in {} while parsing: {seen}", quote(token)))
        })?;
        self.at += length;
        self.skip_blanks();
        let timestamp_ms = match self.peek() {
            Some(b'\n') => None,
            Some(b'0'..=b'9') => {
                let from = self.at;
                let rest = self.body.get(from..).unwrap_or_default();
                let digits = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
                self.at += digits;
                let text = std::str::from_utf8(self.slice(from, self.at)).unwrap_or_default();
                let number: i64 = text.parse().map_err(|_| {
                    message_at(self.body, from, format!("timestamp {} out of range", quote(text.as_bytes())))
                })?;
                self.skip_blanks();
                if self.peek() != Some(b'\n') {
                    return Err(self.fail("expected next entry after timestamp"));
                }
                Some(number)
            }
            _ => return Err(self.fail("expected timestamp or new record")),
        };
        self.at += 1;
        Ok(Event::Series(SeriesEvent {
            key,
            timestamp_ms,
            value: SampleValue::Float(value),
            start_ms: 0,
            exemplars: &[],
            source: LabelSource::Text(TextLabels {
                body: self.body,
                name,
                pairs: &self.pairs,
                kind: self.kind,
                unit: "",
                type_and_unit: self.type_and_unit,
            }),
        }))
    }
}
