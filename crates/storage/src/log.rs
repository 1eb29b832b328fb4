//! Following a store's log, for those who hand on what was committed: remote write.
//!
//! Records are as the log has them, so that nothing is copied on the way; who follows keeps the labels of the
//! series that it met.

use model::{HistogramValue, Labels, MetricMetadata};

use crate::StorageError;

/// A new series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRecord {
    /// Its number in the log.
    pub series: u64,
    /// Its labels.
    pub labels: Labels,
}

/// A float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRecord {
    /// Series.
    pub series: u64,
    /// Start timestamp, 0 where unknown.
    pub start_ms: i64,
    /// Time.
    pub t_ms: i64,
    /// Value.
    pub value: f64,
}

/// A histogram of either kind.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramRecord {
    /// Series.
    pub series: u64,
    /// Start timestamp, 0 where unknown.
    pub start_ms: i64,
    /// Time.
    pub t_ms: i64,
    /// Value.
    pub value: HistogramValue,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarRecord {
    /// Series that it belongs to.
    pub series: u64,
    /// Time.
    pub t_ms: i64,
    /// Value.
    pub value: f64,
    /// Its own labels.
    pub labels: Labels,
}

/// Metadata of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataRecord {
    /// Series.
    pub series: u64,
    /// What was scraped.
    pub metadata: MetricMetadata,
}

/// A place in a store's logs: between two records of the log, and of that of late samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// Segment of the log.
    pub segment: u64,
    /// Bytes in it.
    pub offset: u64,
    /// Segment of the log of late (out-of-order) samples.
    pub late_segment: u64,
    /// Bytes in it.
    pub late_offset: u64,
}

/// What a follower meets.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    /// Series, before the first of their samples. Those that were there before the position come first.
    Series {
        /// The series.
        all: Vec<SeriesRecord>,
        /// Where they stand: see [`LogEvent::Condensed`].
        segment: u64,
    },
    /// Floats.
    Samples(Vec<SampleRecord>),
    /// Histograms.
    Histograms(Vec<HistogramRecord>),
    /// Exemplars.
    Exemplars(Vec<ExemplarRecord>),
    /// Metadata.
    Metadata(Vec<MetadataRecord>),
    /// A record that does not decode, or of an unknown kind.
    Undecodable,
    /// The log was cut: of the series that stood in segments up to `through` only `living` are still in it.
    Condensed {
        /// Last segment that is gone.
        through: u64,
        /// Numbers, ascending.
        living: Vec<u64>,
    },
    /// Segments are gone that were not read.
    Skipped {
        /// How many, at least one.
        segments: u64,
    },
}

/// Kinds of records that a follower wants; floats always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogWants {
    /// Histograms.
    pub histograms: bool,
    /// Exemplars.
    pub exemplars: bool,
    /// Metadata.
    pub metadata: bool,
}

/// Reads a store's log as it grows, never behind what is written. Calls may touch the disk.
pub trait LogTail: Send {
    /// The next event; `None` where all that is written was read.
    ///
    /// # Errors
    /// The device failed. The next call tries again.
    fn next(&mut self) -> Result<Option<LogEvent>, StorageError>;

    /// Behind the last event.
    fn position(&self) -> LogPosition;
}

/// What came into a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTotals {
    /// Floats.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Time of the newest sample; `None` without any.
    pub newest_ms: Option<i64>,
}

/// A store whose log can be followed, and which remembers for followers where they are.
pub trait LogSource: Send + Sync {
    /// Follows from a position on; from what is written next where there is none.
    ///
    /// # Errors
    /// Not open yet, closed, the device failed.
    fn tail(&self, from: Option<LogPosition>, wants: LogWants) -> Result<Box<dyn LogTail>, StorageError>;

    /// What came in.
    fn totals(&self) -> LogTotals;

    /// The position kept under a name (letters, digits); `None` where there is none or it is damaged.
    ///
    /// # Errors
    /// The device failed.
    fn position(&self, name: &str) -> Result<Option<LogPosition>, StorageError>;

    /// Keeps a position, as a whole and durably: a crash leaves the one before or this one.
    ///
    /// # Errors
    /// No room, the device failed.
    fn keep_position(&self, name: &str, position: LogPosition) -> Result<(), StorageError>;

    /// Forgets all positions but these.
    ///
    /// # Errors
    /// The device failed.
    fn forget_positions(&self, but: &[String]) -> Result<(), StorageError>;
}
