//! The database over its life: open, write, cut, compact, close, open again.

use std::sync::Arc;

use model::{Labels, MatchOp, Matcher};
use storage::{
    AppendError, Appendable, LabelHints, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef,
    StatusSource, StorageError,
};

use super::{Db, DbOptions, Retention};
use crate::disk::{Disk, Fault, FaultDisk, FaultKind, MemDisk, Op, Restart};

pub(super) const MINUTE: i64 = 60_000;

pub(super) fn options(disk: &MemDisk) -> DbOptions {
    let mut options = DbOptions::new("/data");
    options.disk = Arc::new(disk.clone());
    options.min_block_ms = 10 * MINUTE;
    options.max_block_ms = 30 * MINUTE;
    options.wal_segment_bytes = 64 << 10;
    options.retention = Retention::default();
    options
}

fn write(db: &Db, from: i64, to: i64) {
    for t in (from..to).step_by(15_000) {
        let mut app = db.appender();
        for i in 0..20 {
            // Some series come and go.
            let gone = i >= 10 && (t / (20 * MINUTE)) % 10 != i - 10;
            if !gone {
                let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
                app.append(SeriesRef::NONE, &labels, 0, t, t as f64 * i as f64).unwrap();
            }
        }
        app.commit().unwrap();
    }
}

fn read(db: &Db, mint: i64, maxt: i64) -> Vec<(String, Vec<i64>, Vec<f64>)> {
    let q = db.querier(mint, maxt).unwrap();
    let all = [Matcher::equal("__name__", "m")];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &all).unwrap();
    let read = |s: &Arc<dyn storage::Series>| {
        let mut out = SampleBuf::default();
        s.read(mint, maxt, &mut out).unwrap();
        (s.labels().to_string(), out.times, out.values)
    };
    set.series.iter().map(read).filter(|(_, t, _)| !t.is_empty()).collect()
}

#[test]
fn cuts_compacts_and_reads_the_same_in_memory() {
    let disk = MemDisk::new();
    cuts_compacts_and_reads_the_same(&disk, || options(&disk));
}

#[test]
fn cuts_compacts_and_reads_the_same_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let on_disk = || DbOptions {
        path: dir.path().join("data"),
        disk: Arc::new(crate::disk::RealDisk),
        ..options(&MemDisk::new())
    };
    cuts_compacts_and_reads_the_same(&crate::disk::RealDisk, on_disk);
}

fn cuts_compacts_and_reads_the_same(disk: &dyn Disk, options: impl Fn() -> DbOptions) {
    let db = Db::open(options()).unwrap();
    write(&db, 0, 130 * MINUTE);
    let before = read(&db, 0, i64::MAX);
    assert_eq!(before[0].1.len(), 520);
    // A view from before goes on reading what it saw.
    let held = db.querier(0, i64::MAX).unwrap();
    db.maintain().unwrap();
    assert_eq!(db.blocks().unwrap().len(), 1, "the head waits for the reader");
    assert_eq!(read(&db, 0, i64::MAX), before);
    let ctx = QueryContext::unlimited();
    assert_eq!(held.label_values(&ctx, "i", LabelHints::default(), &[]).unwrap().len(), 17);
    drop(held);
    db.maintain().unwrap();
    db.maintain().unwrap();
    // 12 blocks of ten minutes, those of full half hours made into one.
    let metas: Vec<String> = db.blocks().unwrap().into_iter().map(|b| b.meta_json).collect();
    assert_eq!(metas.len(), 3 + 3, "{metas:?}");
    assert_eq!(read(&db, 0, i64::MAX), before);
    assert_eq!(read(&db, 25 * MINUTE, 45 * MINUTE)[0].1.len(), 81);
    assert!(db.tsdb_status(&ctx, 10).unwrap().head.series < 14);
    assert_eq!(db.start_time_ms().unwrap(), 0);

    // A second one on the same folder is refused, until the first is closed.
    assert!(Db::open(options()).unwrap_err().to_string().contains("in use"));
    db.close().unwrap();
    assert!(matches!(
        db.appender().append(SeriesRef::NONE, &Labels::from_pairs([("a", "b")]), 0, 1, 1.0),
        Err(AppendError::Unavailable(_))
    ));
    assert!(db.querier(0, 1).is_err() && db.maintain().is_err());
    let db = Db::open(options()).unwrap();
    assert_eq!(read(&db, 0, i64::MAX), before);
    write(&db, 130 * MINUTE, 300 * MINUTE);
    let before = read(&db, 0, i64::MAX);
    for _ in 0..3 {
        db.maintain().unwrap();
        assert_eq!(read(&db, 0, i64::MAX), before);
    }
    db.close().unwrap();
    let entries = disk.list(&options().path.join("wal")).unwrap();
    assert!(entries.iter().any(|e| e.name.starts_with("checkpoint.")), "{entries:?}");
    // Without a clean end, and with the log as the only witness of the head.
    let db = Db::open(options()).unwrap();
    assert_eq!(read(&db, 0, i64::MAX), before);
}

