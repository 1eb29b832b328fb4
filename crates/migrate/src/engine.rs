//! The steps of a migration in their order, each of them safe to be killed in and begun again.
//!
//! 1. Pin: the source's log, then its blocks, stay.
//! 2. Log: what it has goes into the store, newest hours first, and from then on each new commit.
//! 3. Blocks: newest first, beside the log.
//!
//! What is acknowledged in the state is durable here: the store is synced before a place in the log is noted, a block
//! is read back before its name is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::CancelToken;
use tsdb::Db;
use tsdb::disk::Disk;
use tsdb::wal::WalLoss;
use tsdb::wal::record::Record;

use crate::apply::{Applied, Apply, delete_exactly};
use crate::audit::audit;
use crate::blocks::{deleted, deleted_sum, in_order_end_ms};
use crate::error::MigrateError;
use crate::fetch::{Fetch, PIECE_BYTES, Spent};
use crate::follow::{Follower, Place};
use crate::offline::Stones;
use crate::pin::{PinnedLog, names};
use crate::source::{Door, Place as Kept, Source};
use crate::state::{Deleted, Seen, State};
use crate::throttle::Throttle;
use crate::verify::{Report, verify};

/// How long a follower waits at the end of a log: samples are here that much later, and two listings of small folders
/// ten times a second cost nothing.
const PAUSE: Duration = Duration::from_millis(100);
/// So often places are noted. A kill repeats no more than this.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Nothing newer than this may be missing when the duty changes hands: an agent across the world answers within it.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// Clocks set by NTP differ by a few milliseconds. A second would be a scrape.
const SKEW_MS_MAX: i64 = 500;
/// What is on its way is here a second later, deletions too.
const SETTLE: Duration = Duration::from_secs(2);

/// Where a migration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The source's files are linked.
    #[default]
    Pinning,
    /// The hours that the log has are read.
    CatchingUp,
    /// New commits come as they are made; blocks are still on their way.
    Copying,
    /// All is here; new commits come as they are made.
    Following,
}

/// What a migration has done.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Where it is.
    pub stage: Stage,
    /// Blocks that are here, and that there are.
    pub blocks: (u64, u64),
    /// Bytes of blocks that were copied by this run.
    pub copied_bytes: u64,
    /// This server has no duty before the fence.
    pub held: bool,
    /// From when on the duty is this server's, in milliseconds.
    pub fence_ms: Option<i64>,
    /// Bytes a second that may be read for that; 0: as fast as it goes.
    pub bwlimit: u64,
    /// Time in which this run read and wrote them.
    pub copying: Duration,
    /// Time in which it read back what it wrote.
    pub reading_back: Duration,
    /// What came from the log in this run.
    pub applied: Applied,
    /// Parts of the source's log that cannot be read, there as well.
    pub losses: Vec<WalLoss>,
    /// When the log was read to its end last.
    pub caught_up: Option<Instant>,
}

/// Brings a source's data into a store and keeps it there.
#[derive(Debug)]
pub struct Engine {
    db: Db,
    /// Ours; the source's is the pin's.
    disk: Arc<dyn Disk>,
    data: PathBuf,
    pin: Arc<dyn Source>,
    state: Mutex<State>,
    progress: Mutex<Progress>,
    note_every: Duration,
    /// What differs is looked at again after so long.
    settle: Duration,
    /// All pinned blocks are here.
    copied: AtomicBool,
    /// All blocks of the source were looked at since it was opened.
    looked: AtomicBool,
    /// See [`State::fence_ms`]; the end of time where there is none.
    fence_ms: Arc<AtomicI64>,
    piece_bytes: usize,
    beside: bool,
    throttle: Throttle,
    spent: Spent,
}

