//! The head: the newest hours in memory, their log beside them.
//!
//! `index` finds series, `table` holds them page by page, `series` cuts chunks, `mapped` keeps complete ones
//! on disk; `ooo` and `late` keep samples that come out of order; `append` writes, `read` reads, `isolation` keeps half a commit from readers, `replay` brings back
//! what was there, `gc` lets go of what blocks hold.
//!
//! Order of locks: log, index, page, chunk files. Nothing waits for one to the left of what it holds.

mod append;
mod cut;
mod delete;
mod doubts;
mod floats;
mod gc;
mod gone;
mod grace;
mod holes;
mod image;
mod index;
mod isolation;
mod late;
mod limits;
mod mapped;
mod metrics;
mod newcomers;
mod ooo;
mod open;
mod postings;
mod read;
mod replay;
mod select;
mod series;
mod sizes;
mod source;
mod stale;
mod stats;
mod strict;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use hashbrown::HashMap;
use model::{Labels, Matcher, MetricMetadata};
use parking_lot::{Mutex, RwLock};
use storage::{AppendError, QueryContext, StorageError};

use crate::db::DbOptions;
use crate::disk::{Disk, DiskResult, create_dir_durable};
use crate::exemplars::Exemplars;
use crate::tombstones::Interval;
use crate::wal::record::{self, SeriesRecord};
use crate::wal::{Log, LogRules, LogStatus, LogThread, Ticket, WalCompression, segments};

pub(crate) use append::HeadAppender;
pub(crate) use cut::CutSource;
pub(crate) use gc::Truncation;
pub(crate) use gone::note_gone_before_start;
use index::HeadIndex;
pub(crate) use isolation::ReaderGuard;
pub(crate) use late::LateCut;
pub use limits::SeriesLimits;
use mapped::HeadChunks;
pub use mapped::{HeadChunksFile, examine_head_chunks};
use metrics::HeadMetrics;
pub(crate) use read::HeadQuerier;
use series::ChunkRules;
pub(crate) use series::{XOR_BYTES_BEFORE_APPEND_MAX, chunk_end};
pub(crate) use stale::StaleCut;
use table::SeriesTable;

/// Series that are made before they are logged: a page of a million new series need not wait in memory for
/// its commit. 16,384 sets of labels are some 5 MB.
const UNLOGGED_SERIES_MAX: usize = 1 << 14;

/// A page that took as long to lock was asleep: making one of 256 series takes some 50 us.
const WAKE_NOTED: std::time::Duration = std::time::Duration::from_micros(5);

/// The head.
pub(crate) struct Head {
    disk: Arc<dyn Disk>,
    wal_dir: PathBuf,
    rules: ChunkRules,
    compression: WalCompression,
    index: RwLock<HeadIndex>,
    table: SeriesTable,
    files: Arc<HeadChunks>,
    pub(crate) log: Arc<Log>,
    /// Those that write what commits queue.
    log_threads: Mutex<Vec<LogThread>>,
    /// Series that are in memory and not in the log yet. Whoever commits first logs them, so that no
    /// sample is ever logged before its series, whichever transaction made that.
    unlogged: Mutex<Vec<SeriesRecord>>,
    min_time: AtomicI64,
    max_time: AtomicI64,
    /// Blocks hold what is before.
    min_valid: AtomicI64,
    pub(crate) exemplars: Exemplars,
    metadata: Mutex<HashMap<u64, MetricMetadata>>,
    /// Deleted ranges by series.
    tombstones: RwLock<HashMap<u64, Vec<Interval>>>,
    /// Series that are gone from memory but whose samples up to a time are still in the log.
    wal_expiry: Mutex<HashMap<u64, i64>>,
    /// Numbers that the logs have of series whose labels came twice, and what they are here.
    renamed: Mutex<HashMap<u64, u64>>,
    last_wal_truncation: AtomicI64,
    /// Begin of the newest block range that the log knows.
    log_turned: AtomicI64,
    /// Begins of block ranges, and the segments that begin with them.
    log_turns: Mutex<VecDeque<(i64, u64)>>,
    isolation: isolation::Isolation,
    gate: limits::Gate,
    late: late::LateState,
    metrics: Arc<HeadMetrics>,
    buffers: Mutex<Vec<append::Buffers>>,
    /// Held while something is let go of, so that nobody begins to read what is on its way out.
    gc: Mutex<()>,
    /// Held for reading while a commit puts its samples in place.
    applying: RwLock<()>,
    /// Commits between the log and the head.
    commits: grace::Grace,
    image: image::ImageState,
    gone: gone::GoneFile,
    strict_note: strict::StrictNote,
    /// What the start left unread of the log.
    unread: Mutex<verify::Unread>,
    stopped: AtomicBool,
}

