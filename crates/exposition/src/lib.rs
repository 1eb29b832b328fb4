//! The formats in which metrics travel: text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0, and
//! Prometheus's protobuf; read from targets, written for `/metrics` and `/federate`.

mod error;
mod escape;
mod family;
mod format;

pub use error::ParseError;
pub use escape::EscapingScheme;
pub use family::{Family, Metric, MetricData};
pub use format::{Format, FormatError, Negotiated, ScrapeProtocol, accept_header};
