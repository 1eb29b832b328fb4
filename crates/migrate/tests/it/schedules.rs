//! A source that scrapes, takes late samples, deletes, cuts, compacts and keeps to its retention while it is taken
//! over, by a destination that is killed now and then: at each look both say the same. From one printed seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrate::{Door, Engine, MigrateError, Pin, Source as _};
use model::{CounterResetHint, Histogram, HistogramValue, Labels, MatchOp, Matcher, Span};
use storage::{
    Appendable, CancelToken, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef, StatusSource,
};
use tsdb::disk::{Disk, FaultDisk, MemDisk, Restart, Rng};
use tsdb::{Db, DbOptions};

use crate::served::{Served, door};

pub(crate) const MINUTE: i64 = 60_000;
/// A real time, so that nothing is near zero.
const BEGIN: i64 = 1_700_000_000_000;

pub(crate) fn options(disk: Arc<dyn Disk>, path: &str, window: i64, seed: u64) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.disk = disk;
    options.simulated = Some(seed);
    options.min_block_ms = 4 * MINUTE;
    options.max_block_ms = 12 * MINUTE;
    options.wal_segment_bytes = 32 << 10;
    options.out_of_order_window_ms = window;
    options
}

/// Series and time to what is there, as bits.
pub(crate) type Found = BTreeMap<(String, i64), String>;

pub(crate) fn all(db: &Db) -> Result<Found, String> {
    let q = db.querier(i64::MIN, i64::MAX).map_err(|e| e.to_string())?;
    let every = [Matcher::new(MatchOp::NotEqual, "__name__", "").unwrap()];
    let set = q
        .select(&QueryContext::unlimited(), true, &SelectHints::default(), &every)
        .map_err(|e| e.to_string())?;
    let mut found = Found::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).map_err(|e| e.to_string())?;
        for (i, t) in out.times.iter().enumerate() {
            let value = match out.histogram_at(i) {
                // What a chunk knows about resets depends on where it begins.
                Some(HistogramValue::Int(h)) => {
                    format!("{:?}", Histogram { reset_hint: CounterResetHint::Unknown, ..(**h).clone() })
                }
                Some(h) => format!("{h:?}"),
                None => format!("{:x}", out.values[i].to_bits()),
            };
            if found.insert((s.labels().to_string(), *t), value).is_some() {
                return Err(format!("{} at {t} is there twice", s.labels()));
            }
        }
    }
    Ok(found)
}

struct World {
    seed: u64,
    rng: Rng,
    /// The source's.
    disk: MemDisk,
    source: Option<Db>,
    window: i64,
    now: i64,
    /// The destination's.
    far: FaultDisk,
    ours: Option<(Db, Engine)>,
    begun: bool,
    full: bool,
    /// Who keeps the source's files, all the time.
    agent: Option<Pin>,
    /// Every third source is behind a port.
    served: Option<Served>,
    /// Series, first and last time.
    deleted: Vec<(String, i64, i64)>,
    /// What was done.
    steps: Vec<String>,
}

pub(crate) fn labels(n: u64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", n % 3)), ("i", n.to_string())])
}