impl Head {
    /// Opens the head of a data folder and replays its log. Samples before `min_valid` are in blocks.
    pub(crate) fn open(options: &DbOptions, min_valid: i64) -> Result<Arc<Self>, StorageError> {
        if let Some(head) = Self::try_open(options, min_valid, options.image_log_bytes > 0)? {
            return Ok(head);
        }
        // Whoever replayed all of the log since the image was written, as a Prometheus that ran in between, may
        // go on with numbers whose records are before the image's place, of series that had gone by then.
        tracing::warn!(
            "the log goes on with series that the head image does not have; all of it is replayed"
        );
        match Self::try_open(options, min_valid, false)? {
            Some(head) => Ok(head),
            None => Err(StorageError::Other("the head was not opened without its image".to_string())),
        }
    }

    /// `None` where an image is not enough.
    fn try_open(
        options: &DbOptions,
        min_valid: i64,
        from_image: bool,
    ) -> Result<Option<Arc<Self>>, StorageError> {
        let disk = Arc::clone(&options.disk);
        let wal_dir = options.path.join("wal");
        create_dir_durable(&*disk, &wal_dir)?;
        let threads = options.simulated.is_none();
        let strict_note = strict::StrictNote::read(&*disk, &wal_dir, options.wal_strict);
        let in_doubt = strict_note.in_doubt(min_valid);
        let mut image = match from_image {
            false => None,
            // What is in doubt after strict mode is looked for with the replay.
            true => image::load(&disk, &options.path, &wal_dir, (min_valid, !in_doubt), threads),
        };
        let mut rest = None;
        if let Some(found) = &image {
            rest = source::Source::prepare_rest(&disk, &wal_dir, found.start)?;
            if rest.is_none() {
                tracing::warn!(
                    "head image is not used as the log behind it is damaged; all of it is replayed"
                );
                image = None;
            }
        }
        if image.is_none()
            && let Err(e) = image::remove(&disk, &options.path)
        {
            tracing::warn!(error = %e, "head image that cannot be used stays");
        }
        let image_used = image.is_some();
        let chunks_from = image.as_ref().map_or((0, 0), |i| i.chunks_from);
        let (files, mut loaded) =
            HeadChunks::open(Arc::clone(&disk), &options.path.join("chunks_head"), min_valid, chunks_from)?;
        let files = Arc::new(files);
        let gone = gone::Gone::read(&*disk, &options.path)?;
        let late_place = gone.late_place;
        files.begin_behind(late_place.unwrap_or(0));
        let exemplars = Exemplars::new(options.exemplars_max, &options.registry);
        let metrics = Arc::new(HeadMetrics::new(&options.registry));
        for damage in std::mem::take(&mut loaded.damaged) {
            metrics.mmap_corruptions.inc();
            tracing::warn!(damage, "head chunks damaged; their samples are replayed from the log");
        }
        let replayed = match rest {
            Some(rest) => rest,
            None => source::Source::prepare(&disk, &wal_dir, &metrics)?,
        };
        let unread = match &image {
            Some(i) => verify::Unread::new(&*disk, &wal_dir, i.start.segment, i.log)?,
            None => verify::Unread::default(),
        };
        let chunk_rules =
            ChunkRules { range_ms: options.min_block_ms.max(1), samples: options.samples_per_chunk.max(4) };
        let place = (Arc::clone(&disk), options.path.clone());
        let waker = image::Waker::new(place, &files, &metrics, chunk_rules);
        let (index, table, restored) = match image {
            Some(mut i) => (std::mem::take(&mut i.index), i.take_table(&waker), i.restored),
            None => (HeadIndex::new(), SeriesTable::default(), image::Restored::default()),
        };
        let rules = LogRules {
            compression: options.wal_compression,
            segment_bytes: options.wal_segment_bytes,
            strict: options.wal_strict,
            hold_bytes: options.wal_hold_bytes,
        };
        let log = Arc::new(Log::open(Arc::clone(&disk), &wal_dir, rules, files.paths())?);
        let head = Arc::new(Head {
            disk,
            wal_dir,
            rules: chunk_rules,
            compression: options.wal_compression,
            index: RwLock::new(index),
            table,
            files,
            log,
            unlogged: Mutex::default(),
            min_time: AtomicI64::new(i64::MAX),
            max_time: AtomicI64::new(i64::MIN),
            min_valid: AtomicI64::new(min_valid),
            exemplars,
            metadata: Mutex::default(),
            tombstones: RwLock::default(),
            wal_expiry: Mutex::default(),
            renamed: Mutex::default(),
            last_wal_truncation: AtomicI64::new(i64::MIN),
            log_threads: Mutex::default(),
            log_turned: AtomicI64::new(i64::MIN),
            log_turns: Mutex::default(),
            isolation: isolation::Isolation::default(),
            gate: limits::Gate::new(options.series_limits.clone(), &options.registry),
            late: late::LateState::new(options, rules),
            metrics,
            buffers: Mutex::default(),
            gc: Mutex::default(),
            applying: RwLock::default(),
            commits: grace::Grace::default(),
            unread: Mutex::new(unread),
            image: image::ImageState::new(&options.path, options.image_log_bytes, &options.registry),
            gone: gone::GoneFile::new(&options.path, gone),
            strict_note,
            stopped: AtomicBool::new(false),
        });
        head.register(&options.registry);
        head.register_limits(&options.registry);
        let late = source::Source::prepare_late(&head.disk, &head.late.dir, &head.metrics)?;
        let late_in_image = restored.tally.late_times.0 <= restored.tally.late_times.1;
        let late_on_disk = !late.is_empty() || !loaded.late.is_empty() || late_in_image;
        head.image.begin(restored.size, replayed.bytes);
        let late_gone = late.gone_to(late_place);
        let done = head.replay(
            replayed,
            (late, late_gone),
            loaded,
            (restored, &waker),
            (&options.progress, threads),
            in_doubt,
        )?;
        if done.unknown && image_used {
            return Ok(None);
        }
        let newest = head.max_time.load(Ordering::Relaxed);
        head.strict_note.after_replay(&*head.disk, &head.wal_dir, min_valid, newest);
        head.files.leave_to_upkeep();
        if let Err(error) = head.take_as_late(done.missing) {
            tracing::warn!(%error, "samples that are kept as late ones are not in the log of these yet; tried again with the next sync");
        }
        head.delete_gone();
        if late_place.is_none()
            && (late_on_disk || options.out_of_order_window_ms > 0)
            && let Err(error) = head.note_late_place(done.late_let_go)
        {
            tracing::warn!(%error, "no note about late samples; the next start goes by their log alone");
        }
        if late_on_disk {
            head.late.open_log()?;
        }
        head.set_late_window(options.out_of_order_window_ms)?;
        Ok(Some(head))
    }

