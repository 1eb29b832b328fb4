//! The database: head and blocks under one roof, opened on a folder that a Prometheus could open as well.
//!
//! `options` says how, `upkeep` cuts, compacts and lets go, `admin` does what an operator asks for, `querier`
//! reads over all parts.

mod admin;
#[cfg(test)]
mod bound_tests;
mod keep;
#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod late_tests;
mod metrics;
mod options;
mod querier;
mod read_only;
mod stale;
mod tail;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Matcher;
use parking_lot::{Condvar, Mutex, RwLock};
use storage::{
    AppendError, Appendable, Appender, BlockStatus, CancelToken, CommitStats, ExemplarQueryable,
    ExemplarSeries, ImportedBlock, NewSeriesStatus, Querier, QueryContext, Queryable, StatusSource,
    StorageError, TsdbStatus,
};
use ulid::Ulid;

pub use options::{
    BLOCK_MS_DEFAULT, Clocks, DbOptions, IMAGE_LOG_BYTES, KEEP_BYTES_DEFAULT, ReplayProgress, Retention,
    SAMPLES_PER_CHUNK_DEFAULT, SCRUB_BYTES_DEFAULT, WAL_HOLD_BYTES_DEFAULT, WAL_SEGMENT_BYTES_DEFAULT,
    WalCompression,
};
pub use stale::StaleRules;

pub use read_only::{CopiedBlock, How, ReadOnlyDb};

use crate::block::{self, Block, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES};
use crate::disk::{LockGuard, Rng};
use crate::head::{self, Head, HeadAppender, HeadQuerier, LateCut, StaleCut};
use metrics::DbMetrics;

/// The log is made durable this long after the time before. A power cut may take one second: half of it is for
/// the sync itself, and for a machine that is busy. Upkeep looks as often whether something is due.
const BEAT: Duration = Duration::from_millis(500);
/// Upkeep runs this often, as upstream's block reload.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(60);

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

/// What queries read.
struct View {
    blocks: Vec<Block>,
    /// The head answers from here on; blocks have what is before.
    head_from: i64,
}

impl View {
    /// Adds blocks at their places in time.
    fn add(&mut self, blocks: impl IntoIterator<Item = Block>) {
        self.blocks.extend(blocks);
        self.blocks.sort_by_key(|b| b.meta().mint_ms);
    }
}

/// Late samples that blocks hold and the head has still.
struct PendingLate {
    cut: Arc<LateCut>,
    /// The first reader that knows those blocks.
    reader: u64,
    /// They are in the log of late samples as well.
    logged: bool,
}

struct Inner {
    options: DbOptions,
    head: Arc<Head>,
    view: RwLock<View>,
    upkeep: Mutex<()>,
    pending_truncation: Mutex<Option<i64>>,
    /// Late samples that blocks hold, in the order in which those were written.
    pending_late: Mutex<VecDeque<PendingLate>>,
    /// Series that ended and that blocks hold, and the first reader that knows those blocks.
    pending_stale: Mutex<Option<(Arc<StaleCut>, u64)>>,
    /// When they were looked for last, by the clock.
    last_stale_cut: AtomicI64,
    /// Share that is configured, as bits of a float; 0 where none is.
    stale_share: AtomicU64,
    retention: Mutex<Retention>,
    keep: Mutex<keep::Keep>,
    recode: Mutex<Option<crate::compact::Recode>>,
    metrics: DbMetrics,
    /// Where the scrub goes on: block and series within.
    scrub: Mutex<(Ulid, usize)>,
    /// Blocks of which it was said that they cannot be opened.
    told: Mutex<BTreeSet<Ulid>>,
    /// Blocks whose mark as foreign is in memory only.
    unmarked: Mutex<BTreeSet<Ulid>>,
    /// Compaction waits for room, which was said.
    no_room: AtomicBool,
    /// Blocks may be there whose names no fsync covers.
    unsettled: AtomicBool,
    /// Random numbers of a simulation.
    simulated: Option<Mutex<Rng>>,
    cancel: CancelToken,
    closed: AtomicBool,
    /// Apart from the rest, so that a sleeping thread does not keep the database alive.
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// Tells background threads to end.
#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    woken: Condvar,
}

