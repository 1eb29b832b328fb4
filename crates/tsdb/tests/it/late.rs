//! Out-of-order samples between this store and a real Prometheus, both ways. What a real one left is in
//! `testdata/late`; a real one is given ours where `PROMETHEUS` and `PROMTOOL` name the programs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use model::{Histogram, HistogramValue, Labels, Span};
use storage::{Appendable, SeriesRef, StatusSource};
use tsdb::disk::{Disk, RealDisk};
use tsdb::{Db, DbOptions};

use crate::heads::{copy, same_samples, sorted_dump};
use crate::peer::{get, serve};

const HOUR: i64 = 3_600_000;
/// Begin of a block range.
const BASE: i64 = 1_700_006_400_000;

fn options(path: &Path, window: i64) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.retention.duration_ms = 0;
    options.out_of_order_window_ms = window;
    options
}

fn only(name: &str, lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|l| l.contains(name)).collect()
}

#[test]
fn killed_servers_late_samples_are_all_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/late");
    let folders: Vec<_> = RealDisk.list(&root).unwrap().into_iter().filter(|e| e.is_dir).collect();
    assert_eq!(folders.len(), 2);
    for folder in folders {
        let dir = root.join(&folder.name);
        let packed = std::fs::read(dir.join("dump.txt.zst")).unwrap();
        let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        let mut theirs: Vec<String> = text.lines().map(str::to_string).collect();
        theirs.sort();
        assert!(theirs.len() > 600);
        let scratch = tempfile::tempdir().unwrap();
        copy(&dir, scratch.path());
        // With a window and without, and again: what one leaves behind must be as good.
        for window in [HOUR, 0, HOUR] {
            let db = Db::open(options(scratch.path(), window)).unwrap();
            assert_eq!(only("late_metric", sorted_dump(&db)), theirs, "{}", folder.name);
            db.close().unwrap();
        }
    }
}

fn histogram(n: u64, float: bool) -> HistogramValue {
    let h = Histogram {
        count: n,
        sum: n as f64,
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![n as i64],
        ..Histogram::default()
    };
    if float { HistogramValue::Float(Arc::new(h.to_float())) } else { HistogramValue::Int(Arc::new(h)) }
}

/// In order at `i` of 15 seconds, and up to 100 minutes late at odd milliseconds.
fn fill(db: &Db, from: i64, to: i64) {
    for i in from..to {
        let t = BASE + i * 15_000;
        let mut app = db.appender();
        for k in 0..4_i64 {
            let labels = Labels::from_pairs([("__name__", "our_late"), ("k", &k.to_string())]);
            app.append(SeriesRef::NONE, &labels, 0, t, i as f64).unwrap();
            let back = (i * 7919 + k * 104_729) % 400 * 15_000;
            if k > 0 && i > 0 {
                // The same time may come again: with the same value, since who of two wins is nobody's promise.
                let late = t - back - 7 - k;
                app.append(SeriesRef::NONE, &labels, 0, late, (late % 1_000_000) as f64 / 8.0).unwrap();
            }
        }
        for (name, float) in [("our_late_h", false), ("our_late_fh", true)] {
            let labels = Labels::from_pairs([("__name__", name)]);
            app.append_histogram(SeriesRef::NONE, &labels, 0, t, &histogram(i as u64 + 1, float)).unwrap();
            let late = t - (i * 31 % 300) * 15_000 - 9;
            let n = (late / 15_000 % 1000) as u64;
            app.append_histogram(SeriesRef::NONE, &labels, 0, late, &histogram(n, float)).unwrap();
        }
        app.commit().unwrap();
    }
}

#[test]
fn a_real_prometheus_opens_our_late_samples_and_we_its_again() {
    let (Ok(prometheus), Ok(promtool)) = (std::env::var("PROMETHEUS"), std::env::var("PROMTOOL")) else {
        eprintln!("PROMETHEUS and PROMTOOL are not set: nothing compared");
        return;
    };
    let port: u16 = std::env::var("PEER_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(31_240) + 1;
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let db = Db::open(options(&data, 2 * HOUR)).unwrap();
    fill(&db, 0, 1100);
    let ours = sorted_dump(&db);
    assert!(ours.len() > 8000, "{}", ours.len());
    // As after a kill.
    std::mem::forget(db);
    let folder = scratch.path().join("copy");
    copy(&data, &folder);
    let dumped = Command::new(&promtool).args(["tsdb", "dump"]).arg(&folder).output().unwrap();
    let mut theirs: Vec<String> =
        String::from_utf8(dumped.stdout).unwrap().lines().map(str::to_string).collect();
    theirs.sort();
    same_samples("ours", &ours, &theirs, 8);
    same_answers(&prometheus, port, &folder, &ours, 1100);
    // And back, with more on top, and blocks of late samples. (promtool takes the end of any block for the
    // end of what is in order, so the server is asked.)
    let db = Db::open(options(&folder, 2 * HOUR)).unwrap();
    assert_eq!(sorted_dump(&db), ours);
    fill(&db, 1100, 1200);
    db.maintain().unwrap();
    assert!(db.blocks().unwrap().iter().any(|b| b.meta_json.contains("from-out-of-order")));
    fill(&db, 1200, 1250);
    let ours = sorted_dump(&db);
    db.close().unwrap();
    same_answers(&prometheus, port, &folder, &ours, 1250);
    assert_eq!(sorted_dump(&Db::open(options(&folder, 0)).unwrap()), ours);
}

/// Starts a real Prometheus on a folder: it finds no fault and counts and sums as we do.
fn same_answers(prometheus: &str, port: u16, folder: &Path, ours: &[String], to: i64) {
    let scratch = tempfile::tempdir().unwrap();
    let config = "storage:\n  tsdb:\n    out_of_order_time_window: 2h\nscrape_configs: []\n";
    let server = serve(prometheus, port, scratch.path(), folder, config, "native-histograms");
    let end = BASE / 1000 + to * 15;
    let ask =
        |query: String| get(port, &format!("/api/v1/query?query={query}&time={end}")).unwrap_or_default();
    for name in ["our_late", "our_late_h", "our_late_fh"] {
        let own: Vec<&String> = ours.iter().filter(|l| l.contains(&format!("\"{name}\""))).collect();
        let answer = ask(format!("sum(count_over_time({name}%5B1d%5D))"));
        assert!(answer.contains(&format!("\"{}\"", own.len())), "{name} {}: {answer}", own.len());
    }
    let value = |l: &&String| l.rsplit(' ').nth(1).unwrap().parse::<f64>().unwrap();
    let sum: f64 = ours.iter().filter(|l| l.contains("\"our_late\"")).map(|l| value(&l)).sum();
    // Eighths: exact in any order.
    let answer = ask("sum(sum_over_time(our_late%5B1d%5D))".to_string());
    assert!(answer.contains(&format!("\"{sum}\"")), "{sum}: {answer}");
    drop(server);
    let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
    let told = ["corrupt", "unknown series", "unknown refs", "torn"];
    let bad: Vec<&str> = log.lines().filter(|l| told.iter().any(|w| l.to_lowercase().contains(w))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