impl Engine {
    /// Pins the source behind `door`, or goes on with the migration that `data`, our own data folder, tells of.
    ///
    /// # Errors
    /// See [`Door::open`]; a state that is damaged or of another source.
    pub fn open(db: Db, (disk, data): (Arc<dyn Disk>, &Path), door: &dyn Door) -> Result<Self, MigrateError> {
        let state = State::read(&*disk, data)?.filter(|state| !state.released);
        if let Some(state) = &state
            && state.source != door.name()
        {
            let why = format!("it tells of a migration from {}", state.source.display());
            return Err(MigrateError::State { path: data.to_path_buf(), why });
        }
        let place = state.as_ref().map(|s| s.pin.clone());
        let (pin, state) = match (door.open(place.as_deref(), false), state) {
            // Nothing was read of its logs: it may be another pin than the one that the state was written for.
            (Ok(pin), Some(state)) if state.wal.is_none() => {
                let state = begun(&*disk, data, &*pin, state)?;
                (pin, state)
            }
            // Somebody removed the pin: what the log had meanwhile is in blocks by now.
            (Ok(pin), Some(state)) if state.pin_id != pin.id() => {
                tracing::warn!("the pin of the source was gone and is made anew");
                let state = begun(&*disk, data, &*pin, State { wal: None, wbl: None, anew: true, ..state })?;
                (pin, state)
            }
            (Ok(pin), Some(state)) => (pin, state),
            (Ok(pin), None) => {
                let metas = pin.blocks_in(Kept::Pinned)?;
                let seen = metas
                    .iter()
                    .map(|m| (m.ulid.to_string(), Seen { samples: m.stats.num_samples, at: None }));
                let seen = seen.collect();
                let (source, place) = (door.name().to_path_buf(), pin.dir().to_path_buf());
                let key_file = door.key_file().map(Path::to_path_buf);
                let offline = door.is_still();
                let state = State { source, key_file, offline, pin: place, seen, ..State::default() };
                let state = begun(&*disk, data, &*pin, state)?;
                (pin, state)
            }
            // Nobody looked for longer than the source keeps its log: the blocks have by now what was in it.
            (Err(error @ MigrateError::Gap { .. }), Some(state)) => {
                tracing::warn!(%error, "the source is pinned anew");
                let pin = door.open(Some(&state.pin), true)?;
                let state = begun(&*disk, data, &*pin, State { wal: None, wbl: None, anew: true, ..state })?;
                (pin, state)
            }
            (Err(e), _) => return Err(e),
        };
        let progress = Progress { stage: Stage::CatchingUp, ..Progress::default() };
        let throttle = Throttle::default();
        throttle.set(state.bwlimit);
        let fence_ms = Arc::new(AtomicI64::new(state.fence_ms.unwrap_or(i64::MAX)));
        Ok(Engine {
            db,
            disk,
            data: data.to_path_buf(),
            pin,
            state: Mutex::new(state),
            progress: Mutex::new(progress),
            note_every: NOTE_EVERY,
            settle: SETTLE,
            copied: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            fence_ms,
            piece_bytes: PIECE_BYTES,
            beside: true,
            throttle,
            spent: Spent::default(),
        })
    }

    /// Notes places so often, for who wants a kill to repeat less, or more.
    #[must_use]
    pub fn noting_every(self, note_every: Duration) -> Self {
        Engine { note_every, ..self }
    }

    /// Each step of a copy waits for the one before, so that a schedule comes again from its seed.
    #[must_use]
    pub fn step_by_step(self) -> Self {
        Engine { beside: false, ..self }
    }

    /// Copies blocks in pieces of so many bytes, at most 4 MiB.
    #[must_use]
    pub fn in_pieces_of(self, piece_bytes: usize) -> Self {
        Engine { piece_bytes: piece_bytes.clamp(1, PIECE_BYTES), ..self }
    }

    /// Caps what copies of blocks read of the source, from now on and after a restart: bytes a second, 0 for no cap.
    ///
    /// # Errors
    /// It cannot be noted, and is as it was.
    pub fn cap(&self, bytes_per_second: u64) -> Result<(), MigrateError> {
        let mut state = self.state.lock();
        let noted = State { bwlimit: bytes_per_second, ..state.clone() };
        noted.write(&*self.disk, &self.data)?;
        *state = noted;
        self.throttle.set(bytes_per_second);
        Ok(())
    }

    /// A comparison looks again after so long at what differs, for who knows that nothing is on its way.
    #[must_use]
    pub fn settling_after(self, settle: Duration) -> Self {
        Engine { settle, ..self }
    }