pub(crate) fn histogram(seed: u64) -> HistogramValue {
    let count = 5 + seed % 90;
    HistogramValue::Int(Arc::new(Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2,
        count,
        sum: seed as f64,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![(count - 2) as i64],
        ..Histogram::default()
    }))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (disk, far) = (MemDisk::new(), FaultDisk::new(seed));
        let window = if rng.one_in(2) { 3 * MINUTE } else { 0 };
        let (steps, agent) = (Vec::new(), None);
        let mut world = World {
            seed,
            rng,
            disk,
            source: None,
            window,
            now: BEGIN,
            far,
            ours: None,
            begun: false,
            full: false,
            agent,
            served: None,
            deleted: Vec::new(),
            steps,
        };
        world.start_source();
        if seed.is_multiple_of(3) {
            world.served = Some(Served::start(Arc::new(world.disk.clone()), "/source"));
        }
        world
    }

    fn start_source(&mut self) {
        let disk = Arc::new(self.disk.clone());
        self.source = Some(Db::open(options(disk, "/source", self.window, self.seed)).unwrap());
    }

    /// It ends, with or without a word, and is there again.
    fn restart_source(&mut self) {
        let clean = self.rng.one_in(2);
        let source = self.source.take().unwrap();
        if clean {
            source.close().unwrap();
        }
        drop(source);
        let _ = self.disk.remove_file("/source/lock".as_ref());
        self.start_source();
    }

    fn source(&self) -> &Db {
        self.source.as_ref().unwrap()
    }

    fn scrape(&mut self) {
        // Even times here and odd ones late: which of two values of one time is shown is nobody's promise.
        self.now += 5_000 + 2 * self.rng.below(5_000) as i64;
        let mut app = self.source.as_ref().unwrap().appender();
        let first = self.rng.below(30);
        for n in first..first + 1 + self.rng.below(12) {
            let stale = self.rng.one_in(40);
            let value =
                if stale { f64::from_bits(0x7ff0_0000_0000_0002) } else { self.now as f64 * n as f64 };
            app.append(SeriesRef::NONE, &labels(n), 0, self.now, value).unwrap();
        }
        if self.rng.one_in(3) {
            let h = histogram(self.rng.below(1000));
            app.append_histogram(SeriesRef::NONE, &labels(100), 0, self.now, &h).unwrap();
        }
        app.commit().unwrap();
        if self.window > 0 && self.rng.one_in(3) {
            let mut app = self.source.as_ref().unwrap().appender();
            for _ in 0..1 + self.rng.below(6) {
                let t = (self.now - self.rng.below(self.window as u64) as i64) | 1;
                // One that is there, or too old, is refused.
                let _ = app.append(SeriesRef::NONE, &labels(self.rng.below(30)), 0, t, t as f64 / 7.0);
            }
            app.commit().unwrap();
        }
    }

    fn delete(&mut self) {
        let from = self.now - self.rng.below(30 * MINUTE as u64) as i64;
        let to = from + self.rng.below(10 * MINUTE as u64) as i64;
        let i = self.rng.below(30).to_string();
        self.steps.push(format!("delete of {i} from {} to {}", from - BEGIN, to - BEGIN));
        let one = [Matcher::equal("i", i.as_str())];
        self.deleted.push((format!("i=\"{i}\""), from, to));
        self.source().delete_series(&QueryContext::unlimited(), from, to, &one).unwrap();
    }

    /// The destination begins, or goes on.
    fn open(&mut self) {
        self.begun = true;
        let often = self.rng.one_in(2);
        let far: Arc<dyn Disk> = Arc::new(self.far.clone());
        // A destination of its own habits: it takes no late samples by itself.
        let opened = Db::open(options(Arc::clone(&far), "/ours", 0, self.seed + 1))
            .map_err(|e| e.to_string())
            .and_then(|db| {
                let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
                let local = door(disk, "/source");
                let door: &dyn Door = match &self.served {
                    Some(served) => served.door(),
                    None => &local,
                };
                Engine::open(db.clone(), (far, Path::new("/ours")), door)
                    // Never, or after each record: what depends on the clock would not come twice.
                    .map(|engine| {
                        let engine = engine.in_pieces_of(700).step_by_step();
                        (db, engine.noting_every(if often { Duration::ZERO } else { Duration::MAX }))
                    })
                    .map_err(|e| e.to_string())
            });
        match opened {
            Ok(ours) => self.ours = Some(ours),
            // The first start needs room for a note.
            Err(_) if self.full => {
                self.full = false;
                self.far.set_capacity(u64::MAX);
                self.open();
            }
            Err(e) if self.far.is_off() => self.steps.push(format!("  power off while it begins: {e}")),
            Err(e) => panic!("seed {}: {e}", self.seed),
        }
        if self.agent.is_none() {
            let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
            self.agent = Pin::open(disk, Path::new("/source"), Path::new("/source/godwit-pin")).ok();
        }
    }

    /// The destination's machine ends without a word.
    fn kill(&mut self) {
        self.ours = None;
        let how = if self.rng.one_in(2) { Restart::Kill } else { Restart::PowerCut };
        self.far.restart(how);
        self.steps.push(format!("  {how:?}"));
        self.open();
        while self.ours.is_none() {
            self.far.restart(how);
            self.open();
        }
    }

    /// Everything that there is to take is taken; a disk that dies or is full meanwhile is one to begin with again.
    fn take(&mut self) -> Result<(), String> {
        loop {
            let Some((_, engine)) = &self.ours else { return Ok(()) };
            match engine.run_once(&CancelToken::default()) {
                Ok(()) => return Ok(()),
                Err(_) if self.far.is_off() => self.kill(),
                Err(e @ (MigrateError::Gap { .. } | MigrateError::Renumbered)) => {
                    self.steps.push(format!("  {e:?}"));
                    self.ours = None;
                    self.open();
                }
                Err(_) if self.full => {
                    self.full = false;
                    self.far.set_capacity(u64::MAX);
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    fn look(&mut self) -> Result<(), String> {
        self.take()?;
        let Some((db, _)) = &self.ours else { return Ok(()) };
        let theirs = all(self.source()).map_err(|e| format!("the source: {e}"))?;
        let ours = match all(db) {
            Err(_) if self.far.is_off() => {
                self.kill();
                return Ok(());
            }
            other => other?,
        };
        // The two logs do not say whether a late sample came before or after its time was deleted.
        let unsure = |(labels, t): &(String, i64)| {
            let ranges =
                || self.deleted.iter().filter(|(i, from, to)| labels.contains(i) && (from..=to).contains(&t));
            self.window > 0 && ranges().next().is_some()
        };
        let differs = |k: &(String, i64), v: &String| ours.get(k) != Some(v) && !unsure(k);
        let lost: Vec<_> = theirs.iter().filter(|(k, v)| differs(k, v)).take(5).collect();
        let more: Vec<_> = ours.keys().filter(|k| !theirs.contains_key(*k) && !unsure(k)).take(5).collect();
        if lost.is_empty() && more.is_empty() {
            return Ok(());
        }
        Err(format!("of {} samples {lost:?} are lost or other, {more:?} are more", theirs.len()))
    }

    fn run(&mut self) -> Result<(), String> {
        let (steps, begin) = (150 + self.rng.below(250), 20 + self.rng.below(120));
        for step in 0..steps {
            let what = match self.rng.below(20) {
                0 => {
                    self.source().maintain().unwrap();
                    "upkeep of the source"
                }
                1 if self.rng.one_in(3) => {
                    self.delete();
                    "delete"
                }
                2 if self.begun => {
                    self.kill();
                    "kill"
                }
                3 if self.begun => {
                    let calls = 1 + self.rng.below(400);
                    self.far.crash_after(calls);
                    self.steps.push(format!("  crash in {calls} calls"));
                    let done = self.ours.as_ref().map(|(db, _)| db.maintain());
                    if self.far.is_off() {
                        self.kill();
                    } else if let (false, Some(Err(e))) = (self.full, done) {
                        return Err(format!("upkeep of ours: {e}"));
                    }
                    "upkeep of ours"
                }
                4 if self.begun && self.rng.one_in(3) => {
                    self.full = true;
                    self.far.set_capacity(self.far.used() + self.rng.below(20_000));
                    "no room"
                }
                5 if self.rng.one_in(3) => {
                    self.restart_source();
                    "restart of the source"
                }
                6 if self.begun && self.rng.one_in(4) => {
                    self.agent = None;
                    "agent away"
                }
                6 if self.begun => {
                    let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
                    self.agent = Pin::open(disk, Path::new("/source"), Path::new("/source/godwit-pin")).ok();
                    "restart of the agent"
                }
                7 if self.begun => {
                    self.take()?;
                    "take"
                }
                8 => {
                    self.look().map_err(|e| format!("step {step}: {e}"))?;
                    "look"
                }
                _ => {
                    self.scrape();
                    "scrape"
                }
            };
            self.steps.push(format!("{step} t={} {what}", self.now - BEGIN));
            if let Some(agent) = &self.agent {
                match agent.follow().and_then(|()| agent.follow_deletions()) {
                    // Several segments in one step here; the destination finds it, and pins anew.
                    Err(MigrateError::Gap { .. }) => self.agent = None,
                    other => other.map_err(|e| e.to_string())?,
                }
            }
            if step == begin {
                self.begun = true;
                self.open();
                self.steps.push("pinned".to_string());
            }
        }
        self.far.set_capacity(u64::MAX);
        self.look()
    }
}

#[test]
fn both_sides_say_the_same() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let first = number("GODWIT_MIGRATE_FIRST").unwrap_or(1);
    let seeds = number("GODWIT_MIGRATE_SEEDS").unwrap_or(60);
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        if let Err(e) = world.run() {
            let last: Vec<&String> = world.steps.iter().filter(|s| !s.ends_with("scrape")).collect();
            eprintln!("seed {seed}, window {}: {e}\n{last:#?}", world.window);
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{} of {seeds} seeds failed: {failed:?}", failed.len());
}

#[test]
fn what_is_no_source_is_said() {
    let disk = MemDisk::new();
    disk.create_dir_all("/nothing".as_ref()).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let db = Db::open(options(Arc::clone(&shared), "/ours", 0, 1)).unwrap();
    let ours = (Arc::clone(&shared), Path::new("/ours"));
    let error = Engine::open(db, ours, &door(shared, "/nothing")).unwrap_err();
    assert!(
        matches!(&error, MigrateError::NoSource { path, .. } if path == Path::new("/nothing")),
        "{error}"
    );
}
