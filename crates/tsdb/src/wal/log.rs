//! The log's end that commits use: a writer that outlives what a disk does to it.
//!
//! Three promises. What a commit gave is in the file before it returns, so that a kill loses nothing. What
//! was written is synced by the next [`Log::sync`]; until then a copy stays here, because a failed fsync
//! drops dirty pages and the next one succeeds without them: the segment is given up then, and the copy
//! goes to a new one. And where the disk refuses (full, broken, hanging), records are held in memory within
//! a budget, in order, and written as soon as it takes them again; beyond the budget the oldest samples go,
//! which is counted and named, but never a series' record, without which later samples would be lost too.
//!
//! Rejected: writing the head anew after a failure. It needs no copy, but costs seconds of CPU and a second
//! log's room at the moment when the disk is in trouble; the copy costs one memcpy a commit of bytes that
//! are compressed already.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::durable::{Known, NOTHING, Note};
use super::segment::{segment_path, segments};
use super::writer::Suspect;
use super::{RecordCompressor, WalCompression, WalWriter};
use crate::disk::{Disk, DiskError, DiskResult, WriteMode};

/// How long a commit waits for another one's write: above any write into the page cache, and short against
/// a scrape interval. Only the first commit after a disk began to hang waits; the others see that it does.
const PATIENCE: Duration = Duration::from_millis(500);
/// Copies of what is written and not synced. A second of a million samples is 3 MB; this is a disk that
/// hangs for 20 seconds at that rate. What is beyond is in the file, but lost where its fsync fails.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;
/// Where few were used, a buffer above this is given back.
const UNSYNCED_BYTES_KEPT: usize = 4 << 20;

/// Records one behind the other.
#[derive(Debug, Default)]
struct Records {
    bytes: Vec<u8>,
    /// End of each, flag of its compression, whether it must not be dropped.
    ends: Vec<(usize, u8, bool)>,
    /// Bytes that were left out as there was no room here.
    left_out: u64,
}

impl Records {
    fn push(&mut self, data: &[u8], flag: u8, keep: bool) {
        if self.bytes.len() + data.len() > UNSYNCED_BYTES_MAX {
            self.left_out += data.len() as u64;
            return;
        }
        self.bytes.extend_from_slice(data);
        self.ends.push((self.bytes.len(), flag, keep));
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = Held> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _, _)| *end));
        let starts: Vec<usize> = starts.take(self.ends.len()).collect();
        starts.into_iter().zip(&self.ends).map(|(from, (end, flag, keep))| Held {
            data: self.bytes.get(from..*end).unwrap_or_default().into(),
            flag: *flag,
            keep: *keep,
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.left_out = 0;
        if self.bytes.capacity() > UNSYNCED_BYTES_KEPT {
            *self = Records::default();
        }
    }
}

#[derive(Debug)]
struct Held {
    data: Box<[u8]>,
    flag: u8,
    keep: bool,
}

/// Records that the disk has not taken.
#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Held>,
    bytes: u64,
    /// Dropped for want of budget since the trouble began.
    dropped: u64,
}

impl Queue {
    fn push_back(&mut self, held: Held) {
        self.bytes += held.data.len() as u64;
        self.records.push_back(held);
    }

    fn push_front(&mut self, held: Held) {
        self.bytes += held.data.len() as u64;
        self.records.push_front(held);
    }

    /// Lets the oldest go that may go, until `budget` is kept. Gives how many.
    fn shrink(&mut self, budget: u64) -> u64 {
        if self.bytes <= budget {
            return 0;
        }
        let before = self.records.len();
        // A quarter more than needed, so that the walk is not repeated with each commit.
        let goal = budget - budget / 4;
        let mut bytes = self.bytes;
        self.records.retain(|r| {
            let keep = r.keep || bytes <= goal;
            if !keep {
                bytes -= r.data.len() as u64;
            }
            keep
        });
        self.bytes = bytes;
        let gone = (before - self.records.len()) as u64;
        self.dropped += gone;
        gone
    }
}

