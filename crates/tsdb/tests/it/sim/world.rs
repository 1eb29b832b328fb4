//! The world of one seed: targets, a clock, a disk that fails, a database, and the ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::{Histogram, HistogramValue, Labels, MatchOp, Matcher, Span, stale_nan};
use storage::{
    AppendError, Appendable, LabelHints, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef,
    StorageError,
};
use tsdb::disk::{Disk, FaultCounts, FaultDisk, FaultKind, Op, Restart, Rng};
use tsdb::wal::record::{self, Record};
use tsdb::wal::{SegmentReader, checkpoint_path, checkpoints, segment_path, segments};
use tsdb::{Clocks, Db, DbOptions, Retention};

use super::ledger::{Hold, Ledger, Samples, Value};

/// Range of a fresh block.
const BLOCK_MS: i64 = 120_000;

#[derive(Clone, Debug, Default)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(0) as u64)
    }
}

/// What a target serves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    FloatHistogram,
}

#[derive(Debug)]
struct Served {
    labels: Labels,
    kind: Kind,
    reference: SeriesRef,
    counter: u64,
    alive: bool,
    last_t: i64,
}

#[derive(Debug)]
struct Target {
    name: String,
    series: Vec<Served>,
    made: usize,
}

/// Which faults a seed may have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: u64,
    pub(super) crashes: bool,
    /// Spells of a full disk.
    pub(super) full: bool,
    /// Spells of calls that fail now and then.
    pub(super) errors: bool,
    pub(super) strict: bool,
    /// Bits flip in what is on disk.
    pub(super) damage: bool,
    /// Memory for records that the disk refuses is small.
    pub(super) tight: bool,
    /// Images of the head are written.
    pub(super) images: bool,
}

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) steps: u64,
    pub(super) samples: u64,
    pub(super) restarts: u64,
    pub(super) simulated_ms: i64,
    pub(super) lost: u64,
    pub(super) blocks: u64,
    pub(super) damaged_samples: u64,
    pub(super) faults: FaultCounts,
    pub(super) trace: u64,
}

pub(super) struct World {
    seed: u64,
    rng: Rng,
    disk: FaultDisk,
    clock: ManualClock,
    db: Option<Db>,
    ledger: Ledger,
    targets: Vec<Target>,
    figures: Figures,
    start_ms: i64,
    opened: u64,
    plan: Plan,
    /// A spell of errors is on: calls may fail.
    failing: bool,
    /// The disk is full.
    full: bool,
    dropped: u64,
    /// The newest steps, for whoever has to find out what went wrong.
    log: Vec<String>,
}

type Outcome = Result<(), String>;