#[test]
fn retention_and_blocks_that_come_and_go() {
    let disk = MemDisk::new();
    let db = Db::open(options(&disk)).unwrap();
    write(&db, 0, 130 * MINUTE);
    db.maintain().unwrap();
    let blocks = db.blocks().unwrap().len();
    db.set_retention(Retention { duration_ms: 60 * MINUTE, ..Retention::default() });
    db.maintain().unwrap();
    let kept = db.blocks().unwrap();
    assert!(kept.len() < blocks);
    assert!(db.start_time_ms().unwrap() >= 40 * MINUTE);
    db.set_retention(Retention { size_bytes: 1, ..Retention::default() });
    db.maintain().unwrap();
    assert!(db.blocks().unwrap().is_empty());
    // The head was cut to one block range and what may still come in beside it.
    assert_eq!(read(&db, 0, i64::MAX)[0].1[0], 120 * MINUTE);
}

#[test]
fn deleted_samples_stay_away_and_snapshots_hold_the_rest() {
    let disk = MemDisk::new();
    let db = Db::open(options(&disk)).unwrap();
    write(&db, 0, 65 * MINUTE);
    // Uneven: blocks, and a head.
    db.maintain().unwrap();
    let blocks = db.blocks().unwrap().len();
    assert!(blocks > 2);
    let ctx = QueryContext::unlimited();
    let one = [Matcher::equal("__name__", "m"), Matcher::equal("i", "1")];
    db.delete_series(&ctx, 5 * MINUTE, 62 * MINUTE, &one).unwrap();
    let expected: Vec<_> = read(&db, 0, i64::MAX);
    let of_one = |all: &[(String, Vec<i64>, Vec<f64>)]| {
        all.iter().find(|(l, _, _)| l.contains("i=\"1\"")).unwrap().1.clone()
    };
    assert_eq!(of_one(&expected).len(), 20 + 11);
    assert!(of_one(&expected).iter().all(|t| *t < 5 * MINUTE || *t > 62 * MINUTE));
    // In the log: a start after a kill knows it.
    let copy = MemDisk::new();
    copy_tree(&disk, &copy, "/data".as_ref());
    copy.remove_file("/data/lock".as_ref()).unwrap();
    let again = Db::open(options(&copy)).unwrap();
    assert_eq!(read(&again, 0, i64::MAX), expected);
    again.close().unwrap();

    let stones =
        |db: &Db| db.blocks().unwrap().iter().filter(|b| b.meta_json.contains("numTombstones")).count();
    assert!(stones(&db) > 1);
    db.clean_tombstones().unwrap();
    assert_eq!((stones(&db), db.blocks().unwrap().len()), (0, blocks));
    assert_eq!(read(&db, 0, i64::MAX), expected);
    // A rewritten block is a new one, with the old one as its parent.
    let metas: Vec<String> = db.blocks().unwrap().into_iter().map(|b| b.meta_json).collect();
    assert!(metas.iter().any(|m| m.contains("\"level\": 1") && m.contains("parents")), "{metas:?}");

    let open_snapshot = |name: &str| {
        let mut options = options(&disk);
        options.path = format!("/data/snapshots/{name}").into();
        Db::open(options).unwrap()
    };
    let whole = open_snapshot(&db.snapshot(true).unwrap());
    assert_eq!(read(&whole, 0, i64::MAX), expected);
    let without = open_snapshot(&db.snapshot(false).unwrap());
    assert_eq!(without.blocks().unwrap().len(), blocks);
    let newest = read(&without, 0, i64::MAX).iter().filter_map(|s| s.1.last().copied()).max().unwrap();
    assert!(newest < 60 * MINUTE);
    // What is done to the original does not reach the copy.
    db.delete_series(&ctx, i64::MIN, i64::MAX, &[Matcher::equal("__name__", "m")]).unwrap();
    db.clean_tombstones().unwrap();
    assert!(read(&db, 0, i64::MAX).is_empty() && db.blocks().unwrap().is_empty());
    assert_eq!(read(&whole, 0, i64::MAX), expected);
    // What comes after a deletion is there.
    write(&db, 66 * MINUTE, 67 * MINUTE);
    assert_eq!(of_one(&read(&db, 0, i64::MAX)).len(), 4);
}

