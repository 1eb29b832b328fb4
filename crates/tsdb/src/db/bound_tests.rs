//! Limits on series, and series that end, over the life of a database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::{Labels, Matcher, is_stale_nan, stale_nan};
use storage::{
    AppendError, Appendable, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef, StatusSource,
};

use super::tests::{MINUTE, copy_tree, options};
use super::{Clocks, Db, DbOptions, StaleRules};
use crate::disk::MemDisk;
use crate::head::SeriesLimits;
use storage::{MemoryProbe, MemoryUse};

fn labels(job: &str, i: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", &i.to_string()), ("job", job)])
}

/// Appends one sample a series; the number of refused ones.
fn put(db: &Db, job: &str, series: std::ops::Range<usize>, t: i64, v: f64, outranks: bool) -> usize {
    let mut app = db.appender();
    app.outrank(outranks);
    let refused = series.filter(|i| match app.append(SeriesRef::NONE, &labels(job, *i), 0, t, v) {
        Ok(_) => false,
        Err(AppendError::SeriesLimit(_)) => true,
        Err(e) => panic!("{e}"),
    });
    let refused = refused.count();
    app.commit().unwrap();
    refused
}

#[test]
fn counts_limit_new_series_only() {
    let disk = MemDisk::new();
    let limits = SeriesLimits { head_max: 100, job_max: 60, memory: None };
    let db = Db::open(DbOptions { series_limits: limits, ..options(&disk) }).unwrap();
    assert_eq!(put(&db, "a", 0..80, 0, 1.0, false), 20);
    assert_eq!(put(&db, "b", 0..60, 0, 1.0, false), 20);
    // Those that are there go on; those that outrank others have a little room beyond.
    assert_eq!(put(&db, "a", 0..60, 1000, 1.0, false), 0);
    assert_eq!(put(&db, "c", 0..20, 1000, 1.0, true), 14);
    let status = db.new_series();
    assert!(status.refused_for.as_ref().is_some_and(|r| r.contains("storage.series_max")), "{status:?}");
    assert_eq!(status.refused, 54);
    let named: Vec<_> = status.sources.iter().map(|s| (s.job.as_str(), s.created, s.refused)).collect();
    assert_eq!(named, [("a", 60, 20), ("b", 40, 20), ("c", 6, 14)]);
    // A restart takes all that the log has, and refuses on.
    db.close().unwrap();
    let limits = SeriesLimits { head_max: 50, job_max: 0, memory: None };
    let db = Db::open(DbOptions { series_limits: limits, ..options(&disk) }).unwrap();
    assert_eq!(db.tsdb_status(&QueryContext::unlimited(), 1).unwrap().head.series, 106);
    assert_eq!((put(&db, "b", 0..40, 2000, 1.0, false), put(&db, "d", 0..5, 2000, 1.0, false)), (0, 5));
}

