//! A data folder changes hands: a real Prometheus's is opened by godwit and the other way round; the same
//! queries give the same answers, and nothing bad stands in the logs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::answers::{differences, instant, query, range};
use e2e::pages::{Page, serve};
use e2e::process::{Server, godwit, peer};

/// How long data is collected: at an interval of one second, twelve samples a series.
const COLLECT: Duration = Duration::from_secs(12);

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    let _ = std::fs::remove_file(to.join("lock"));
}

fn arguments<'a>(config: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--web.listen-address=127.0.0.1:{port}", config, data];
    all.extend(more);
    all
}

/// Old samples as blocks, written by promtool: series that the scraped jobs do not have.
fn backfill(folder: &Path, data: &Path, until: f64) {
    let mut text = String::new();
    for series in 0..20 {
        for step in 0..240 {
            let time = until as i64 - 8 * 3600 + step * 60;
            text += &format!("old_metric{{series=\"{series}\"}} {} {time}\n", (series * step) as f64 * 0.25);
        }
    }
    text += "# EOF\n";
    std::fs::write(folder.join("old.om"), text).unwrap();
    let status = Command::new(peer("promtool").unwrap())
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .arg(folder.join("old.om"))
        .arg(data)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Fills a folder with one program, ends it as told, and gives the time up to which it has data.
fn fill(program: &Path, folder: &Path, data: &str, flags: &[&str], clean: bool) -> f64 {
    let listen = "--web.listen-address=127.0.0.1:{port}";
    let exporter = Server::start(&peer("prometheus-node-exporter").unwrap(), &[listen], folder, "/").unwrap();
    let odd = Page {
        path: "/metrics".into(),
        content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8".into(),
        body: include_str!("../data/odd.om").into(),
    };
    let odd = serve(vec![odd]).unwrap();
    let scraped_prometheus = folder.join("scraped");
    std::fs::write(folder.join("empty.yml"), "scrape_configs: []\n").unwrap();
    let scraped = format!("--storage.tsdb.path={}", scraped_prometheus.display());
    let scraped = arguments("--config.file=empty.yml", &scraped, &[]);
    let scraped = Server::start(&peer("prometheus").unwrap(), &scraped, folder, "/-/ready").unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]}}\nscrape_configs:\n\
         - {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n\
         - {{job_name: odd, static_configs: [{{targets: ['127.0.0.1:{odd}']}}]}}\n\
         - {{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
        exporter.port, scraped.port
    );
    std::fs::write(folder.join("fill.yml"), config).unwrap();
    backfill(folder, &folder.join(data), now());
    let path = format!("--storage.tsdb.path={data}");
    let server =
        Server::start(program, &arguments("--config.file=fill.yml", &path, flags), folder, "/-/ready")
            .unwrap();
    // One target ends on the way, so that staleness markers are written too.
    let began = Instant::now();
    std::thread::sleep(COLLECT * 2 / 3);
    exporter.kill().unwrap();
    std::thread::sleep(COLLECT.saturating_sub(began.elapsed()));
    if clean {
        assert!(server.stop().unwrap().success())
    } else {
        server.kill().unwrap()
    }
    now()
}

fn questions(at: f64) -> Vec<String> {
    let everything = "{__name__=~\".+\"}";
    let mut all = vec![
        instant(&format!("{everything}[1m]"), at),
        instant("old_metric[12h]", at),
        instant("count by (__name__) ({__name__=~\".+\"})", at - 4.0),
        range("old_metric", at - 9.0 * 3600.0, at, 120.0),
        range("sum by (mode) (rate(node_cpu_seconds_total[10s]))", at - 60.0, at, 1.0),
        // No rate of a native histogram: newer versions extrapolate it to zero in another way than 3.5.
        range("histogram_count(prometheus_http_request_duration_seconds)", at - 60.0, at, 1.0),
        range("up", at - 60.0, at, 1.0),
    ];
    all.push(format!(
        "/api/v1/query_exemplars?query={}&start={}&end={at}",
        e2e::http::encode(everything),
        at - 1e9
    ));
    all
}

/// Opens a folder with a program that scrapes nothing and compares what both say.
fn same_answers(folder: &Path, data: &str, at: f64) {
    let (theirs, ours) = (format!("{data}-theirs"), format!("{data}-ours"));
    copy(&folder.join(data), &folder.join(&theirs));
    copy(&folder.join(data), &folder.join(&ours));
    let features = "--enable-feature=native-histograms,exemplar-storage";
    let start = |program: &Path, data: &str| {
        let path = format!("--storage.tsdb.path={data}");
        Server::start(program, &arguments("--config.file=empty.yml", &path, &[features]), folder, "/-/ready")
            .unwrap()
    };
    let theirs = start(&peer("prometheus").unwrap(), &theirs);
    let ours = start(&godwit().unwrap(), &ours);
    let mut series = 0;
    for question in questions(at) {
        if question.starts_with("/api/v1/query_exemplars") {
            let ask = |s: &Server| e2e::http::get(s.port, &question).unwrap().json().unwrap()["data"].clone();
            assert_eq!(ask(&theirs), ask(&ours), "exemplars");
            continue;
        }
        let (want, got) = (query(theirs.port, &question).unwrap(), query(ours.port, &question).unwrap());
        let found = differences(&want, &got);
        assert!(found.is_empty(), "{question}: {found:#?}\n{}", ours.log_tail());
        series = series.max(want.len());
    }
    assert!(series > 500, "only {series} series");
    for server in [theirs, ours] {
        let log = server.log_text();
        let words = ["level=ERROR", "corrupt", "epair", "unknown series", "level=WARN"];
        let fine = ["Found healthy block", "native-histograms", "Received an OS signal"];
        let bad = |l: &&str| words.iter().any(|w| l.contains(w)) && !fine.iter().any(|f| l.contains(f));
        let bad: Vec<&str> = log.lines().filter(bad).collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", server.log.display());
        assert!(server.stop().unwrap().success());
    }
}

const FEATURES: &str = "--enable-feature=native-histograms,exemplar-storage";

fn theirs_by_ours(compression: &[&str], clean: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = vec![FEATURES];
    flags.extend(compression);
    let at = fill(&peer("prometheus").unwrap(), folder.path(), "data", &flags, clean);
    same_answers(folder.path(), "data", at);
}

fn ours_by_theirs(compression: &[&str], clean: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = vec![FEATURES];
    flags.extend(compression);
    let at = fill(&godwit().unwrap(), folder.path(), "data", &flags, clean);
    same_answers(folder.path(), "data", at);
}

const NONE: &[&str] = &["--no-storage.tsdb.wal-compression"];
const SNAPPY: &[&str] = &[];
const ZSTD: &[&str] = &["--storage.tsdb.wal-compression-type=zstd"];

#[test]
fn theirs_uncompressed_killed() {
    theirs_by_ours(NONE, false);
}

#[test]
fn theirs_snappy_stopped() {
    theirs_by_ours(SNAPPY, true);
}

#[test]
fn theirs_zstd_killed() {
    theirs_by_ours(ZSTD, false);
}

#[test]
fn ours_uncompressed_stopped() {
    ours_by_theirs(NONE, true);
}

#[test]
fn ours_snappy_killed() {
    ours_by_theirs(SNAPPY, false);
}

#[test]
fn ours_zstd_killed() {
    ours_by_theirs(ZSTD, false);
}