    /// What was done so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let spent = |of: &AtomicU64| Duration::from_micros(of.load(Ordering::Relaxed));
        let state = self.state.lock();
        Progress {
            held: state.held,
            fence_ms: state.fence_ms,
            bwlimit: self.throttle.rate(),
            copied_bytes: self.spent.copied.load(Ordering::Relaxed),
            copying: spent(&self.spent.copying),
            reading_back: spent(&self.spent.reading_back),
            ..self.progress.lock().clone()
        }
    }

    /// Follows the source until `cancel`. Blocks come when the hours of the log are here.
    ///
    /// # Errors
    /// What stands in the way; calling it again goes on.
    pub fn run(&self, cancel: &CancelToken) -> Result<(), MigrateError> {
        std::thread::scope(|scope| {
            let mut tail = Tail::new(self)?;
            tail.drain(cancel, false)?;
            self.progress.lock().stage = Stage::Copying;
            let copier = scope.spawn(|| self.copy_blocks(cancel));
            let mut copier = Some(copier);
            while !cancel.is_cancelled() {
                tail.drain(cancel, false)?;
                if copier.as_ref().is_some_and(|c| c.is_finished())
                    && let Some(done) = copier.take().map(|c| c.join())
                {
                    // A panic is an error of ours; there is none that could be told of it but the caller.
                    done.unwrap_or(Err(MigrateError::Copier))?;
                    if !cancel.is_cancelled() {
                        self.progress.lock().stage = Stage::Following;
                    }
                }
                std::thread::sleep(PAUSE);
            }
            tail.note()
        })
    }

    /// Reads what the log has now, and all blocks that are not here: for a source that has stopped.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_once(&self, cancel: &CancelToken) -> Result<(), MigrateError> {
        let mut tail = Tail::new(self)?;
        tail.drain(cancel, true)?;
        self.copy_blocks(cancel)?;
        tail.drain(cancel, true)?;
        tail.note()
    }

    /// Compares what the source has in blocks with what is here, sample by sample.
    ///
    /// # Errors
    /// See [`verify`]; not before all blocks are here.
    pub fn verify(
        &self,
        cancel: &CancelToken,
        progress: impl FnMut(u64, u64),
    ) -> Result<Report, MigrateError> {
        if !self.is_copied() {
            return Err(MigrateError::Early);
        }
        let fence_ms = self.fence_ms.load(Ordering::Acquire);
        verify(&self.db, (&*self.pin, fence_ms), (cancel, self.settle), progress)
    }

    /// Whether all pinned blocks are here.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.copied.load(Ordering::Relaxed)
    }

    /// This server takes no duty before [`Engine::switch`], after a restart neither.
    ///
    /// # Errors
    /// It cannot be noted.
    pub fn hold(&self) -> Result<(), MigrateError> {
        let mut state = self.state.lock();
        let noted = State { held: true, ..state.clone() };
        noted.write(&*self.disk, &self.data)?;
        *state = noted;
        Ok(())
    }

    /// Sets the fence: what the source has from `fence_ms` on does not come any more, as it is this server's to take.
    /// Durable when this returns. `fence_ms` is to be later than what has come.
    ///
    /// # Errors
    /// Not all is here, or what is newest is not; the clocks of both machines differ; there is a fence.
    pub fn switch(&self, fence_ms: i64) -> Result<Option<String>, MigrateError> {
        let early = |why: &str| MigrateError::Switch { why: why.to_string() };
        let progress = self.progress();
        if progress.stage != Stage::Following {
            return Err(early(
                "blocks of the source are still on their way; switch when status says: following",
            ));
        }
        if progress.caught_up.is_none_or(|t| t.elapsed() > BEHIND_MAX) {
            return Err(early(
                "the source's log was not read to its end within the last seconds; see status",
            ));
        }
        let machine = self.pin.machine();
        if let Some(machine) = &machine
            && machine.ahead_ms.abs() > SKEW_MS_MAX
        {
            let why = format!(
                "the clock of the source is {} ms ahead of this machine's, and {SKEW_MS_MAX} ms are the most with which no scrape is lost or doubled; set both by NTP",
                machine.ahead_ms
            );
            return Err(early(&why));
        }
        let mut state = self.state.lock();
        if state.fence_ms.is_some() {
            return Err(early("it was switched already; rollback undoes it"));
        }
        let host = machine.map(|m| m.host);
        let at_fence = Some((state.wal, state.wbl));
        let noted = State { fence_ms: Some(fence_ms), host: host.clone(), at_fence, ..state.clone() };
        noted.write(&*self.disk, &self.data)?;
        *state = noted;
        self.fence_ms.store(fence_ms, Ordering::Release);
        Ok(host)
    }

    /// Takes the fence away: what the source has had since then comes as well, when the engine is opened again. What
    /// this server took meanwhile stays.
    ///
    /// # Errors
    /// There is no fence; it cannot be noted.
    pub fn rollback(&self) -> Result<(), MigrateError> {
        let mut state = self.state.lock();
        let Some((wal, wbl)) = state.at_fence.filter(|_| state.fence_ms.is_some()) else {
            return Err(MigrateError::Switch { why: "it was not switched".to_string() });
        };
        let noted = State { fence_ms: None, at_fence: None, wal, wbl, ..state.clone() };
        noted.write(&*self.disk, &self.data)?;
        *state = noted;
        Ok(())
    }

    /// Ends the migration: the source's files may go again, and nothing here tells of it.
    ///
    /// # Errors
    /// The disk refused it.
    pub fn release(self) -> Result<(), MigrateError> {
        // First, as an agent that does not answer would keep its links for ever.
        self.pin.release()?;
        self.state.lock().end(&*self.disk, &self.data)
    }

    /// What was read of the logs counts no more: the next to open this pins anew.
    fn forget(&self) -> MigrateError {
        let mut state = self.state.lock();
        (state.wal, state.wbl) = (None, None);
        state.anew = true;
        let done = state.write(&*self.disk, &self.data).and_then(|()| self.pin.void());
        done.err().unwrap_or(MigrateError::Renumbered)
    }

    fn copy_blocks(&self, cancel: &CancelToken) -> Result<(), MigrateError> {
        let all = self.pin.blocks_in(Kept::Pinned)?;
        let here = self.state.lock().blocks.clone();
        let there = all.iter().filter(|m| here.contains_key(&m.ulid.to_string())).count();
        self.progress.lock().blocks = (there as u64, all.len() as u64);
        self.copied.store(false, Ordering::Relaxed);
        let fetch = Fetch {
            source: &*self.pin,
            to: &self.disk,
            data: &self.data,
            piece_bytes: self.piece_bytes,
            beside: self.beside,
            throttle: &self.throttle,
            cancel,
            spent: &self.spent,
            reaches_head: &|meta| self.db.reaches_head(meta),
        };
        for meta in all {
            let name = meta.ulid.to_string();
            if here.contains_key(&name) {
                continue;
            }
            if cancel.is_cancelled() {
                return Ok(());
            }
            let dir = self.pin.dir().join(&name);
            self.pin.check_block(&name)?;
            if !fetch.block(&name)? {
                return Ok(());
            }
            self.db.reload_blocks()?;
            // What is deleted of the block may be here by the log, from before it was pinned anew.
            let sum = if self.pin.is_still() {
                // They came with the block.
                deleted_sum(&**self.pin.disk(), &dir)?
            } else {
                let sum = self.take_deletions(&dir, 0)?.unwrap_or_default();
                self.delete_again(meta.mint_ms, meta.maxt_ms)?;
                sum
            };
            self.db.sync()?;
            let mut state = self.state.lock();
            state.blocks.insert(name, Deleted { sum, at: None });
            state.write(&*self.disk, &self.data)?;
            drop(state);
            fetch.forget(&meta.ulid.to_string())?;
            self.progress.lock().blocks.0 += 1;
        }
        self.copied.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Engine {
    /// Deletes here what was deleted of the source's blocks since they came, or since the log did that has what is in
    /// them.
    ///
    /// `at`: how far the log was read.
    fn follow_deletions(&self, at: Option<Place>) -> Result<(), MigrateError> {
        self.pin.follow_deletions()?;
        let state = self.state.lock().clone();
        for (name, before) in &state.blocks {
            if let Some(sum) = self.take_deletions(&self.pin.dir().join(name), before.sum)? {
                // What was deleted of the head is in our log, and no more than that.
                self.db.sync()?;
                let mut state = self.state.lock();
                state.blocks.insert(name.clone(), Deleted { sum, at });
                state.write(&*self.disk, &self.data)?;
            }
        }
        for name in names(&**self.pin.disk(), &self.pin.deletions_dir())? {
            let before = state.deletions.get(&name).copied().unwrap_or_default();
            if let Some(sum) = self.take_deletions(&self.pin.deletions_dir().join(&name), before.sum)? {
                self.db.sync()?;
                let mut state = self.state.lock();
                state.deletions.insert(name, Deleted { sum, at });
                state.write(&*self.disk, &self.data)?;
            }
        }
        Ok(())
    }

    /// Looks at the blocks that the source made since the last look. Call it when no record waits.
    fn look_at_new_blocks(&self, at: Option<Place>) -> Result<(), MigrateError> {
        let (before, anew) = {
            let state = self.state.lock();
            (state.seen.clone(), state.anew)
        };
        let there = self.pin.block_names()?;
        if there.iter().eq(before.keys()) && self.looked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut seen = before.clone();
        for name in there.iter().filter(|n| !before.contains_key(*n)) {
            let Some(meta) = self.pin.describe(name)? else { continue };
            let samples = meta.stats.num_samples;
            let parents = &meta.compaction.parents;
            // What the head writes lacks what the log says is deleted. A merged block has what its parents had.
            let known: Option<u64> =
                parents.iter().map(|p| before.get(&p.ulid.to_string()).map(|s| s.samples)).sum();
            if (!parents.is_empty() && known != Some(samples)) || anew {
                let Some(audited) =
                    audit(&self.db, &*self.pin, &meta, self.fence_ms.load(Ordering::Acquire))?
                else {
                    return Ok(());
                };
                if audited > 0 {
                    tracing::info!(block = name, samples = audited, "deleted in the source unseen, now here");
                }
            }
            seen.insert(name.clone(), Seen { samples, at });
        }
        self.db.sync()?;
        // Parents are asked for until a look has found their child.
        seen.retain(|name, _| there.contains(name));
        let mut state = self.state.lock();
        state.seen = seen;
        state.anew = false;
        state.write(&*self.disk, &self.data)?;
        drop(state);
        if !self.looked.swap(true, Ordering::Relaxed) {
            self.pin.forget_before()?;
        }
        Ok(())
    }

    /// A block comes as it was pinned. What was deleted since in one that the source made of it was taken over before
    /// this one was here.
    fn delete_again(&self, mint_ms: i64, end_ms: i64) -> Result<(), MigrateError> {
        for meta in self.pin.blocks_in(Kept::Deletions)? {
            if meta.mint_ms >= end_ms || meta.maxt_ms <= mint_ms {
                continue;
            }
            for (labels, range) in
                deleted(self.pin.disk(), &self.pin.deletions_dir().join(meta.ulid.to_string()))?
            {
                delete_exactly(&self.db, &labels, (range.mint_ms.max(mint_ms), range.maxt_ms.min(end_ms)))?;
            }
        }
        Ok(())
    }

    /// The new checksum where something was deleted since.
    fn take_deletions(&self, dir: &Path, sum: u32) -> Result<Option<u32>, MigrateError> {
        let now = deleted_sum(&**self.pin.disk(), dir)?;
        if now == sum || now == 0 {
            return Ok(None);
        }
        for (labels, range) in deleted(self.pin.disk(), dir)? {
            delete_exactly(&self.db, &labels, (range.mint_ms, range.maxt_ms))?;
        }
        Ok(Some(now))
    }
}

/// Notes that a source is pinned.
fn begun(disk: &dyn Disk, data: &Path, pin: &dyn Source, state: State) -> Result<State, MigrateError> {
    let blocks_end_ms = in_order_end_ms(&pin.blocks_in(Kept::Pinned)?);
    let state = State { blocks_end_ms, pin_id: pin.id().to_string(), ..state };
    if State::read(disk, data)?.as_ref() != Some(&state) {
        state.write(disk, data)?;
    }
    Ok(state)
}

/// Both logs on their way into the store.
struct Tail<'a> {
    engine: &'a Engine,
    apply: Apply,
    wal: Follower,
    wbl: Follower,
    /// A record of the second log whose series the first one has not told yet.
    held: Option<Record>,
    noted: Instant,
    /// Where both logs were when they had been read to their ends.
    ended: (Option<Place>, Option<Place>),
    /// When deletions were looked for.
    looked: Instant,
    /// Nothing was read to its end since the pin.
    fresh: bool,
}