impl World {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let mut rng = Rng::new(seed);
        let start_ms = 1_700_000_000_000 + rng.below(BLOCK_MS as u64) as i64;
        let targets = (0..1 + rng.below(4))
            .map(|n| Target { name: format!("t{n}"), series: Vec::new(), made: 0 })
            .collect();
        World {
            seed,
            disk: FaultDisk::new(rng.next_u64()),
            clock: ManualClock(Arc::new(AtomicI64::new(start_ms))),
            rng,
            db: None,
            ledger: Ledger::default(),
            targets,
            figures: Figures::default(),
            start_ms,
            opened: 0,
            plan,
            failing: false,
            full: false,
            dropped: 0,
            log: Vec::new(),
        }
    }

    /// Runs the seed; an error says what broke.
    pub(super) fn run(mut self) -> Result<Figures, String> {
        match self.drive() {
            Ok(()) => {
                self.figures.samples = self.ledger.samples;
                self.figures.lost = self.ledger.lost;
                self.figures.simulated_ms = self.clock.now_ms() - self.start_ms;
                self.figures.faults = self.disk.counts();
                self.figures.trace = self.disk.trace();
                Ok(self.figures)
            }
            Err(what) => {
                if std::env::var_os("GODWIT_SIM_SEED").is_some() {
                    self.explain(&what);
                }
                let from = self.log.len().saturating_sub(30);
                Err(format!("seed {}: {what}\nlast steps:\n  {}", self.seed, self.log[from..].join("\n  ")))
            }
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        let t = self.clock.now_ms() - self.start_ms;
        let (step, calls) = (self.figures.steps, self.disk.counts().calls);
        let line = format!("{step} t={t} calls={calls}: {}", text.into());
        tracing::info!("{line}");
        self.log.push(line);
    }

    /// Prints what the log has of the series that an error names.
    pub(super) fn explain(&self, what: &str) {
        let named: Vec<&Labels> =
            self.ledger.series.keys().filter(|l| what.contains(&l.to_string())).collect();
        let Some(labels) = named.first() else { return };
        if self.disk.is_off() {
            self.disk.restart(Restart::Kill);
        }
        let disk: &dyn Disk = &self.disk;
        let wal = Path::new("/data/wal");
        let mut files: Vec<_> = Vec::new();
        for n in checkpoints(disk, wal).unwrap() {
            let dir = checkpoint_path(wal, n);
            files.extend(segments(disk, &dir).unwrap().into_iter().map(|s| segment_path(&dir, s)));
        }
        files.extend(segments(disk, wal).unwrap().into_iter().map(|s| segment_path(wal, s)));
        let mut numbers = Vec::new();
        for path in files {
            let mut reader = SegmentReader::open(disk, &path).unwrap();
            while let Some(bytes) = reader.next_record().unwrap() {
                let say = |text: String| eprintln!("{}: {text}", path.display());
                match record::decode(bytes) {
                    Ok(Record::Series(all)) => all.iter().filter(|s| s.labels == **labels).for_each(|s| {
                        numbers.push(s.series);
                        say(format!("series {}", s.series));
                    }),
                    Ok(Record::Samples(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} at {}: {}", s.series, s.t_ms, s.value))),
                    Ok(Record::Histograms(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} at {}: histogram", s.series, s.t_ms))),
                    Ok(_) => {}
                    Err(e) => say(e.to_string()),
                }
            }
            reader.losses().iter().for_each(|l| eprintln!("{l}"));
        }
        for (t, e) in &self.ledger.series[*labels] {
            eprintln!("ledger {t} {:?} {:?}", e.hold, e.value);
        }
    }

    fn drive(&mut self) -> Outcome {
        self.open()?;
        while self.figures.steps < self.plan.steps {
            self.figures.steps += 1;
            self.step()?;
            if self.disk.is_off() {
                self.crash()?;
            }
        }
        // The end: on a good disk a clean stop and a start keep everything.
        self.heal()?;
        if self.disk.is_off() {
            self.crash()?;
        }
        self.check_live()?;
        self.reopen()?;
        if self.disk.is_off() {
            return self.crash();
        }
        self.check_live()
    }

    /// A clean stop and a start.
    fn reopen(&mut self) -> Outcome {
        self.close()?;
        if self.disk.is_off() || self.db.is_some() {
            return Ok(());
        }
        self.open()?;
        if self.disk.is_off() {
            return Ok(());
        }
        self.compare_after(Restart::Kill)
    }

    fn step(&mut self) -> Outcome {
        let advance = match self.rng.below(40) {
            0 => 60_000 + self.rng.below(240_000) as i64,
            _ => self.rng.below(4_000) as i64,
        };
        self.clock.0.fetch_add(advance, Ordering::Relaxed);
        match self.rng.below(100) {
            0..70 => self.scrape(),
            70..76 => self.write_batch(),
            76..84 => self.save_image().and_then(|()| self.sync()),
            84..90 => self.maintain(),
            90..93 => self.check_live(),
            93..95 => self.check_part(),
            95 if self.plan.crashes => self.crash(),
            96 | 97 if self.plan.crashes => {
                let calls = 1 + self.rng.below(60);
                self.note(format!("crash in {calls} calls"));
                self.disk.crash_after(calls);
                Ok(())
            }
            98 => self.reopen(),
            97 | 99 if self.plan.damage && self.rng.one_in(2) => self.damage(),
            _ if self.full || self.failing => {
                if self.rng.one_in(3) {
                    self.heal()?;
                }
                Ok(())
            }
            _ if self.plan.full && self.rng.one_in(2) => {
                self.full = true;
                let room = if self.rng.one_in(2) { 0 } else { self.rng.below(20_000) };
                self.note(format!("disk is full but for {room} bytes"));
                self.disk.set_capacity(self.disk.used() + room);
                Ok(())
            }
            _ if self.plan.errors => {
                self.failing = true;
                self.note("calls fail now and then");
                let kind = if self.rng.one_in(4) { FaultKind::Full } else { FaultKind::Io };
                for op in [
                    Op::Write,
                    Op::Sync,
                    Op::SyncDir,
                    Op::Create,
                    Op::Rename,
                    Op::Remove,
                    Op::Read,
                    Op::MakeDir,
                ] {
                    if self.rng.one_in(3) {
                        self.disk.set_rate(op, kind, 1 + self.rng.below(20));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends all trouble: from here on everything works again, by itself.
    fn heal(&mut self) -> Outcome {
        if !self.full && !self.failing {
            return Ok(());
        }
        self.note("disk is good again");
        self.disk.heal();
        self.disk.set_capacity(u64::MAX);
        (self.full, self.failing) = (false, false);
        if self.disk.is_off() {
            return Ok(());
        }
        self.sync()?;
        let status = self.db()?.log_status();
        if status.held_records > 0 && !self.disk.is_off() {
            return Err(format!("the log does not go on: {status:?}"));
        }
        self.maintain()?;
        self.check_live()
    }

    fn trouble(&self) -> bool {
        self.full || self.failing || self.disk.is_off()
    }

    fn options(&mut self) -> DbOptions {
        let mut options = DbOptions::new("/data");
        options.disk = Arc::new(self.disk.clone());
        options.min_block_ms = BLOCK_MS;
        options.max_block_ms = 9 * BLOCK_MS;
        options.wal_segment_bytes = 64 << 10;
        options.samples_per_chunk = 8;
        options.wal_strict = self.plan.strict;
        options.scrub_bytes = 3000;
        if self.plan.tight {
            options.wal_hold_bytes = 2_000;
        }
        options.retention = Retention::default();
        options.clock = Clocks(Arc::new(self.clock.clone()));
        self.opened += 1;
        // At each chance, now and then, or never.
        options.image_log_bytes = if self.plan.images { [1, 20_000][(self.seed % 2) as usize] } else { 0 };
        options.simulated = Some(self.seed ^ (self.opened << 40));
        options
    }

    /// Opens; gives up quietly where the disk goes off meanwhile.
    fn open(&mut self) -> Outcome {
        let options = self.options();
        match Db::open(options) {
            Ok(db) => {
                self.note("opened");
                self.db = Some(db);
                for target in &mut self.targets {
                    target.series.iter_mut().for_each(|s| s.reference = SeriesRef::NONE);
                }
                Ok(())
            }
            Err(_) if self.disk.is_off() => Ok(()),
            Err(e) if self.failing => {
                self.note(format!("does not open: {e}"));
                self.disk.heal();
                self.failing = false;
                self.open()
            }
            Err(e) => Err(format!("does not open: {e}")),
        }
    }

    fn close(&mut self) -> Outcome {
        let Some(db) = self.db.take() else { return Ok(()) };
        self.note("close");
        match db.close() {
            Ok(()) => {
                self.ledger.promote(Hold::Memory, Hold::Synced);
                Ok(())
            }
            Err(_) if self.disk.is_off() => Ok(()),
            Err(e) if self.full || self.failing => {
                // Said so: what only memory had is gone with the process.
                self.note(format!("does not close: {e}"));
                self.settle_after(Restart::Kill)
            }
            Err(e) => Err(format!("does not close: {e}")),
        }
    }

    fn crash(&mut self) -> Outcome {
        let how = if self.rng.one_in(2) { Restart::PowerCut } else { Restart::Kill };
        self.note(format!("{how:?}"));
        // A killed process does not run destructors that write, but handles are dead: dropping is harmless.
        self.disk.restart(how);
        self.db = None;
        self.figures.restarts += 1;
        for attempt in 0.. {
            // Some die again while starting.
            if self.plan.crashes && attempt < 3 && self.rng.one_in(4) {
                let calls = 1 + self.rng.below(80);
                self.note(format!("crash in {calls} calls while opening"));
                self.disk.crash_after(calls);
            }
            self.open()?;
            if !self.disk.is_off() {
                break;
            }
            // Nothing was added: what survived a power cut once must do so again; after a kill only a kill
            // leaves all of it.
            let again = if how == Restart::PowerCut && self.rng.one_in(2) { how } else { Restart::Kill };
            self.note(format!("{again:?} while opening"));
            self.disk.restart(again);
            self.db = None;
        }
        self.disk.crash_after(u64::MAX >> 2);
        self.compare_after(how)
    }

    /// The process ended and starts again.
    fn settle_after(&mut self, how: Restart) -> Outcome {
        self.disk.restart(how);
        self.db = None;
        self.open()?;
        if self.disk.is_off() {
            return Ok(());
        }
        self.compare_after(how)
    }

    fn compare_after(&mut self, how: Restart) -> Outcome {
        let failing = std::mem::take(&mut self.failing);
        if failing {
            // Blocks that could not be read when it started are looked for again.
            self.disk.heal();
            self.maintain()?;
        }
        self.dropped = 0;
        let required = if how == Restart::PowerCut { Hold::Synced } else { Hold::Logged };
        let found = match self.read(i64::MIN, i64::MAX) {
            Err(_) if self.disk.is_off() => return Ok(()),
            other => other?,
        };
        self.ledger.compare(&found, (i64::MIN, i64::MAX), required, true)?;
        // What survived a power cut is on the medium; after a kill it may still be on its way.
        self.ledger.settle(&found, required, false);
        Ok(())
    }

    /// A bit flips somewhere; a start finds, names and mends it, and loses no more than what it was in.
    fn damage(&mut self) -> Outcome {
        self.heal()?;
        self.close()?;
        if self.disk.is_off() || self.db.is_some() {
            return Ok(());
        }
        let kind = ["/wal/", "/chunks_head/", "/chunks/", "/index", "/meta.json", "/tombstones"]
            [self.rng.below(6) as usize];
        let fits = |path: &str, _: u64| path.contains(kind) && !path.contains("damaged");
        let Some((path, at)) = self.disk.flip_bit(fits) else { return self.open() };
        self.note(format!("bit of {} flips at {at}", path.display()));
        self.disk.crash_after(u64::MAX >> 2);
        self.open()?;
        // One query may fail, and says why; upkeep mends what it can reach.
        let _ = self.read(i64::MIN, i64::MAX);
        self.maintain()?;
        let found = self.read(i64::MIN, i64::MAX)?;
        let mut lost: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        let mut commits = std::collections::BTreeSet::new();
        for (labels, entries) in &self.ledger.series {
            for (t, e) in entries {
                if e.hold == Hold::Synced && !found.get(labels).is_some_and(|s| s.contains_key(t)) {
                    lost.entry(labels.clone()).or_default().push(*t);
                    commits.insert(e.commit);
                }
            }
        }
        let n: usize = lost.values().map(Vec::len).sum();
        let most = match kind {
            // All chunks are in the log as well, unless a power cut took that.
            "/chunks_head/"
                if self.disk.counts().damaged == 1
                    && !self.plan.full
                    && !self.plan.errors
                    && self.disk.counts().power_cuts == 0 =>
            {
                n == 0
            }
            // One record: of one commit, or the series that one commit made.
            "/wal/" => commits.len() <= 1 || lost.len() <= 45,
            "/chunks/" => lost.len() <= 1 && n <= 20 || n == 0,
            "/meta.json" | "/tombstones" => n == 0,
            // A part of the index may take the block with it.
            _ => true,
        };
        self.note(format!("{n} samples of {} series lost", lost.len()));
        if !most {
            return Err(format!(
                "a bit in {kind} cost {n} samples of {} series, {} commits",
                lost.len(),
                commits.len()
            ));
        }
        self.figures.damaged_samples += n as u64;
        self.ledger.compare(&found, (i64::MIN, i64::MAX), Hold::Never, true)?;
        self.ledger.settle(&found, Hold::Logged, true);
        self.sync()
    }

    fn db(&self) -> Result<Db, String> {
        self.db.clone().ok_or_else(|| "no database".to_string())
    }

    fn read(&self, mint: i64, maxt: i64) -> Result<BTreeMap<Labels, Samples>, String> {
        let text = |e: StorageError| format!("query fails: {e}");
        let db = self.db()?;
        let querier = db.querier(mint, maxt).map_err(text)?;
        let all = [Matcher::new(MatchOp::NotEqual, "__name__", "").map_err(|e| e.to_string())?];
        let set =
            querier.select(&QueryContext::unlimited(), true, &SelectHints::default(), &all).map_err(text)?;
        let mut found = BTreeMap::new();
        let mut buf = SampleBuf::default();
        for series in &set.series {
            buf.clear();
            series.read(mint, maxt, &mut buf).map_err(text)?;
            if !buf.times.is_sorted_by(|a, b| a < b) {
                return Err(format!("times of {} do not ascend: {:?}", series.labels(), buf.times));
            }
            if buf.is_empty() {
                continue;
            }
            let value = |i: usize| match buf.histogram_at(i) {
                Some(h) => Value::histogram(h),
                None => Value::float(buf.values[i]),
            };
            let samples: Samples = buf.times.iter().enumerate().map(|(i, t)| (*t, value(i))).collect();
            if found.insert(series.labels().clone(), samples).is_some() {
                return Err(format!("series {} comes twice", series.labels()));
            }
        }
        Ok(found)
    }

    fn check_live(&mut self) -> Outcome {
        let found = match self.read(i64::MIN, i64::MAX) {
            Err(_) if self.disk.is_off() || self.failing => return Ok(()),
            other => other?,
        };
        self.ledger.compare(&found, (i64::MIN, i64::MAX), Hold::Memory, false)
    }

    fn check_part(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let mint = now - self.rng.below(6 * BLOCK_MS as u64) as i64;
        let maxt = mint + self.rng.below(3 * BLOCK_MS as u64) as i64;
        let found = match self.read(mint, maxt) {
            Err(_) if self.disk.is_off() || self.failing => return Ok(()),
            other => other?,
        };
        if found.values().flat_map(|s| s.keys()).any(|t| *t < mint || *t > maxt) {
            return Err(format!("samples outside [{mint}, {maxt}]"));
        }
        self.ledger.compare(&found, (mint, maxt), Hold::Memory, false)?;
        let querier = self.db()?.querier(mint, maxt).map_err(|e| e.to_string())?;
        let names = querier.label_names(&QueryContext::unlimited(), LabelHints::default(), &[]);
        if !found.is_empty()
            && !names.is_ok_and(|n| n.contains(&"__name__".to_string()))
            && !self.disk.is_off()
            && !self.failing
        {
            return Err("label names are missing".to_string());
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome {
        self.note("sync");
        match self.db()?.sync() {
            Ok(()) => {
                self.notice_drops()?;
                self.ledger.promote(Hold::Memory, Hold::Synced);
                Ok(())
            }
            Err(_) if self.trouble() => {
                self.notice_drops()?;
                if !self.disk.is_off() && self.db()?.log_status().held_records == 0 {
                    self.ledger.promote(Hold::Memory, Hold::Logged);
                }
                Ok(())
            }
            Err(e) => Err(format!("sync fails: {e}")),
        }
    }

    fn save_image(&mut self) -> Outcome {
        if !self.plan.images {
            return Ok(());
        }
        self.note("image");
        match self.db()?.save_image() {
            Ok(()) => self.notice_drops(),
            Err(_) if self.trouble() => self.notice_drops(),
            Err(e) => Err(format!("the image fails: {e}")),
        }
    }

    fn maintain(&mut self) -> Outcome {
        self.note("maintain");
        match self.db()?.maintain() {
            Ok(()) => {
                self.figures.blocks = self.figures.blocks.max(self.blocks());
                Ok(())
            }
            Err(_) if self.trouble() => Ok(()),
            Err(e) => Err(format!("upkeep fails: {e}")),
        }
    }

    fn blocks(&self) -> u64 {
        use storage::StatusSource;
        self.db.as_ref().and_then(|db| db.blocks().ok()).map_or(0, |b| b.len() as u64)
    }

    /// What a commit's end means for its samples.
    fn committed(
        &mut self,
        batch: Vec<(Labels, i64, Value)>,
        done: Result<storage::CommitStats, StorageError>,
    ) -> Outcome {
        let hold = match done {
            Err(_) if self.plan.strict && self.trouble() => Hold::Maybe,
            Ok(stats) if stats.refused > 0 || stats.samples != batch.len() as u64 => {
                return Err(format!(
                    "{} of {} samples stored, {} refused",
                    stats.samples,
                    batch.len(),
                    stats.refused
                ));
            }
            Ok(_) if self.disk.is_off() || self.db()?.log_status().held_records > 0 => Hold::Memory,
            Ok(_) if self.plan.strict => Hold::Synced,
            Ok(_) => Hold::Logged,
            Err(_) if self.disk.is_off() => Hold::Maybe,
            Err(e) => return Err(format!("commit fails: {e}")),
        };
        for (labels, t, value) in batch {
            self.ledger.add(&labels, t, value, hold, self.figures.steps);
        }
        self.notice_drops()
    }

    /// Dropped records are told: what memory alone has is not promised any more.
    fn notice_drops(&mut self) -> Outcome {
        let dropped = self.db()?.log_status().dropped_records;
        if dropped > self.dropped {
            if !self.plan.tight {
                return Err(format!("{dropped} records dropped though there is room for them"));
            }
            self.dropped = dropped;
            self.ledger.pin_memory();
        }
        Ok(())
    }

    fn scrape(&mut self) -> Outcome {
        let t = self.clock.now_ms();
        let at = self.rng.below(self.targets.len() as u64) as usize;
        let World { targets, rng, db, .. } = self;
        let target = &mut targets[at];
        churn(target, rng);
        let Some(db) = db.clone() else { return Ok(()) };
        let mut app = db.appender();
        let mut batch = Vec::new();
        // Known floats go by reference, all at once, as a scrape loop does it.
        let (mut refs, mut values, mut who) = (Vec::new(), Vec::new(), Vec::new());
        for (i, s) in target.series.iter_mut().enumerate() {
            if s.last_t >= t {
                continue;
            }
            let stale = !s.alive;
            match s.kind {
                Kind::Counter | Kind::Gauge => {
                    let v = if stale { stale_nan() } else { next_float(s, rng) };
                    if s.reference.is_none() {
                        s.reference =
                            app.append(SeriesRef::NONE, &s.labels, 0, t, v).map_err(|e| e.to_string())?;
                        s.last_t = t;
                        batch.push((s.labels.clone(), t, Value::float(v)));
                    } else {
                        refs.push(s.reference);
                        values.push(v);
                        who.push(i);
                    }
                }
                Kind::Histogram | Kind::FloatHistogram => {
                    let h = if stale { stale_histogram(s.kind) } else { next_histogram(s, rng) };
                    s.reference =
                        app.append_histogram(s.reference, &s.labels, 0, t, &h).map_err(|e| e.to_string())?;
                    s.last_t = t;
                    batch.push((s.labels.clone(), t, Value::histogram(&h)));
                }
            }
        }
        let mut rejected = Vec::new();
        app.append_batch(t, &refs, &values, &mut rejected);
        for (n, i) in who.into_iter().enumerate() {
            let s = &mut target.series[i];
            match rejected.iter().find(|r| r.index == n).map(|r| &r.error) {
                None => {}
                Some(AppendError::UnknownSeries) => {
                    s.reference =
                        app.append(SeriesRef::NONE, &s.labels, 0, t, values[n]).map_err(|e| e.to_string())?;
                }
                Some(e) => return Err(format!("{} at {t} refused: {e}", s.labels)),
            }
            s.last_t = t;
            batch.push((s.labels.clone(), t, Value::float(values[n])));
        }
        target.series.retain(|s| s.alive);
        if self.rng.one_in(30) {
            app.rollback();
            return Ok(());
        }
        let done = app.commit();
        drop(db);
        self.note(format!(
            "scrape {at}: {} samples, {}",
            batch.len(),
            if done.is_ok() { "ok" } else { "error" }
        ));
        self.committed(batch, done)
    }

    /// As a remote write: series of its own, several samples each.
    fn write_batch(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let Some(db) = self.db.clone() else { return Ok(()) };
        let mut app = db.appender();
        let mut batch = Vec::new();
        let sender = self.figures.steps;
        for i in 0..1 + self.rng.below(4) {
            let labels = Labels::from_pairs([
                ("__name__", "written"),
                ("i", &i.to_string()),
                ("step", &sender.to_string()),
            ]);
            for k in 0..1 + self.rng.below(20) as i64 {
                let (t, v) = (now - 5_000 + k * 250, self.rng.next_u64() as f64);
                match app.append(SeriesRef::NONE, &labels, 0, t, v) {
                    Ok(_) => batch.push((labels.clone(), t, Value::float(v))),
                    Err(AppendError::OutOfBounds) => {}
                    Err(e) => return Err(format!("{labels} at {t} refused: {e}")),
                }
            }
        }
        let done = app.commit();
        drop(db);
        self.note(format!("write: {} samples", batch.len()));
        self.committed(batch, done)
    }
}

/// Series come and go.
fn churn(target: &mut Target, rng: &mut Rng) {
    while target.series.len() < 3 || rng.one_in(6) && target.series.len() < 40 {
        let kind = match rng.below(10) {
            0 => Kind::Histogram,
            1 => Kind::FloatHistogram,
            2..6 => Kind::Counter,
            _ => Kind::Gauge,
        };
        // Some come back under their old labels, a kind always under the same.
        let n = if rng.one_in(3) && target.made > 0 {
            rng.below(target.made as u64) as usize
        } else {
            target.made
        };
        let name = format!("m{n}_{kind:?}");
        let labels = Labels::from_pairs([
            ("__name__", name.as_str()),
            ("instance", target.name.as_str()),
            ("long", &"x".repeat((n * 37) % 200 + 1)),
        ]);
        if target.series.iter().any(|s| s.labels == labels) {
            break;
        }
        target.made = target.made.max(n + 1);
        let served =
            Served { labels, kind, reference: SeriesRef::NONE, counter: 0, alive: true, last_t: i64::MIN };
        target.series.push(served);
    }
    for s in &mut target.series {
        if rng.one_in(60) {
            s.alive = false;
        }
    }
}

fn next_float(s: &mut Served, rng: &mut Rng) -> f64 {
    match s.kind {
        Kind::Counter => {
            s.counter = if rng.one_in(50) { 0 } else { s.counter + rng.below(100) };
            s.counter as f64
        }
        _ if rng.one_in(20) => f64::from_bits(rng.next_u64()),
        _ => rng.below(1000) as f64 / 8.0,
    }
}

fn next_histogram(s: &mut Served, rng: &mut Rng) -> HistogramValue {
    s.counter = if rng.one_in(20) { 0 } else { s.counter + 1 + rng.below(50) };
    let n = s.counter;
    let width = 1 + rng.below(3) as u32;
    let mut h = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: n / 7,
        sum: n as f64 * 1.5,
        positive_spans: vec![Span { offset: 0, length: width }, Span { offset: 2, length: 1 }],
        ..Histogram::default()
    };
    let counts: Vec<i64> = (0..=i64::from(width)).map(|i| n as i64 + i).collect();
    h.positive_buckets = counts.iter().scan(0, |last, c| Some(c - std::mem::replace(last, *c))).collect();
    h.count = h.zero_count + counts.iter().sum::<i64>() as u64;
    let h = HistogramValue::Int(Arc::new(h));
    if s.kind == Kind::FloatHistogram { HistogramValue::Float(h.to_float()) } else { h }
}

fn stale_histogram(kind: Kind) -> HistogramValue {
    let h = HistogramValue::Int(Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() }));
    if kind == Kind::FloatHistogram { HistogramValue::Float(h.to_float()) } else { h }
}
