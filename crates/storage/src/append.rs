//! Writing: a transaction collects samples, then commits them together.

use std::future::Future;

use model::{Exemplar, HistogramValue, Labels, MetricMetadata};

use crate::{AppendError, StorageError};

/// A series' number within one store's lifetime; 0 says "not known". May be refused later with
/// [`AppendError::UnknownSeries`], when the series left memory: append again with labels then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u64);

impl SeriesRef {
    /// No series.
    pub const NONE: SeriesRef = SeriesRef(0);
    /// True for [`SeriesRef::NONE`].
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What one commit stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// Samples stored, floats and histograms.
    pub samples: u64,
    /// Samples refused at commit (out of order, duplicate), already counted in the store's metrics.
    pub refused: u64,
}

/// A commit whose samples are in place, while the log is still being written.
#[derive(Debug)]
pub struct Underway {
    /// What it stored.
    pub stats: CommitStats,
    /// Tells when it survives a kill of the process; `None` where it does already.
    pub logged: Option<Box<dyn Logged>>,
}

impl From<CommitStats> for Underway {
    fn from(stats: CommitStats) -> Self {
        Underway { stats, logged: None }
    }
}

/// Ends when a commit survives a kill of the process, or is held in memory because the disk does not take it.
/// Whoever is tired of waiting, on a disk that hangs, calls [`Logged::wait`]. Dropping it stops nothing.
pub trait Logged: Future<Output = ()> + Send + Unpin + std::fmt::Debug {
    /// As the future, on the caller's thread, and not for long: a disk that does not write is said to hang.
    fn wait(&self);
}

/// One refused element of a batch.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Position in the batch.
    pub index: usize,
    /// Why.
    pub error: AppendError,
}

/// A store that takes samples.
pub trait Appendable: Send + Sync {
    /// Opens a transaction. Many may be open at once.
    fn appender(&self) -> Box<dyn Appender + '_>;

    /// Whether [`Appender::commit_soon`] does not wait for the disk, so that small transactions need no thread
    /// of their own.
    fn commits_soon(&self) -> bool {
        false
    }
}

/// A transaction. Dropped without `commit`, it leaves nothing behind but series created on the way.
pub trait Appender: Send {
    /// Appends a float. `labels` is read only where `series` is unknown to the store, so callers may pass
    /// an empty set with a reference they trust. `start_ms` is the created timestamp, 0 where unknown.
    ///
    /// # Errors
    /// The sample's own; the transaction stays usable.
    fn append(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        start_ms: i64,
        t_ms: i64,
        value: f64,
    ) -> Result<SeriesRef, AppendError>;

    /// Appends floats of one time to known series: the hot path of a scrape, without hashing, allocation
    /// or virtual call per sample. `series` and `values` have equal length. Refused elements are pushed to
    /// `rejected`; the others are in.
    fn append_batch(&mut self, t_ms: i64, series: &[SeriesRef], values: &[f64], rejected: &mut Vec<Rejected>);

    /// Appends a native histogram.
    ///
    /// # Errors
    /// As `append`, and an invalid histogram.
    fn append_histogram(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        start_ms: i64,
        t_ms: i64,
        value: &HistogramValue,
    ) -> Result<SeriesRef, AppendError>;

    /// Adds a zero sample at `start_ms` before the sample at `t_ms` (feature
    /// `created-timestamp-zero-ingestion`). `histogram` says of which kind the sample is.
    ///
    /// # Errors
    /// [`AppendError::StartNotBefore`], [`AppendError::OutOfOrder`]: callers may ignore both.
    fn append_start_zero(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: Option<&HistogramValue>,
    ) -> Result<SeriesRef, AppendError>;

    /// Attaches an exemplar to a series that this or an earlier transaction made.
    ///
    /// # Errors
    /// Disabled storage, unknown series, too long, duplicate, out of order.
    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError>;

    /// Records metadata of a series (feature `metadata-wal-records`).
    ///
    /// # Errors
    /// Unknown series.
    fn update_metadata(&mut self, series: SeriesRef, metadata: &MetricMetadata) -> Result<(), AppendError>;

    /// Refuses samples that come out of order from here on, with [`AppendError::OutOfOrder`], also where the
    /// store would take them late: for staleness markers of series that may have been scraped again since.
    /// Stores that take none late need not know.
    fn discard_out_of_order(&mut self, discard: bool) {
        let _ = discard;
    }

    /// Takes samples out of order however late they are, whatever the window: for data of another server that took
    /// them. To be called before the first sample. Stores that take none late need not know.
    ///
    /// # Errors
    /// What they are logged in cannot be opened.
    fn take_any_age(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Whether series that are made from here on outrank ordinary new ones where memory is short: those that
    /// say how targets fare, and those of rules. Stores without limits need not know.
    fn outrank(&mut self, yes: bool) {
        let _ = yes;
    }

    /// Counts `n` new series that the caller did not offer, as others like them were refused with
    /// [`AppendError::SeriesLimit`]; `labels` are those of one of them.
    fn count_refused(&mut self, labels: &Labels, n: u64) {
        let _ = (labels, n);
    }

    /// Makes the transaction visible and durable, all at once. When this returns, the samples survive a
    /// kill of the process.
    ///
    /// # Errors
    /// The log could not be written; nothing of the transaction is visible then.
    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError>;

    /// As [`Appender::commit`] without waiting for the log: visible once it survives a kill, which what is
    /// returned tells. For who has others to serve meanwhile. Stores that do not tell the two apart commit.
    ///
    /// # Errors
    /// As [`Appender::commit`].
    fn commit_soon(self: Box<Self>) -> Result<Underway, StorageError> {
        self.commit().map(Underway::from)
    }

    /// Forgets the transaction.
    fn rollback(self: Box<Self>);
}
