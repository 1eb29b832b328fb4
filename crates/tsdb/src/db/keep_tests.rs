//! Series with a retention of their own, blocks from elsewhere, and a log that goes with its blocks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use model::{Labels, Matcher};
use storage::{Appendable, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef, StatusSource};

use super::tests::{MINUTE, copy_tree, options};
use super::{Db, DbOptions, How, Retention};
use crate::block::Backfill;
use crate::compact::{KeepRule, Recode};
use crate::disk::{Disk, MemDisk, RealDisk};

fn labels(space: &str, i: i64) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("namespace", space), ("i", &i.to_string())])
}

fn fill(db: &Db, from: i64, to: i64) {
    for t in (from..to).step_by(15_000) {
        let mut app = db.appender();
        for (space, i) in [("x", 0), ("x", 1), ("y", 0)] {
            app.append(SeriesRef::NONE, &labels(space, i), 0, t, (t / 1000 * (i + 1)) as f64).unwrap();
        }
        app.commit().unwrap();
    }
}

/// Times and values of all series of a namespace.
fn read(db: &Db, space: &str) -> Vec<(String, Vec<i64>, Vec<f64>)> {
    let q = db.querier(i64::MIN, i64::MAX).unwrap();
    let m = [Matcher::equal("namespace", space)];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let mut all = Vec::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        all.push((s.labels().to_string(), out.times, out.values));
    }
    all
}

fn rule(space: &str, keep_ms: i64) -> KeepRule {
    KeepRule { matchers: vec![Matcher::equal("namespace", space)], keep_ms }
}

#[test]
fn series_beyond_their_own_retention_go_and_blocks_come_to_rest() {
    let disk = MemDisk::new();
    let db = Db::open(options(&disk)).unwrap();
    for from in (0..300).step_by(50) {
        fill(&db, from * MINUTE, (from + 50) * MINUTE);
        db.maintain().unwrap();
    }
    let kept = read(&db, "y");
    let whole = read(&db, "x");
    let newest = db.0.view.read().blocks.iter().map(|b| b.meta().maxt_ms).max().unwrap();
    // The more general rule comes second and is not about x.
    db.set_keep_rules(vec![
        rule("x", 80 * MINUTE),
        KeepRule { matchers: vec![Matcher::equal("__name__", "m")], keep_ms: 1000 * MINUTE },
    ]);
    db.maintain().unwrap();
    assert_eq!(read(&db, "y"), kept);
    let left = read(&db, "x");
    let border = rule("x", 80 * MINUTE).keep_from(newest, 10 * MINUTE);
    assert!(border <= newest - 80 * MINUTE && border > newest - 91 * MINUTE);
    for (before, after) in whole.iter().zip(&left) {
        let first = before.1.partition_point(|t| *t < border);
        assert_eq!((&before.1[first..], &before.2[first..]), (&after.1[..], &after.2[..]));
    }
    assert_eq!(left.len(), whole.len());
    // Nothing more to do: the same blocks, round after round, and after a start.
    let names = |db: &Db| -> Vec<_> { db.0.view.read().blocks.iter().map(|b| b.meta().ulid).collect() };
    let before = names(&db);
    db.maintain().unwrap();
    assert_eq!(names(&db), before);
    db.close().unwrap();
    let db = Db::open(options(&disk)).unwrap();
    db.set_keep_rules(vec![rule("x", 80 * MINUTE)]);
    db.maintain().unwrap();
    assert_eq!((names(&db), read(&db, "x")), (before, left));
    // What is all beyond takes its block with it.
    db.set_keep_rules(vec![rule("x", 80 * MINUTE), rule("y", 80 * MINUTE)]);
    db.maintain().unwrap();
    assert!(db.0.view.read().blocks.iter().all(|b| b.meta().maxt_ms > border));
    // Longer again: what is gone stays gone, and the rest is not touched.
    let before = names(&db);
    db.set_keep_rules(Vec::new());
    db.maintain().unwrap();
    assert_eq!(names(&db), before);
}

