//! What a database is opened with. Defaults are upstream's (`tsdb/db.go`, `cmd/prometheus`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::clock::{Clock, SystemClock};

use super::stale::StaleRules;
use crate::compact::Recode;
use crate::disk::{Disk, RealDisk};
use crate::head::SeriesLimits;

/// Two hours, the range of a fresh block.
pub const BLOCK_MS_DEFAULT: i64 = 2 * 3_600_000;
/// 128 MiB, the size of a log segment.
pub const WAL_SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
/// 256 MiB of compressed log records, 2 to 3 bytes a sample: three hours of a server with 100,000 series at
/// 15 seconds.
pub const WAL_HOLD_BYTES_DEFAULT: u64 = 256 << 20;
/// 32 MiB a minute: 45 GB a day, for 0.3 % of a core.
pub const SCRUB_BYTES_DEFAULT: u64 = 32 << 20;
/// 1 GiB a minute: a block of 100 GB once in 100 minutes, at a twentieth of what a common disk writes.
pub const KEEP_BYTES_DEFAULT: u64 = 1 << 30;
/// 4 MiB of log: no image of the head for less. Half a million samples, which are replayed in some 20 ms.
pub const IMAGE_LOG_BYTES: u64 = 4 << 20;
/// Samples that a float chunk aims at.
pub const SAMPLES_PER_CHUNK_DEFAULT: u32 = 120;

/// Compression of log records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalCompression {
    /// Bytes as they are.
    None,
    /// Snappy's block format.
    #[default]
    Snappy,
    /// Zstandard.
    Zstd,
}

/// How long blocks are kept. 0 switches a limit off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retention {
    /// Milliseconds behind the newest block's end.
    pub duration_ms: i64,
    /// Bytes of blocks, log and head chunks together.
    pub size_bytes: u64,
    /// Percent of the file system's size (0 to 100); prevails over `size_bytes` where both are set.
    pub percentage: f64,
}

/// How far the replay is; shared with status pages while [`super::Db::open`] runs.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    first: AtomicU64,
    last: AtomicU64,
    current: AtomicU64,
}

impl ReplayProgress {
    pub(crate) fn begin(&self, first: u64, last: u64) {
        self.first.store(first, Ordering::Relaxed);
        self.current.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }
    pub(crate) fn reached(&self, segment: u64) {
        self.current.store(segment, Ordering::Relaxed);
    }
    /// First, last and current segment.
    #[must_use]
    pub fn get(&self) -> (u64, u64, u64) {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (read(&self.first), read(&self.last), read(&self.current))
    }
}

/// Options of a database.
#[derive(Clone, Debug)]
pub struct DbOptions {
    /// Data folder; made where absent.
    pub path: PathBuf,
    /// File system.
    pub disk: Arc<dyn Disk>,
    /// Registry for `prometheus_tsdb_*`.
    pub registry: telemetry::Registry,
    /// Retention of blocks.
    pub retention: Retention,
    /// Compression of log records.
    pub wal_compression: WalCompression,
    /// Size of a log segment in bytes, rounded to 32 KiB pages; at least two pages.
    pub wal_segment_bytes: u64,
    /// True: a commit returns when its records are synced, and fails where they cannot be. False: they are
    /// synced by the next [`super::Db::sync`], within a second.
    pub wal_strict: bool,
    /// Bytes of log records held in memory while the disk refuses them.
    pub wal_hold_bytes: u64,
    /// The head's image, from which a start goes on, is not written for less log than this; 0 (the default)
    /// switches it off. Off until damage in the part of the log that such a start does not read is looked for
    /// in the background: the simulator (`GODWIT_SIM_IMAGES=1`, seed 76) loses samples to a damaged series
    /// record there.
    pub image_log_bytes: u64,
    /// Bytes of blocks that each round of upkeep (a minute) reads again to find damage; 0 switches it off.
    pub scrub_bytes: u64,
    /// How compactions encode floats; `None` leaves chunks as they are.
    pub recode: Option<Recode>,
    /// Bytes of blocks that each minute may write anew because some of their series are beyond their own
    /// retention (see [`super::Db::set_keep_rules`]).
    pub keep_bytes: u64,
    /// Range of a fresh block in milliseconds.
    pub min_block_ms: i64,
    /// Largest range that compaction makes, in milliseconds.
    pub max_block_ms: i64,
    /// Samples that a float chunk aims at.
    pub samples_per_chunk: u32,
    /// Exemplars kept in memory; 0 switches them off.
    pub exemplars_max: usize,
    /// When series that ended leave memory early; `None`: with the others.
    pub stale: Option<StaleRules>,
    /// Limits on series in memory.
    pub series_limits: SeriesLimits,
    /// How far behind the newest sample others are taken, in milliseconds; 0 switches it off.
    pub out_of_order_window_ms: i64,
    /// A JSON file whose list `uploaded` names blocks that were copied elsewhere: fresh blocks that it does not
    /// name are not compacted yet.
    pub delay_compact_file: Option<PathBuf>,
    /// False: no `lock` file.
    pub lockfile: bool,
    /// Where `open` says how far it is.
    pub progress: Arc<ReplayProgress>,
    /// For simulators: everything happens on the caller's thread, and names of blocks come from this seed.
    pub simulated: Option<u64>,
    /// Wall clock (for retention of what has no newer data beside it, and figures).
    pub clock: Clocks,
}

/// A clock that can be printed in `Debug`.
#[derive(Clone)]
pub struct Clocks(pub Arc<dyn Clock>);

impl std::fmt::Debug for Clocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl DbOptions {
    /// Defaults for a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        DbOptions {
            path: path.into(),
            disk: Arc::new(RealDisk),
            registry: telemetry::Registry::new(),
            retention: Retention { duration_ms: 15 * 24 * 3_600_000, ..Retention::default() },
            wal_compression: WalCompression::default(),
            wal_segment_bytes: WAL_SEGMENT_BYTES_DEFAULT,
            wal_strict: false,
            wal_hold_bytes: WAL_HOLD_BYTES_DEFAULT,
            image_log_bytes: 0,
            scrub_bytes: SCRUB_BYTES_DEFAULT,
            recode: None,
            keep_bytes: KEEP_BYTES_DEFAULT,
            min_block_ms: BLOCK_MS_DEFAULT,
            max_block_ms: BLOCK_MS_DEFAULT,
            samples_per_chunk: SAMPLES_PER_CHUNK_DEFAULT,
            exemplars_max: 0,
            stale: Some(StaleRules::default()),
            series_limits: SeriesLimits::default(),
            out_of_order_window_ms: 0,
            delay_compact_file: None,
            lockfile: true,
            progress: Arc::default(),
            simulated: None,
            clock: Clocks(Arc::new(SystemClock)),
        }
    }
}
