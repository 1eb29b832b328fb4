//! The seam between those who write and read samples and those who keep them.
//!
//! `scrape`, `rules` and the write endpoints know [`Appendable`]; `promql` and `web` know [`Queryable`];
//! `tsdb` implements both. All calls are synchronous and may touch the disk: async callers hand reads to
//! a blocking thread.
//!
//! Contracts, once for all: times are milliseconds since the epoch; bounds are inclusive; a series set is
//! sorted by [`model::Labels`]'s order when asked; what a call returns is owned by the caller.

mod append;
mod budget;
mod context;
mod error;
mod exemplar;
mod log;
pub mod memory;
mod merge;
mod patterns;
mod probe;
mod query;
mod status;

pub use append::{Appendable, Appender, CommitStats, Logged, Rejected, SeriesRef, Underway};
pub use budget::{Budget, MemoryGuard};
pub use context::{CancelToken, QueryContext};
pub use error::{AppendError, StorageError};
pub use exemplar::{ExemplarQueryable, ExemplarSeries};
pub use log::{
    ExemplarRecord, HistogramRecord, LogEvent, LogPosition, LogSource, LogTail, LogTotals, LogWants,
    MetadataRecord, SampleRecord, SeriesRecord,
};
pub use merge::{MergedSeries, merge_sets};
pub use patterns::{PatternError, compiled, matcher};
pub use probe::{MemoryProbe, MemoryUse};
pub use query::{
    ChunkEncoding, LabelHints, Querier, Queryable, RawChunk, SampleBuf, SelectHints, Series, SeriesSet,
};
pub use status::{
    BlockStatus, CardinalityEntry, HeadStatus, ImportedBlock, NewSeriesSource, NewSeriesStatus, StatusSource,
    TsdbStatus,
};