impl Stop {
    fn ask(&self) {
        *self.asked.lock() = true;
        self.woken.notify_all();
    }

    /// Sleeps; true where it was asked to stop.
    fn wait(&self, interval: Duration) -> bool {
        let until = Instant::now() + interval;
        let mut asked = self.asked.lock();
        while !*asked {
            if self.woken.wait_until(&mut asked, until).timed_out() {
                break;
            }
        }
        *asked
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Db({})", self.0.options.path.display())
    }
}

impl Db {
    /// Opens (or makes) the database in `options.path`: takes the lock, loads blocks, replays the log.
    /// Takes as long as the replay; [`DbOptions::progress`] tells how far it is. A block that cannot be
    /// opened and parts of the log that are damaged are left out and named in the log output.
    ///
    /// # Errors
    /// Folder locked by another process, not readable or not writable.
    pub fn open(options: DbOptions) -> Result<Db, StorageError> {
        let disk = Arc::clone(&options.disk);
        crate::disk::create_dir_durable(&*disk, &options.path)?;
        let lock_path = options.path.join("lock");
        let clean = !disk.exists(&lock_path)?;
        let clean_start = options.registry.gauge(
            "prometheus_tsdb_clean_start",
            "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation was clean",
        );
        clean_start.set(match (options.lockfile, clean) {
            (false, _) => -1.0,
            (true, false) => 0.0,
            (true, true) => 1.0,
        });
        let lock = match options.lockfile {
            false => None,
            true => Some(disk.lock(&lock_path).map_err(|e| match e.source.kind() {
                std::io::ErrorKind::WouldBlock => StorageError::Other(format!(
                    "data folder {} is in use by another process, which holds its lock file; stop that one first",
                    options.path.display()
                )),
                _ => e.into(),
            })?),
        };
        for name in block::clean_leftovers(&*disk, &options.path)? {
            tracing::info!(name, "removed what a crash left of a block");
        }
        let metrics = DbMetrics::new(&options.registry);
        let (blocks, failed) = load_all(&options, &metrics)?;
        for (name, error) in failed {
            tracing::error!(block = name, %error, "block cannot be opened and is left out");
            metrics.reloads_failed.inc();
        }
        let min_valid = in_order_end(&blocks).unwrap_or(i64::MIN);
        let head = Head::open(&options, min_valid)?;
        let inner = Arc::new(Inner {
            retention: Mutex::new(options.retention),
            keep: Mutex::default(),
            recode: Mutex::new(options.recode),
            head,
            view: RwLock::new(View { blocks, head_from: min_valid }),
            upkeep: Mutex::default(),
            pending_truncation: Mutex::default(),
            pending_late: Mutex::default(),
            pending_stale: Mutex::default(),
            last_stale_cut: AtomicI64::new(options.clock.0.now_ms()),
            stale_share: AtomicU64::new(0),
            metrics,
            scrub: Mutex::new((Ulid::from_parts(0, 0), 0)),
            told: Mutex::default(),
            unmarked: Mutex::default(),
            no_room: AtomicBool::new(false),
            unsettled: AtomicBool::new(true),
            simulated: options.simulated.map(|seed| Mutex::new(Rng::new(seed))),
            cancel: CancelToken::default(),
            closed: AtomicBool::new(false),
            stop: Arc::default(),
            threads: Mutex::default(),
            lock: Mutex::new(lock),
            options,
        });
        inner.load_blocks().unwrap_or_else(|e| tracing::warn!(error = %e, "not all blocks are loaded"));
        inner.register();
        let db = Db(inner);
        db.set_retention(db.0.options.retention);
        // As upstream: not a minute later, since a disk may be near full.
        db.0.apply_retention().unwrap_or_else(|e| tracing::warn!(error = %e, "retention is applied later"));
        Ok(db)
    }