    fn register(self: &Arc<Self>, registry: &telemetry::Registry) {
        let weak = Arc::downgrade(self);
        let gauge = |name: &str, help: &str, read: fn(&Head) -> f64| {
            let weak = weak.clone();
            registry.gauge_fn(name, help, move || weak.upgrade().map_or(0.0, |head| read(&head)));
        };
        gauge("prometheus_tsdb_head_series", "Total number of series in the head block.", |h| {
            h.index.read().len() as f64
        });
        gauge("prometheus_tsdb_head_stale_series", "Total number of stale series in the head block.", |h| {
            h.metrics.stale.load(Ordering::Relaxed) as f64
        });
        gauge("prometheus_tsdb_head_chunks", "Total number of chunks in the head block.", |h| {
            h.metrics.chunks.load(Ordering::Relaxed) as f64
        });
        gauge(
            "prometheus_tsdb_head_active_appenders",
            "Number of currently active appender transactions",
            |h| h.metrics.appenders.load(Ordering::Relaxed) as f64,
        );
        gauge(
            "prometheus_tsdb_head_min_time",
            "Minimum time bound of the head block. The unit is decided by the library consumer.",
            |h| h.min_time() as f64,
        );
        gauge(
            "prometheus_tsdb_head_max_time",
            "Maximum timestamp of the head block. The unit is decided by the library consumer.",
            |h| h.max_time() as f64,
        );
        gauge("prometheus_tsdb_head_min_time_seconds", "Minimum time bound of the head block.", |h| {
            h.min_time() as f64 / 1000.0
        });
        gauge("prometheus_tsdb_head_max_time_seconds", "Maximum timestamp of the head block.", |h| {
            h.max_time() as f64 / 1000.0
        });
        gauge(
            "prometheus_tsdb_wal_segment_current",
            "Write log segment index that TSDB is currently writing to.",
            |h| h.log.segment() as f64,
        );
        gauge(
            "godwit_tsdb_wal_held_bytes",
            "Bytes of log records held in memory as the disk does not take them; 0 while all is well.",
            |h| h.log_status().held_bytes as f64,
        );
        gauge(
            "godwit_tsdb_wal_behind_seconds",
            "How long the oldest commit has waited to be on the disk: below one second on a disk that keeps up.",
            |h| h.log_status().behind_ms as f64 / 1000.0,
        );
        gauge(
            "godwit_tsdb_head_chunks_held_bytes",
            "Bytes of complete head chunks that are in memory and not on disk yet; some MB while all is well.",
            |h| h.files.held().0 as f64,
        );
        let counter = |name: &str, help: &str, read: fn(&Head) -> u64| {
            let weak = weak.clone();
            registry.counter_fn(name, help, move || weak.upgrade().map_or(0.0, |head| read(&head) as f64));
        };
        counter(
            "prometheus_tsdb_wal_writes_failed_total",
            "Total number of write log writes that failed.",
            |h| h.log.status().failed_writes,
        );
        counter(
            "godwit_tsdb_wal_dropped_records_total",
            "Log records that were dropped as memory for what the disk refuses was used up; their samples are lost if the process ends before they are in a block.",
            |h| h.log_status().dropped_records,
        );
        counter(
            "godwit_tsdb_wal_segments_given_up_total",
            "Log segments given up after a failed write or fsync; what they may have lost was written anew.",
            |h| h.log_status().given_up,
        );
        counter(
            "godwit_tsdb_head_chunks_given_up_bytes_total",
            "Bytes of complete head chunks that were given up as memory for what the disk refuses was used up; their samples are missing in queries and in the next block.",
            |h| h.files.held().1,
        );
        gauge(
            "prometheus_tsdb_isolation_low_watermark",
            "The lowest TSDB append ID that is still referenced.",
            |h| h.isolation.watermarks().0 as f64,
        );
        gauge(
            "prometheus_tsdb_isolation_high_watermark",
            "The highest TSDB append ID that has been given out.",
            |h| h.isolation.watermarks().1 as f64,
        );
        for (name, folder) in [
            ("prometheus_tsdb_wal_storage_size_bytes", &self.wal_dir),
            ("prometheus_tsdb_out_of_order_wbl_storage_size_bytes", &self.late.dir),
        ] {
            let size = sizes::FolderSize::new(Arc::clone(&self.disk), folder.clone());
            registry.gauge_fn(name, "Size of the write log directory.", move || size.get() as f64);
        }
        gauge(
            "prometheus_tsdb_out_of_order_wbl_segment_current",
            "Write log segment index that TSDB is currently writing to.",
            |h| h.late.log().map_or(0.0, |log| log.segment() as f64),
        );
        gauge("prometheus_tsdb_head_chunks_storage_size_bytes", "Size of the chunks_head directory.", |h| {
            h.files.size() as f64
        });
    }

