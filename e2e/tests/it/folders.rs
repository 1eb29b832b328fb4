//! A data folder changes hands: a real Prometheus's of each version is opened by godwit and the other way
//! round; the raw samples and the answers to the same queries are the same, promtool agrees, and nothing bad
//! stands in the logs.
//!
//! Each folder has blocks that promtool wrote, blocks that the program cut from its own head (filled by remote
//! write with hours of floats and histograms), and a log with scraped floats, native histograms, exemplars and
//! staleness markers.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use e2e::answers::{Answer, differences, instant, query, range};
use e2e::http;
use e2e::pages::{Page, serve};
use e2e::process::{Server, peer};
use e2e::program::{Compression, Program};
use e2e::push::push;
use e2e::wait::{now, until};
use serde_json::Value;

use crate::promtool;

/// Hours before now of promtool's blocks: from, and how many.
const BACKFILL_HOURS: (i64, i64) = (30, 4);
/// Hours before now of what is pushed; it ends a minute before now.
const PUSH_HOURS: i64 = 9;
/// Longest span of a head that is not cut: one and a half block spans.
const HEAD_SPAN_MAX_MS: f64 = 3.0 * 3600.0 * 1000.0;
/// Everything that a folder has, as raw samples.
const ALL: &str = "{__name__=~\".+\"}[40h]";

/// One folder to be filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    compression: Compression,
    /// Ended by SIGTERM, not by kill -9.
    clean: bool,
    /// With histograms of custom buckets, which 2.42 does not know.
    custom: bool,
}

/// All compressions and both ends. The ordinary run takes one end for each compression.
fn variants(writer: Program) -> Vec<Variant> {
    let long = std::env::var_os("GODWIT_TEST_LONG").is_some();
    let all = [
        (Compression::None, true, true),
        (Compression::Snappy, false, true),
        (Compression::Zstd, false, true),
        (Compression::None, false, false),
        (Compression::Snappy, true, false),
        (Compression::Zstd, true, false),
    ];
    let all = all.map(|(compression, clean, first)| (first, Variant { compression, clean, custom: false }));
    let mut all: Vec<Variant> = all
        .into_iter()
        .filter(|(first, v)| (*first || long) && v.compression.flag(writer).is_ok())
        .map(|(_, v)| v)
        .collect();
    if writer != Program::Old
        && let Some(last) = all.last_mut()
    {
        last.custom = true;
    }
    all
}

impl Variant {
    fn readable_by(self, reader: Program) -> bool {
        reader.at_hand() && self.compression.flag(reader).is_ok() && !(self.custom && reader == Program::Old)
    }
}

/// A filled folder.
pub(crate) struct Filled {
    pub(crate) variant: Variant,
    /// Its name in the test's folder.
    pub(crate) data: String,
    /// Nothing in it is newer.
    pub(crate) at: f64,
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    let _ = std::fs::remove_file(to.join("lock"));
}