    /// Starts the threads that call [`Db::sync`] each second and [`Db::maintain`] each minute, or where the
    /// head has a block to give. They end with [`Db::close`] or the last clone.
    pub fn spawn_background(&self) {
        let mut threads = self.0.threads.lock();
        if !threads.is_empty() {
            return;
        }
        self.0.head.spawn_log_threads();
        // Said once when it begins and once when it is over, not each second.
        let (mut unsynced, mut untruncated) = (false, false);
        let sync = move |inner: &Inner| {
            inner.head.tick_limits(inner.options.clock.0.now_ms());
            match inner.head.sync() {
                Ok(()) if std::mem::take(&mut unsynced) => tracing::info!("log is durable again"),
                Ok(()) => {}
                Err(e) if !std::mem::replace(&mut unsynced, true) => {
                    tracing::error!(error = %e, "log is not durable; trying again each second");
                }
                Err(_) => {}
            }
            match inner
                .finish_truncation()
                .and_then(|_| inner.finish_late())
                .and_then(|_| inner.finish_stale())
            {
                Ok(_) => untruncated = false,
                Err(e) if !std::mem::replace(&mut untruncated, true) => {
                    tracing::error!(error = %e, "head could not be truncated; trying again each second");
                }
                Err(_) => {}
            }
        };
        let mut failed = false;
        // Each minute, and as soon as the head has a block's worth to give, unless that failed just now: a
        // bulk load brings hours in a second, and memory and log must not wait for the minute.
        let mut next = Instant::now() + MAINTAIN_INTERVAL;
        let maintain = move |inner: &Inner| {
            if Instant::now() < next && (failed || !inner.wants_cut()) {
                return;
            }
            let result = inner.maintain();
            failed = result.is_err();
            next = Instant::now() + MAINTAIN_INTERVAL;
            match result {
                Ok(()) | Err(StorageError::Cancelled | StorageError::NotReady) => {}
                Err(e) => {
                    tracing::error!(error = %e, "upkeep of the database failed; trying again in a minute")
                }
            }
        };
        let mut unsaved = false;
        let (mut awake, stop) = (false, Arc::clone(&self.0.stop));
        let save_image = move |inner: &Inner| {
            // What a start from an image left asleep; once.
            if !std::mem::replace(&mut awake, true) {
                inner.head.wake(&mut || !stop.wait(Duration::ZERO));
            }
            if !inner.head.image_due() {
                return;
            }
            match inner.head.save_image(true) {
                Ok(_) => unsaved = false,
                Err(e) if !std::mem::replace(&mut unsaved, true) => {
                    tracing::warn!(error = %e, "image of the head cannot be written; the next start takes longer");
                }
                Err(_) => {}
            }
        };
        let works: [(&str, Box<dyn FnMut(&Inner) + Send>); 3] = [
            ("tsdb-sync", Box::new(sync)),
            ("tsdb-maintain", Box::new(maintain)),
            ("tsdb-image", Box::new(save_image)),
        ];
        for (name, mut work) in works {
            let weak = Arc::downgrade(&self.0);
            let stop = Arc::clone(&self.0.stop);
            let run = move || {
                while !stop.wait(BEAT) {
                    let Some(inner) = weak.upgrade() else { return };
                    work(&inner);
                }
            };
            match std::thread::Builder::new().name(name.to_string()).spawn(run) {
                Ok(thread) => threads.push(thread),
                Err(e) => tracing::error!(error = %e, name, "cannot start a thread"),
            }
        }
    }

    /// One round of upkeep: look for blocks that came or went on disk, apply retention, cut the head into
    /// blocks, compact, cut the log.
    ///
    /// # Errors
    /// The first thing that failed; the others were tried all the same.
    pub fn maintain(&self) -> Result<(), StorageError> {
        self.0.maintain()
    }