#[derive(Debug)]
struct State {
    /// None where no segment could be begun.
    writer: Option<WalWriter>,
    compressor: RecordCompressor,
    /// Written since the last sync began.
    unsynced: Records,
    /// Segments to be cut back once their records are in another one.
    suspects: Vec<Suspect>,
    /// Files from before the start that no fsync of ours has covered.
    inherited: Vec<Inherited>,
    /// A write to the current segment failed: go to another one.
    give_up: bool,
    /// An fsync of the current segment failed: go to another one and forget this one.
    distrust: bool,
    /// Commits so far.
    seq: u64,
    failing: Option<DiskError>,
}

/// A file from before the start.
#[derive(Clone, Debug)]
struct Inherited {
    path: PathBuf,
    /// From here on an fsync alone may cover nothing: written once more before.
    rewrite_from: Option<u64>,
}

/// What syncs have reached.
#[derive(Debug)]
struct Synced {
    /// The newest commit.
    seq: u64,
    note: Note,
}

/// What the log is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Records in memory that the disk has not taken.
    pub held_records: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// Records that were dropped as memory for them ran out, since the start.
    pub dropped_records: u64,
    /// Segments given up after a failed fsync or write, since the start.
    pub given_up: u64,
    /// Writes that failed, since the start.
    pub failed_writes: u64,
}

impl std::ops::Add for LogStatus {
    type Output = LogStatus;

    fn add(self, other: LogStatus) -> LogStatus {
        LogStatus {
            held_records: self.held_records + other.held_records,
            held_bytes: self.held_bytes + other.held_bytes,
            dropped_records: self.dropped_records + other.dropped_records,
            given_up: self.given_up + other.given_up,
            failed_writes: self.failed_writes + other.failed_writes,
        }
    }
}

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogRules {
    /// Compression of records.
    pub compression: WalCompression,
    /// Size of a segment.
    pub segment_bytes: u64,
    /// A commit returns when its records are synced.
    pub strict: bool,
    /// Bytes of records held in memory while the disk refuses them.
    pub hold_bytes: u64,
}

/// The log's writing end, for many commits at once.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    rules: LogRules,
    /// Input and output happen under this.
    state: Mutex<State>,
    /// And never under this. Order: state, held.
    held: Mutex<Queue>,
    holding: AtomicBool,
    /// One sync at a time.
    syncing: Mutex<Synced>,
    segment: AtomicU64,
    dropped: AtomicU64,
    given_up: AtomicU64,
    failed_writes: AtomicU64,
    written: AtomicU64,
}

impl Log {
    /// Begins a new segment behind those in `dir`, which is made where absent. What is there must have been
    /// read (and mended) before; it becomes durable with the first [`Log::sync`], and so do the files
    /// `beside`. Where the disk is full the log begins in memory.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, rules: LogRules, beside: Vec<PathBuf>) -> DiskResult<Self> {
        crate::disk::create_dir_durable(&*disk, dir)?;
        let (note, known) = Note::read(&*disk, dir);
        let mut inherited: Vec<Inherited> = beside
            .into_iter()
            .map(|path| Inherited { path, rewrite_from: known.filter(|k| !k.settled).map(|_| 0) })
            .collect();
        inherited.extend(segments(&*disk, dir)?.into_iter().map(|n| Inherited {
            path: segment_path(dir, n),
            rewrite_from: known.and_then(|k| doubtful(k, n)),
        }));
        let log = Log {
            state: Mutex::new(State {
                writer: None,
                compressor: RecordCompressor::new(rules.compression),
                unsynced: Records::default(),
                suspects: Vec::new(),
                inherited,
                give_up: false,
                distrust: false,
                seq: 0,
                failing: None,
            }),
            disk,
            dir: dir.to_path_buf(),
            rules,
            held: Mutex::default(),
            holding: AtomicBool::new(false),
            syncing: Mutex::new(Synced { seq: 0, note }),
            segment: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        {
            let mut state = log.state.lock();
            match log.writer(&mut state) {
                Ok(_) => {}
                Err(e) if e.is_full() => log.fail(&mut state, e),
                Err(e) => return Err(e),
            }
        }
        Ok(log)
    }

