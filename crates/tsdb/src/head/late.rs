//! Late samples of the whole head: which are taken, their own log (upstream's WBL, the folder `wbl`), and
//! what of them goes into blocks.
//!
//! The log's rule: a marker says that all samples of a series before it are in chunks on disk. So that this
//! is true whoever commits beside us, late samples are logged, put in place and marked under the log's lock,
//! and behind its markers a series' samples that are in no chunk are logged once more.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use storage::{AppendError, SampleBuf, StorageError};

use super::Head;
use super::mapped::OooChunk;
use super::ooo::{Inserted, LateSample, LateValue, Part};
use super::table::PageInner;
use crate::chunkenc;
use crate::db::DbOptions;
use crate::disk::{Disk, DiskResult};
use crate::wal::record::{self, HistogramRecord, MmapMarkerRecord, SampleRecord, histogram_type};
use crate::wal::{Log, LogRules, RecordCompressor, segment_path, segments};

/// How often a cut begins a segment in the hope that no commit comes between: each costs an empty file.
const FENCE_TRIES: usize = 3;
/// Folder of the log of late samples within the data folder.
const WBL_DIR: &str = "wbl";

/// What a head knows of late samples.
pub(super) struct LateState {
    window_ms: AtomicI64,
    /// Samples of any age have been asked for: late ones may come though the window is 0.
    any_age: AtomicBool,
    /// Late samples were taken since the start, or are on disk from before.
    used: AtomicBool,
    min_time: AtomicI64,
    max_time: AtomicI64,
    /// Blocks that readers know have chunks up to this place; they stay for readers from before.
    in_blocks: AtomicU64,
    pub(super) dir: PathBuf,
    disk: Arc<dyn Disk>,
    rules: LogRules,
    log: OnceLock<Arc<Log>>,
    /// Held by a commit while its late samples are logged, put in place and marked; never for an fsync.
    order: Mutex<RecordCompressor>,
    /// Records of samples that a start made late ones, while this log does not take them. The log of all
    /// samples has them still, so that is not cut, and no image of the head is written.
    unlogged: Mutex<Vec<Vec<u8>>>,
}

/// The right to be the next one in the log of late samples.
pub(super) type LogGuard<'a> = MutexGuard<'a, RecordCompressor>;

/// What a commit did with late samples.
#[derive(Default)]
pub(super) struct LateWork {
    /// Such as were not known to be late when they were logged.
    floats: Vec<SampleRecord>,
    histograms: Vec<HistogramRecord>,
    /// Chunks that were written on the way.
    written: Vec<(u64, u64)>,
    /// Stored, floats and histograms.
    pub(super) stored: [u64; 2],
    /// Repetitions of newest late ones.
    pub(super) repeated: u64,
    /// Chunks begun.
    pub(super) chunks: u64,
}

/// What of a head's late samples goes into blocks now.
pub(crate) struct LateCut {
    /// Chunks by series.
    pub(super) chunks: HashMap<u64, Vec<OooChunk>>,
    /// First and last time.
    pub(crate) range: (i64, i64),
    /// Segments of the log before this one have nothing else, and commits to it up to the number.
    pub(super) logged: Option<(u64, u64)>,
    /// Chunks up to here are in it.
    place: u64,
}

impl LateState {
    pub(super) fn new(options: &DbOptions, rules: LogRules) -> Self {
        LateState {
            window_ms: AtomicI64::new(0),
            any_age: AtomicBool::new(false),
            used: AtomicBool::new(false),
            min_time: AtomicI64::new(i64::MAX),
            max_time: AtomicI64::new(i64::MIN),
            in_blocks: AtomicU64::new(0),
            dir: options.path.join(WBL_DIR),
            disk: Arc::clone(&options.disk),
            rules,
            log: OnceLock::new(),
            order: Mutex::new(RecordCompressor::new(rules.compression)),
            unlogged: Mutex::default(),
        }
    }

    /// The window in force, 0 where late samples are refused.
    pub(super) fn window_ms(&self) -> i64 {
        self.window_ms.load(Ordering::Acquire)
    }

    /// Opens the log behind what is there.
    pub(super) fn open_log(&self) -> DiskResult<()> {
        let _one_at_a_time = self.order.lock();
        if self.log.get().is_none() {
            let opened = Log::open(Arc::clone(&self.disk), &self.dir, self.rules, Vec::new())?;
            // Nobody else sets it: the lock is ours.
            let _ = self.log.set(Arc::new(opened));
        }
        self.used.store(true, Ordering::Release);
        Ok(())
    }