    /// Reads every block whole, and writes those anew that are damaged, without what is; the old ones are
    /// kept in `damaged/`. For tools: a running server does it a part at a time. `progress` is told of bytes
    /// that were read since the last call, and of the bytes of all blocks.
    ///
    /// # Errors
    /// The device failed, no room.
    pub fn mend(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StorageError> {
        self.0.mend(progress)
    }

    /// Makes what is committed survive a power cut.
    ///
    /// # Errors
    /// The device failed.
    pub fn sync(&self) -> Result<(), StorageError> {
        Ok(self.0.head.sync()?)
    }

    /// Writes the image of the head, from which the next start goes on, where the log has grown enough since
    /// the one before. [`Db::spawn_background`] does this on its own.
    ///
    /// # Errors
    /// No room, the device failed: the image before stays.
    pub fn save_image(&self) -> Result<(), StorageError> {
        if self.0.head.image_due() {
            self.0.head.save_image(false)?;
        }
        Ok(())
    }

    /// What the logs are like, that of late samples included: whether the disk takes them, and what waits.
    #[must_use]
    pub fn log_status(&self) -> crate::wal::LogStatus {
        self.0.head.log_status()
    }

    /// Changes retention while running.
    pub fn set_retention(&self, retention: Retention) {
        *self.0.retention.lock() = retention;
        let m = &self.0.metrics;
        m.limit_bytes.set(retention.size_bytes as f64);
        m.limit_seconds.set(retention.duration_ms as f64 / 1000.0);
        m.limit_percentage.set(retention.percentage);
    }

    /// Changes which series are kept for a time of their own while running: the first rule that matches a
    /// series says how long. Blocks are written anew in the background, at the pace of
    /// [`DbOptions::keep_bytes`]; a rule that is longer than the retention of blocks has no effect.
    pub fn set_keep_rules(&self, rules: Vec<crate::compact::KeepRule>) {
        self.0.keep.lock().set(rules);
    }

    /// Changes how blocks that come from here on encode floats.
    pub fn set_recode(&self, recode: Option<crate::compact::Recode>) {
        *self.0.recode.lock() = recode;
    }

    /// Takes in the data of another folder (blocks, or a whole data folder, in use or not) while running.
    /// Times may overlap with what is here: queries merge, and compaction makes one of it later. Blocks beyond
    /// the retention in force are left out. Takes as long as reading all of it.
    ///
    /// # Errors
    /// The folder cannot be read or has damaged blocks; no room. Whole blocks that came before stay.
    pub fn import_folder(&self, from: &Path) -> Result<Vec<CopiedBlock>, StorageError> {
        self.0.import(from)
    }

    /// Whether the head has samples of a block's time, or may get some. Such a block has to come marked as one of late
    /// samples ([`crate::block::HINT_OUT_OF_ORDER`]): a start would else take all that the log has before its end for
    /// stored.
    #[must_use]
    pub fn reaches_head(&self, meta: &crate::block::BlockMeta) -> bool {
        self.0.reaches_head(meta)
    }

    /// Looks for blocks that came or went on disk, now instead of within a minute.
    ///
    /// # Errors
    /// A block that cannot be opened; the others are in use.
    pub fn reload_blocks(&self) -> Result<(), StorageError> {
        self.0.reload_now()
    }

    /// Resizes exemplar storage while running.
    pub fn set_exemplars_max(&self, max: usize) {
        self.0.head.exemplars.resize(max);
    }

    /// Changes the out-of-order window while running; 0 refuses late samples. What was taken stays.
    ///
    /// # Errors
    /// The log of late samples cannot be opened: the window stays what it was.
    pub fn set_out_of_order_window(&self, window_ms: i64) -> Result<(), StorageError> {
        self.0.head.set_late_window(window_ms)
    }

    /// Share of the head's series (0 to 1) that must be stale for them to leave memory early, as
    /// `storage.tsdb.stale_series_compaction_threshold` has it; 0 for [`DbOptions::stale`]'s own.
    pub fn set_stale_share(&self, share: f64) {
        self.0.stale_share.store(share.max(0.0).to_bits(), Ordering::Relaxed);
    }

    /// Memory that the head's series and index hold, in bytes, as far as they are counted.
    #[must_use]
    pub fn head_memory(&self) -> (usize, usize) {
        self.0.head.memory()
    }

    /// Ends background threads, writes everything out, gives the folder back. Later calls fail with
    /// [`StorageError::NotReady`].
    ///
    /// # Errors
    /// What could not be written.
    pub fn close(&self) -> Result<(), StorageError> {
        let inner = &self.0;
        if inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        inner.cancel.cancel();
        inner.stop.ask();
        for thread in std::mem::take(&mut *inner.threads.lock()) {
            // A thread of ours that died has said so itself.
            let _ = thread.join();
        }
        let _upkeep = inner.upkeep.lock();
        let done = inner.head.close();
        if let Err(e) = inner.head.save_image(false) {
            tracing::warn!(error = %e, "image of the head cannot be written; the next start takes longer");
        }
        inner.view.write().blocks.clear();
        if let Some(lock) = inner.lock.lock().take() {
            // A lock file that stays says "not stopped cleanly" to upstream. Removed while it is still held.
            let removed = inner.options.disk.remove_file(&inner.options.path.join("lock"));
            drop(lock);
            removed?;
        }
        done
    }
}

/// Opens every block of the folder.
fn load_all(
    options: &DbOptions,
    metrics: &DbMetrics,
) -> Result<(Vec<Block>, Vec<(String, StorageError)>), StorageError> {
    let (mut blocks, mut failed) = (Vec::new(), Vec::new());
    let note_gone = |mint, end| head::note_gone_before_start(&*options.disk, &options.path, mint, end);
    for (ulid, dir) in block::list_blocks(&*options.disk, &options.path)? {
        match upkeep::open_or_repair(options, metrics, &dir, true, &note_gone) {
            Ok(block) => blocks.push(block),
            Err(e) => failed.push((ulid.to_string(), e)),
        }
    }
    blocks.sort_by_key(|b| b.meta().mint_ms);
    Ok((blocks, failed))
}

/// End of the newest block that was cut from a whole head.
fn in_order_end(blocks: &[Block]) -> Option<i64> {
    let parts = [HINT_OUT_OF_ORDER, HINT_STALE_SERIES, HINT_SELECTED_SERIES];
    let metas = blocks.iter().map(|b| b.meta());
    metas.filter(|m| !parts.iter().any(|hint| m.compaction.has_hint(hint))).map(|m| m.maxt_ms).max()
}

impl Inner {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn lowest_time(&self) -> i64 {
        let oldest = self.view.read().blocks.iter().map(|b| b.meta().mint_ms).min();
        oldest.unwrap_or(i64::MAX).min(self.head.min_time())
    }