pub(super) fn copy_tree(from: &MemDisk, to: &MemDisk, dir: &std::path::Path) {
    to.create_dir_all(dir).unwrap();
    for entry in from.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            copy_tree(from, to, &path);
        } else {
            let bytes = crate::disk::read_all(from, &path, 1 << 30).unwrap();
            to.open_write(&path, crate::disk::WriteMode::Truncate).unwrap().append(&bytes).unwrap();
        }
    }
}

#[test]
fn fresh_blocks_wait_for_their_upload() {
    let disk = MemDisk::new();
    let uploads = std::path::Path::new("/uploads.json");
    let with_file = || DbOptions { delay_compact_file: Some(uploads.into()), ..options(&disk) };
    let put = |text: &str| {
        disk.open_write(uploads, crate::disk::WriteMode::Truncate).unwrap().append(text.as_bytes()).unwrap();
    };
    put("{\"version\":1,\"uploaded\":[]}");
    let db = Db::open(with_file()).unwrap();
    // One block a round, each in a millisecond of its own: those of one have their names in no order.
    for from in 0..13 {
        write(&db, from * 10 * MINUTE, (from + 1) * 10 * MINUTE);
        db.maintain().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let blocks = db.blocks().unwrap();
    assert_eq!(blocks.len(), 12, "none is named: none is compacted");
    let name = |meta: &str| meta.split('"').nth(3).unwrap().to_string();
    let names: Vec<String> = blocks.iter().map(|b| name(&b.meta_json)).collect();
    put(&format!("{{\"uploaded\":{:?}}}", &names[..7]));
    db.maintain().unwrap();
    assert_eq!(db.blocks().unwrap().len(), 12 - 4, "two half hours of uploaded ones became one each");
    // No such file: nothing to wait for.
    disk.remove_file(uploads).unwrap();
    db.maintain().unwrap();
    assert_eq!(db.blocks().unwrap().len(), 6);
}

/// What a process killed now would find.
fn killed(disk: &MemDisk) -> MemDisk {
    let copy = MemDisk::new();
    copy_tree(disk, &copy, "/data".as_ref());
    copy.remove_file("/data/lock".as_ref()).unwrap();
    copy
}

#[test]
fn what_is_deleted_with_its_block_does_not_come_from_the_log() {
    let disk = MemDisk::new();
    let db = Db::open(options(&disk)).unwrap();
    write(&db, 0, 2 * MINUTE);
    write(&db, 100 * MINUTE, 145 * MINUTE);
    let delete = |from: i64, to: i64| {
        let all = [Matcher::equal("__name__", "m")];
        db.delete_series(&QueryContext::unlimited(), from * MINUTE, to * MINUTE - 1, &all).unwrap();
    };
    // One block's worth while it is in the head, so that no block is made of it; two in their blocks. Their
    // chunks are in one file with newer ones.
    delete(100, 110);
    db.maintain().unwrap();
    delete(110, 130);
    db.clean_tombstones().unwrap();
    let left = read(&db, 0, i64::MAX);
    let kept = |t: i64| !(2 * MINUTE..130 * MINUTE).contains(&t);
    assert!(left.len() > 10 && left.iter().all(|(_, t, _)| t.iter().all(|t| kept(*t))), "{left:?}");
    let mut disk = killed(&disk);
    for round in 0..3 {
        let db = Db::open(options(&disk)).unwrap();
        assert_eq!(read(&db, 0, i64::MAX), left, "round {round}");
        db.sync().unwrap();
        disk = killed(&disk);
    }
}

#[test]
fn what_is_deleted_stays_so_when_the_rest_of_its_block_is_damaged() {
    // Met while it runs, and found by a start: bytes of the only chunk that is left, a file without its head, no file.
    for (chunks, at_start) in [("flip", false), ("flip", true), ("cut", true), ("gone", true)] {
        let disk = MemDisk::new();
        let db = Db::open(options(&disk)).unwrap();
        write(&db, 0, 55 * MINUTE);
        db.maintain().unwrap();
        let newest = db.0.view.read().blocks.iter().max_by_key(|b| b.meta().maxt_ms).unwrap().clone();
        let (mint, end) = (newest.meta().mint_ms, newest.meta().maxt_ms);
        let m = Matcher::new(MatchOp::NotEqual, "i", "1").unwrap();
        db.delete_series(&QueryContext::unlimited(), mint, end - 1, &[m]).unwrap();
        let path = newest.dir().join("chunks/000001");
        let left = |db: &Db| {
            let found = read(db, mint, end - 1);
            let names: Vec<String> = found.into_iter().filter(|s| !s.1.is_empty()).map(|s| s.0).collect();
            assert!(names.iter().all(|l| l.contains("i=\"1\"")), "{chunks} {at_start}: {names:?}");
            names.len()
        };
        assert_eq!(left(&db), 1);
        let spoil = |disk: &MemDisk| {
            let mut bytes = crate::disk::read_all(disk, &path, 1 << 30).unwrap();
            match chunks {
                "flip" => bytes.iter_mut().skip(16).for_each(|b| *b ^= 0x55),
                "cut" => bytes.truncate(5),
                _ => return disk.remove_file(&path).unwrap(),
            }
            disk.open_write(&path, crate::disk::WriteMode::Truncate).unwrap().append(&bytes).unwrap();
        };
        let mut disk = disk;
        if at_start {
            disk = killed(&disk);
            spoil(&disk);
        } else {
            spoil(&disk);
            let ctx = QueryContext::unlimited();
            let q = db.querier(mint, end).unwrap();
            let all =
                q.select(&ctx, true, &SelectHints::default(), &[Matcher::equal("__name__", "m")]).unwrap();
            let mut out = SampleBuf::default();
            assert!(all.series.iter().any(|s| s.read(mint, end, &mut out).is_err()));
            db.maintain().unwrap();
            left(&db);
            disk = killed(&disk);
        }
        for _ in 0..3 {
            let db = Db::open(options(&disk)).unwrap();
            // Finds the damage, if nothing has yet.
            let q = db.querier(mint, end).unwrap();
            if let Ok(set) = q.select(
                &QueryContext::unlimited(),
                true,
                &SelectHints::default(),
                &[Matcher::equal("__name__", "m")],
            ) {
                set.series.iter().for_each(|s| _ = s.read(mint, end, &mut SampleBuf::default()));
            }
            db.maintain().unwrap();
            left(&db);
            db.sync().unwrap();
            disk = killed(&disk);
        }
    }
}

#[test]
fn what_follows_a_failed_commit_in_strict_mode_comes_back() {
    let disk = FaultDisk::new(1);
    let open = || {
        let mut options = options(&MemDisk::new());
        options.disk = Arc::new(disk.clone());
        options.wal_strict = true;
        Db::open(options).unwrap()
    };
    let db = open();
    let put = |db: &Db, t: i64| {
        let mut app = db.appender();
        app.append(SeriesRef::NONE, &Labels::from_pairs([("__name__", "m")]), 0, t, t as f64).unwrap();
        app.commit().map(|_| ())
    };
    put(&db, 10_000).unwrap();
    disk.inject(Fault { op: Op::Sync, path: "/wal/0".into(), skip: 0, times: 2, kind: FaultKind::Io });
    put(&db, 20_000).unwrap_err();
    // In order, as the head sees it; the log has the one before it.
    put(&db, 15_000).unwrap();
    assert_eq!(read(&db, 0, i64::MAX)[0].1, [10_000, 15_000]);
    for _ in 0..2 {
        disk.restart(Restart::PowerCut);
        let db = open();
        assert_eq!(read(&db, 0, i64::MAX)[0].1, [10_000, 15_000, 20_000]);
        db.sync().unwrap();
    }
}

/// Such as a round of upkeep wrote before it failed: the next one brings them into the view.
#[test]
fn what_is_deleted_is_deleted_in_blocks_that_are_not_loaded_yet() {
    let disk = MemDisk::new();
    let other = Db::open(DbOptions { path: "/other".into(), ..options(&disk) }).unwrap();
    write(&other, 0, 40 * MINUTE);
    other.maintain().unwrap();
    let (ulid, dir) = crate::block::list_blocks(&disk, "/other".as_ref()).unwrap().remove(0);
    let db = Db::open(options(&disk)).unwrap();
    let source = crate::block::BlockSource { disk: &disk, dir: &dir, link: true, foreign: true };
    crate::block::transfer_block(&source, &disk, "/data".as_ref()).unwrap();
    let all = [Matcher::equal("__name__", "m")];
    db.delete_series(&QueryContext::unlimited(), i64::MIN, 5 * MINUTE, &all).unwrap();
    db.maintain().unwrap();
    assert_eq!(db.blocks().unwrap().len(), 1, "{ulid}");
    assert_eq!(read(&db, i64::MIN, 5 * MINUTE), []);
    assert!(!read(&db, 5 * MINUTE + 1, i64::MAX).is_empty());
}

/// Blocks of ten minutes, of 400 series each, and a way to ask for the samples of the first one.
struct Wide {
    disk: FaultDisk,
    db: Option<Db>,
    /// Folder of the first block.
    first: String,
}

const WIDE_SAMPLES: usize = 400 * 40;

impl Wide {
    fn empty() -> Wide {
        let mut wide = Wide { disk: FaultDisk::new(1), db: None, first: String::new() };
        wide.open();
        wide
    }

    fn write(&self, from: i64, to: i64) {
        for t in (from..to).step_by(15_000) {
            let mut app = self.db.as_ref().unwrap().appender();
            for i in 0..400 {
                let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
                app.append(SeriesRef::NONE, &labels, 0, t, ((t + i) as f64).sin()).unwrap();
            }
            app.commit().unwrap();
        }
    }

    fn new() -> Wide {
        let mut wide = Wide::empty();
        wide.write(0, 35 * MINUTE);
        wide.db.as_ref().unwrap().maintain().unwrap();
        wide.first = wide.folders()[0].clone();
        assert_eq!((wide.folders().len(), wide.samples().unwrap()), (2, WIDE_SAMPLES));
        wide
    }

    fn open(&mut self) {
        self.db = None;
        let own = DbOptions { disk: Arc::new(self.disk.clone()), ..options(&MemDisk::new()) };
        self.db = Some(Db::open(own).unwrap());
    }

    fn make_unreadable(&self, file: &str, bytes: std::ops::Range<u64>) {
        self.disk.make_unreadable(format!("/data/{}/{file}", self.first).as_ref(), bytes);
    }

    fn folders(&self) -> Vec<String> {
        let all = self.disk.list("/data".as_ref()).unwrap().into_iter().map(|e| e.name);
        let mut blocks: Vec<String> = all.filter(|name| name.len() == 26).collect();
        blocks.sort();
        blocks
    }

    fn samples(&self) -> Result<usize, StorageError> {
        let maxt = 10 * MINUTE - 1;
        let q = self.db.as_ref().unwrap().querier(0, maxt)?;
        let all = [Matcher::equal("__name__", "m")];
        let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &all)?;
        let mut out = SampleBuf::default();
        set.series.iter().try_for_each(|s| s.read(0, maxt, &mut out))?;
        Ok(out.len())
    }
}