impl<'a> Tail<'a> {
    fn new(engine: &'a Engine) -> Result<Self, MigrateError> {
        let state = {
            let mut state = engine.state.lock();
            state.deletions_again();
            state.clone()
        };
        let pin = &engine.pin;
        let follow = |log: PinnedLog, from| Follower::new(pin.disk(), pin.log_dir(log), from);
        let mut apply = Apply::new(engine.db.clone(), state.blocks_end_ms, Arc::clone(&engine.fence_ms));
        if pin.is_still() {
            apply.leave_out(Stones::read(follow(PinnedLog::Wal, state.wal)?)?);
        }
        Ok(Tail {
            engine,
            apply,
            wal: follow(PinnedLog::Wal, state.wal)?,
            wbl: follow(PinnedLog::Wbl, state.wbl)?,
            held: None,
            noted: Instant::now(),
            ended: (state.wal, state.wbl),
            looked: Instant::now(),
            fresh: state.wal.is_none(),
        })
    }

    /// Reads all that is written.
    fn drain(&mut self, cancel: &CancelToken, once: bool) -> Result<(), MigrateError> {
        self.engine.pin.follow()?;
        loop {
            self.read_wal(cancel)?;
            // Series of late samples are in the first log, before them.
            if let Some(record) = self.held.take() {
                // The first log was read to its end after this was met: who is not named now never will be.
                self.apply.record(PinnedLog::Wbl, record)?;
            }
            while !cancel.is_cancelled() {
                let Some(record) = self.wbl.next_record()? else { break };
                if !self.apply.knows(&record) {
                    self.held = Some(record);
                    break;
                }
                self.apply.record(PinnedLog::Wbl, record)?;
                self.note_in_time()?;
            }
            if self.held.is_none() {
                break;
            }
            self.engine.pin.follow()?;
        }
        self.apply.commit()?;
        self.ended = (self.wal.noted(), self.wbl.noted());
        self.fresh = false;
        if self.looked.elapsed() >= NOTE_EVERY || once {
            self.looked = Instant::now();
            self.engine.follow_deletions(self.wal.noted())?;
            if self.engine.copied.load(Ordering::Relaxed) && !cancel.is_cancelled() {
                self.engine.look_at_new_blocks(self.wal.noted())?;
            }
        }
        self.tell();
        self.note_in_time()
    }