    /// Oldest time; `i64::MAX` where empty.
    pub(crate) fn min_time(&self) -> i64 {
        self.min_time.load(Ordering::Acquire)
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The log of late samples, once there could be one.
    pub(crate) fn late_log(&self) -> Option<&Arc<Log>> {
        self.late.log()
    }

    /// Newest time; `i64::MIN` where empty.
    pub(crate) fn max_time(&self) -> i64 {
        self.max_time.load(Ordering::Acquire)
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.min_time() != i64::MAX
    }

    /// The first sample of an empty head sets its bounds, at any age.
    fn init_time(&self, t: i64) {
        let _ = self.max_time.compare_exchange(i64::MIN, t, Ordering::AcqRel, Ordering::Acquire);
        let _ = self.min_time.compare_exchange(i64::MAX, t, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Samples before this are refused: blocks have it, or will have it before they would be written.
    fn appendable_min_valid(&self) -> i64 {
        let window = self.max_time().saturating_sub(self.rules.range_ms / 2);
        window.max(self.min_valid.load(Ordering::Acquire))
    }

    fn widen(&self, min: i64, max: i64) {
        self.min_time.fetch_min(min, Ordering::AcqRel);
        self.max_time.fetch_max(max, Ordering::AcqRel);
    }

    /// Whether enough time is in the head for a block and the half that stays behind it.
    pub(crate) fn is_compactable(&self) -> bool {
        !self.lost_pages()
            && self.is_initialized()
            && self.max_time().saturating_sub(self.min_time()) > self.rules.range_ms / 2 * 3
    }

    /// Whether the logs have series that memory lost. No block is cut then, no image written, nothing removed
    /// from the logs: the next start has to find it all.
    fn lost_pages(&self) -> bool {
        self.metrics.lost_pages.load(Ordering::Acquire)
    }

    fn pairs_of(&self, series: u64, out: &mut Vec<u32>) -> bool {
        self.table.with(series, |page, slot| out.extend_from_slice(page.pairs(slot))).is_some()
    }

    fn get_or_create(&self, labels: &Labels, outranks: bool) -> Result<u64, AppendError> {
        if labels.is_empty() {
            return Err(AppendError::InvalidLabels("empty labelset".to_string()));
        }
        let hash = labels.hash();
        if let Some(found) = self.index.read().find(hash, labels, &|s, out| self.pairs_of(s, out)) {
            return Ok(found);
        }
        if let Some(refusal) = self.gate.refuses(outranks) {
            self.note_refused(labels, 1);
            return Err(refusal);
        }
        let mut index = self.index.write();
        if let Some(found) = index.find(hash, labels, &|s, out| self.pairs_of(s, out)) {
            return Ok(found);
        }
        if let Err(refusal) = self.gate.admit(&index, labels, outranks) {
            drop(index);
            self.note_refused(labels, 1);
            return Err(refusal);
        }
        self.gate.note_created(&index, labels);
        let (series, pairs) = index
            .add(hash, labels, None)
            .ok_or_else(|| AppendError::SeriesLimit("series numbers are used up; restart".into()))?;
        self.table.insert(series, &pairs);
        let unlogged = {
            let mut unlogged = self.unlogged.lock();
            unlogged.push(SeriesRecord { series, labels: labels.clone() });
            unlogged.len()
        };
        drop(index);
        self.metrics.series_created.inc();
        if unlogged >= UNLOGGED_SERIES_MAX {
            // The commit tries again where this fails, and says so.
            let _ = self.log_series();
        }
        Ok(series)
    }

    /// Writes what is made but not logged yet to the log.
    fn log_series(&self) -> DiskResult<()> {
        self.begin_log(std::iter::empty()).map(|ticket| self.log.wait(&ticket))
    }

    /// Begins to log what is made but not logged yet, and records behind it.
    fn begin_log<'r>(&self, rest: impl Iterator<Item = (&'r [u8], u8)> + Clone) -> DiskResult<Ticket> {
        let mut new_series = Vec::new();
        let first = || {
            new_series = std::mem::take(&mut *self.unlogged.lock());
            let mut record = Vec::new();
            if !new_series.is_empty() {
                record::encode_series(&mut record, &new_series);
            }
            record
        };
        let done = self.log.begin(first, rest);
        if done.is_err() {
            // The next commit tries these again, before whatever it brings.
            self.unlogged.lock().splice(0..0, new_series);
        }
        done
    }

    /// The labels of a series.
    /// Numbers of the series that match, ascending.
    fn select_numbers(&self, ctx: &QueryContext, matchers: &[Matcher]) -> Result<Vec<u64>, StorageError> {
        let pairs_of = |series: u64, out: &mut Vec<u32>| {
            self.table.with(series, |page, slot| out.extend_from_slice(page.pairs(slot))).is_some()
        };
        self.index.read().select(ctx, matchers, &pairs_of)
    }

    fn labels_of(&self, series: u64) -> Option<Labels> {
        let index = self.index.read();
        self.table.with(series, |page, slot| index.labels(page.pairs(slot)))
    }

    /// What the logs are like, taken together.
    pub(crate) fn log_status(&self) -> LogStatus {
        self.log.status() + self.late.log().map_or_else(LogStatus::default, |log| log.status())
    }

    /// Makes the log durable.
    pub(crate) fn sync(&self) -> DiskResult<()> {
        let began = std::time::Instant::now();
        let done = self.log.sync();
        if !matches!(done, Ok(false)) {
            self.metrics.wal_fsync_seconds.observe(began.elapsed().as_secs_f64());
        }
        let done = done.map(|_| ()).and(self.late.sync()).and_then(|()| self.settle_gone());
        // Behind the logs, which are what was promised.
        self.files.flush_full();
        done
    }

    /// What series of a page make chunks with.
    fn sink<'a>(&'a self, blocks: &'a mut open::Blocks) -> series::ChunkSink<'a> {
        series::ChunkSink { rules: &self.rules, files: &self.files, blocks }
    }

    fn has_log_threads(&self) -> bool {
        !self.log_threads.lock().is_empty()
    }

    /// From here on threads write what commits log, so that none of them waits for the disk for long.
    pub(crate) fn spawn_log_threads(&self) {
        let mut threads = self.log_threads.lock();
        for log in std::iter::once(&self.log).chain(self.late.log()).skip(threads.len()) {
            match log.spawn_writer() {
                Ok(thread) => threads.push(thread),
                Err(e) => {
                    tracing::error!(error = %e, "cannot start a thread; commits write the log themselves");
                    return;
                }
            }
        }
    }

    /// Wakes what a start from an image left asleep, a page after the other, with a pause behind each that is as
    /// long as it took, until `go_on` says no.
    pub(crate) fn wake(&self, go_on: &mut dyn FnMut() -> bool) {
        let pages = self.table.all();
        let wakes: [(usize, &dyn Fn(usize)); 2] = [
            (pages.len(), &|n| drop(pages.get(n).map(|p| p.lock()))),
            (index::SHARDS, &|n| self.index.write().wake(n)),
        ];
        for (count, wake) in wakes {
            for n in 0..count {
                let began = std::time::Instant::now();
                wake(n);
                let took = began.elapsed();
                if took > WAKE_NOTED {
                    std::thread::sleep(took);
                    if !go_on() {
                        return;
                    }
                }
            }
        }
    }

    /// Hands complete chunks to the system.
    pub(crate) fn flush_chunks(&self) {
        self.files.flush();
    }

    /// Refuses what comes, writes out what is there.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        self.stopped.store(true, Ordering::Release);
        self.files.flush();
        let done = self.sync();
        self.log_threads.lock().clear();
        Ok(done?)
    }

    /// Bytes of the log.
    pub(crate) fn wal_size(&self) -> u64 {
        dir_size(&*self.disk, &self.wal_dir)
    }

    /// Bytes of log and head chunks.
    pub(crate) fn disk_size(&self) -> u64 {
        self.wal_size() + dir_size(&*self.disk, &self.late.dir) + self.files.size()
    }

    fn wal_segments(&self) -> DiskResult<Vec<u64>> {
        segments(&*self.disk, &self.wal_dir)
    }
}

fn dir_size(disk: &dyn Disk, dir: &Path) -> u64 {
    let Ok(entries) = disk.list(dir) else { return 0 };
    let size = |e: &crate::disk::DirEntry| {
        let path = dir.join(&e.name);
        if e.is_dir { dir_size(disk, &path) } else { disk.size(&path).unwrap_or(0) }
    };
    entries.iter().map(size).sum()
}