/// A clock that the test moves.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

impl model::clock::Clock for Hands {
    fn now(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.load(Ordering::Relaxed) as u64)
    }
}

#[test]
fn a_pace_is_kept() {
    let disk = MemDisk::new();
    let clock = Hands(Arc::new(AtomicI64::new(1_000_000)));
    let with = |disk: &MemDisk| DbOptions {
        keep_bytes: 1,
        max_block_ms: 10 * MINUTE,
        clock: super::Clocks(Arc::new(clock.clone())),
        ..options(disk)
    };
    let db = Db::open(with(&disk)).unwrap();
    fill(&db, 0, 100 * MINUTE);
    db.maintain().unwrap();
    db.set_keep_rules(vec![rule("x", 20 * MINUTE)]);
    let touched = || db.0.metrics.keep_rewrites.get();
    db.maintain().unwrap();
    assert_eq!(touched(), 0.0);
    // It saves up for one block, and no more than that.
    clock.0.store(1_000_000 + 24 * 60 * MINUTE * 1000, Ordering::Relaxed);
    db.maintain().unwrap();
    assert_eq!(touched(), 1.0);
    db.maintain().unwrap();
    assert_eq!(touched(), 1.0);
}

#[test]
fn floats_are_encoded_as_chosen_when_blocks_are_compacted() {
    for xor2 in [false, true] {
        let disk = MemDisk::new();
        let recode = Some(Recode { xor2, samples: 480 });
        let db = Db::open(DbOptions { recode, ..options(&disk) }).unwrap();
        for from in (0..300).step_by(50) {
            fill(&db, from * MINUTE, (from + 50) * MINUTE);
            db.maintain().unwrap();
        }
        let view = db.0.view.read();
        let large = view.blocks.iter().find(|b| b.meta().compaction.level > 1).unwrap();
        // 30 minutes of a sample each 15 seconds are one chunk now.
        assert_eq!(large.meta().stats.num_chunks, large.meta().stats.num_series);
        let again = crate::compact::recode_floats(
            (0..4_i64)
                .flat_map(|n| {
                    let mut b = crate::compact::ChunkBuilder::default();
                    (0..120_i64).for_each(|i| b.push(0, (n * 120 + i) * 15_000, i as f64).unwrap());
                    b.finish()
                })
                .collect(),
            Recode { xor2, samples: 480 },
            &mut crate::compact::RecodeWork::default(),
        );
        // Longer chunks of XOR2 would have start timestamps, for nothing.
        assert_eq!(again.unwrap().len(), if xor2 { 4 } else { 1 });
        let series = large.series().unwrap().next().unwrap().unwrap();
        let (encoding, _) = large.chunk_reader().read_one(series.chunks[0].chunk).unwrap();
        assert_eq!(encoding == storage::ChunkEncoding::Xor2, xor2);
        drop(view);
        let times = &read(&db, "y")[0].1;
        assert_eq!((times.len(), times[1000]), (1200, 15_000_000));
    }
}

#[test]
fn the_log_goes_with_the_blocks() {
    let disk = MemDisk::new();
    let db = Db::open(DbOptions { wal_segment_bytes: 128 << 20, ..options(&disk) }).unwrap();
    for from in (0..200).step_by(2) {
        fill(&db, from * MINUTE, (from + 2) * MINUTE);
        db.maintain().unwrap();
    }
    // The head begins at a multiple of ten minutes; no segment holds a sample from before that.
    let begin = db.0.head.min_time();
    assert_eq!(begin % (10 * MINUTE), 0);
    for segment in crate::wal::segments(&disk, "/data/wal".as_ref()).unwrap() {
        let path = crate::wal::segment_path("/data/wal".as_ref(), segment);
        let mut reader = crate::wal::SegmentReader::open(&disk, &path).unwrap();
        while let Some(bytes) = reader.next_record().unwrap() {
            if let Ok(crate::wal::record::Record::Samples(all)) = crate::wal::record::decode(bytes) {
                assert!(all.iter().all(|s| s.t_ms >= begin), "{segment}");
            }
        }
    }
    // Killed here: all is there.
    let all = (read(&db, "x"), read(&db, "y"));
    let copy = MemDisk::new();
    copy_tree(&disk, &copy, "/data".as_ref());
    copy.remove_file("/data/lock".as_ref()).unwrap();
    let again = Db::open(options(&copy)).unwrap();
    assert_eq!((read(&again, "x"), read(&again, "y")), all);
    assert_eq!(all.0[0].1.len(), 200 * 4);
}