    fn register(self: &Arc<Self>) {
        let gauge = |name: &str, help: &str, read: fn(&Inner) -> f64| {
            let weak = Arc::downgrade(self);
            self.options
                .registry
                .gauge_fn(name, help, move || weak.upgrade().map_or(0.0, |inner| read(&inner)));
        };
        gauge(
            "prometheus_tsdb_lowest_timestamp",
            "Lowest timestamp value stored in the database. The unit is decided by the library consumer.",
            |inner| inner.lowest_time() as f64,
        );
        gauge(
            "prometheus_tsdb_lowest_timestamp_seconds",
            "Lowest timestamp value stored in the database.",
            |inner| inner.lowest_time() as f64 / 1000.0,
        );
    }
}

/// Background threads end with the last clone: they hold none while they sleep.
impl Drop for Inner {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.stop.ask();
    }
}

impl Appendable for Db {
    fn appender(&self) -> Box<dyn Appender + '_> {
        if self.0.is_closed() {
            return Box::new(ClosedAppender);
        }
        Box::new(HeadAppender::new(Arc::clone(&self.0.head)))
    }

    fn commits_soon(&self) -> bool {
        !self.0.head.log.is_strict()
    }
}

impl Queryable for Db {
    fn querier(&self, mint_ms: i64, maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError> {
        let inner = &self.0;
        if inner.is_closed() {
            return Err(StorageError::NotReady);
        }
        let view = inner.view.read();
        let mut parts: Vec<Box<dyn Querier>> = Vec::new();
        for block in view.blocks.iter().filter(|b| b.meta().overlaps(mint_ms, maxt_ms)) {
            parts.push(Box::new(block.querier(mint_ms, maxt_ms)));
        }
        if mint_ms.max(view.head_from) <= maxt_ms || inner.head.late_overlaps(mint_ms, maxt_ms) {
            // Under the view's lock, so that the reader is known before the range could leave the head.
            parts.push(Box::new(HeadQuerier::new(&inner.head, view.head_from, mint_ms, maxt_ms)));
        }
        Ok(Box::new(querier::DbQuerier::new(parts)))
    }
}

impl ExemplarQueryable for Db {
    fn select_exemplars(
        &self,
        ctx: &QueryContext,
        start_ms: i64,
        end_ms: i64,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<ExemplarSeries>, StorageError> {
        ctx.check()?;
        Ok(self.0.head.exemplars.select(start_ms, end_ms, matchers))
    }
}

impl StatusSource for Db {
    fn tsdb_status(&self, ctx: &QueryContext, limit: usize) -> Result<TsdbStatus, StorageError> {
        ctx.check()?;
        Ok(self.0.head.status(limit))
    }
    fn new_series(&self) -> NewSeriesStatus {
        self.0.head.new_series()
    }
    fn blocks(&self) -> Result<Vec<BlockStatus>, StorageError> {
        let view = self.0.view.read();
        let status = |b: &Block| BlockStatus { meta_json: b.meta().to_json(), size_bytes: b.size_bytes() };
        Ok(view.blocks.iter().map(status).collect())
    }
    fn replay_progress(&self) -> (u64, u64, u64) {
        self.0.options.progress.get()
    }
    fn start_time_ms(&self) -> Result<i64, StorageError> {
        Ok(self.0.lowest_time())
    }
    fn delete_series(
        &self,
        ctx: &QueryContext,
        mint_ms: i64,
        maxt_ms: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError> {
        self.0.delete_series(ctx, mint_ms, maxt_ms, matchers)
    }
    fn clean_tombstones(&self) -> Result<(), StorageError> {
        self.0.clean_tombstones()
    }
    fn snapshot(&self, with_head: bool) -> Result<String, StorageError> {
        self.0.snapshot(with_head)
    }
    fn import(&self, folder: Option<&Path>) -> Result<Vec<ImportedBlock>, StorageError> {
        let Some(folder) = folder else {
            return self.0.reload_now().map(|()| Vec::new());
        };
        let one = |b: CopiedBlock| ImportedBlock {
            ulid: b.meta.ulid.to_string(),
            mint_ms: b.meta.mint_ms,
            maxt_ms: b.meta.maxt_ms,
            samples: b.meta.stats.num_samples,
            how: b.how.word(),
        };
        Ok(self.0.import(folder)?.into_iter().map(one).collect())
    }
}

/// What a closed database hands out.
struct ClosedAppender;

fn closed<T>() -> Result<T, AppendError> {
    Err(AppendError::Unavailable("the database is closed".to_string()))
}

impl Appender for ClosedAppender {
    fn append(
        &mut self,
        _: storage::SeriesRef,
        _: &model::Labels,
        _: i64,
        _: i64,
        _: f64,
    ) -> Result<storage::SeriesRef, AppendError> {
        closed()
    }
    fn append_batch(
        &mut self,
        _: i64,
        series: &[storage::SeriesRef],
        _: &[f64],
        rejected: &mut Vec<storage::Rejected>,
    ) {
        let error = AppendError::Unavailable("the database is closed".to_string());
        rejected.extend((0..series.len()).map(|index| storage::Rejected { index, error: error.clone() }));
    }
    fn append_histogram(
        &mut self,
        _: storage::SeriesRef,
        _: &model::Labels,
        _: i64,
        _: i64,
        _: &model::HistogramValue,
    ) -> Result<storage::SeriesRef, AppendError> {
        closed()
    }
    fn append_start_zero(
        &mut self,
        _: storage::SeriesRef,
        _: &model::Labels,
        _: i64,
        _: i64,
        _: Option<&model::HistogramValue>,
    ) -> Result<storage::SeriesRef, AppendError> {
        closed()
    }
    fn append_exemplar(&mut self, _: storage::SeriesRef, _: &model::Exemplar) -> Result<(), AppendError> {
        closed()
    }
    fn update_metadata(
        &mut self,
        _: storage::SeriesRef,
        _: &model::MetricMetadata,
    ) -> Result<(), AppendError> {
        closed()
    }
    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        Err(StorageError::NotReady)
    }
    fn rollback(self: Box<Self>) {}
}
