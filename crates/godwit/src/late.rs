//! The store before it is open: the web server answers from the first second, while the log is replayed.

use std::sync::{Arc, OnceLock};

use model::{Exemplar, HistogramValue, Labels, Matcher, MetricMetadata};
use storage::{
    AppendError, Appendable, Appender, BlockStatus, CommitStats, ExemplarQueryable, ExemplarSeries,
    NewSeriesStatus, Querier, QueryContext, Queryable, Rejected, SeriesRef, StatusSource, StorageError,
    TsdbStatus,
};
use tsdb::{Db, ReplayProgress};

/// A database that will be there later. Until then reads fail with [`StorageError::NotReady`] and writes
/// with [`AppendError::Unavailable`]. Cheap to clone.
#[derive(Clone, Default)]
pub struct LateDb {
    db: Arc<OnceLock<Db>>,
    progress: Arc<ReplayProgress>,
}

impl LateDb {
    /// Where opening says how far the replay is.
    #[must_use]
    pub fn progress(&self) -> Arc<ReplayProgress> {
        Arc::clone(&self.progress)
    }

    /// Puts the open database in place. A second call has no effect.
    pub fn set(&self, db: Db) {
        let _ = self.db.set(db);
    }

    /// The database once it is open.
    #[must_use]
    pub fn get(&self) -> Option<&Db> {
        self.db.get()
    }

    fn ready(&self) -> Result<&Db, StorageError> {
        self.get().ok_or(StorageError::NotReady)
    }
}

impl Queryable for LateDb {
    fn querier(&self, mint_ms: i64, maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError> {
        self.ready()?.querier(mint_ms, maxt_ms)
    }
}

impl ExemplarQueryable for LateDb {
    fn select_exemplars(
        &self,
        ctx: &QueryContext,
        start_ms: i64,
        end_ms: i64,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<ExemplarSeries>, StorageError> {
        self.ready()?.select_exemplars(ctx, start_ms, end_ms, matchers)
    }
}

impl StatusSource for LateDb {
    fn tsdb_status(&self, ctx: &QueryContext, limit: usize) -> Result<TsdbStatus, StorageError> {
        self.ready()?.tsdb_status(ctx, limit)
    }
    fn new_series(&self) -> NewSeriesStatus {
        self.get().map(StatusSource::new_series).unwrap_or_default()
    }
    fn blocks(&self) -> Result<Vec<BlockStatus>, StorageError> {
        self.ready()?.blocks()
    }
    fn replay_progress(&self) -> (u64, u64, u64) {
        self.progress.get()
    }
    fn start_time_ms(&self) -> Result<i64, StorageError> {
        self.ready()?.start_time_ms()
    }
    fn delete_series(
        &self,
        ctx: &QueryContext,
        mint_ms: i64,
        maxt_ms: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError> {
        self.ready()?.delete_series(ctx, mint_ms, maxt_ms, matchers)
    }
    fn clean_tombstones(&self) -> Result<(), StorageError> {
        self.ready()?.clean_tombstones()
    }
    fn snapshot(&self, with_head: bool) -> Result<String, StorageError> {
        self.ready()?.snapshot(with_head)
    }
    fn import(&self, folder: Option<&std::path::Path>) -> Result<Vec<storage::ImportedBlock>, StorageError> {
        self.ready()?.import(folder)
    }
}

impl Appendable for LateDb {
    fn appender(&self) -> Box<dyn Appender + '_> {
        match self.get() {
            Some(db) => db.appender(),
            None => Box::new(Closed),
        }
    }

    fn commits_soon(&self) -> bool {
        self.get().is_some_and(|db| db.commits_soon())
    }
}

/// A transaction on a store that is not open: refuses everything.
struct Closed;

fn refusal() -> AppendError {
    AppendError::Unavailable("TSDB not ready".to_string())
}

impl Appender for Closed {
    fn append(&mut self, _: SeriesRef, _: &Labels, _: i64, _: i64, _: f64) -> Result<SeriesRef, AppendError> {
        Err(refusal())
    }
    fn append_batch(&mut self, _: i64, series: &[SeriesRef], _: &[f64], rejected: &mut Vec<Rejected>) {
        rejected.extend((0..series.len()).map(|index| Rejected { index, error: refusal() }));
    }
    fn append_histogram(
        &mut self,
        _: SeriesRef,
        _: &Labels,
        _: i64,
        _: i64,
        _: &HistogramValue,
    ) -> Result<SeriesRef, AppendError> {
        Err(refusal())
    }
    fn append_start_zero(
        &mut self,
        _: SeriesRef,
        _: &Labels,
        _: i64,
        _: i64,
        _: Option<&HistogramValue>,
    ) -> Result<SeriesRef, AppendError> {
        Err(refusal())
    }
    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Err(refusal())
    }
    fn update_metadata(&mut self, _: SeriesRef, _: &MetricMetadata) -> Result<(), AppendError> {
        Err(refusal())
    }
    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        Err(StorageError::NotReady)
    }
    fn rollback(self: Box<Self>) {}
}
