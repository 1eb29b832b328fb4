//! Reading: select series by matchers, then read each one's samples into columns.
//!
//! A [`Series`] is a handle that may be read from any thread, so that the query engine spreads decoding
//! over cores and reads in blocks; nothing is decoded by `select` itself. Rejected: upstream's iterator of
//! samples, whose virtual call per sample is most of the cost of a `rate`.

use std::sync::Arc;

use model::{HistogramValue, Labels, Matcher};

use crate::{QueryContext, StorageError};

/// What the caller will do with the series, so that the store may do less.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// Start of the data wanted.
    pub start_ms: i64,
    /// End of the data wanted.
    pub end_ms: i64,
    /// At most so many series, 0 for all.
    pub limit: usize,
    /// Step of the query, 0 for instant.
    pub step_ms: i64,
    /// Enclosing function or aggregation, "" where none; "series" where only labels are read.
    pub func: String,
    /// Labels of the enclosing aggregation.
    pub grouping: Vec<String>,
    /// `by` (true) or `without`.
    pub by: bool,
    /// Range of a matrix selector.
    pub range_ms: i64,
}

/// Hints for label reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabelHints {
    /// At most so many results, 0 for all.
    pub limit: usize,
}

/// A store that answers queries.
pub trait Queryable: Send + Sync {
    /// A view on [mint_ms, maxt_ms]. What was committed before stays visible while it lives.
    ///
    /// # Errors
    /// Not ready.
    fn querier(&self, mint_ms: i64, maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError>;
}

/// A consistent view on a time range.
pub trait Querier: Send + Sync {
    /// Series that match all matchers and may have data in range. `sorted` asks for label order.
    ///
    /// # Errors
    /// Cancelled, over budget, corrupt data.
    fn select(
        &self,
        ctx: &QueryContext,
        sorted: bool,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<SeriesSet, StorageError>;

    /// Sorted values of a label, of series that match (all series where `matchers` is empty).
    ///
    /// # Errors
    /// As `select`.
    fn label_values(
        &self,
        ctx: &QueryContext,
        name: &str,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError>;

    /// Sorted label names of series that match.
    ///
    /// # Errors
    /// As `select`.
    fn label_names(
        &self,
        ctx: &QueryContext,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError>;
}

/// Result of a `select`.
#[derive(Default)]
pub struct SeriesSet {
    /// The series.
    pub series: Vec<Arc<dyn Series>>,
    /// What the reader should know (a block left out, a remote that failed).
    pub warnings: Vec<String>,
}

/// One series of a view.
pub trait Series: Send + Sync {
    /// Its labels.
    fn labels(&self) -> &Labels;

    /// Appends its samples within [mint_ms, maxt_ms] to `out`, oldest first, one per time. Staleness
    /// markers are samples like any other here.
    ///
    /// # Errors
    /// Corrupt data.
    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError>;

    /// About how many samples [`Series::read`] would append, so that a reader has the memory before it is filled;
    /// 0 where they are few or nobody knows.
    fn samples_about(&self, _mint_ms: i64, _maxt_ms: i64) -> usize {
        0
    }

    /// Its encoded chunks that overlap the range, oldest first, for remote read and compaction. Chunks may
    /// reach outside the range.
    ///
    /// # Errors
    /// Corrupt data.
    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError>;
}

/// Encodings of upstream's `tsdb/chunkenc`, by the number on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkEncoding {
    /// Floats.
    Xor = 1,
    /// Integer histograms.
    Histogram = 2,
    /// Float histograms.
    FloatHistogram = 3,
    /// Floats with start timestamps, denser.
    Xor2 = 4,
    /// Integer histograms with start timestamps.
    HistogramSt = 5,
    /// Float histograms with start timestamps.
    FloatHistogramSt = 6,
}

impl ChunkEncoding {
    /// From the number on disk.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => ChunkEncoding::Xor,
            2 => ChunkEncoding::Histogram,
            3 => ChunkEncoding::FloatHistogram,
            4 => ChunkEncoding::Xor2,
            5 => ChunkEncoding::HistogramSt,
            6 => ChunkEncoding::FloatHistogramSt,
            _ => return None,
        })
    }
}

/// An encoded chunk.
#[derive(Clone, Debug)]
pub struct RawChunk {
    /// Time of its first sample.
    pub mint_ms: i64,
    /// Time of its last sample.
    pub maxt_ms: i64,
    /// How `data` is encoded.
    pub encoding: ChunkEncoding,
    /// The bytes, as on disk without length, encoding and checksum.
    pub data: Arc<[u8]>,
}

/// Samples in columns, reused from series to series. At index `i` the sample is `values[i]`, unless
/// `histograms` has an entry for `i`; then `values[i]` is the histogram's sum.
#[derive(Clone, Debug, Default)]
pub struct SampleBuf {
    /// Times, ascending.
    pub times: Vec<i64>,
    /// Floats, parallel to `times`.
    pub values: Vec<f64>,
    /// Histograms by index, ascending; empty for the common float series.
    pub histograms: Vec<(u32, HistogramValue)>,
    /// Created timestamps, parallel to `times`, or empty where none is known.
    pub starts: Vec<i64>,
}

impl SampleBuf {
    /// Empties the columns, keeps their memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
    }
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }
    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
    /// Appends a float.
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.times.push(t_ms);
        self.values.push(value);
        if !self.starts.is_empty() {
            self.starts.push(0);
        }
    }
    /// Appends a histogram.
    pub fn push_histogram(&mut self, t_ms: i64, value: HistogramValue) {
        let sum = match &value {
            HistogramValue::Int(h) => h.sum,
            HistogramValue::Float(h) => h.sum,
        };
        self.histograms.push((self.times.len() as u32, value));
        self.push(t_ms, sum);
    }
    /// Sets the created timestamp of the newest sample.
    pub fn set_last_start(&mut self, start_ms: i64) {
        if start_ms == 0 && self.starts.is_empty() {
            return;
        }
        self.starts.resize(self.times.len(), 0);
        if let Some(last) = self.starts.last_mut() {
            *last = start_ms;
        }
    }
    /// The histogram at an index, if that sample is one. O(log n); loops walk `histograms` instead.
    #[must_use]
    pub fn histogram_at(&self, index: usize) -> Option<&HistogramValue> {
        let found = self.histograms.binary_search_by_key(&(index as u32), |(i, _)| *i);
        found.ok().map(|i| &self.histograms[i].1)
    }
}