/// Old samples as blocks, written by promtool: series that the other parts do not have.
fn backfill(folder: &Path, data: &Path) {
    let mut text = String::new();
    let from = now() as i64 - BACKFILL_HOURS.0 * 3600;
    for series in 0..20 {
        for step in 0..BACKFILL_HOURS.1 * 60 {
            let value = (series * step) as f64 * 0.25;
            text += &format!("old_metric{{series=\"{series}\"}} {value} {}\n", from + step * 60);
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

pub(crate) const LISTEN: &str = "--web.listen-address=127.0.0.1:{port}";

/// What all folders of a test scrape.
pub(crate) struct Targets {
    pub(crate) exporter: Server,
    odd: u16,
    scraped: Server,
}

impl Targets {
    pub(crate) fn start(folder: &Path) -> Targets {
        let exporter = peer("prometheus-node-exporter").unwrap();
        let exporter = Server::start(&exporter, &[LISTEN], folder, "/").unwrap();
        let odd = Page {
            path: "/metrics".into(),
            content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8".into(),
            body: include_str!("../data/odd.om").into(),
        };
        let odd = serve(vec![odd]).unwrap();
        std::fs::write(folder.join("empty.yml"), "scrape_configs: []\n").unwrap();
        let arguments = [LISTEN, "--config.file=empty.yml", "--storage.tsdb.path=scraped"];
        let scraped = Server::start(&peer("prometheus").unwrap(), &arguments, folder, "/-/ready").unwrap();
        Targets { exporter, odd, scraped }
    }

    pub(crate) fn config(&self, program: Program, custom: bool) -> String {
        let mut text = format!(
            "global:\n  scrape_interval: 1s\n  {}\nscrape_configs:\n\
             - {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n\
             - {{job_name: odd, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n\
             - {{job_name: prometheus, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
            program.global(),
            self.exporter.port,
            self.odd,
            self.scraped.port
        );
        if custom {
            text += &format!(
                "- {{job_name: custom, convert_classic_histograms_to_nhcb: true, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
                self.odd
            );
        }
        text
    }
}

/// Starts a program over a folder, with a configuration file and more flags.
pub(crate) fn start(program: Program, folder: &Path, data: &str, config: &str, more: &[&str]) -> Server {
    let (path, config) = (format!("--storage.tsdb.path={data}"), format!("--config.file={config}"));
    let mut arguments = vec![LISTEN, &path, &config, program.features(), "--storage.tsdb.retention.time=15d"];
    arguments.extend(more);
    Server::start(&program.path().unwrap(), &arguments, folder, "/-/ready").unwrap()
}

fn metric(server: &Server, name: &str) -> Result<f64> {
    let text = http::get(server.port, "/metrics")?.text();
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.unwrap_or("NaN").parse()?)
}

/// The blocks of a folder, and whether one is being written or deleted.
pub(crate) fn blocks(data: &Path) -> (Vec<String>, bool) {
    let names = std::fs::read_dir(data).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let (whole, rest): (Vec<_>, Vec<_>) = names.partition(|n| data.join(n).join("meta.json").exists());
    let (half, whole): (Vec<_>, Vec<_>) = whole.into_iter().partition(|n| n.contains('.'));
    (whole, !half.is_empty() || rest.iter().any(|n| n.contains(".tmp")))
}

/// Waits until the head that `push` filled has become blocks: some that begin at `from` (ms) or later.
fn cut(server: &Server, data: &Path, from: i64) {
    until("blocks cut from the head", || {
        let span = metric(server, "prometheus_tsdb_head_max_time")?
            - metric(server, "prometheus_tsdb_head_min_time")?;
        ensure!(span <= HEAD_SPAN_MAX_MS, "the head spans {span} ms\n{}", server.log_tail());
        let (all, busy) = blocks(data);
        let new = all.iter().filter(|id| {
            let meta = std::fs::read(data.join(id).join("meta.json")).unwrap_or_default();
            serde_json::from_slice::<Value>(&meta).is_ok_and(|m| m["minTime"].as_i64() >= Some(from))
        });
        ensure!(!busy && new.count() >= 1, "{all:?}\n{}", server.log_tail());
        Ok(())
    })
    .unwrap();
}

/// Waits until every job has so many samples that are not stale.
pub(crate) fn scraped(server: &Server, jobs: usize, samples: usize) {
    until("scraped samples", || {
        let up = query(server.port, &instant(&format!("count_over_time(up[1h]) >= {samples}"), now()))?;
        ensure!(up.len() == jobs, "{up:?}\n{}", server.log_tail());
        Ok(())
    })
    .unwrap();
}

/// Fills folders with one program and ends it as told.
pub(crate) fn fill(writer: Program, folder: &Path, variants: &[Variant]) -> Vec<Filled> {
    let targets = Targets::start(folder);
    backfill(folder, &folder.join("backfill"));
    let mut servers = Vec::new();
    for (number, &variant) in variants.iter().enumerate() {
        let data = format!("data{number}");
        copy(&folder.join("backfill"), &folder.join(&data));
        let config = format!("config{number}.yml");
        std::fs::write(folder.join(&config), "scrape_configs: []\n").unwrap();
        let compression = variant.compression.flag(writer).unwrap();
        let more = [compression, "--web.enable-lifecycle", "--web.enable-remote-write-receiver"];
        let server = start(writer, folder, &data, &config, &more);
        servers.push((variant, data, config, server));
    }
    for (_, data, _, server) in &servers {
        let end = now() as i64 - 60;
        let from = end - PUSH_HOURS * 3600;
        push(server.port, from, end).unwrap();
        // The first sample lies at a whole minute.
        cut(server, &folder.join(data), (from - 60) * 1000);
    }
    for (variant, _, config, server) in &servers {
        std::fs::write(folder.join(config), targets.config(writer, variant.custom)).unwrap();
        assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
    }
    for (variant, _, _, server) in &servers {
        scraped(server, 3 + usize::from(variant.custom), 6);
    }
    // One target ends on the way, so that staleness markers are written too.
    targets.exporter.kill().unwrap();
    let mut filled = Vec::new();
    for (variant, data, _, server) in servers {
        until("a failed scrape", || {
            let down = query(server.port, &instant("up{job=\"node\"} == 0", now()))?;
            ensure!(down.len() == 1, "{down:?}");
            Ok(())
        })
        .unwrap();
        if variant.clean {
            assert!(server.stop().unwrap().success())
        } else {
            server.kill().unwrap()
        }
        filled.push(Filled { variant, data, at: now() });
    }
    filled
}

/// What is asked. Versions before 3 take the sample on the left end of a range too, and are asked for raw
/// samples only.
fn questions(at: f64, old: bool) -> Vec<String> {
    let mut all = vec![
        instant(ALL, at),
        instant("count by (__name__) ({__name__=~\".+\"})", at - 4.0),
        range("old_metric", at - 31.0 * 3600.0, at - 25.0 * 3600.0, 120.0),
        range("up", at - 300.0, at, 1.0),
        range("pushed_histogram", at - 3600.0 * (PUSH_HOURS + 1) as f64, at, 60.0),
        range("prometheus_http_request_duration_seconds", at - 300.0, at, 1.0),
        format!(
            "/api/v1/query_exemplars?query={}&start={}&end={at}",
            http::encode("{__name__=~\".+\"}"),
            at - 1e9
        ),
        format!("/api/v1/labels?start={}&end={at}", at - 40.0 * 3600.0),
        format!("/api/v1/label/__name__/values?start={}&end={at}", at - 40.0 * 3600.0),
    ];
    if !old {
        // No rate of a native histogram: newer versions extrapolate it to zero in another way than 3.5.
        all.extend([
            range("sum by (mode) (rate(node_cpu_seconds_total[30s]))", at - 300.0, at, 1.0),
            range("histogram_count(prometheus_http_request_duration_seconds)", at - 300.0, at, 1.0),
            // No quantile: the last bit of a logarithm is another one (COMPAT.md).
            range("histogram_sum(pushed_histogram)", at - 36000.0, at, 300.0),
            range("rate(pushed_float[10m])", at - 36000.0, at, 300.0),
        ]);
    }
    all
}

/// A range selector of 2.42 shows histograms of the series before among the first of a series: a fault of its
/// engine, not of the folder. Histograms are compared by the steps of range queries there.
fn without_histograms(answer: &mut Answer) {
    answer.values_mut().for_each(|points| points.retain(|p| !p.1.starts_with('{')));
}

fn ask(server: &Server, question: &str) -> Result<Answer> {
    if question.starts_with("/api/v1/query?") || question.starts_with("/api/v1/query_range?") {
        return query(server.port, question);
    }
    // Lists: one entry each.
    let json = http::get(server.port, question)?.json()?;
    let entries = json["data"].as_array().into_iter().flatten().map(|e| (e.to_string(), Vec::new()));
    Ok(entries.collect())
}

/// No line of a log may say that something was wrong with the folder.
pub(crate) fn nothing_bad(server: &Server) {
    let log = server.log_text();
    let words = ["level=error", "corrupt", "repair", "unknown series", "level=warn", "out-of-order", "panic"];
    let fine = [
        "found healthy block",
        "native-histograms",
        "received an os signal",
        "received sigterm",
        "a lockfile from a previous",
    ];
    let bad = |l: &&str| {
        let line = l.to_ascii_lowercase();
        words.iter().any(|w| line.contains(w)) && !fine.iter().any(|f| line.contains(f))
    };
    let bad: Vec<&str> = log.lines().filter(bad).collect();
    assert!(bad.is_empty(), "{}: {bad:#?}", server.log.display());
}

/// Opens copies of a folder with programs that scrape nothing and compares what they say with what godwit
/// says.
fn same_answers(folder: &Path, filled: &Filled, readers: &[Program]) {
    let open = |reader: Program| {
        let data = format!("{}-{reader:?}", filled.data);
        copy(&folder.join(&filled.data), &folder.join(&data));
        start(reader, folder, &data, "empty.yml", &[])
    };
    let ours = open(Program::Godwit);
    for &reader in readers.iter().filter(|r| **r != Program::Godwit && filled.variant.readable_by(**r)) {
        let theirs = open(reader);
        let mut series = 0;
        for question in questions(filled.at, reader == Program::Old) {
            let (mut want, mut got) = (ask(&theirs, &question).unwrap(), ask(&ours, &question).unwrap());
            if reader == Program::Old && question == instant(ALL, filled.at) {
                without_histograms(&mut want);
                without_histograms(&mut got);
            }
            let found = differences(&want, &got);
            assert!(
                found.is_empty(),
                "{:?}, {reader:?} against godwit: {question}: {found:#?}\n{}",
                filled.variant,
                ours.log_tail()
            );
            assert!(!want.is_empty(), "{:?}: nothing to compare: {question}", filled.variant);
            series = series.max(want.len());
        }
        assert!(series > 500, "only {series} series");
        nothing_bad(&theirs);
        assert!(theirs.stop().unwrap().success());
    }
    let samples = e2e::dump::of_answer(&ask(&ours, &instant(ALL, filled.at)).unwrap()).unwrap();
    nothing_bad(&ours);
    assert!(ours.stop().unwrap().success());
    promtool::agrees(&folder.join(&filled.data), filled.variant.readable_by(Program::Old), &samples);
}

fn hand_over(writer: Program, readers: &[Program]) {
    if !writer.at_hand() {
        return println!("{writer:?} is not at hand: `e2e/peers.sh --go` builds it");
    }
    let folder = tempfile::tempdir().unwrap();
    for filled in fill(writer, folder.path(), &variants(writer)) {
        same_answers(folder.path(), &filled, readers);
    }
}

#[test]
fn theirs_of_2_42() {
    hand_over(Program::Old, &[Program::Old]);
}

#[test]
fn theirs_of_3_5() {
    hand_over(Program::Lts, &[Program::Lts]);
}

#[test]
fn theirs_of_3_15() {
    hand_over(Program::New, &[Program::New]);
}

#[test]
fn ours() {
    hand_over(Program::Godwit, &[Program::Old, Program::Lts, Program::New]);
}
