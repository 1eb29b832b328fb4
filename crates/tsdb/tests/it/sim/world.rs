//! The world of one seed: targets, a clock, a disk that fails, a database, and the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::{Labels, MatchOp, Matcher};
use storage::{
    ExemplarQueryable, LabelHints, Querier, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef,
    StatusSource, StorageError,
};
use telemetry::{MetricData, Registry};
use tsdb::block::BlockMeta;
use tsdb::compact::KeepRule;
use tsdb::disk::{FaultCounts, FaultDisk, Restart, Rng};
use tsdb::{Clocks, Db, DbOptions, Retention, StaleRules};

use super::ledger::{Found, Hold, Ledger, Samples, Value};
use super::plan::Plan;
use super::targets::Target;

/// Range of a fresh block.
pub(super) const BLOCK_MS: i64 = 120_000;

#[derive(Clone, Debug, Default)]
pub(super) struct ManualClock(pub(super) Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(0) as u64)
    }
}

/// How names of series begin that have a retention of their own, where there are such.
const KEPT_SHORTLY: &str = "m0_";

/// How far behind late samples may be.
pub(super) const WINDOW_MS: i64 = 3 * BLOCK_MS;

/// Blocks are of two minutes here, and targets have some ten series.
const EVICTION: StaleRules =
    StaleRules { share: 0.05, series_min: 1, interval_ms: 20_000, stale_ms: 5_000, idle_ms: 60_000 };

/// Figures of a run.
#[derive(Clone, Debug, Default)]
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
    /// What was done and went wrong, by kind.
    pub(super) events: BTreeMap<&'static str, u64>,
}

impl Figures {
    pub(super) fn event(&mut self, what: &'static str) {
        *self.events.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Figures) {
        self.steps += other.steps;
        self.samples += other.samples;
        self.restarts += other.restarts;
        self.simulated_ms += other.simulated_ms;
        self.lost += other.lost;
        self.blocks += other.blocks;
        self.damaged_samples += other.damaged_samples;
        self.faults.calls += other.faults.calls;
        self.faults.errors += other.faults.errors;
        self.faults.power_cuts += other.faults.power_cuts;
        self.faults.damaged += other.faults.damaged;
        for (what, n) in &other.events {
            *self.events.entry(what).or_default() += n;
        }
    }
}

/// The world of a seed.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) disk: FaultDisk,
    pub(super) clock: ManualClock,
    pub(super) db: Option<Db>,
    pub(super) ledger: Ledger,
    pub(super) targets: Vec<Target>,
    pub(super) figures: Figures,
    pub(super) start_ms: i64,
    opened: u64,
    pub(super) plan: Plan,
    /// A spell of errors is on: calls may fail.
    pub(super) failing: bool,
    /// The disk is full.
    pub(super) full: bool,
    /// Time passes in calls.
    pub(super) slow: bool,
    /// Steps add up to this; jumps of the clock do not.
    pub(super) passed_ms: i64,
    dropped: u64,
    registry: Registry,
    /// How often blocks went for their size since the start.
    size_retentions: f64,
    /// Which ones is not known.
    size_unsure: bool,
    /// Blocks at the last look.
    known_blocks: Vec<BlockMeta>,
    /// Samples before this may have gone with them.
    size_floor: i64,
    /// The newest steps, for whoever has to find out what went wrong.
    log: Vec<String>,
}

pub(super) type Outcome = Result<(), String>;

