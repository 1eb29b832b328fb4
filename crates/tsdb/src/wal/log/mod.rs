//! The log's end that commits use: a writer that outlives what a disk does to it.
//!
//! Three promises. What a commit gave is in the file before it returns, so that a kill loses nothing. What
//! was written is synced by the next [`Log::sync`]; until then a copy stays here, because a failed fsync
//! drops dirty pages and the next one succeeds without them: the segment is given up then, and the copy
//! goes to a new one. And where the disk refuses (full, broken, hanging), records are held in memory within
//! a budget, in order, and written as soon as it takes them again; beyond the budget the oldest samples go,
//! which is counted and named, but never a series' record, without which later samples would be lost too.
//!
//! Commits queue their records and a thread of the log's own writes them ([`Log::spawn_writer`]), for a write
//! into a file may take as long as the disk likes, and who commits may be a thread that scrapes a thousand
//! targets. It waits for that thread, but not for long. Without such a thread (tools, simulations), and in
//! strict mode, which acknowledges nothing before the disk does, commits write themselves.
//!
//! Rejected: writing the head anew after a failure. It needs no copy, but costs seconds of CPU and a second
//! log's room at the moment when the disk is in trouble; the copy costs one memcpy a commit of bytes that
//! are compressed already. Writes that do not wait (`RWF_NOWAIT`): ext4 does not take them.

mod queue;
mod sync;
mod thread;
mod ticket;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::durable::{Known, NOTHING, Note};
use super::segment::{segment_path, segments};
use super::writer::Suspect;
use super::{RecordCompressor, WalCompression, WalWriter};
use crate::disk::{Disk, DiskError, DiskResult};
use queue::{Form, Queue, Record, Unsynced, records};
pub(crate) use thread::LogThread;
pub(crate) use ticket::{OnItsWay, Ticket};

/// How long a commit waits for its records to be written: above any write into the page cache, and short
/// against a scrape interval. Only the first commits after a disk began to hang wait; later ones see that it
/// does.
const PATIENCE: Duration = Duration::from_millis(500);
/// Records that go into one write: many small commits are one call, and a failure does not take all that is
/// held to and fro.
const RECORDS_PER_WRITE: usize = 64;
/// No turn is wanted.
const NO_TURN: i64 = i64::MIN;

