//! An example observation (usually with a trace id) attached to a series.

use crate::Labels;

/// Upper bound of an exemplar's label set, in characters of all names and values together.
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 128;

/// An exemplar. Without a timestamp of its own it takes the scrape's.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its own labels, e.g. `trace_id`.
    pub labels: Labels,
    /// Observed value.
    pub value: f64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// False where `timestamp_ms` was filled in by the scraper.
    pub has_timestamp: bool,
}
