//! Walking a body. Text bodies are compared with the last page: where a line begins with the expected
//! series, only its value is read. All else goes through the parsers' events.

use exposition::number::{parse_float, plain_decimal};
use exposition::{Event, Format, OpenMetricsParser, Parser, ParserOptions, SampleValue, TextParser};
use model::MetricType;

use super::cache::KeyPlace;
use super::metadata::Change;
use super::page::{EntryKind, KeyFormat, NewEntry};
use super::session::Session;
use super::{IngestFailure, IngestOptions};

/// Metadata lines that stand together are remembered up to this size; 1 MB of HELP is no page we know.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// The line that ends an OpenMetrics body.
const EOF_LINE: &[u8] = b"# EOF";

/// A value read where the expected series ended.
struct Tail {
    value: f64,
    timestamp_ms: Option<i64>,
    /// Bytes up to the next line.
    bytes: usize,
}

/// A text parser that can be sent to a line.
trait LineParser {
    const KEY: KeyFormat;
    fn go(&mut self, at: usize, kind: MetricType);
    fn read(&mut self) -> Result<Event<'_>, exposition::ParseError>;
    fn place(&self) -> (usize, MetricType);
    /// Value, timestamp and end of a line whose series is known, where it is of the usual form.
    fn tail(rest: &[u8]) -> Option<Tail>;
    /// Whether a comment line ends the body.
    fn ends(line: &[u8]) -> bool;
}

fn usual_value(rest: &[u8]) -> Option<(f64, usize)> {
    if let Some((value, used)) = plain_decimal(rest)
        && matches!(rest.get(used), Some(b'\n' | b' '))
    {
        return Some((value, used));
    }
    let used = rest.iter().position(|b| matches!(b, b'\n' | b' ' | b'\t' | b'{'))?;
    let value = parse_float(rest.get(..used)?).ok()?;
    Some((value, used))
}

impl LineParser for TextParser<'_> {
    const KEY: KeyFormat = KeyFormat::Text;
    fn go(&mut self, at: usize, kind: MetricType) {
        self.seek(at, kind);
    }
    fn read(&mut self) -> Result<Event<'_>, exposition::ParseError> {
        self.next()
    }
    fn place(&self) -> (usize, MetricType) {
        (self.position(), self.kind())
    }
    #[inline]
    fn tail(rest: &[u8]) -> Option<Tail> {
        let (value, used) = usual_value(rest)?;
        match rest.get(used) {
            Some(b'\n') => Some(Tail { value, timestamp_ms: None, bytes: used + 1 }),
            Some(b' ') => {
                let digits = rest.get(used + 1..)?;
                let mut t = 0_i64;
                let mut n = 0;
                // 18 digits cannot wrap an i64.
                while let Some(d) = digits.get(n).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10 && n < 18)
                {
                    t = t * 10 + i64::from(d);
                    n += 1;
                }
                let whole = n > 0 && digits.get(n) == Some(&b'\n');
                whole.then_some(Tail { value, timestamp_ms: Some(t), bytes: used + 1 + n + 1 })
            }
            _ => None,
        }
    }
    fn ends(_line: &[u8]) -> bool {
        false
    }
}

impl LineParser for OpenMetricsParser<'_> {
    const KEY: KeyFormat = KeyFormat::OpenMetrics;
    fn go(&mut self, at: usize, kind: MetricType) {
        self.seek(at, kind, "");
    }
    fn read(&mut self) -> Result<Event<'_>, exposition::ParseError> {
        self.next()
    }
    fn place(&self) -> (usize, MetricType) {
        (self.position(), self.kind())
    }
    #[inline]
    fn tail(rest: &[u8]) -> Option<Tail> {
        let (value, used) = usual_value(rest)?;
        // Timestamps and exemplars are the parser's.
        (rest.get(used) == Some(&b'\n')).then_some(Tail { value, timestamp_ms: None, bytes: used + 1 })
    }
    fn ends(line: &[u8]) -> bool {
        line.starts_with(EOF_LINE)
    }
}