#[derive(Debug)]
struct State {
    /// None where no segment could be begun.
    writer: Option<WalWriter>,
    compressor: RecordCompressor,
    /// Written since the last sync began.
    unsynced: Unsynced,
    /// Segments to be cut back once their records are in another one.
    suspects: Vec<Suspect>,
    /// Files from before the start that no fsync of ours has covered.
    inherited: Vec<Inherited>,
    /// A write to the current segment failed: go to another one.
    give_up: bool,
    /// An fsync of the current segment failed: go to another one and forget this one.
    distrust: bool,
    /// Writes so far.
    seq: u64,
    failing: Option<DiskError>,
    /// Those that go into the next write; kept for its memory.
    batch: Vec<Record>,
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
    /// The newest write.
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
    /// How long the oldest commit has waited to be durable, in milliseconds: some hundreds on a healthy disk.
    pub behind_ms: u64,
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
            behind_ms: self.behind_ms.max(other.behind_ms),
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
    /// And never under this. Order: state, queue.
    queue: Mutex<Queue>,
    /// Wakes the thread that writes.
    work: Condvar,
    /// Wakes commits that wait.
    done: Condvar,
    /// A thread of its own writes.
    threaded: std::sync::atomic::AtomicBool,
    /// A new segment is wanted before the next record, by this tag.
    turn: AtomicI64,
    /// Tags of turns that were made, and the segments that they began.
    turns: Mutex<Vec<(i64, u64)>>,
    /// One sync at a time.
    syncing: Mutex<Synced>,
    segment: AtomicU64,
    /// Segment and offset up to which all is with the system, whole records only.
    end: Mutex<(u64, u64)>,
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
                unsynced: Unsynced::default(),
                suspects: Vec::new(),
                inherited,
                give_up: false,
                distrust: false,
                seq: 0,
                failing: None,
                batch: Vec::new(),
            }),
            disk,
            dir: dir.to_path_buf(),
            rules,
            queue: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            threaded: std::sync::atomic::AtomicBool::new(false),
            turn: AtomicI64::new(NO_TURN),
            turns: Mutex::default(),
            syncing: Mutex::new(Synced { seq: 0, note }),
            segment: AtomicU64::new(0),
            end: Mutex::default(),
            dropped: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            written: AtomicU64::new(0),
        };
        {
            let mut state = log.state.lock();
            match log.writer(&mut state) {
                Ok(writer) => *log.end.lock() = (writer.segment(), writer.segment_len()),
                Err(e) if e.is_full() => log.fail(&mut state, e),
                Err(e) => return Err(e),
            }
        }
        Ok(log)
    }

    /// Whether a commit waits for its sync, and fails with it.
    pub(crate) fn is_strict(&self) -> bool {
        self.rules.strict
    }

    /// Number of the segment that is written to.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment.load(Ordering::Relaxed)
    }

    /// Segment and offset behind all that was logged; `None` while the disk does not take it or the segment is
    /// given up.
    pub(crate) fn position(&self) -> Option<(u64, u64)> {
        let mut state = self.state.lock();
        if self.queue.lock().holding || state.give_up || state.distrust {
            return None;
        }
        self.write_queue(&mut state).ok()?;
        state.writer.as_ref().map(|w| (w.segment(), w.segment_len()))
    }

    /// Segment and offset up to which the log can be read now. Unlike [`Log::position`] this writes nothing and
    /// waits for nobody.
    pub(crate) fn end(&self) -> (u64, u64) {
        *self.end.lock()
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes written since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// What it is like. Records that wait for their turn on a healthy disk are not held.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        let queue = self.queue.lock();
        let held = |n: u64| if queue.holding { n } else { 0 };
        LogStatus {
            held_records: held(queue.len() as u64),
            held_bytes: held(queue.bytes),
            dropped_records: self.dropped.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            failed_writes: self.failed_writes.load(Ordering::Relaxed),
            behind_ms: queue.behind().as_millis() as u64,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_writing(&self) -> bool {
        self.state.is_locked()
    }

    /// Logs a commit, as [`Log::begin`] and [`Log::wait`].
    ///
    /// # Errors
    /// As [`Log::begin`].
    pub(crate) fn append<'a>(
        &self,
        first: impl FnOnce() -> Vec<u8>,
        compressed: impl Iterator<Item = (&'a [u8], u8)> + Clone,
    ) -> DiskResult<()> {
        self.begin(first, compressed).map(|ticket| self.wait(&ticket))
    }

    /// Logs a commit: the record that `first` gives (series; it is called once, in the order in which
    /// commits are logged, and its record is never dropped), then records compressed by the caller. They are
    /// written, or held where the disk does not take them, when [`Log::wait`] returns.
    ///
    /// # Errors
    /// A record that no segment can hold: nothing is logged. In strict mode, what the disk said: the records
    /// may or may not be in the log then.
    pub(crate) fn begin<'a>(
        &self,
        first: impl FnOnce() -> Vec<u8>,
        compressed: impl Iterator<Item = (&'a [u8], u8)> + Clone,
    ) -> DiskResult<Ticket> {
        let longest = WalWriter::record_bytes_max(self.rules.segment_bytes);
        if let Some((data, _)) = compressed.clone().find(|(data, _)| data.len() as u64 > longest) {
            return Err(too_long(&self.dir, data.len()));
        }
        if self.rules.strict {
            return self.begin_strict(first, compressed);
        }
        let (ticket, holding, idle) = {
            let mut queue = self.queue.lock();
            queue.commits += 1;
            queue.waiting_since.get_or_insert_with(Instant::now);
            let commit = queue.commits;
            records(commit, first(), compressed).for_each(|record| queue.push(record));
            if queue.holding {
                self.keep_budget(&mut queue);
            }
            (Ticket::of(commit), queue.holding, std::mem::take(&mut queue.idle))
        };
        if self.threaded.load(Ordering::Acquire) {
            if idle {
                self.work.notify_one();
            }
        } else if !holding {
            match self.state.try_lock_for(PATIENCE) {
                // A failure is told by the log, and the records are held.
                Some(mut state) => drop(self.write_queue(&mut state)),
                None => self.hangs(&mut self.queue.lock()),
            }
        }
        Ok(ticket)
    }

    fn begin_strict<'a>(
        &self,
        first: impl FnOnce() -> Vec<u8>,
        compressed: impl Iterator<Item = (&'a [u8], u8)> + Clone,
    ) -> DiskResult<Ticket> {
        self.queue.lock().waiting_since.get_or_insert_with(Instant::now);
        // Nothing is acknowledged from memory: waiting is all there is.
        let mut state = self.state.lock();
        // What a failed fsync left comes first.
        self.write_queue(&mut state)?;
        let commit = {
            let mut queue = self.queue.lock();
            queue.commits += 1;
            queue.commits
        };
        let mut batch: Vec<Record> = records(commit, first(), compressed).collect();
        self.make_turn(&mut state);
        if let Err(e) = self.write_batch(&mut state, &mut batch) {
            self.fail(&mut state, copy_of(&e));
            return Err(e);
        }
        let seq = state.seq;
        drop(state);
        self.sync_to(seq).map(|()| Ticket::of(0))
    }

    /// Nobody waits from here on.
    fn hangs(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.holding, true) {
            tracing::error!(dir = %self.dir.display(), "log: the disk hangs; records are held in memory until it goes on");
        }
        self.tell(queue);
        self.keep_budget(queue);
    }

    fn keep_budget(&self, queue: &mut Queue) {
        let first = queue.dropped == 0;
        let gone = queue.shrink(self.rules.hold_bytes);
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

    /// A write failed: from here on records are held.
    fn fail(&self, state: &mut State, e: DiskError) {
        self.failed_writes.fetch_add(1, Ordering::Relaxed);
        if !e.is_full() && !state.give_up {
            // A broken file may stay broken; a full disk is not the file's fault.
            state.give_up = true;
            self.given_up.fetch_add(1, Ordering::Relaxed);
        }
        {
            let mut queue = self.queue.lock();
            queue.holding = true;
            self.tell(&mut queue);
            self.keep_budget(&mut queue);
        }
        if state.failing.is_none() {
            tracing::error!(error = %e, "log cannot be written; records are held in memory and written when the disk takes them again");
        }
        state.failing = Some(e);
    }

    /// Writes what is queued. On success nothing is held any more.
    fn write_queue(&self, state: &mut State) -> DiskResult<()> {
        let mut batch = std::mem::take(&mut state.batch);
        let result = loop {
            {
                let mut queue = self.queue.lock();
                queue.note_written();
                if queue.is_empty() {
                    if std::mem::take(&mut queue.holding) {
                        let dropped = std::mem::take(&mut queue.dropped);
                        tracing::info!(dropped, "log is written again");
                    }
                    self.tell(&mut queue);
                    state.failing = None;
                    break Ok(());
                }
                queue.take(RECORDS_PER_WRITE, &mut batch);
            }
            self.make_turn(state);
            if let Err(e) = self.write_batch(state, &mut batch) {
                self.queue.lock().push_front(batch.drain(..));
                self.fail(state, copy_of(&e));
                break Err(e);
            }
        };
        state.batch = batch;
        result
    }

    /// Writes records with one call. They are copies afterwards, until the next sync; what failed is left.
    fn write_batch(&self, state: &mut State, batch: &mut Vec<Record>) -> DiskResult<()> {
        let longest = WalWriter::record_bytes_max(self.rules.segment_bytes);
        for record in batch.iter_mut().filter(|r| r.form == Form::Plain) {
            let (data, flag) = state.compressor.compress(&record.data);
            (record.data, record.form) = (data.into(), Form::Stored(flag));
        }
        batch.retain(|r| {
            let fits = r.data.len() as u64 <= longest;
            if !fits {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %too_long(&self.dir, r.data.len()), "log: a record of new series is left out: their samples stay in memory, but a restart before they are in a block loses them");
            }
            fits
        });
        let stored = batch.iter().map(|r| match r.form {
            Form::Stored(flag) => (&*r.data, flag),
            Form::Plain => (&*r.data, 0),
        });
        let bytes = self.writer(state)?.log_compressed(stored)?;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        if let Some(writer) = &state.writer {
            self.segment.store(writer.segment(), Ordering::Relaxed);
            *self.end.lock() = (writer.segment(), writer.segment_len());
        }
        state.seq += 1;
        batch.drain(..).for_each(|r| state.unsynced.push(r));
        Ok(())
    }

    /// Asks for a new segment before the records that come from here on, or soon after; [`Log::take_turns`]
    /// tells which one it became.
    pub(crate) fn turn(&self, tag: i64) {
        self.turn.store(tag, Ordering::Release);
    }

    /// Turns since the last call: their tags and the segments that they began, oldest first.
    pub(crate) fn take_turns(&self) -> Vec<(i64, u64)> {
        std::mem::take(&mut self.turns.lock())
    }

    fn make_turn(&self, state: &mut State) {
        if self.turn.load(Ordering::Relaxed) == NO_TURN {
            return;
        }
        let tag = self.turn.swap(NO_TURN, Ordering::AcqRel);
        // No room: a turn that is not made costs nothing but room.
        if let Ok(segment) = self.writer(state).and_then(WalWriter::next_segment) {
            self.segment.store(segment, Ordering::Relaxed);
            *self.end.lock() = (segment, 0);
            self.turns.lock().push((tag, segment));
        }
    }

    /// Commits that were begun.
    pub(crate) fn commits(&self) -> u64 {
        self.queue.lock().commits
    }

    /// Forgets copies of what commits up to this one logged, as others have it durably and the segments with it
    /// are to go: a failed fsync must not write it anew. Waits for a sync under way.
    pub(crate) fn forget(&self, upto: u64) {
        let _no_sync = self.syncing.lock();
        let mut state = self.state.lock();
        state.unsynced.forget(upto);
        self.queue.lock().forget(upto);
    }

    /// Begins a new segment. Gives it and the number of a commit: what commits up to that logged is before it,
    /// but for what the disk refuses.
    ///
    /// # Errors
    /// No room: the old one stays in use.
    pub fn next_segment(&self) -> DiskResult<(u64, u64)> {
        let mut state = self.state.lock();
        let commits = self.commits();
        // A failure is told by the log, and the records are held.
        let _ = self.write_queue(&mut state);
        let writer = self.writer(&mut state)?;
        let segment = writer.next_segment()?;
        self.segment.store(segment, Ordering::Relaxed);
        *self.end.lock() = (segment, 0);
        Ok((segment, commits))
    }
}

fn copy_of(e: &DiskError) -> DiskError {
    DiskError::new(e.op, e.path.clone(), std::io::Error::from(e.source.kind()))
}

fn too_long(dir: &Path, bytes: usize) -> DiskError {
    let text = format!("log record of {bytes} bytes does not fit a segment");
    DiskError::new("write", dir, std::io::Error::new(std::io::ErrorKind::InvalidInput, text))
}

/// From where on a segment is not known to be durable, if anywhere.
fn doubtful(known: Known, segment: u64) -> Option<u64> {
    match segment.cmp(&known.segment) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(known.offset),
        std::cmp::Ordering::Greater => Some(NOTHING.offset),
    }
}
