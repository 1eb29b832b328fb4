//! Samples that come out of order, over the life of a database.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Histogram, HistogramValue, Labels, Matcher, Span};
use storage::{
    AppendError, Appendable, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef, StatusSource,
};

use super::tests::{MINUTE, copy_tree, options};
use super::{Db, DbOptions};
use crate::disk::{Disk, MemDisk};

fn windowed(disk: &MemDisk, window: i64) -> DbOptions {
    DbOptions { out_of_order_window_ms: window, ..options(disk) }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", name)])
}

/// What must be there: (series, time) to value.
type Ledger = BTreeMap<(String, i64), f64>;

fn put(db: &Db, ledger: &mut Ledger, samples: &[(&str, i64, f64)]) {
    let mut app = db.appender();
    for (name, t, v) in samples {
        app.append(SeriesRef::NONE, &labels(name), 0, *t, *v).unwrap_or_else(|e| panic!("{name} {t}: {e}"));
        ledger.insert((labels(name).to_string(), *t), *v);
    }
    let stats = app.commit().unwrap();
    assert_eq!((stats.samples, stats.refused), (samples.len() as u64, 0));
}

fn read(db: &Db, mint: i64, maxt: i64) -> Ledger {
    let q = db.querier(mint, maxt).unwrap();
    let m = [Matcher::equal("__name__", "m")];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let mut found = Ledger::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(mint, maxt, &mut out).unwrap();
        assert!(out.times.is_sorted_by(|a, b| a < b), "{:?}", out.times);
        let mut chunked = SampleBuf::default();
        for c in s.chunks(mint, maxt).unwrap() {
            crate::chunkenc::decode(c.encoding, &c.data, mint, maxt, &mut chunked).unwrap();
        }
        crate::block::restore_order(&mut chunked, 0);
        assert_eq!(chunked.times, out.times);
        found.extend(out.times.iter().zip(&out.values).map(|(t, v)| ((s.labels().to_string(), *t), *v)));
    }
    found
}

fn all(db: &Db) -> Ledger {
    read(db, i64::MIN, i64::MAX)
}