/// End of the metadata lines that begin at `at`.
fn block_end<P: LineParser>(body: &[u8], at: usize) -> usize {
    let mut end = at;
    while let Some(rest) = body.get(end..)
        && rest.first() == Some(&b'#')
        && !P::ends(rest)
        && let Some(line) = memchr::memchr(b'\n', rest)
    {
        end += line + 1;
        if end - at > BLOCK_BYTES_MAX {
            return at;
        }
    }
    end
}

fn parser_options(opts: &IngestOptions) -> ParserOptions {
    ParserOptions {
        native_histograms: opts.native_histograms,
        keep_classic: opts.always_scrape_classic_histograms,
        convert_classic_to_nhcb: opts.convert_classic_histograms_to_nhcb,
        start_timestamps: opts.wants_start(),
        type_and_unit_labels: opts.type_and_unit_labels,
    }
}

impl Session<'_> {
    /// A body in Prometheus text, against the last page.
    pub(super) fn read_text(&mut self, body: &[u8]) -> Result<(), IngestFailure> {
        self.read_lines(body, TextParser::new(body, &parser_options(self.opts)))
    }

    /// A body in OpenMetrics text, against the last page.
    pub(super) fn read_openmetrics(&mut self, body: &[u8]) -> Result<(), IngestFailure> {
        self.read_lines(body, OpenMetricsParser::new(body, &parser_options(self.opts)))
    }

    fn read_lines<P: LineParser>(&mut self, body: &[u8], mut parser: P) -> Result<(), IngestFailure> {
        let now = self.cache.iteration;
        let in_time = self.t_ms <= self.opts.max_time_ms;
        let mut at = 0;
        let mut kind = MetricType::Unknown;
        while let Some(rest) = body.get(at..) {
            if let Some((id, entry, bytes)) = self.cache.page.expected(rest) {
                if entry.kind == EntryKind::Block {
                    entry.seen = now;
                    kind = entry.metric_type;
                    let families = entry.series;
                    self.cache.page.advance(id);
                    self.families_seen(families);
                    at += bytes;
                    continue;
                }
                let value_part = rest.get(bytes..).unwrap_or_default();
                // A line met twice, or one whose family's metadata has to be stored anew, is for the slow path.
                let usual =
                    entry.seen != now && in_time && !(self.opts.append_metadata && self.family_changed);
                if usual && let Some(tail) = P::tail(value_part) {
                    entry.seen = now;
                    let (series, dropped) = (entry.series, entry.kind == EntryKind::Dropped);
                    let is_float = entry.kind == EntryKind::Float;
                    let own_time = tail.timestamp_ms.filter(|_| self.opts.honor_timestamps);
                    if is_float || dropped {
                        self.cache.page.advance(id);
                        self.report.scraped += 1;
                        self.report.fast += 1;
                        // Behind the key is a space.
                        let (key_at, key) = (at, rest.get(..bytes - 1).unwrap_or_default());
                        at += bytes + tail.bytes;
                        if dropped {
                            continue;
                        }
                        self.report.post_relabel += 1;
                        match own_time {
                            None => {
                                if self.admit() {
                                    let place = KeyPlace { at: key_at as u32, bytes: key.len() as u32 };
                                    self.push(id, tail.value, place);
                                }
                            }
                            Some(t_ms) => self.timed(id, series, key, t_ms, tail.value)?,
                        }
                        continue;
                    }
                    entry.seen = now.wrapping_sub(1);
                }
            }
            if rest.first() == Some(&b'#') && self.read_block::<P>(body, &mut at, &mut kind, &mut parser)? {
                continue;
            }
            parser.go(at, kind);
            match parser.read()? {
                Event::Series(s) => self.series(&s, P::KEY, kind)?,
                Event::Eof => return Ok(()),
                other => {
                    self.metadata_event(&other);
                }
            }
            (at, kind) = parser.place();
        }
        // Behind the last line of a text body; OpenMetrics has left by its own end.
        Ok(())
    }

    /// A known series' sample with its own time.
    fn timed(
        &mut self,
        id: super::page::EntryId,
        series: storage::SeriesRef,
        key: &[u8],
        t_ms: i64,
        value: f64,
    ) -> Result<(), IngestFailure> {
        if !self.admit() {
            return Ok(());
        }
        if t_ms > self.opts.max_time_ms {
            self.report.out_of_bounds += 1;
            return Ok(());
        }
        self.append_timed(id, series, key, t_ms, value)
    }

    /// Consecutive metadata lines: known ones are passed over, others are read and remembered. False where
    /// they are for the parser to judge one by one.
    fn read_block<P: LineParser>(
        &mut self,
        body: &[u8],
        at: &mut usize,
        kind: &mut MetricType,
        parser: &mut P,
    ) -> Result<bool, IngestFailure> {
        let end = block_end::<P>(body, *at);
        let Some(block) = body.get(*at..end).filter(|b| !b.is_empty()) else { return Ok(false) };
        let now = self.cache.iteration;
        if let Some(id) = self.cache.page.find(block) {
            if let Some(entry) = self.cache.page.entry_mut(id) {
                entry.seen = now;
                *kind = entry.metric_type;
                let families = entry.series;
                self.families_seen(families);
            }
            *at = end;
            return Ok(true);
        }
        let mut families = Vec::new();
        parser.go(*at, *kind);
        while parser.place().0 < end {
            match parser.read()? {
                // A quoted name that swallowed line feeds: the lines are not what they seemed.
                Event::Series(_) | Event::Eof => return Ok(false),
                other => {
                    if let Some(id) = self.metadata_event(&other)
                        && families.last() != Some(&id)
                    {
                        families.push(id);
                    }
                }
            }
        }
        let (place, metric_type) = parser.place();
        if place == end {
            let series = self.cache.page.block_families(&families);
            let entry =
                NewEntry { series, kind: EntryKind::Block, key_format: KeyFormat::Other, metric_type };
            self.cache.page.insert(block, entry, now);
        }
        (*at, *kind) = (place, metric_type);
        Ok(true)
    }

    fn metadata_event(&mut self, event: &Event<'_>) -> Option<u32> {
        match event {
            Event::Type { family, kind } => Some(self.metadata(family, Change::Kind(*kind))),
            Event::Help { family, help } => Some(self.metadata(family, Change::Help(help))),
            Event::Unit { family, unit } => Some(self.metadata(family, Change::Unit(unit))),
            Event::Series(_) | Event::Comment | Event::Eof => None,
        }
    }

    /// Any body, event by event; the series are found by their keys.
    pub(super) fn read_events(&mut self, body: &[u8], format: Format) -> Result<(), IngestFailure> {
        let options = parser_options(self.opts);
        let mut parser = Parser::new(body, format, &options);
        let mut kind = MetricType::Unknown;
        loop {
            match parser.next()? {
                Event::Eof => return Ok(()),
                Event::Series(s) => {
                    // Only keys that labels can be read out of again may wait in columns.
                    let key_format = match (format, s.value) {
                        (Format::Protobuf, _) => KeyFormat::Protobuf,
                        (_, SampleValue::Histogram(_)) => KeyFormat::Other,
                        _ if options.convert_classic_to_nhcb || options.type_and_unit_labels => {
                            KeyFormat::Other
                        }
                        (Format::Text, _) => KeyFormat::Text,
                        (Format::OpenMetrics, _) => KeyFormat::OpenMetrics,
                    };
                    self.series(&s, key_format, kind)?;
                }
                other => {
                    if let Event::Type { kind: new, .. } = &other {
                        kind = *new;
                    }
                    self.metadata_event(&other);
                }
            }
        }
    }
}