    /// Number of the segment that is written to.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment.load(Ordering::Relaxed)
    }

    /// Segment and offset behind all that was logged; `None` while something waits in memory or the segment is
    /// given up.
    pub(crate) fn position(&self) -> Option<(u64, u64)> {
        let state = self.state.lock();
        if self.holding.load(Ordering::Acquire) || state.give_up || state.distrust {
            return None;
        }
        state.writer.as_ref().map(|w| (w.segment(), w.segment_len()))
    }

    /// Bytes written since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// What it is like.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        let held = self.held.lock();
        LogStatus {
            held_records: held.records.len() as u64,
            held_bytes: held.bytes,
            dropped_records: self.dropped.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            failed_writes: self.failed_writes.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        self.state.is_locked()
    }

    /// Logs a commit: the record that `first` gives (series; it is called once, in the order in which
    /// commits are logged, and its record is never dropped), then records compressed by the caller.
    ///
    /// # Errors
    /// In strict mode, what the disk said: the records may or may not be in the log then. Otherwise only a
    /// record that no segment can hold: all else is held in memory.
    pub(crate) fn append<'a>(
        &self,
        first: impl FnOnce() -> Vec<u8>,
        compressed: impl Iterator<Item = (&'a [u8], u8)> + Clone,
    ) -> DiskResult<()> {
        if self.holding.load(Ordering::Acquire) && !self.rules.strict {
            let mut held = self.held.lock();
            if self.holding.load(Ordering::Acquire) {
                self.hold(&mut held, &first(), compressed);
                return Ok(());
            }
        }
        let Some(mut state) = self.state_within(PATIENCE) else {
            let mut held = self.held.lock();
            if !self.holding.swap(true, Ordering::AcqRel) {
                tracing::error!(dir = %self.dir.display(), "log: the disk hangs; records are held in memory until it goes on");
            }
            self.hold(&mut held, &first(), compressed);
            return Ok(());
        };
        if self.holding.load(Ordering::Acquire) {
            // Ours come behind what is held.
            if self.rules.strict {
                self.flush_held(&mut state)?;
            } else {
                let mut held = self.held.lock();
                if self.holding.load(Ordering::Acquire) {
                    self.hold(&mut held, &first(), compressed);
                    return Ok(());
                }
            }
        }
        let series = first();
        let State { compressor, .. } = &mut *state;
        let (data, flag) = compressor.compress(&series);
        let lead = (!data.is_empty()).then(|| (Box::<[u8]>::from(data), flag));
        let lead = lead.as_ref().map(|(data, flag)| (&**data, *flag));
        let written = self.writer(&mut state).and_then(|w| w.log_compressed(lead, compressed.clone()));
        match written {
            Ok(bytes) => {
                self.wrote(&state, bytes);
                let unsynced = &mut state.unsynced;
                lead.into_iter().for_each(|(data, flag)| unsynced.push(data, flag, true));
                compressed.for_each(|(data, flag)| unsynced.push(data, flag, false));
                state.seq += 1;
                let seq = state.seq;
                drop(state);
                if self.rules.strict { self.sync_to(seq) } else { Ok(()) }
            }
            Err(e) if e.source.kind() == std::io::ErrorKind::InvalidInput => Err(e),
            Err(e) if self.rules.strict => {
                let copy = DiskError::new(e.op, e.path.clone(), std::io::Error::from(e.source.kind()));
                self.fail(&mut state, copy);
                Err(e)
            }
            Err(e) => {
                self.fail(&mut state, e);
                let mut held = self.held.lock();
                // Another one may have given up waiting for us: ours were first.
                for (data, flag) in compressed.collect::<Vec<_>>().into_iter().rev() {
                    held.push_front(Held { data: data.into(), flag, keep: false });
                }
                if let Some((data, flag)) = lead {
                    held.push_front(Held { data: data.into(), flag, keep: true });
                }
                self.keep_budget(&mut held);
                Ok(())
            }
        }
    }

    fn state_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        // In strict mode nothing is acknowledged from memory: then waiting is all there is.
        if self.rules.strict { Some(self.state.lock()) } else { self.state.try_lock_for(patience) }
    }

    fn hold<'a>(&self, held: &mut Queue, series: &[u8], compressed: impl Iterator<Item = (&'a [u8], u8)>) {
        if !series.is_empty() {
            held.push_back(Held { data: series.into(), flag: 0, keep: true });
        }
        let longest = WalWriter::record_bytes_max(self.rules.segment_bytes);
        for (data, flag) in compressed {
            if data.len() as u64 > longest {
                // Would be refused by a healthy disk as well.
                self.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            held.push_back(Held { data: data.into(), flag, keep: false });
        }
        self.keep_budget(held);
    }

    fn keep_budget(&self, held: &mut Queue) {
        let first = held.dropped == 0;
        let gone = held.shrink(self.rules.hold_bytes);
        if gone > 0 {
            self.dropped.fetch_add(gone, Ordering::Relaxed);
            if first {
                tracing::error!(
                    dir = %self.dir.display(),
                    budget_bytes = self.rules.hold_bytes,
                    "log: memory for records that the disk refuses is used up; the oldest are dropped: their samples stay in memory, but a restart before they are in a block loses them"
                );
            }
        }
    }

    /// The writer, made where there is none; a new segment where the old one failed.
    fn writer<'s>(&self, state: &'s mut State) -> DiskResult<&'s mut WalWriter> {
        match &mut state.writer {
            Some(writer) if state.distrust => {
                writer.give_up_segment()?;
            }
            Some(writer) if state.give_up && writer.segment_len() > 0 => {
                writer.next_segment()?;
            }
            Some(_) => {}
            none => {
                // Records come compressed.
                let made = WalWriter::open(
                    Arc::clone(&self.disk),
                    &self.dir,
                    WalCompression::None,
                    self.rules.segment_bytes,
                )?;
                *none = Some(made);
            }
        }
        (state.give_up, state.distrust) = (false, false);
        match &mut state.writer {
            Some(writer) => {
                self.segment.store(writer.segment(), Ordering::Relaxed);
                Ok(writer)
            }
            None => Err(DiskError::new("open", self.dir.clone(), std::io::Error::other("no segment"))),
        }
    }

    fn wrote(&self, state: &State, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        if let Some(writer) = &state.writer {
            self.segment.store(writer.segment(), Ordering::Relaxed);
        }
    }

    /// A write failed: from here on records are held.
    fn fail(&self, state: &mut State, e: DiskError) {
        self.failed_writes.fetch_add(1, Ordering::Relaxed);
        if !e.is_full() && !state.give_up {
            // A broken file may stay broken; a full disk is not the file's fault.
            state.give_up = true;
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
        self.holding.store(true, Ordering::Release);
        if state.failing.is_none() {
            tracing::error!(error = %e, "log cannot be written; records are held in memory and written when the disk takes them again");
        }
        state.failing = Some(e);
    }

    /// Writes what is held. On success nothing is held any more.
    fn flush_held(&self, state: &mut State) -> DiskResult<()> {
        loop {
            let batch: Vec<Held> = {
                let mut held = self.held.lock();
                if held.records.is_empty() {
                    if self.holding.swap(false, Ordering::AcqRel) {
                        let dropped = std::mem::take(&mut held.dropped);
                        tracing::info!(dropped, "log is written again");
                    }
                    state.failing = None;
                    return Ok(());
                }
                // Some at a time, so that a failure does not take all of them to and fro.
                let n = held.records.len().min(64);
                let batch: Vec<Held> = held.records.drain(..n).collect();
                held.bytes -= batch.iter().map(|h| h.data.len() as u64).sum::<u64>();
                batch
            };
            let records = batch.iter().map(|h| (&*h.data, h.flag));
            match self.writer(state).and_then(|w| w.log_compressed(None, records)) {
                Ok(bytes) => {
                    self.wrote(state, bytes);
                    batch.iter().for_each(|h| state.unsynced.push(&h.data, h.flag, h.keep));
                    state.seq += 1;
                }
                Err(e) => {
                    let mut held = self.held.lock();
                    batch.into_iter().rev().for_each(|h| held.push_front(h));
                    drop(held);
                    let copy = DiskError::new(e.op, e.path.clone(), std::io::Error::from(e.source.kind()));
                    self.fail(state, copy);
                    return Err(e);
                }
            }
        }
    }

    /// Begins a new segment.
    ///
    /// # Errors
    /// No room: the old one stays in use.
    pub fn next_segment(&self) -> DiskResult<u64> {
        let mut state = self.state.lock();
        let writer = self.writer(&mut state)?;
        let segment = writer.next_segment()?;
        self.segment.store(segment, Ordering::Relaxed);
        Ok(segment)
    }

    /// Writes what is held and makes all that was committed survive a power cut. True where there was
    /// something to do.
    ///
    /// # Errors
    /// What is not durable yet; the next call tries again.
    pub fn sync(&self) -> DiskResult<bool> {
        let mut synced = self.syncing.lock();
        self.sync_locked(&mut synced)
    }

    /// Waits until commit `seq` is synced, by this call or another one's.
    fn sync_to(&self, seq: u64) -> DiskResult<()> {
        let mut synced = self.syncing.lock();
        if synced.seq >= seq {
            return Ok(());
        }
        self.sync_locked(&mut synced).map(|_| ())
    }

    fn sync_locked(&self, synced: &mut Synced) -> DiskResult<bool> {
        let mut worked = false;
        synced.note.begin(&*self.disk)?;
        // Twice: what a failed fsync dropped is written anew and synced at once.
        for last_try in [false, true] {
            let mut state = self.state.lock();
            let held = self.flush_held(&mut state).and_then(|()| self.cut_suspects(&mut state));
            let inherited = std::mem::take(&mut state.inherited);
            let work = state.writer.as_mut().and_then(WalWriter::take_sync_work);
            let mut covered = std::mem::take(&mut state.unsynced);
            let seq = state.seq;
            drop(state);
            if work.is_none() && inherited.is_empty() {
                // Records without work are those of a writer that is gone.
                let mut state = self.state.lock();
                restore(&mut state.unsynced, covered);
                synced.seq = synced.seq.max(seq);
                return held.map(|()| worked);
            }
            worked = true;
            let reaches = work.as_ref().map(super::SyncWork::reaches);
            let old = self.sync_inherited(inherited);
            let done = work.map_or(Ok(()), super::SyncWork::try_run);
            let mut state = self.state.lock();
            if let Err((e, left)) = old {
                state.inherited = left;
                if let Some(writer) = &mut state.writer {
                    writer.sync_failed();
                }
                match done {
                    Ok(()) => restore(&mut state.unsynced, covered),
                    Err((e, suspects)) => self.anew(&mut state, covered, suspects, &e),
                }
                return Err(e);
            }
            match done {
                Ok(()) => {
                    synced.seq = synced.seq.max(seq);
                    if held.is_ok() {
                        covered.clear();
                        if state.unsynced.ends.is_empty() {
                            // Its memory is used again.
                            std::mem::swap(&mut state.unsynced, &mut covered);
                        }
                    }
                    drop(state);
                    if let (Ok(()), Some((segment, offset))) = (&held, reaches) {
                        synced.note.reached(&*self.disk, segment, offset);
                    }
                    return held.map(|()| true);
                }
                Err((e, suspects)) => {
                    self.anew(&mut state, covered, suspects, &e);
                    if last_try {
                        return Err(e);
                    }
                }
            }
        }
        Ok(worked)
    }

    /// After a failed fsync: all that the last good one did not cover goes to a new segment.
    fn anew(&self, state: &mut State, covered: Records, suspects: Vec<Suspect>, e: &DiskError) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        let later = std::mem::take(&mut state.unsynced);
        let left_out = covered.left_out + later.left_out;
        tracing::error!(
            error = %e,
            records = covered.ends.len() + later.ends.len(),
            bytes_without_copy = left_out,
            "log segment cannot be synced and is given up; what it may have lost is written anew"
        );
        if left_out > 0 {
            // Without a copy of all of them, the file is what there is.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            state.suspects.extend(suspects);
        }
        let mut held = self.held.lock();
        for record in covered.iter().chain(later.iter()).rev() {
            // Bounded where the copies are made; the budget must not take what the file is cut back for.
            held.push_front(Held { keep: true, ..record });
        }
        self.holding.store(true, Ordering::Release);
        drop(held);
        state.distrust = true;
        if let Some(writer) = &mut state.writer {
            writer.sync_failed();
        }
    }

    /// Replaces a file by a copy of itself, as the cache has it.
    fn rewrite(&self, path: &Path) -> DiskResult<()> {
        let content = crate::disk::read_all(&*self.disk, path, SEGMENT_BYTES_MAX)?;
        crate::disk::write_atomic(&*self.disk, path, &content)
    }

    /// Cuts segments back to what was synced of them, now that their other records are in a new one: what a
    /// failed fsync dropped would leave holes there after a power cut, and the records behind a hole would
    /// then come before those in it.
    fn cut_suspects(&self, state: &mut State) -> DiskResult<()> {
        // An empty one was used on, for those very records.
        let current = state.writer.as_ref().map(|w| segment_path(&self.dir, w.segment()));
        state.suspects.retain(|(path, _)| Some(path) != current.as_ref());
        while let Some((path, synced)) = state.suspects.last() {
            match self.disk.open_write(path, WriteMode::Existing) {
                Ok(mut file) => {
                    if file.len() > *synced {
                        file.set_len(*synced)?;
                    }
                    file.sync()?;
                }
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
            state.suspects.pop();
        }
        Ok(())
    }

    fn sync_inherited(&self, mut files: Vec<Inherited>) -> Result<(), (DiskError, Vec<Inherited>)> {
        // Whatever fails, no later fsync is to be relied on for any of them.
        let all: Vec<Inherited> =
            files.iter().map(|f| Inherited { path: f.path.clone(), rewrite_from: Some(0) }).collect();
        let dirs: BTreeSet<PathBuf> =
            all.iter().filter_map(|f| f.path.parent().map(Path::to_path_buf)).collect();
        while let Some(Inherited { path, rewrite_from }) = files.pop() {
            let synced = self.sync_again(&path, rewrite_from);
            // A second fsync would succeed without what the first one dropped: a copy is written.
            let synced = synced.or_else(|e| if e.is_not_found() { Err(e) } else { self.rewrite(&path) });
            match synced {
                Ok(()) => {}
                // A checkpoint has taken its place.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err((e, all)),
            }
        }
        for dir in dirs {
            // A file of each comes again if this fails, and brings its folder with it.
            self.disk.sync_dir(&dir).map_err(|e| (e, all.clone()))?;
        }
        Ok(())
    }

    /// Makes a file durable; from an offset on it is written once more, with the bytes that it has.
    fn sync_again(&self, path: &Path, rewrite_from: Option<u64>) -> DiskResult<()> {
        let mut file = self.disk.open_write(path, WriteMode::Existing)?;
        if let Some(mut at) = rewrite_from {
            let (reader, len) = (self.disk.open_read(path)?, file.len());
            let mut bytes = vec![0; REWRITE_BYTES.min(len.saturating_sub(at)) as usize];
            while at < len {
                bytes.truncate((len - at).min(REWRITE_BYTES) as usize);
                reader.read_exact_at(&mut bytes, at)?;
                file.write_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
        }
        file.sync()
    }
}

/// Bytes that are written once more at a time.
const REWRITE_BYTES: u64 = 1 << 20;
/// Longest file that is read whole, as a bound: upstream's largest segment is 256 MiB.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// From where on a segment is not known to be durable, if anywhere.
fn doubtful(known: Known, segment: u64) -> Option<u64> {
    match segment.cmp(&known.segment) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(known.offset),
        std::cmp::Ordering::Greater => Some(NOTHING.offset),
    }
}

/// Puts records back before those that came since.
fn restore(now: &mut Records, mut before: Records) {
    if before.ends.is_empty() && before.left_out == 0 {
        return;
    }
    before.left_out += now.left_out;
    for record in now.iter() {
        before.push(&record.data, record.flag, record.keep);
    }
    *now = before;
}