    /// The log, once a late sample could come.
    pub(super) fn log(&self) -> Option<&Arc<Log>> {
        self.log.get()
    }

    /// Makes it durable.
    pub(super) fn sync(&self) -> DiskResult<()> {
        self.log_unlogged()?;
        self.log.get().map_or(Ok(()), |log| log.sync().map(|_| ()))
    }

    /// Whether samples are in memory as late ones that their log does not have.
    pub(super) fn has_unlogged(&self) -> bool {
        !self.unlogged.lock().is_empty()
    }

    /// Tries once more to log what a start made late ones.
    fn log_unlogged(&self) -> DiskResult<()> {
        if !self.has_unlogged() {
            return Ok(());
        }
        self.open_log()?;
        let mut order = self.order.lock();
        let mut records = self.unlogged.lock();
        write(self.log(), &mut order, &records)?;
        records.clear();
        Ok(())
    }

    pub(super) fn lock_log(&self) -> LogGuard<'_> {
        self.order.lock()
    }

    pub(super) fn widen(&self, min: i64, max: i64) {
        self.min_time.fetch_min(min, Ordering::AcqRel);
        self.max_time.fetch_max(max, Ordering::AcqRel);
    }

    /// Chunks up to this place are in blocks that a reader knows who begins now.
    pub(super) fn in_blocks(&self) -> u64 {
        self.in_blocks.load(Ordering::Acquire)
    }

    /// Whether a late sample may lie within [mint, maxt].
    pub(super) fn overlaps(&self, mint: i64, maxt: i64) -> bool {
        self.min_time.load(Ordering::Acquire) <= maxt && self.max_time.load(Ordering::Acquire) >= mint
    }
}

/// What decides about a transaction's samples, taken when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Oldest time taken in order.
    pub(super) min_valid: i64,
    /// Oldest time taken late; `None` where none is.
    late_from: Option<i64>,
    head_max: i64,
}

impl Bounds {
    pub(super) fn of(head: &Head) -> Self {
        let (head_max, window) = (head.max_time(), head.late.window_ms());
        Bounds {
            min_valid: head.appendable_min_valid(),
            late_from: (window > 0).then(|| head_max.saturating_sub(window)),
            head_max,
        }
    }

    /// The same with no oldest time.
    pub(super) fn of_any_age(self) -> Self {
        Bounds { late_from: Some(i64::MIN), ..self }
    }

    /// Whether older samples than `min_valid` need no look at their series.
    pub(super) fn refuses_early(&self, t: i64) -> bool {
        self.late_from.is_none() && t < self.min_valid
    }

    /// Whether a sample that cannot come in order may come late.
    pub(super) fn late(&self, t: i64, refused: AppendError) -> Result<(), AppendError> {
        match (&refused, self.late_from) {
            (AppendError::OutOfBounds | AppendError::OutOfOrder, Some(from)) if t >= from => Ok(()),
            (AppendError::OutOfBounds | AppendError::OutOfOrder, Some(_)) => Err(AppendError::TooOld),
            _ => Err(refused),
        }
    }

    /// Seconds behind the newest sample of all, where it is behind.
    pub(super) fn delta_seconds(&self, t: i64) -> Option<f64> {
        let delta = self.head_max.saturating_sub(t);
        (self.head_max > i64::MIN && delta > 0).then_some(delta as f64 / 1000.0)
    }
}

impl LateWork {
    /// Adds a late sample to its series; `logged` where it is in the log of late samples already.
    pub(super) fn insert(
        &mut self,
        head: &Head,
        inner: &mut PageInner,
        series: u64,
        t_ms: i64,
        value: LateValue,
        logged: bool,
    ) -> Inserted {
        // A staleness marker becomes one of the series' kind.
        let value = match (value, inner.get(series)) {
            (LateValue::Float(v), Some(slot)) if model::is_stale_nan(v) && slot.is_histogram() => {
                LateValue::Histogram(slot.stale_histogram(v))
            }
            (value, _) => value,
        };
        let kind = usize::from(matches!(value, LateValue::Histogram(_)));
        let Some(late) = inner.late_mut(series) else { return Inserted::default() };
        let mut written = Vec::new();
        let done = late.insert(series, LateSample { t_ms, value: value.clone() }, &head.files, &mut written);
        self.written.extend(written.iter().map(|c| (series, c.place())));
        self.chunks += u64::from(done.begun);
        if !done.stored {
            self.repeated += 1;
            return done;
        }
        head.late.widen(t_ms, t_ms);
        if let Some(n) = self.stored.get_mut(kind) {
            *n += 1;
        }
        if !logged {
            match value {
                LateValue::Float(value) => {
                    self.floats.push(SampleRecord { series, start_ms: 0, t_ms, value });
                }
                LateValue::Histogram(value) => {
                    self.histograms.push(HistogramRecord { series, start_ms: 0, t_ms, value });
                }
            }
        }
        done
    }
}