fn real(path: &Path) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.min_block_ms = 10 * MINUTE;
    options.max_block_ms = 30 * MINUTE;
    options.retention = Retention::default();
    options
}

#[test]
fn old_data_comes_in_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    // Another server's folder, killed: blocks, and a log that reaches into the time of ours.
    let other = Db::open(DbOptions { lockfile: false, ..real(&old) }).unwrap();
    fill(&other, 0, 120 * MINUTE);
    other.maintain().unwrap();
    other.sync().unwrap();
    let expected = read(&other, "x");
    drop(other);
    let db = Db::open(real(&new)).unwrap();
    fill(&db, 110 * MINUTE, 130 * MINUTE);
    let copied = db.import_folder(&old).unwrap();
    assert!(copied.iter().any(|c| c.how == How::Linked) && copied.iter().any(|c| c.how == How::Made));
    let check = |db: &Db| {
        let now = read(db, "x");
        assert_eq!(now.len(), expected.len());
        for (is, was) in now.iter().zip(&expected) {
            assert_eq!(is.1.len(), 130 * 4);
            assert_eq!(is.1[..120 * 4], was.1[..]);
        }
    };
    check(&db);
    // Twice does no harm but for a second block of the log, which is merged.
    db.import_folder(&old).unwrap();
    check(&db);
    assert!(db.import_folder(&new).is_err() && db.import_folder(&folder.path().join("none")).is_err());
    // Killed and started: the log's samples are not taken for those of the imported block.
    db.sync().unwrap();
    let copy = folder.path().join("copy");
    crate::db::ReadOnlyDb::open(&new, None).map(|r| check(r.db())).unwrap();
    db.maintain().unwrap();
    fill(&db, 130 * MINUTE, 170 * MINUTE);
    for _ in 0..3 {
        db.maintain().unwrap();
    }
    let x = read(&db, "x");
    assert!(x.iter().all(|s| s.1.len() == 170 * 4), "{:?}", x.iter().map(|s| s.1.len()).collect::<Vec<_>>());
    // A block that someone puts there is taken up, and forgotten when it goes.
    let mut past = Backfill::new(120 * MINUTE);
    past.add(&labels("z", 0), -MINUTE, 1.0);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut made = Vec::new();
    past.write(&disk, &new, |m| made.push(m.ulid)).unwrap();
    db.reload_blocks().unwrap();
    assert_eq!(read(&db, "z").len(), 1);
    std::fs::rename(new.join(made[0].to_string()), &copy).unwrap();
    db.reload_blocks().unwrap();
    assert_eq!(read(&db, "z").len(), 0);
    // Beyond retention: left out at once.
    db.set_retention(Retention { duration_ms: 30 * MINUTE, ..Retention::default() });
    let copied = db.import_folder(&old).unwrap();
    assert!(copied.iter().any(|c| c.how == How::Unwanted));
    let snapshot = folder.path().join("snapshot");
    let taken = crate::db::ReadOnlyDb::open(&new, None).unwrap().snapshot(&snapshot, true).unwrap();
    assert!(taken.iter().any(|c| c.how == How::Made));
    db.close().unwrap();
    let copy = Db::open(DbOptions { retention: Retention::default(), ..real(&snapshot) }).unwrap();
    let again = Db::open(real(&new)).unwrap();
    assert_eq!(read(&copy, "y"), read(&again, "y"));
    assert!(!again.blocks().unwrap().is_empty());
}