#[test]
fn memory_limits_new_series_and_lets_them_in_again() {
    let disk = MemDisk::new();
    let (used, budget) = (Arc::new(AtomicU64::new(10 << 20)), Arc::new(AtomicU64::new(100 << 20)));
    let (u, b) = (Arc::clone(&used), Arc::clone(&budget));
    // A series takes a kilobyte here, and the probe is asked when it is wanted, not when a timer rings.
    let probe = MemoryProbe(Arc::new(move || MemoryUse {
        used_bytes: u.load(Ordering::Relaxed),
        budget_bytes: b.load(Ordering::Relaxed),
    }));
    let limits = SeriesLimits { memory: Some(probe), ..SeriesLimits::default() };
    let db = Db::open(DbOptions { series_limits: limits, ..options(&disk) }).unwrap();
    assert_eq!(put(&db, "a", 0..1000, 0, 1.0, false), 0);
    used.store(84 << 20, Ordering::Relaxed);
    db.maintain().unwrap();
    // 1 MiB to the mark is worth 512 series, and then it is looked at again.
    assert_eq!(put(&db, "a", 1000..1100, 0, 1.0, false), 0);
    used.store(85 << 20, Ordering::Relaxed);
    let refused = put(&db, "bomb", 0..5000, 0, 1.0, false);
    assert!((4500..=5000).contains(&refused), "{refused}");
    assert_eq!(put(&db, "a", 0..1100, 1000, 1.0, false), 0);
    assert_eq!(put(&db, "up", 0..10, 1000, 1.0, true), 0);
    let status = db.new_series();
    assert_eq!((status.memory_bytes, status.watermark_bytes), (85 << 20, (100 << 20) / 100 * 85));
    assert_eq!((status.sources[0].job.as_str(), status.sources[0].label.as_str()), ("bomb", "i"));
    // A little less is not enough to open, and beyond 95 % nobody comes in.
    used.store(80 << 20, Ordering::Relaxed);
    db.maintain().unwrap();
    assert_eq!(put(&db, "b", 0..1, 1000, 1.0, false), 1);
    used.store(96 << 20, Ordering::Relaxed);
    assert_eq!(put(&db, "up", 10..20, 1000, 1.0, true), 10);
    used.store(70 << 20, Ordering::Relaxed);
    db.maintain().unwrap();
    assert_eq!(put(&db, "b", 0..1, 1000, 1.0, false), 0);
    assert!(db.new_series().refused_for.is_none());
    // The budget is lowered while it runs.
    budget.store(50 << 20, Ordering::Relaxed);
    db.maintain().unwrap();
    assert_eq!((put(&db, "b", 1..2, 1000, 1.0, false), put(&db, "b", 0..1, 2000, 1.0, false)), (1, 0));
}

#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(0) as u64)
    }
}

type Ledger = BTreeMap<(String, i64), u64>;

fn read(db: &Db) -> Ledger {
    let q = db.querier(i64::MIN, i64::MAX).unwrap();
    let m = [Matcher::equal("__name__", "m")];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let mut found = Ledger::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        assert!(out.times.is_sorted_by(|a, b| a < b), "{} {:?}", s.labels(), out.times);
        let samples = out.times.iter().zip(&out.values);
        found.extend(samples.map(|(t, v)| ((s.labels().to_string(), *t), v.to_bits())));
    }
    found
}

struct World {
    disk: MemDisk,
    clock: ManualClock,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        World { disk: MemDisk::new(), clock: ManualClock::default(), ledger: Ledger::new() }
    }
    fn open(&self) -> Db {
        let rules = StaleRules {
            series_min: 2,
            interval_ms: 2 * MINUTE,
            stale_ms: MINUTE,
            idle_ms: 5 * MINUTE,
            ..StaleRules::default()
        };
        let clock = Clocks(Arc::new(self.clock.clone()));
        Db::open(DbOptions { stale: Some(rules), clock, ..options(&self.disk) }).unwrap()
    }
    fn put(&mut self, db: &Db, series: impl IntoIterator<Item = usize>, t: i64, v: f64) {
        let mut app = db.appender();
        for i in series {
            app.append(SeriesRef::NONE, &labels("j", i), 0, t, v).unwrap();
            self.ledger.insert((labels("j", i).to_string(), t), v.to_bits());
        }
        app.commit().unwrap();
    }
    fn minute(&mut self, db: &Db, minute: i64) {
        self.clock.0.store(minute * MINUTE, Ordering::Relaxed);
        db.maintain().unwrap();
        assert_eq!(read(db), self.ledger, "minute {minute}");
    }
}

fn in_memory(db: &Db) -> u64 {
    db.tsdb_status(&QueryContext::unlimited(), 1).unwrap().head.series
}