#[test]
fn what_is_refused_and_what_is_taken() {
    let disk = MemDisk::new();
    let db = Db::open(windowed(&disk, 20 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    put(&db, &mut ledger, &[("a", 60 * MINUTE, 1.0), ("b", 60 * MINUTE, 2.0)]);
    put(&db, &mut ledger, &[("a", 50 * MINUTE, 3.0), ("b", 40 * MINUTE, 4.0), ("new", 41 * MINUTE, 5.0)]);
    let mut app = db.appender();
    let try_one = |app: &mut dyn storage::Appender, t: i64, v: f64| {
        app.append(SeriesRef::NONE, &labels("a"), 0, t, v).map(|_| ())
    };
    assert_eq!(try_one(&mut *app, 40 * MINUTE - 1, 1.0), Err(AppendError::TooOld));
    // The newest one, another value.
    assert_eq!(try_one(&mut *app, 60 * MINUTE, 9.0), Err(AppendError::Duplicate));
    app.discard_out_of_order(true);
    assert_eq!(try_one(&mut *app, 55 * MINUTE, 9.0), Err(AppendError::OutOfOrder));
    app.rollback();
    // A late one again: kept as it was, and no error.
    let mut app = db.appender();
    try_one(&mut *app, 50 * MINUTE, 7.0).unwrap();
    assert_eq!(app.commit().unwrap().samples, 0);
    assert_eq!(all(&db), ledger);
    // A batch, as a scrape's.
    let mut app = db.appender();
    let a = app.append(SeriesRef::NONE, &labels("a"), 0, 61 * MINUTE, 1.0).unwrap();
    let b = app.append(SeriesRef::NONE, &labels("b"), 0, 61 * MINUTE, 1.0).unwrap();
    let mut rejected = Vec::new();
    app.append_batch(45 * MINUTE, &[a, b], &[4.5, 5.5], &mut rejected);
    assert!(rejected.is_empty());
    app.append_batch(MINUTE, &[a, b], &[4.5, 5.5], &mut rejected);
    assert!(rejected.iter().all(|r| r.error == AppendError::TooOld) && rejected.len() == 2);
    assert_eq!(app.commit().unwrap().samples, 4);
    for (name, t, v) in [("a", 61, 1.0), ("b", 61, 1.0), ("a", 45, 4.5), ("b", 45, 5.5)] {
        ledger.insert((labels(name).to_string(), t * MINUTE), v);
    }
    assert_eq!(all(&db), ledger);
    // Off and on while running.
    db.set_out_of_order_window(0).unwrap();
    assert_eq!(try_one(&mut *db.appender(), 58 * MINUTE, 1.0), Err(AppendError::OutOfOrder));
    assert_eq!(all(&db), ledger);
    db.set_out_of_order_window(MINUTE).unwrap();
    put(&db, &mut ledger, &[("a", 60 * MINUTE + 5, 3.5)]);
    assert_eq!(all(&db), ledger);
}

#[test]
fn nothing_is_lost_through_chunks_kills_cuts_and_compactions() {
    let mut disk = MemDisk::new();
    let mut db = Db::open(windowed(&disk, 100 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    let mut seed = 7_u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut cuts = 0;
    for round in 0..60_i64 {
        let now = round * 4 * MINUTE;
        for step in 0..16 {
            let t = now + step * 15_000;
            put(&db, &mut ledger, &[("a", t, t as f64), ("b", t, 1.0)]);
            // Late ones between them, at odd times; some series have nothing else.
            let mut late = BTreeMap::new();
            for _ in 0..random(4) {
                let at = (t - random(95 * 60_000) as i64) | 1;
                let name = ["a", "b", "late", "later"][random(4) as usize];
                if at > 0 && !ledger.contains_key(&(labels(name).to_string(), at)) {
                    late.insert((name, at), round as f64);
                }
            }
            let late: Vec<_> = late.into_iter().map(|((n, t), v)| (n, t, v)).collect();
            if !late.is_empty() {
                put(&db, &mut ledger, &late);
            }
        }
        match random(4) {
            0 => {
                // Killed: what the process held is gone.
                let copy = MemDisk::new();
                copy_tree(&disk, &copy, "/data".as_ref());
                copy.remove_file("/data/lock".as_ref()).unwrap();
                std::mem::forget(std::mem::replace(
                    &mut db,
                    Db::open(windowed(&copy, 100 * MINUTE)).unwrap(),
                ));
                disk = copy;
            }
            1 => {
                let before = db.blocks().unwrap().len();
                db.maintain().unwrap();
                cuts += usize::from(db.blocks().unwrap().len() != before);
            }
            _ => {}
        }
        assert_eq!(all(&db), ledger, "round {round}");
        let from = now - 30 * MINUTE;
        let part = read(&db, from, now);
        assert!(
            part.iter().eq(ledger.iter().filter(|((_, t), _)| (from..=now).contains(t))),
            "round {round}"
        );
    }
    assert!(cuts > 3);
    db.maintain().unwrap();
    db.maintain().unwrap();
    assert_eq!(all(&db), ledger);
    // A clean end, a start without a window: what was taken is there.
    db.close().unwrap();
    let db = Db::open(options(&disk)).unwrap();
    assert_eq!(all(&db), ledger);
}

#[test]
fn late_samples_become_marked_blocks_and_the_log_goes() {
    let disk = MemDisk::new();
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    put(&db, &mut ledger, &[("a", 61 * MINUTE, 1.0)]);
    for t in (20 * MINUTE..55 * MINUTE).step_by(10_000) {
        put(&db, &mut ledger, &[("a", t, t as f64)]);
    }
    for t in (62 * MINUTE..78 * MINUTE).step_by(15_000) {
        put(&db, &mut ledger, &[("a", t, t as f64)]);
    }
    let held = db.querier(0, i64::MAX).unwrap();
    db.maintain().unwrap();
    let hinted = |db: &Db| {
        let all = db.blocks().unwrap();
        all.iter().filter(|b| b.meta_json.contains("from-out-of-order")).count()
    };
    assert!(hinted(&db) >= 3 || db.blocks().unwrap().iter().any(|b| b.meta_json.contains("\"level\": 2")));
    assert_eq!(all(&db), ledger);
    drop(held);
    db.maintain().unwrap();
    assert_eq!(all(&db), ledger);
    let wbl = crate::wal::segments(&disk, "/data/wbl".as_ref()).unwrap();
    assert_eq!(wbl.len(), 1, "{wbl:?}");
    // What goes is what blocks have: later ones stay.
    put(&db, &mut ledger, &[("a", 30 * MINUTE + 1, 5.0), ("b", 31 * MINUTE, 6.0)]);
    let one = [Matcher::equal("i", "a")];
    db.delete_series(&QueryContext::unlimited(), 25 * MINUTE, 70 * MINUTE, &one).unwrap();
    ledger.retain(|(s, t), _| !s.contains("i=\"a\"") || !(25 * MINUTE..=70 * MINUTE).contains(t));
    assert_eq!(all(&db), ledger);
    // A sample in the deleted range that comes now is there.
    put(&db, &mut ledger, &[("a", 40 * MINUTE + 1, 5.0)]);
    assert_eq!(all(&db), ledger);
}

#[test]
fn what_is_deleted_stays_so_though_an_older_query_goes_on() {
    let disk = MemDisk::new();
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    put(&db, &mut ledger, &[("a", 61 * MINUTE, 1.0), ("b", 61 * MINUTE, 1.0)]);
    let late = |from: i64| -> Vec<(&str, i64, f64)> {
        let times = (0..40).map(|i| from * MINUTE + i * 10_000);
        times.flat_map(|t| [("a", t, t as f64), ("b", t, t as f64)]).collect()
    };
    put(&db, &mut ledger, &late(20));
    let before = ledger.clone();
    let held = db.querier(0, i64::MAX).unwrap();
    let delete = |ledger: &mut Ledger, from: i64, to: i64| {
        let one = [Matcher::equal("i", "a")];
        db.delete_series(&QueryContext::unlimited(), from * MINUTE, to * MINUTE, &one).unwrap();
        ledger.retain(|(s, t), _| !s.contains("i=\"a\"") || !(from * MINUTE..=to * MINUTE).contains(t));
    };
    delete(&mut ledger, 21, 23);
    assert_eq!(all(&db), ledger);
    // Such as came since: the query holds up what was cut before them.
    put(&db, &mut ledger, &late(30));
    delete(&mut ledger, 22, 32);
    assert_eq!(all(&db), ledger);
    let killed = |disk: &MemDisk| {
        let copy = MemDisk::new();
        copy_tree(disk, &copy, "/data".as_ref());
        copy.remove_file("/data/lock".as_ref()).unwrap();
        all(&Db::open(windowed(&copy, 200 * MINUTE)).unwrap())
    };
    assert_eq!(killed(&disk), ledger);
    // The query sees what was there when it began.
    let m = [Matcher::equal("__name__", "m")];
    let set = held.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let mut found = Ledger::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(0, i64::MAX, &mut out).unwrap();
        found.extend(out.times.iter().zip(&out.values).map(|(t, v)| ((s.labels().to_string(), *t), *v)));
    }
    found.retain(|at, _| before.contains_key(at));
    assert_eq!(found, before);
    drop((held, set));
    db.maintain().unwrap();
    assert_eq!(all(&db), ledger);
    assert_eq!(killed(&disk), ledger);
}

/// What a process killed now would find.
fn killed(disk: &MemDisk) -> MemDisk {
    let copy = MemDisk::new();
    copy_tree(disk, &copy, "/data".as_ref());
    copy.remove_file("/data/lock".as_ref()).unwrap();
    copy
}

/// After a start a file of head chunks is begun. Where a power cut took those of chunks that blocks have by now,
/// what the new one has must not be taken for these.
#[test]
fn late_samples_are_not_taken_for_those_whose_files_a_power_cut_took() {
    let remove_all = |disk: &MemDisk, dir: &str| {
        for entry in disk.list(dir.as_ref()).unwrap() {
            disk.remove_file(&std::path::Path::new(dir).join(entry.name)).unwrap();
        }
    };
    let disk = MemDisk::new();
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    for t in 61..78 {
        put(&db, &mut ledger, &[("a", t * MINUTE, 1.0)]);
    }
    for i in 0..100 {
        put(&db, &mut ledger, &[("a", 20 * MINUTE + i * 10_000, 2.0)]);
    }
    db.maintain().unwrap();
    assert!(db.blocks().unwrap().iter().any(|b| b.meta_json.contains("from-out-of-order")));
    let disk = killed(&disk);
    remove_all(&disk, "/data/chunks_head");
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    assert_eq!(all(&db), ledger);
    // More than one chunk has, so that some are in a complete one.
    for i in 0..40 {
        put(&db, &mut ledger, &[("a", 40 * MINUTE + i * 10_000, 3.0)]);
    }
    db.close().unwrap();
    // Their log had no room.
    remove_all(&disk, "/data/wbl");
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    let in_chunk = (40 * MINUTE, 40 * MINUTE + 29 * 10_000);
    assert_eq!(read(&db, in_chunk.0, in_chunk.1).len(), 30);
}

#[test]
fn late_samples_where_a_whole_block_was_deleted_outlive_kills() {
    let mut disk = MemDisk::new();
    let mut db = Db::open(windowed(&disk, 100 * MINUTE)).unwrap();
    let mut ledger = Ledger::new();
    for t in 0..60 {
        put(&db, &mut ledger, &[("a", t * MINUTE, t as f64), ("b", t * MINUTE, -t as f64)]);
    }
    db.maintain().unwrap();
    // The newest block, so that a start does not pass its time over for another one.
    let newest = db.0.view.read().blocks.iter().map(|b| b.meta().maxt_ms).max().unwrap();
    let gone = newest - 10 * MINUTE..newest;
    let m = [Matcher::equal("__name__", "m")];
    db.delete_series(&QueryContext::unlimited(), gone.start, gone.end - 1, &m).unwrap();
    db.clean_tombstones().unwrap();
    ledger.retain(|(_, t), _| !gone.contains(t));
    assert_eq!(all(&db), ledger);
    put(&db, &mut ledger, &[("a", gone.start + 7, 70.0), ("c", gone.start + 8, 80.0)]);
    assert_eq!(all(&db), ledger);
    for round in 0..3 {
        db.sync().unwrap();
        disk = killed(&disk);
        db = Db::open(windowed(&disk, 100 * MINUTE)).unwrap();
        assert_eq!(all(&db), ledger, "round {round}");
        put(&db, &mut ledger, &[("b", gone.start + 9 + round, 90.0)]);
    }
}

#[test]
fn late_histograms() {
    let disk = MemDisk::new();
    let db = Db::open(windowed(&disk, 200 * MINUTE)).unwrap();
    let histogram = |n: u64| {
        HistogramValue::Int(Arc::new(Histogram {
            count: n,
            sum: n as f64,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_buckets: vec![n as i64],
            ..Histogram::default()
        }))
    };
    let put = |t: i64, h: &HistogramValue| {
        let mut app = db.appender();
        app.append_histogram(SeriesRef::NONE, &labels("h"), 0, t, h).unwrap();
        app.commit().unwrap();
    };
    put(100 * MINUTE, &histogram(1000));
    let mut expected = BTreeMap::from([(100 * MINUTE, histogram(1000))]);
    for i in 0..90_u64 {
        let t = 10 * MINUTE + ((i * 37) % 90) as i64 * 1000;
        let h = if i % 5 == 0 {
            match histogram(i) {
                HistogramValue::Int(h) => HistogramValue::Float(Arc::new(h.to_float())),
                float => float,
            }
        } else {
            histogram(i)
        };
        put(t, &h);
        expected.insert(t, h);
    }
    let read = |db: &Db| {
        let q = db.querier(0, i64::MAX).unwrap();
        let m = [Matcher::equal("i", "h")];
        let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
        let mut out = SampleBuf::default();
        set.series[0].read(0, i64::MAX, &mut out).unwrap();
        assert_eq!(out.histograms.len(), out.len());
        let sums = out.histograms.iter().map(|(i, h)| {
            let (float, count) = match h {
                HistogramValue::Int(h) => (false, h.count as f64),
                HistogramValue::Float(h) => (true, h.count),
            };
            (out.times[*i as usize], float, count)
        });
        sums.collect::<Vec<_>>()
    };
    let wanted: Vec<_> = expected
        .iter()
        .map(|(t, h)| match h {
            HistogramValue::Int(h) => (*t, false, h.count as f64),
            HistogramValue::Float(h) => (*t, true, h.count),
        })
        .collect();
    assert_eq!(read(&db), wanted);
    let copy = MemDisk::new();
    copy_tree(&disk, &copy, "/data".as_ref());
    copy.remove_file("/data/lock".as_ref()).unwrap();
    assert_eq!(read(&Db::open(windowed(&copy, 0)).unwrap()), wanted);
    put(125 * MINUTE, &histogram(2000));
    db.maintain().unwrap();
    assert_eq!(read(&db)[..wanted.len()], wanted);
}
