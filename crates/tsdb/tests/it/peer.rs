//! Folders that pass between this store and a real Prometheus. Run where one is at hand: set `PROMETHEUS`
//! and `PROMTOOL` to the programs, `PEER_PORT` to a free port (31240 by default); without them the test
//! says so and passes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, MetricMetadata, Span, stale_nan};
use storage::{Appendable, SeriesRef};
use tsdb::{Db, DbOptions, WalCompression};

use crate::heads::{same_samples, sorted_dump};

pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a real Prometheus with a configuration on a folder and waits until it is ready. Its log is `log`
/// in the scratch folder.
pub(crate) fn serve(
    prometheus: &str,
    port: u16,
    scratch: &Path,
    folder: &Path,
    config: &str,
    features: &str,
) -> Server {
    std::fs::write(scratch.join("prometheus.yml"), config).unwrap();
    let log = std::fs::File::create(scratch.join("log")).unwrap();
    let server = Command::new(prometheus)
        .arg(format!("--config.file={}", scratch.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--enable-feature={features}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Server(server);
    let until = Instant::now() + Duration::from_secs(60);
    while get(port, "/-/ready").is_none() {
        assert!(Instant::now() < until, "the server is not ready after a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
    server
}

pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.0 200").then(|| body.to_string())
}

fn histogram(i: i64, custom: bool) -> HistogramValue {
    HistogramValue::Int(Arc::new(Histogram {
        schema: if custom { -53 } else { 1 },
        count: (3 * i + 6) as u64,
        sum: i as f64 * 0.5,
        zero_threshold: if custom { 0.0 } else { 0.001 },
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![i + 1, 3],
        custom_values: if custom { Arc::from([0.5, 1.0]) } else { Arc::default() },
        ..Histogram::default()
    }))
}

/// Counts as the buckets say, so that nobody finds fault.
fn consistent(value: HistogramValue) -> HistogramValue {
    let HistogramValue::Int(h) = value else { return value };
    let mut h = (*h).clone();
    let (mut bucket, mut count) = (0, 0);
    for d in &h.positive_buckets {
        bucket += d;
        count += bucket;
    }
    h.count = count as u64 + h.zero_count;
    HistogramValue::Int(Arc::new(h))
}

fn fill(db: &Db, from: i64, to: i64) {
    for i in from..to {
        let t = 1_700_000_000_000 + i * 15_000;
        let mut app = db.appender();
        for k in 0..5 {
            let labels = Labels::from_pairs([("__name__", "our_gauge"), ("k", &k.to_string())]);
            let v = if i % 50 == 49 && k == 3 { stale_nan() } else { (i * (k + 1)) as f64 * 0.37 };
            let series = app.append(SeriesRef::NONE, &labels, 0, t, v).unwrap();
            if k == 0 {
                let trace = Labels::from_pairs([("trace_id", &format!("t{i}"))]);
                let e = Exemplar { labels: trace, value: i as f64, timestamp_ms: t, has_timestamp: true };
                app.append_exemplar(series, &e).unwrap();
                let m = MetricMetadata { help: format!("help {}", i / 100), ..MetricMetadata::default() };
                app.update_metadata(series, &m).unwrap();
            }
        }
        for (name, custom) in [("our_hist", false), ("our_nhcb", true)] {
            let labels = Labels::from_pairs([("__name__", name)]);
            app.append_histogram(SeriesRef::NONE, &labels, 0, t, &consistent(histogram(i, custom))).unwrap();
        }
        let float = HistogramValue::Float(Arc::new(FloatHistogram {
            count: i as f64 + 0.5,
            sum: 1.0,
            positive_spans: vec![Span { offset: 2, length: 1 }],
            positive_buckets: vec![i as f64 + 0.5],
            ..FloatHistogram::default()
        }));
        app.append_histogram(SeriesRef::NONE, &Labels::from_pairs([("__name__", "our_fh")]), 0, t, &float)
            .unwrap();
        app.commit().unwrap();
    }
}

fn options(path: &Path, compression: WalCompression) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.wal_compression = compression;
    options.exemplars_max = 100_000;
    options.retention.duration_ms = 0;
    options
}

#[test]
fn a_real_prometheus_opens_ours_and_we_its_again() {
    let (Ok(prometheus), Ok(promtool)) = (std::env::var("PROMETHEUS"), std::env::var("PROMTOOL")) else {
        eprintln!("PROMETHEUS and PROMTOOL are not set: nothing compared");
        return;
    };
    let port: u16 = std::env::var("PEER_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(31_240);
    for compression in [WalCompression::None, WalCompression::Snappy, WalCompression::Zstd] {
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        let db = Db::open(options(&data, compression)).unwrap();
        fill(&db, 0, 1000);
        db.maintain().unwrap();
        let ours = sorted_dump(&db);
        assert_eq!(ours.len(), 8000);
        // As after a kill: whatever the process still holds does not count.
        std::mem::forget(db);
        let folder = scratch.path().join("copy");
        crate::heads::copy(&data, &folder);
        let compared = |what: &str, folder: &Path, ours: &[String]| {
            let dumped = Command::new(&promtool).args(["tsdb", "dump"]).arg(folder).output().unwrap();
            let mut theirs: Vec<String> =
                String::from_utf8(dumped.stdout).unwrap().lines().map(str::to_string).collect();
            theirs.sort();
            // Two blocks and the head.
            same_samples(&format!("{what} {compression:?}"), ours, &theirs, 3);
        };
        compared("ours", &folder, &ours);

        let features = "exemplar-storage,native-histograms";
        let server = serve(&prometheus, port, scratch.path(), &folder, "scrape_configs: []\n", features);
        let end = 1_700_000_000 + 999 * 15;
        // Staleness markers count in no range: 5,000 less 20.
        for (name, expected) in
            [("our_gauge", 4980), ("our_hist", 1000), ("our_nhcb", 1000), ("our_fh", 1000)]
        {
            let path = format!("/api/v1/query?query=sum(count_over_time({name}%5B1d%5D))&time={end}");
            let answer = get(port, &path).unwrap_or_default();
            assert!(answer.contains(&format!("\"{expected}\"")), "{name}: {answer}");
        }
        let exemplars = get(port, "/api/v1/query_exemplars?query=our_gauge&start=0&end=9999999999").unwrap();
        let in_log = exemplars.matches("trace_id").count();
        assert!(in_log > 300, "{in_log}");
        drop(server);
        let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
        let bad = |l: &&str| {
            let lower = l.to_lowercase();
            let warned = lower.contains("level=warn") || lower.contains("level=error");
            let told =
                ["corrupt", "unknown series", "torn", "out of sequence"].iter().any(|w| lower.contains(w));
            // It was killed, as far as the folder says; the others are about the machine.
            let harmless = ["lockfile", "gomaxprocs", "gomemlimit"].iter().any(|w| lower.contains(w));
            (warned || told) && !harmless
        };
        let lines: Vec<&str> = log.lines().filter(bad).collect();
        assert!(lines.is_empty(), "{compression:?}: {lines:#?}");
        // And back, with more on top.
        let db = Db::open(options(&folder, compression)).unwrap();
        assert_eq!(sorted_dump(&db), ours);
        fill(&db, 1000, 1100);
        let ours = sorted_dump(&db);
        db.close().unwrap();
        compared("ours again", &folder, &ours);
    }
}
