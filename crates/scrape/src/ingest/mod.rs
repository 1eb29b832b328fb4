//! From a response body to the store: the path that every sample takes.
//!
//! A [`TargetCache`] remembers a target's previous page: a hash of the series part of each line, in page order,
//! with the store's reference. The next page is compared with it line by line; where a line begins as
//! expected, only its value is parsed. Everything else (new lines, other formats, timestamps, histograms) takes a
//! slower path over the same cache. Semantics follow upstream's `scrape/scrape.go` and
//! `scrape/scrape_append_v2.go`.

mod cache;
mod error;
mod labels;
mod metadata;
mod options;
mod page;
mod read;
mod relabel_again;
mod session;
#[cfg(test)]
mod tests;

pub use cache::TargetCache;
pub use error::{IngestError, IngestFailure};
pub use metadata::{MetadataEntry, TargetMetadata};
pub use options::{IngestOptions, IngestReport, LabelLimits};
