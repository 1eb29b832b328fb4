//! The database over its life: open, write, cut, compact, close, open again.

use std::sync::Arc;

use model::{Labels, Matcher};
use storage::{
    AppendError, Appendable, LabelHints, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef,
    StatusSource,
};

use super::{Db, DbOptions, Retention};
use crate::disk::{Disk, MemDisk};

const MINUTE: i64 = 60_000;

fn options(disk: &MemDisk) -> DbOptions {
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
fn cuts_compacts_and_reads_the_same_throughout() {
    let disk = MemDisk::new();
    let db = Db::open(options(&disk)).unwrap();
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
    assert!(Db::open(options(&disk)).unwrap_err().to_string().contains("in use"));
    db.close().unwrap();
    assert!(matches!(
        db.appender().append(SeriesRef::NONE, &Labels::from_pairs([("a", "b")]), 0, 1, 1.0),
        Err(AppendError::Unavailable(_))
    ));
    assert!(db.querier(0, 1).is_err() && db.maintain().is_err());
    let db = Db::open(options(&disk)).unwrap();
    assert_eq!(read(&db, 0, i64::MAX), before);
    write(&db, 130 * MINUTE, 300 * MINUTE);
    let before = read(&db, 0, i64::MAX);
    for _ in 0..3 {
        db.maintain().unwrap();
        assert_eq!(read(&db, 0, i64::MAX), before);
    }
    db.close().unwrap();
    let entries = disk.list("/data/wal".as_ref()).unwrap();
    assert!(entries.iter().any(|e| e.name.starts_with("checkpoint.")), "{entries:?}");
    // Without a clean end, and with the log as the only witness of the head.
    let db = Db::open(options(&disk)).unwrap();
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