fn text(e: StorageError) -> String {
    format!("query fails: {e}")
}

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
            slow: false,
            passed_ms: 0,
            dropped: 0,
            registry: Registry::new(),
            size_retentions: 0.0,
            size_unsure: false,
            known_blocks: Vec::new(),
            size_floor: i64::MIN,
            log: Vec::new(),
        }
    }

    /// Runs the seed; an error says what broke.
    pub(super) fn run(mut self) -> Result<Figures, String> {
        match self.drive() {
            Ok(()) => {
                self.figures.samples = self.ledger.samples;
                self.figures.lost = self.ledger.lost;
                self.figures.simulated_ms = self.passed_ms;
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

    pub(super) fn note(&mut self, text: impl Into<String>) {
        let t = self.clock.now_ms() - self.start_ms;
        let (step, calls) = (self.figures.steps, self.disk.counts().calls);
        let line = format!("{step} t={t} calls={calls}: {}", text.into());
        tracing::info!("{line}");
        self.log.push(line);
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
    pub(super) fn reopen(&mut self) -> Outcome {
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

    /// Ends all trouble: from here on everything works again, by itself.
    pub(super) fn heal(&mut self) -> Outcome {
        if std::mem::take(&mut self.slow) {
            self.disk.set_latency(None);
        }
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

    pub(super) fn trouble(&self) -> bool {
        self.full || self.failing || self.disk.is_off()
    }

    fn options(&mut self) -> DbOptions {
        let mut options = DbOptions::new("/data");
        options.disk = Arc::new(self.disk.clone());
        options.min_block_ms = BLOCK_MS;
        options.max_block_ms = 9 * BLOCK_MS;
        options.wal_segment_bytes = 64 << 10;
        options.samples_per_chunk = 8;
        if self.plan.mode_changes && self.opened > 0 && self.rng.one_in(3) {
            self.plan.strict = !self.plan.strict;
        }
        options.wal_strict = self.plan.strict;
        // What a start left unread of the log is checked by the next upkeep, as the ledger expects no damage behind that.
        options.scrub_bytes = if self.plan.images { 1 << 20 } else { 3000 };
        if self.plan.tight {
            options.wal_hold_bytes = 2_000;
        }
        let (duration_ms, size_bytes) = (self.plan.retention_ms, self.plan.retention_bytes);
        options.retention = Retention { duration_ms, size_bytes, ..Retention::default() };
        options.out_of_order_window_ms = if self.plan.late { WINDOW_MS } else { 0 };
        options.exemplars_max = if self.plan.exemplars { 100_000 } else { 0 };
        options.clock = Clocks(Arc::new(self.clock.clone()));
        // A process that died may have taken blocks that nobody has looked for.
        self.size_unsure |= self.count_size_retentions() > self.size_retentions;
        (self.registry, self.size_retentions) = (Registry::new(), 0.0);
        options.registry = self.registry.clone();
        self.opened += 1;
        // At each chance, now and then, or never.
        options.image_log_bytes = if self.plan.images { [1, 20_000][(self.seed % 2) as usize] } else { 0 };
        options.stale = self.plan.evict.then_some(EVICTION);
        options.simulated = Some(self.seed ^ (self.opened << 40));
        options
    }

    /// Opens; gives up quietly where the disk goes off meanwhile.
    pub(super) fn open(&mut self) -> Outcome {
        let options = self.options();
        match Db::open(options) {
            Ok(db) => {
                self.note("opened");
                if self.plan.keep_ms > 0 {
                    let names = format!("{KEPT_SHORTLY}.*");
                    let matchers =
                        vec![Matcher::new(MatchOp::Regex, "__name__", &names).map_err(|e| e.to_string())?];
                    db.set_keep_rules(vec![KeepRule { matchers, keep_ms: self.plan.keep_ms }]);
                }
                self.db = Some(db);
                self.note_blocks(true);
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

    pub(super) fn close(&mut self) -> Outcome {
        self.note_blocks(false);
        let Some(db) = self.db.take() else { return Ok(()) };
        self.note("close");
        match db.close() {
            Ok(()) => {
                self.ledger.promote(Hold::Memory, Hold::Synced);
                self.lay_ghosts();
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

    fn lay_ghosts(&mut self) {
        // What a commit that failed in strict mode left in the log, a start from an image or from complete
        // chunks may pass over, and one that reads all of the log shows, however much later. Its sender was told
        // that it is not stored.
        if !(self.plan.strict || self.plan.mode_changes) {
            self.ledger.lay_ghosts();
        }
    }

    pub(super) fn crash(&mut self) -> Outcome {
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

    pub(super) fn compare_after(&mut self, how: Restart) -> Outcome {
        let failing = std::mem::take(&mut self.failing);
        if failing {
            // Blocks that could not be read when it started are looked for again. The log may have brought
            // back meanwhile what was deleted in them.
            self.ledger.doubt_deletes();
            self.disk.heal();
            self.maintain()?;
        }
        self.dropped = 0;
        let required = if how == Restart::PowerCut { Hold::Synced } else { Hold::Logged };
        let found = match self.read(i64::MIN, i64::MAX) {
            Err(_) if self.disk.is_off() => return Ok(()),
            other => other?,
        };
        self.release();
        self.ledger.compare(&found, (i64::MIN, i64::MAX), required, true)?;
        let exemplars = self.read_exemplars()?;
        let mint = self.ledger.newest - BLOCK_MS / 2;
        if !self.ledger.deletes_in_doubt {
            self.ledger.compare_exemplars(&exemplars, mint, required)?;
        }
        self.ledger.settle_exemplars(&exemplars, required);
        // What survived a power cut is on the medium; after a kill it may still be on its way.
        // A start in doubt, as after strict mode, looks for samples that others pass over: they may come later.
        self.ledger.settle(&found, required, self.plan.mode_changes, failing);
        Ok(())
    }

    pub(super) fn db(&self) -> Result<Db, String> {
        self.db.clone().ok_or_else(|| "no database".to_string())
    }

    pub(super) fn read(&self, mint: i64, maxt: i64) -> Result<Found, String> {
        let querier = self.db()?.querier(mint, maxt).map_err(text)?;
        read_all(&*querier, mint, maxt)
    }

    pub(super) fn read_exemplars(&self) -> Result<BTreeMap<Labels, BTreeMap<i64, u64>>, String> {
        if !self.plan.exemplars {
            return Ok(BTreeMap::new());
        }
        let all = [vec![Matcher::new(MatchOp::NotEqual, "__name__", "").map_err(|e| e.to_string())?]];
        let found = self.db()?.select_exemplars(&QueryContext::unlimited(), i64::MIN, i64::MAX, &all);
        let samples = |all: Vec<model::Exemplar>| {
            all.into_iter().map(|e| (e.timestamp_ms, e.value.to_bits())).collect()
        };
        Ok(found.map_err(text)?.into_iter().map(|s| (s.labels, samples(s.exemplars))).collect())
    }

    /// What retention may take is not required from here on.
    pub(super) fn release(&mut self) {
        if self.plan.retention_ms > 0 {
            // A block ends with its range at the latest, and goes when the newest one ends so much later.
            let newest = (self.ledger.newest.div_euclid(BLOCK_MS) + 1) * BLOCK_MS;
            self.ledger.release_before(newest - self.plan.retention_ms);
        }
        if self.plan.keep_ms > 0 {
            let newest = (self.ledger.newest.div_euclid(BLOCK_MS) + 1) * BLOCK_MS;
            self.ledger.release_named_before(KEPT_SHORTLY, newest - self.plan.keep_ms);
        }
        if self.plan.retention_bytes > 0 {
            self.note_blocks(false);
            self.ledger.release_before(self.size_floor);
        }
    }

    /// Finds out which blocks had to go for their size: those whose sources no block has any more. What a
    /// start takes is not known so well: a process that died may have made blocks that nobody saw.
    pub(super) fn note_blocks(&mut self, at_start: bool) {
        if self.plan.retention_bytes == 0 {
            return;
        }
        let metas = self.block_metas();
        let taken = self.count_size_retentions();
        let unsure = at_start && std::mem::take(&mut self.size_unsure);
        if taken > self.size_retentions || unsure {
            let left: BTreeSet<_> = metas.iter().flat_map(|m| m.compaction.sources.iter().copied()).collect();
            let gone =
                self.known_blocks.iter().filter(|m| !m.compaction.sources.iter().all(|s| left.contains(s)));
            let newest_gone = gone.map(|m| m.maxt_ms).max().unwrap_or(i64::MIN);
            let newest = metas.iter().map(|m| m.maxt_ms).max();
            let head = self.db.as_ref().and_then(|db| db.start_time_ms().ok());
            // Blocks of late samples reach into the time of the head, so that the newest one may be gone too.
            let left = if at_start { newest.or(head).unwrap_or(i64::MAX) } else { i64::MIN };
            self.size_floor = self.size_floor.max(newest_gone).max(left);
        }
        self.size_retentions = taken;
        let before = std::mem::replace(&mut self.known_blocks, metas);
        if at_start {
            // Such as could not be opened come with the first upkeep, which may take them at once.
            let here: BTreeSet<_> =
                self.known_blocks.iter().flat_map(|m| m.compaction.sources.clone()).collect();
            let left_out =
                before.into_iter().filter(|m| !m.compaction.sources.iter().all(|s| here.contains(s)));
            self.known_blocks.extend(left_out);
        }
    }

    fn count_size_retentions(&self) -> f64 {
        let families = self.registry.gather();
        let counter = families.iter().find(|f| f.name == "prometheus_tsdb_size_retentions_total");
        match counter.and_then(|f| f.metrics.first()).map(|m| &m.data) {
            Some(MetricData::Number(n)) => *n,
            _ => 0.0,
        }
    }

    fn block_metas(&self) -> Vec<BlockMeta> {
        let all = self.db.as_ref().and_then(|db| db.blocks().ok()).unwrap_or_default();
        all.iter().filter_map(|b| serde_json::from_str(&b.meta_json).ok()).collect()
    }

    pub(super) fn check_live(&mut self) -> Outcome {
        let found = match self.read(i64::MIN, i64::MAX) {
            Err(_) if self.disk.is_off() || self.failing => return Ok(()),
            other => other?,
        };
        self.release();
        self.ledger.compare(&found, (i64::MIN, i64::MAX), Hold::Memory, false)?;
        // Those whose block has begun may have gone with it.
        let exemplars = self.read_exemplars()?;
        self.ledger.compare_exemplars(&exemplars, self.ledger.newest - BLOCK_MS / 2, Hold::Memory)
    }

    pub(super) fn check_part(&mut self) -> Outcome {
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
        self.release();
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

    pub(super) fn sync(&mut self) -> Outcome {
        self.note("sync");
        match self.db()?.sync() {
            Ok(()) => {
                self.notice_drops()?;
                self.ledger.promote(Hold::Memory, Hold::Synced);
                self.lay_ghosts();
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

    pub(super) fn save_image(&mut self) -> Outcome {
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

    pub(super) fn maintain(&mut self) -> Outcome {
        self.note("maintain");
        let done = self.db()?.maintain();
        self.note_blocks(false);
        match done {
            Ok(()) => {
                self.figures.blocks = self.figures.blocks.max(self.blocks());
                self.check_retention()
            }
            Err(_) if self.trouble() => Ok(()),
            Err(e) => Err(format!("upkeep fails: {e}")),
        }
    }

    /// After upkeep no block is there that retention should have taken. Blocks that a round cut are the
    /// newest ones for the round behind it.
    fn check_retention(&mut self) -> Outcome {
        self.release();
        let limit = self.plan.retention_ms;
        for round in [1, 2] {
            let ends: Vec<i64> = self.block_metas().iter().map(|m| m.maxt_ms).collect();
            let (Some(newest), Some(oldest)) = (ends.iter().max(), ends.iter().min()) else { break };
            if limit == 0 || newest - oldest < limit {
                break;
            }
            if round == 2 && !self.trouble() {
                return Err(format!(
                    "a block that ends at {oldest} is beyond retention, one ends at {newest}"
                ));
            }
            if let Err(e) = self.db()?.maintain()
                && !self.trouble()
            {
                return Err(format!("upkeep fails: {e}"));
            }
        }
        Ok(())
    }

    pub(super) fn blocks(&self) -> u64 {
        self.db.as_ref().and_then(|db| db.blocks().ok()).map_or(0, |b| b.len() as u64)
    }

    /// What a commit's end means for its samples.
    pub(super) fn committed(
        &mut self,
        batch: Vec<(Labels, i64, Value)>,
        exemplars: Vec<(Labels, i64, u64)>,
        done: Result<storage::CommitStats, StorageError>,
    ) -> Outcome {
        let hold = match done {
            // It may have failed behind what makes late samples visible.
            Err(_) if self.plan.late && self.trouble() => Hold::Gone,
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
        for (labels, t, value) in exemplars {
            self.ledger.exemplars.entry(labels).or_default().insert(t, (value, hold));
        }
        self.notice_drops()
    }

    /// Dropped records are told: what memory alone has is not promised any more.
    pub(super) fn notice_drops(&mut self) -> Outcome {
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
}

/// All that a querier has.
pub(super) fn read_all(querier: &dyn Querier, mint: i64, maxt: i64) -> Result<Found, String> {
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