/// Ten series are replaced by ten others each minute, some return, and the process dies at any of these
/// minutes: memory stays small, and everybody reads everything, restarts and those who began earlier included.
#[test]
fn series_that_ended_leave_memory_and_nothing_else() {
    let mut w = World::new();
    let mut db = w.open();
    let mut most = 0;
    for minute in 0..45_i64 {
        let t = minute * MINUTE;
        let generation = |m: i64| {
            let m = usize::try_from(m.max(0)).unwrap();
            (m * 10)..(m * 10 + 10)
        };
        if minute > 0 {
            w.put(&db, generation(minute - 1), t, stale_nan());
        }
        w.put(&db, generation(minute).chain(100_000..100_010), t + 1, minute as f64);
        if minute % 7 == 6 {
            // The third of an earlier generation returns for good, as what left memory or as what did not.
            w.put(&db, generation(minute - 5).step_by(3), t + 2, 0.5);
            w.put(&db, generation(minute - 1).step_by(3), t + 2, 0.5);
        }
        let held = db.querier(i64::MIN, i64::MAX).unwrap();
        let before = w.ledger.clone();
        w.minute(&db, minute);
        assert_eq!(before, w.ledger);
        drop(held);
        db.maintain().unwrap();
        most = most.max(in_memory(&db));
        if minute % 4 == 3 {
            // Killed: what the disk has is all there is.
            let copied = MemDisk::new();
            copy_tree(&w.disk, &copied, std::path::Path::new("/data"));
            drop(std::mem::replace(&mut db, {
                w.disk = copied;
                w.open()
            }));
            assert_eq!(read(&db), w.ledger, "killed at minute {minute}");
            most = most.max(in_memory(&db));
        }
    }
    assert!(w.ledger.values().any(|v| is_stale_nan(f64::from_bits(*v))));
    assert!(most < 140, "{most} series in memory of {}", 45 * 10 + 10);
    let blocks = db.blocks().unwrap();
    let stale = blocks.iter().filter(|b| b.meta_json.contains("from-stale-series")).count();
    assert!(stale > 0 && stale < blocks.len(), "{stale} of {}", blocks.len());
    // Two hints: older versions know only the one of out-of-order blocks.
    assert!(
        blocks
            .iter()
            .all(|b| b.meta_json.contains("from-stale-series") == b.meta_json.contains("from-out-of-order"))
    );
}

/// Where nothing lives long the head is never cut: what left it early is all there is.
#[test]
fn blocks_of_series_that_ended_do_not_pile_up() {
    let mut w = World::new();
    let db = w.open();
    let mut most = 0;
    for minute in 0..90_usize {
        let t = minute as i64 * MINUTE;
        let series = |m: usize| (m * 10)..(m * 10 + 10);
        if minute > 0 {
            w.put(&db, series(minute - 1), t, stale_nan());
        }
        w.put(&db, series(minute), t + 1, minute as f64);
        w.minute(&db, minute as i64);
        most = most.max(db.blocks().unwrap().len());
    }
    let blocks = db.blocks().unwrap();
    assert!(blocks.iter().all(|b| b.meta_json.contains("from-stale-series")), "the head was cut");
    assert!((5..=15).contains(&most), "{most} blocks");
    drop(db);
    assert_eq!(read(&w.open()), w.ledger);
}

#[test]
fn readers_from_before_see_what_leaves() {
    let mut w = World::new();
    let db = w.open();
    w.put(&db, 0..10, 0, 1.0);
    w.put(&db, 0..10, 1000, stale_nan());
    w.put(&db, 100..103, 3 * MINUTE, 1.0);
    let held = db.querier(i64::MIN, i64::MAX).unwrap();
    w.minute(&db, 4);
    assert_eq!((in_memory(&db), db.blocks().unwrap().len()), (13, 1), "the reader holds them");
    let m = [Matcher::equal("i", "3")];
    let set = held.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let mut out = SampleBuf::default();
    set.series[0].read(i64::MIN, i64::MAX, &mut out).unwrap();
    assert_eq!(out.times, [0, 1000]);
    // One of them returns before it could leave: it stays.
    w.put(&db, 3..4, 4 * MINUTE, 2.0);
    drop((set, held));
    w.minute(&db, 5);
    assert_eq!(in_memory(&db), 4);
    // And one that left comes back as a new one.
    w.put(&db, 5..6, 5 * MINUTE, 2.0);
    w.minute(&db, 5);
    let db = {
        drop(db);
        w.open()
    };
    assert_eq!((read(&db), in_memory(&db)), (w.ledger.clone(), 5));
}