fn encode_all(floats: &[SampleRecord], histograms: &[HistogramRecord], out: &mut Vec<Vec<u8>>) {
    if !floats.is_empty() {
        let mut bytes = Vec::new();
        record::encode_samples(&mut bytes, floats);
        out.push(bytes);
    }
    for run in histograms.chunk_by(|a, b| histogram_type(a) == histogram_type(b)) {
        if let Some(first) = run.first() {
            let mut bytes = Vec::new();
            record::encode_histograms(&mut bytes, histogram_type(first), run);
            out.push(bytes);
        }
    }
}

fn write(log: Option<&Arc<Log>>, compressor: &mut LogGuard<'_>, records: &[Vec<u8>]) -> DiskResult<()> {
    let Some(log) = log.filter(|_| !records.is_empty()) else { return Ok(()) };
    let packed: Vec<(Vec<u8>, u8)> = records
        .iter()
        .map(|r| {
            let (data, flag) = compressor.compress(r);
            (data.to_vec(), flag)
        })
        .collect();
    log.append(Vec::new, packed.iter().map(|(data, flag)| (data.as_slice(), *flag)))
}

impl Head {
    /// Opens the log of late samples where there was none.
    pub(super) fn open_late_log(&self) -> DiskResult<()> {
        if self.late.log().is_none() {
            self.late.open_log()?;
            if self.has_log_threads() {
                self.spawn_log_threads();
            }
        }
        Ok(())
    }

    /// Late samples of any age may come from here on.
    pub(super) fn expect_any_age(&self) -> DiskResult<()> {
        self.late.any_age.store(true, Ordering::Release);
        self.open_late_log()
    }

    /// Changes the window. Opens the log of late samples where there was none.
    pub(crate) fn set_late_window(&self, window_ms: i64) -> Result<(), StorageError> {
        if window_ms > 0 {
            self.open_late_log()?;
        }
        self.late.window_ms.store(window_ms.max(0), Ordering::Release);
        Ok(())
    }

    /// Takes samples as late ones that were acknowledged before the start and cannot be put back in order. What
    /// their log does not take now it gets with a later sync.
    pub(super) fn take_as_late(&self, missing: Vec<(u64, SampleBuf)>) -> Result<(), StorageError> {
        if missing.is_empty() {
            return Ok(());
        }
        // Whatever the disk says: they go into blocks from memory.
        self.late.used.store(true, Ordering::Release);
        let mut work = LateWork::default();
        for (series, samples) in &missing {
            let Some(page) = self.table.page(*series) else { continue };
            for (i, t) in samples.times.iter().enumerate() {
                let value = match samples.histogram_at(i) {
                    Some(h) => LateValue::Histogram(h.clone()),
                    None => LateValue::Float(samples.values.get(i).copied().unwrap_or_default()),
                };
                work.insert(self, &mut page.lock(), *series, *t, value, false);
            }
        }
        self.metrics.chunks.fetch_add(work.chunks as i64, Ordering::Relaxed);
        let samples = work.stored.iter().sum::<u64>();
        tracing::warn!(
            samples,
            "the log has samples behind newer ones of a commit that failed; they are kept as late ones"
        );
        let mut records = Vec::new();
        encode_all(&work.floats, &work.histograms, &mut records);
        *self.late.unlogged.lock() = records;
        self.late.log_unlogged()?;
        (work.floats, work.histograms) = Default::default();
        self.finish_late(None, work)
    }

    /// Whether late samples may be in the head.
    pub(crate) fn has_late(&self) -> bool {
        self.late.used.load(Ordering::Acquire)
    }

    /// Whether a late sample may lie within [mint, maxt].
    pub(crate) fn late_overlaps(&self, mint: i64, maxt: i64) -> bool {
        self.late.overlaps(mint, maxt)
    }

