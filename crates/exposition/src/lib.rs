//! The formats in which metrics travel: text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0, and
//! Prometheus's protobuf; read from targets, written for `/metrics` and `/federate`.
//!
//! Reading: [`Format::from_content_type`] chooses, [`Parser`] walks a body and hands out [`Event`]s that
//! borrow from it; labels are built only where asked for. Behaviour follows upstream's
//! `model/textparse`.

mod classic;
mod error;
mod event;
mod family;
mod format;
mod lint;
mod nhcb;
pub mod number;
mod openmetrics;
mod parser;
mod proto;
mod read;
mod scan;
mod sparse;
mod text;
mod write;

pub use classic::{ClassicHistogram, ConversionError};
pub use error::ParseError;
pub use event::{
    BuildNotes, Event, InvalidLabels, LabelSource, ReadyLabels, SampleValue, SeriesEvent, TextLabels,
};
pub use family::{Family, Metric, MetricData};
pub use format::{Format, FormatError, Negotiated, ScrapeProtocol, accept_header};
pub use lint::{Problem, lint};
pub use model::name::EscapingScheme;
pub use nhcb::NhcbParser;
pub use openmetrics::OpenMetricsParser;
pub use parser::{Parser, ParserOptions};
pub use proto::{ProtoLabels, ProtobufParser};
pub use read::read_families;
pub use sparse::Sparse;
pub use text::TextParser;
pub use write::{OutputFormat, finish, negotiate, write_families, write_family};