#[test]
fn bad_sectors_of_a_block_cost_what_is_in_them() {
    // Of the chunks, of the entries of series: met by a query, left out by later ones, cut out by upkeep.
    for (file, at, lost_max) in [("chunks/000001", 20_000, 20 * 40), ("index", 9000, 130 * 40)] {
        let wide = Wide::new();
        wide.make_unreadable(file, at..at + 1);
        assert!(matches!(wide.samples(), Err(StorageError::Corrupt { .. })), "{file}");
        let left = wide.samples().unwrap();
        assert!(left < WIDE_SAMPLES && left >= WIDE_SAMPLES - lost_max, "{file}: {left}");
        wide.db.as_ref().unwrap().maintain().unwrap();
        assert!(!wide.folders().contains(&wide.first), "{file}");
        assert!(wide.disk.exists(format!("/data/damaged/{}", wide.first).as_ref()).unwrap());
        assert_eq!((wide.folders().len(), wide.samples().unwrap()), (2, left), "{file}");
    }
}

#[test]
fn bad_sectors_of_what_a_start_reads_of_a_block_cost_nothing() {
    let size = {
        let wide = Wide::new();
        wide.disk.size(format!("/data/{}/index", wide.first).as_ref()).unwrap()
    };
    for (file, at) in [("index", 0), ("index", size - 3000), ("meta.json", 0), ("chunks/000001", 0)] {
        let mut wide = Wide::new();
        wide.db.as_ref().unwrap().close().unwrap();
        wide.make_unreadable(file, at..at + 1);
        wide.open();
        wide.db.as_ref().unwrap().maintain().unwrap();
        let left = wide.samples().unwrap();
        // The first sector of the chunks has some of them.
        let lost_max = if at == 0 && file != "meta.json" { 20 * 40 } else { 0 };
        assert!(left >= WIDE_SAMPLES - lost_max && wide.folders().len() == 2, "{file} at {at}: {left}");
    }
}