    /// Logs samples that are known to be late. The lock is kept until they are in place and marked.
    pub(super) fn log_late(
        &self,
        floats: &[SampleRecord],
        histograms: &[HistogramRecord],
    ) -> Result<LogGuard<'_>, StorageError> {
        let mut log = self.late.lock_log();
        let mut records = Vec::new();
        encode_all(floats, histograms, &mut records);
        write(self.late.log(), &mut log, &records)?;
        Ok(log)
    }

    /// Logs what a commit found to be late on the way, and marks chunks that it wrote.
    pub(super) fn finish_late(&self, log: Option<LogGuard<'_>>, work: LateWork) -> Result<(), StorageError> {
        if work.floats.is_empty() && work.histograms.is_empty() && work.written.is_empty() {
            return Ok(());
        }
        let mut log = log.unwrap_or_else(|| self.late.lock_log());
        let mut records = Vec::new();
        encode_all(&work.floats, &work.histograms, &mut records);
        if !work.written.is_empty() {
            let marker = |(series, chunk): &(u64, u64)| MmapMarkerRecord { series: *series, chunk: *chunk };
            let markers: Vec<MmapMarkerRecord> = work.written.iter().map(marker).collect();
            let mut bytes = Vec::new();
            record::encode_mmap_markers(&mut bytes, &markers);
            records.push(bytes);
            let (mut floats, mut histograms) = (Vec::new(), Vec::new());
            let mut series: Vec<u64> = work.written.iter().map(|(series, _)| *series).collect();
            series.sort_unstable();
            series.dedup();
            for series in series {
                self.table.with(series, |page, _| {
                    for s in page.late(series).into_iter().flat_map(|l| l.open()) {
                        let (start_ms, t_ms) = (0, s.t_ms);
                        match &s.value {
                            LateValue::Float(v) => {
                                floats.push(SampleRecord { series, start_ms, t_ms, value: *v });
                            }
                            LateValue::Histogram(h) => {
                                histograms.push(HistogramRecord { series, start_ms, t_ms, value: h.clone() });
                            }
                        }
                    }
                });
            }
            encode_all(&floats, &histograms, &mut records);
        }
        write(self.late.log(), &mut log, &records)?;
        Ok(())
    }

    /// Late parts of a series within [mint, maxt], but for chunks up to the place `in_blocks`.
    pub(super) fn late_parts(
        &self,
        series: u64,
        in_blocks: u64,
        (mint, maxt): (i64, i64),
        out: &mut Vec<Part>,
    ) -> Result<(), StorageError> {
        let mut chunks: Vec<OooChunk> = Vec::new();
        self.table.with(series, |page, _| {
            let Some(late) = page.late(series) else { return };
            let fresh = late.mapped.iter().filter(|c| c.place() > in_blocks);
            chunks.extend(fresh.filter(|c| c.min_time <= maxt && c.max_time >= mint));
            if let Some(samples) = late.copy_open(mint, maxt) {
                let begin = late.open().first().map_or(0, |s| s.t_ms);
                out.push(Part { begin, late: true, samples });
            }
        });
        for chunk in &chunks {
            out.push(self.late_part(series, chunk, mint, maxt)?);
        }
        Ok(())
    }

    fn late_part(&self, series: u64, chunk: &OooChunk, mint: i64, maxt: i64) -> Result<Part, StorageError> {
        let mut bytes = Vec::new();
        let there = self.files.read(&chunk.chunk, &mut bytes)?;
        let mut samples = SampleBuf::default();
        if let Some(encoding) = chunk.chunk.encoding().filter(|_| there) {
            chunkenc::decode(encoding, &bytes, mint, maxt, &mut samples)
                .map_err(|e| super::read::corrupt(series, &e))?;
        }
        Ok(Part { begin: chunk.min_time, late: true, samples })
    }

    /// Begins a segment of the log of late samples such that all before it is in place and nothing behind it is;
    /// that holds as long as the lock is kept. A sample that is in a cut and in a segment behind it would come
    /// back with a start, though it may be deleted from the cut's blocks by then.
    ///
    /// A commit that found a sample late only when it put it in place logs it afterwards: this little is left.
    fn fence_late(&self) -> Result<(Option<(u64, u64)>, LogGuard<'_>), StorageError> {
        let Some(log) = self.late.log() else { return Ok((None, self.late.lock_log())) };
        for _ in 0..FENCE_TRIES {
            // Not under the lock: a disk that hangs here would hold up all commits of late samples.
            let fence = log.next_segment()?;
            let lock = self.late.lock_log();
            if log.commits() == fence.1 {
                return Ok((Some(fence), lock));
            }
        }
        // They come faster than segments begin: one of them waits.
        let lock = self.late.lock_log();
        Ok((Some(log.next_segment()?), lock))
    }

    /// Makes all late samples chunks, and takes down what no block has. `None` where there is nothing. Commits of
    /// late samples wait meanwhile.
    pub(crate) fn begin_late_cut(&self) -> Result<Option<LateCut>, StorageError> {
        let (logged, _lock) = self.fence_late()?;
        let mut cut = LateCut { chunks: HashMap::new(), range: (i64::MAX, i64::MIN), logged, place: 0 };
        let in_blocks = self.late.in_blocks();
        let mut written = Vec::new();
        for page in self.table.all() {
            for (series, late) in page.lock().late_series(page.base) {
                late.write_open(series, &self.files, &mut written);
                let fresh = late.mapped.iter().filter(|c| c.place() > in_blocks);
                let fresh: Vec<OooChunk> = fresh.copied().collect();
                for c in &fresh {
                    cut.range = (cut.range.0.min(c.min_time), cut.range.1.max(c.max_time));
                    cut.place = cut.place.max(c.place());
                }
                if !fresh.is_empty() {
                    cut.chunks.insert(series, fresh);
                }
            }
        }
        // Every page is awake now. What a cut drops from the log it must have seen.
        if self.lost_pages() {
            return Err(StorageError::Other(
                "a page of the head image cannot be used, so late samples stay in the log as they are: restart first"
                    .to_string(),
            ));
        }
        Ok(Some(cut).filter(|c| !c.chunks.is_empty()))
    }

    /// A series' late samples of a cut within [mint, maxt], sorted, each time once.
    pub(super) fn late_samples(
        &self,
        cut: &LateCut,
        series: u64,
        mint: i64,
        maxt: i64,
    ) -> Result<SampleBuf, StorageError> {
        let mut parts = Vec::new();
        let chunks = cut.chunks.get(&series).map_or(&[][..], |c| c);
        for chunk in chunks.iter().filter(|c| c.min_time <= maxt && c.max_time >= mint) {
            parts.push(self.late_part(series, chunk, mint, maxt)?);
        }
        let mut out = SampleBuf::default();
        super::ooo::merge(parts, &mut out)?;
        Ok(out)
    }

    /// Number that the next reader will have.
    pub(crate) fn next_reader(&self) -> u64 {
        self.isolation.next_reader()
    }

    /// Sends readers who begin from here on to the blocks of a cut, which they must know. Gives the number
    /// of the first one.
    pub(crate) fn publish_late_cut(&self, cut: &LateCut) -> u64 {
        self.late.in_blocks.fetch_max(cut.place, Ordering::AcqRel);
        self.next_reader()
    }

    /// Removes what blocks have now from the log of late samples. Readers need none of it: what they have of a
    /// cut is in chunks, which are not to come back with a start.
    pub(crate) fn drop_late_log(&self, cut: &LateCut) -> DiskResult<()> {
        self.late.unlogged.lock().clear();
        if let (Some(log), Some((_, commits))) = (self.late.log(), cut.logged) {
            log.forget(commits);
        }
        self.note_late_place(cut.place)?;
        let Some((end, _)) = cut.logged else { return Ok(()) };
        for segment in segments(&*self.disk, &self.late.dir)?.into_iter().filter(|s| *s < end) {
            self.disk.remove_file(&segment_path(&self.late.dir, segment))?;
        }
        // One that a power cut brings back would bring back what is deleted from the blocks meanwhile.
        self.disk.sync_dir(&self.late.dir)
    }

    /// Lets go of what a cut has, which blocks hold now; false where a reader from before `reader` is left.
    pub(crate) fn finish_late_cut(&self, cut: &LateCut, reader: u64) -> bool {
        let Some(_one_at_a_time) = self.gc.try_lock() else { return false };
        if self.isolation.has_readers_below(reader) {
            return false;
        }
        let mut dropped = 0;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for page in self.table.all() {
            let mut inner = page.lock();
            for (_, late) in inner.late_series(page.base) {
                let before = late.mapped.len();
                late.mapped.retain(|c| c.place() > cut.place);
                late.mapped.shrink_to_fit();
                dropped += before - late.mapped.len();
                if let Some((a, b)) = late.range(0) {
                    (min, max) = (min.min(a), max.max(b));
                }
            }
            inner.forget_empty_late();
        }
        // Such as came while this looked have widened the range already; it may only be too wide.
        if min > max && self.late.window_ms() == 0 && !self.late.any_age.load(Ordering::Acquire) {
            self.late.min_time.store(i64::MAX, Ordering::Release);
            self.late.max_time.store(i64::MIN, Ordering::Release);
        }
        self.metrics.chunks_removed.add(dropped as f64);
        self.metrics.chunks.fetch_sub(dropped as i64, Ordering::Relaxed);
        true
    }
}
