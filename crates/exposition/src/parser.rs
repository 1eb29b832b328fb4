//! One parser for all formats, with the conversion layer on top where it is asked for.

use crate::event::Event;
use crate::nhcb::NhcbParser;
use crate::{Format, OpenMetricsParser, ParseError, ProtobufParser, TextParser};

/// What parsers leave in or take out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Native histograms of protobuf bodies are read; else their classic buckets only.
    pub native_histograms: bool,
    /// Classic buckets are emitted as well where a histogram is native or converted
    /// (`always_scrape_classic_histograms`).
    pub keep_classic: bool,
    /// Classic histograms become native ones with custom bounds (`convert_classic_histograms_to_nhcb`).
    pub convert_classic_to_nhcb: bool,
    /// Created timestamps are wanted; OpenMetrics's `_created` lines are not samples then.
    pub start_timestamps: bool,
    /// `__type__` and `__unit__` labels.
    pub type_and_unit_labels: bool,
}

/// A parser of any format.
#[derive(Debug)]
pub enum Parser<'b> {
    /// Prometheus text.
    Text(TextParser<'b>),
    /// OpenMetrics text.
    OpenMetrics(Box<OpenMetricsParser<'b>>),
    /// Protobuf, which converts classic histograms itself.
    Protobuf(Box<ProtobufParser<'b>>),
    /// A text format with classic histograms converted.
    Converting(Box<NhcbParser<'b>>),
}

impl<'b> Parser<'b> {
    /// A parser for a body.
    #[must_use]
    pub fn new(body: &'b [u8], format: Format, options: &ParserOptions) -> Self {
        match format {
            Format::Protobuf => Parser::Protobuf(Box::new(ProtobufParser::new(body, options))),
            _ if options.convert_classic_to_nhcb => {
                Parser::Converting(Box::new(NhcbParser::new(body, format, options)))
            }
            Format::Text => Parser::Text(TextParser::new(body, options)),
            Format::OpenMetrics => Parser::OpenMetrics(Box::new(OpenMetricsParser::new(body, options))),
        }
    }

    /// The next event; [`Event::Eof`] at the end.
    ///
    /// # Errors
    /// Bytes outside the format; the parser must not be used further.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event<'_>, ParseError> {
        match self {
            Parser::Text(p) => p.next(),
            Parser::OpenMetrics(p) => p.next(),
            Parser::Protobuf(p) => p.next(),
            Parser::Converting(p) => p.next(),
        }
    }
}
