//! Data folders of a real Prometheus that was killed: opened here, they give what it gave.
//!
//! Each folder of `testdata/heads` has the log (and head chunks) as they were found, `dump.txt.zst` of
//! `promtool tsdb dump`, and the exemplars that the server answered with. How they were made is in
//! `testdata/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::Matcher;
use storage::{ExemplarQueryable, QueryContext, Queryable};
use tsdb::disk::{Disk, RealDisk};
use tsdb::{Db, DbOptions, WalCompression};

use crate::dump::{dump, go_g};

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn sorted_dump(db: &Db) -> Vec<String> {
    let querier = db.querier(i64::MIN, i64::MAX).unwrap();
    let mut lines: Vec<String> = dump(&*querier, &[]).lines().map(str::to_string).collect();
    lines.sort();
    lines
}

/// Compares floats line by line. Histograms by time, count and sum: promtool 3.5.3 leaves out the first two
/// samples of a histogram series in each block and the head (`parts`).
pub(crate) fn same_samples(what: &str, ours: &[String], theirs: &[String], parts: u32) {
    let is_histogram = |l: &&String| l.contains("} {count:");
    let floats = |all: &[String]| all.iter().filter(|l| !is_histogram(l)).cloned().collect::<Vec<_>>();
    let (a, b) = (floats(ours), floats(theirs));
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b, "{what}");
    }
    assert_eq!(a.len(), b.len(), "{what}");
    let short = |l: &String| {
        let (head, tail) = l.split_once("} {count:").unwrap();
        let counts: Vec<&str> = tail.split([',', '}']).take(2).collect();
        format!("{head} {counts:?} {}", l.rsplit(' ').next().unwrap())
    };
    let ours: std::collections::BTreeSet<String> = ours.iter().filter(is_histogram).map(short).collect();
    let theirs: std::collections::BTreeSet<String> = theirs.iter().filter(is_histogram).map(short).collect();
    let missing: Vec<&String> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{what}: {missing:#?}");
    let series = |l: &String| l.split(" [").next().unwrap().to_string();
    let mut extra = std::collections::BTreeMap::<String, u32>::new();
    ours.difference(&theirs).for_each(|l| *extra.entry(series(l)).or_default() += 1);
    assert!(extra.values().all(|n| *n <= 2 * parts), "{what}: {extra:#?}");
    assert!(!theirs.is_empty(), "{what}: no histograms");
}

fn options(path: &Path, compression: WalCompression) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.exemplars_max = 100_000;
    options.wal_compression = compression;
    options
}

fn folders() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/heads");
    let all: Vec<_> = RealDisk
        .list(&root)
        .unwrap()
        .into_iter()
        .filter(|e| e.is_dir)
        .map(|e| (e.name.clone(), root.join(&e.name)))
        .collect();
    assert!(all.len() >= 4, "golden heads are missing");
    all
}

fn expected_lines(dir: &Path) -> Vec<String> {
    let packed = std::fs::read(dir.join("dump.txt.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

type ExemplarLines = BTreeMap<String, Vec<String>>;

fn their_exemplars(dir: &Path) -> ExemplarLines {
    let text = std::fs::read(dir.join("exemplars.json")).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut all = ExemplarLines::new();
    for series in answer["data"].as_array().unwrap() {
        let pairs = |v: &serde_json::Value| {
            let object = v.as_object().unwrap().clone();
            model::Labels::from_pairs(
                object.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_string())),
            )
            .to_string()
        };
        let line = |e: &serde_json::Value| {
            let t = (e["timestamp"].as_f64().unwrap() * 1000.0).round() as i64;
            format!("{} {} {t}", pairs(&e["labels"]), e["value"].as_str().unwrap())
        };
        let lines = series["exemplars"].as_array().unwrap().iter().map(line).collect();
        all.insert(pairs(&series["seriesLabels"]), lines);
    }
    all
}

fn our_exemplars(db: &Db) -> ExemplarLines {
    let any = [vec![Matcher::new(model::MatchOp::Regex, "__name__", ".+").unwrap()]];
    let found = db.select_exemplars(&QueryContext::unlimited(), i64::MIN, i64::MAX, &any).unwrap();
    let lines = |s: &storage::ExemplarSeries| {
        s.exemplars.iter().map(|e| format!("{} {} {}", e.labels, go_g(e.value), e.timestamp_ms)).collect()
    };
    found.iter().map(|s| (s.labels.to_string(), lines(s))).collect()
}

#[test]
fn killed_servers_folders_give_what_they_had() {
    for (name, dir) in folders() {
        let scratch = tempfile::tempdir().unwrap();
        copy(&dir, scratch.path());
        let theirs = expected_lines(&dir);
        assert!(theirs.len() > 500, "{name}");
        // Twice: what the first one leaves behind must be as good.
        for compression in [WalCompression::Snappy, WalCompression::Zstd] {
            let db = Db::open(options(scratch.path(), compression)).unwrap();
            let ours = sorted_dump(&db);
            same_samples(&name, &ours, &theirs, 1);
            let (ours, theirs) = (our_exemplars(&db), their_exemplars(&dir));
            assert!(!theirs.is_empty(), "{name}");
            for (series, exemplars) in &theirs {
                // The server was asked some moments before it was killed.
                let found = ours.get(series).unwrap_or_else(|| panic!("{name}: no exemplars of {series}"));
                assert_eq!(found.get(..exemplars.len()), Some(exemplars.as_slice()), "{name}: {series}");
            }
            db.close().unwrap();
        }
    }
}