    fn read_wal(&mut self, cancel: &CancelToken) -> Result<(), MigrateError> {
        while !cancel.is_cancelled() {
            let Some(record) = self.wal.next_record()? else { break };
            if let Record::Series(all) = &record
                && self.apply.renames(all)
            {
                // The source was started again. Which of the late samples not read yet have the number of the series
                // that is gone cannot be told; the source has put that one's into a block, and its logs of now are
                // sound by themselves. Rejected: going by the order of segments, which says nothing after a long
                // absence.
                if !self.fresh && self.wbl.noted().is_some() {
                    return Err(self.engine.forget());
                }
            }
            self.apply.record(PinnedLog::Wal, record)?;
            self.note_in_time()?;
        }
        Ok(())
    }

    fn note_in_time(&mut self) -> Result<(), MigrateError> {
        if self.noted.elapsed() < self.engine.note_every { Ok(()) } else { self.note() }
    }

    /// Makes durable what is in the store, then notes the places behind it.
    fn note(&mut self) -> Result<(), MigrateError> {
        self.noted = Instant::now();
        // Both logs go on from one time: that of the last round, where there are two.
        let place = match self.wbl.noted() {
            None if self.held.is_none() => (self.wal.noted(), None),
            _ => self.ended,
        };
        self.apply.commit()?;
        self.engine.db.sync()?;
        let mut state = self.engine.state.lock();
        if (state.wal, state.wbl) != place {
            (state.wal, state.wbl) = place;
            state.write(&*self.engine.disk, &self.engine.data)?;
        }
        drop(state);
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let mut progress = self.engine.progress.lock();
        progress.applied = self.apply.applied();
        progress.losses = self.wal.losses().iter().chain(self.wbl.losses()).cloned().collect();
        progress.caught_up = Some(Instant::now());
    }
}
