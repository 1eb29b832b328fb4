//! The database: head and blocks under one roof, opened on a folder that a Prometheus could open as well.

mod options;

use std::sync::Arc;

use model::Matcher;
use storage::{
    Appendable, Appender, BlockStatus, ExemplarQueryable, ExemplarSeries, Querier, QueryContext, Queryable,
    StatusSource, StorageError, TsdbStatus,
};

pub use options::{
    BLOCK_MS_DEFAULT, Clocks, DbOptions, ReplayProgress, Retention, SAMPLES_PER_CHUNK_DEFAULT,
    WAL_SEGMENT_BYTES_DEFAULT, WalCompression,
};

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    options: DbOptions,
}

impl Db {
    /// Opens (or makes) the database in `options.path`: takes the lock, loads blocks, replays the log.
    /// Takes as long as the replay; [`DbOptions::progress`] tells how far it is.
    ///
    /// # Errors
    /// Folder locked by another process, not readable or not writable.
    pub fn open(options: DbOptions) -> Result<Db, StorageError> {
        Ok(Db(Arc::new(Inner { options })))
    }

    /// Starts the threads that call [`Db::sync`] each second and [`Db::maintain`] each minute (and after a
    /// head has outgrown its range). They end with [`Db::close`] or the last clone.
    pub fn spawn_background(&self) {}

    /// One round of upkeep: cut the head into blocks, compact, apply retention, look for blocks that came
    /// or went on disk, cut the log.
    ///
    /// # Errors
    /// The first thing that failed; the others were tried all the same.
    pub fn maintain(&self) -> Result<(), StorageError> {
        Err(StorageError::NotReady)
    }

    /// Makes what is committed survive a power cut.
    ///
    /// # Errors
    /// The device failed.
    pub fn sync(&self) -> Result<(), StorageError> {
        Err(StorageError::NotReady)
    }

    /// Changes retention while running.
    pub fn set_retention(&self, retention: Retention) {
        let _ = retention;
    }

    /// Resizes exemplar storage while running.
    pub fn set_exemplars_max(&self, max: usize) {
        let _ = max;
    }

    /// Changes the out-of-order window while running.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        let _ = window_ms;
    }

    /// Ends background threads, writes everything out, gives the folder back. Later calls fail with
    /// [`StorageError::NotReady`].
    ///
    /// # Errors
    /// What could not be written.
    pub fn close(&self) -> Result<(), StorageError> {
        let _ = &self.0.options;
        Ok(())
    }
}

impl Appendable for Db {
    fn appender(&self) -> Box<dyn Appender + '_> {
        unreachable!()
    }
}

impl Queryable for Db {
    fn querier(&self, _mint_ms: i64, _maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError> {
        Err(StorageError::NotReady)
    }
}

impl ExemplarQueryable for Db {
    fn select_exemplars(
        &self,
        _ctx: &QueryContext,
        _start_ms: i64,
        _end_ms: i64,
        _matchers: &[Vec<Matcher>],
    ) -> Result<Vec<ExemplarSeries>, StorageError> {
        Err(StorageError::NotReady)
    }
}

impl StatusSource for Db {
    fn tsdb_status(&self, _ctx: &QueryContext, _limit: usize) -> Result<TsdbStatus, StorageError> {
        Err(StorageError::NotReady)
    }
    fn blocks(&self) -> Result<Vec<BlockStatus>, StorageError> {
        Err(StorageError::NotReady)
    }
    fn replay_progress(&self) -> (u64, u64, u64) {
        self.0.options.progress.get()
    }
    fn start_time_ms(&self) -> Result<i64, StorageError> {
        Err(StorageError::NotReady)
    }
}