#[test]
fn a_block_that_cannot_be_read_at_all_is_there_when_it_can_be_again() {
    for files in [&["index"][..], &["index", "meta.json", "chunks/000001", "tombstones"]] {
        let mut wide = Wide::new();
        wide.db.as_ref().unwrap().close().unwrap();
        files.iter().for_each(|file| wide.make_unreadable(file, 0..u64::MAX));
        wide.open();
        let _ = wide.db.as_ref().unwrap().maintain();
        assert_eq!(wide.samples().unwrap(), 0, "{files:?}");
        assert!(wide.folders().contains(&wide.first), "{files:?}");
        wide.disk.heal();
        wide.db.as_ref().unwrap().maintain().unwrap();
        assert_eq!(wide.samples().unwrap(), WIDE_SAMPLES, "{files:?}");
    }
}

#[test]
fn what_the_log_lost_and_memory_has_is_there_after_its_checkpoint() {
    let mut wide = Wide::empty();
    wide.write(0, 20 * MINUTE);
    wide.db.as_ref().unwrap().close().unwrap();
    wide.open();
    wide.write(20 * MINUTE, 22 * MINUTE);
    // Its samples are newer than the block that is cut, and it goes with that: after a start nobody knows which
    // segment the block ends in.
    let path = crate::wal::segment_path("/data/wal".as_ref(), 3);
    let at = wide.disk.size(&path).unwrap() / 2;
    let mut file = wide.disk.open_write(&path, crate::disk::WriteMode::Append).unwrap();
    file.write_at(&[0xee; 4096], at).unwrap();
    drop(file);
    let before = read(wide.db.as_ref().unwrap(), 0, i64::MAX);
    wide.db.as_ref().unwrap().maintain().unwrap();
    assert!(!wide.disk.exists(&path).unwrap(), "it is in the checkpoint");
    wide.disk.restart(Restart::PowerCut);
    wide.open();
    let after = read(wide.db.as_ref().unwrap(), 0, i64::MAX);
    assert!(before == after);
}
