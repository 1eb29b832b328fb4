//! The same targets scraped by a real Prometheus and by us: same requests, same phase, same series, same
//! targets page. Runs where `GODWIT_TEST_PROMETHEUS` names a binary (3.14 or newer).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::HttpClientConfig;
use model::{Labels, TargetGroup};
use net::{BodyLimits, BodyPool, ClientOptions, HttpClient, ReadOptions};
use parking_lot::Mutex;
use serde_json::Value;
use testkit::{Answer, FakeTarget, Recorded};

use crate::rig::{Rig, is_stale, options};

/// Pages by path. `n` counts the requests of one scraper for one path.
fn page(request: &Recorded, n: usize) -> Answer {
    const OM: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let path = request.target.split('?').next().unwrap_or_default();
    let gzip = |text: &str| Answer::text(testkit::gzip(text.as_bytes())).with("Content-Encoding", "gzip");
    match path {
        "/plain" => {
            Answer::text("# HELP a h\n# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} +Inf\nb NaN\nc 1e3\n")
        }
        "/gzip" => gzip("a 1\nb{c=\"d\"} 2\n"),
        "/openmetrics" => Answer::page(
            OM,
            "# TYPE a counter\na_total 1\na_created 5\n# TYPE g gauge\ng{\"é\"=\"ü\"} 2\n# EOF\n",
        ),
        "/clash" => {
            Answer::text("a{job=\"theirs\",instance=\"i\",exported_job=\"e\"} 1\nup 7\na{instance=\"\"} 2\n")
        }
        "/stamped" => Answer::text(format!("a 1 {}\nb 2\n", now_ms() - 5000)),
        "/vanishing" if n < 2 => Answer::text("a 1\nb 2\n"),
        "/vanishing" => Answer::text("a 1\n"),
        "/failing" if n < 2 => Answer::text("a 1\n"),
        "/failing" => Answer::text("").status(503),
        "/breaking" if n < 2 => Answer::text("a 1\nb 1\n"),
        "/breaking" => Answer::text("a 1\nb{ 2\n"),
        "/notfound" => Answer::text("").status(404),
        "/blank" => Answer::Page { status: 200, headers: vec![], body: b"a 1\n".to_vec() },
        "/html" => Answer::page("text/html", "<p>"),
        "/nul" => Answer::text("a 1\n\0b 2\n"),
        "/nuls" => Answer::text(vec![0; 1000]),
        "/open" => Answer::text("{".repeat(1000)),
        "/no-eof" => Answer::page(OM, "a 1\n"),
        "/far" => Answer::page(OM, "a 1 1e400\n# EOF\n"),
        "/future" => Answer::text(format!("a 1 {}\nb 2\n", now_ms() + 3_600_000)),
        "/truncated" => Answer::text(&testkit::gzip(b"a 1\n")[..10]).with("Content-Encoding", "gzip"),
        "/not-gzip" => Answer::text("a 1 and no gzip").with("Content-Encoding", "gzip"),
        "/zstd" => Answer::text(testkit::zstd(b"a 1\n")).with("Content-Encoding", "zstd"),
        "/cut" => Answer::Hostile(testkit::Hostile::ClosedMidBody),
        "/loop" => Answer::Hostile(testkit::Hostile::RedirectLoop),
        "/slow" => Answer::Hostile(testkit::Hostile::Silence),
        "/slow-body" => Answer::Hostile(testkit::Hostile::SlowBody(Duration::from_millis(500))),
        "/empty" => Answer::text(""),
        "/duplicates" => Answer::text("a 1\na 1\na 2\nb 1\n"),
        "/classic" => Answer::text(
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
             # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n",
        ),
        "/hangup" => Answer::Hangup,
        "/redirect" => Answer::redirect(302, "/plain"),
        _ => Answer::text("a{l=\"abcdefgh\"} 1\nb 2\nc 3\n"),
    }
}

const JOBS: &str = r#"
- {job_name: plain, metrics_path: /plain}
- {job_name: gzip, metrics_path: /gzip, enable_compression: false}
- {job_name: openmetrics, metrics_path: /openmetrics}
- {job_name: clash, metrics_path: /clash}
- {job_name: clash-honored, metrics_path: /clash, honor_labels: true}
- {job_name: stamped, metrics_path: /stamped}
- {job_name: stamped-ignored, metrics_path: /stamped, honor_timestamps: false}
- {job_name: vanishing, metrics_path: /vanishing}
- {job_name: failing, metrics_path: /failing, extra_scrape_metrics: true}
- {job_name: breaking, metrics_path: /breaking}
- {job_name: notfound, metrics_path: /notfound}
- {job_name: blank, metrics_path: /blank}
- {job_name: blank-fallback, metrics_path: /blank, fallback_scrape_protocol: PrometheusText0.0.4}
- {job_name: html, metrics_path: /html}
- {job_name: empty, metrics_path: /empty}
- {job_name: nul, metrics_path: /nul}
- {job_name: nuls, metrics_path: /nuls}
- {job_name: open, metrics_path: /open}
- {job_name: no-eof, metrics_path: /no-eof}
- {job_name: far, metrics_path: /far}
- {job_name: future, metrics_path: /future}
- {job_name: truncated, metrics_path: /truncated}
- {job_name: not-gzip, metrics_path: /not-gzip}
- {job_name: zstd, metrics_path: /zstd}
- {job_name: cut, metrics_path: /cut}
- {job_name: loop, metrics_path: /loop}
- {job_name: slow, metrics_path: /slow}
- {job_name: slow-body, metrics_path: /slow-body}
- {job_name: duplicates, metrics_path: /duplicates}
- {job_name: classic, metrics_path: /classic}
- {job_name: classic-nhcb, metrics_path: /classic, convert_classic_histograms_to_nhcb: true}
- {job_name: hangup, metrics_path: /hangup}
- {job_name: redirect, metrics_path: /redirect}
- {job_name: redirect-refused, metrics_path: /redirect, follow_redirects: false}
- {job_name: sample-limit, metrics_path: /x, sample_limit: 2, extra_scrape_metrics: true}
- {job_name: label-limit, metrics_path: /x, label_limit: 3}
- {job_name: name-limit, metrics_path: /x, label_name_length_limit: 7}
- {job_name: value-limit, metrics_path: /x, label_value_length_limit: 5}
- {job_name: body-limit, metrics_path: /x, body_size_limit: 10B, extra_scrape_metrics: true}
- {job_name: target-limit, metrics_path: /x, target_limit: 0}
- {job_name: proto, metrics_path: /x, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]}
- job_name: params
  metrics_path: /p a/ü*?
  params: {module: ['a b', 'c&d'], empty: []}
  relabel_configs:
  - {source_labels: [__param_module], target_label: module}
  - {source_labels: [__address__], target_label: instance, replacement: renamed}
- job_name: metric-relabel
  metrics_path: /x
  metric_relabel_configs:
  - {source_labels: [__name__], regex: b, action: drop}
  - {source_labels: [l], regex: '(abc).*', target_label: short}
  - {regex: l, action: labeldrop}
- job_name: dropped
  relabel_configs: [{action: drop}]
"#;

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn json(client: &HttpClient, url: &str) -> Option<Value> {
    let request = http::Request::get(url).body(bytes::Bytes::new()).ok()?;
    let response = client.send(request).await.ok()?;
    let body = BodyPool::new(BodyLimits::default()).read(response, ReadOptions::default()).await.ok()?;
    serde_json::from_slice(&body).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_as_a_real_prometheus() {
    let Ok(binary) = std::env::var("GODWIT_TEST_PROMETHEUS") else {
        eprintln!("skipped: GODWIT_TEST_PROMETHEUS names no binary");
        return;
    };
    let counts: Arc<Mutex<HashMap<(String, String), usize>>> = Arc::default();
    let target = FakeTarget::start(move |r| {
        let mut counts = counts.lock();
        let key = (r.header("user-agent").unwrap_or_default().to_string(), r.target.clone());
        let n = counts.entry(key).or_default();
        *n += 1;
        page(r, *n - 1)
    })
    .await
    .unwrap();
    let address = target.address();
    let mut yaml =
        "global: {scrape_interval: 2s, scrape_timeout: 1500ms, external_labels: {replica: a}}\nscrape_configs:".to_string();
    for line in JOBS.lines() {
        let sd = format!("static_configs: [{{targets: ['{address}'], labels: {{own: label}}}}]");
        if line.starts_with("- {") {
            yaml += &format!("\n{}, {sd}}}", line.strip_suffix('}').unwrap());
        } else if line.starts_with("- job_name") {
            yaml += &format!("\n{line}\n  {sd}");
        } else {
            yaml += &format!("\n{line}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, &yaml).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(&binary)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Prometheus(child);
    // Its discovery waits for five seconds; ours is fed by hand.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let rig = Rig::with_options(&yaml, scrape::Options { fqdn: None, ..options() }).await;
    let load = config::LoadOptions::default();
    let jobs = config::Config::parse(&yaml, &load).unwrap().scrape_configs;
    let group = |job: &std::sync::Arc<config::ScrapeConfig>| {
        let sd = &job.sd.static_configs[0];
        let targets = sd.targets.iter().map(|t| model::target_group::TargetLabels::address(t));
        let group =
            TargetGroup { targets: targets.collect(), labels: sd.labels.clone(), source: "0".to_string() };
        (job.job_name.clone(), vec![group.into()])
    };
    rig.groups(jobs.iter().map(group).collect()).await;
    tokio::time::sleep(Duration::from_secs(14)).await;

    let client = HttpClient::new(&HttpClientConfig::default(), ClientOptions::default()).unwrap();
    let base = format!("http://127.0.0.1:{port}/api/v1");
    let theirs = json(&client, &format!("{base}/targets")).await.unwrap();
    let live = json(&client, &format!("{base}/query?query=%7B__name__!=%22%22%7D")).await.unwrap();
    let mut problems = Vec::new();
    compare_targets(&rig, &theirs, &mut problems);
    compare_series(&rig, &live, &mut problems);
    compare_requests(&target.requests(), &mut problems);
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
}

fn compare_targets(rig: &Rig, theirs: &Value, problems: &mut Vec<String>) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let labels = |v: &Value| {
        Labels::from_pairs(v.as_object().unwrap().iter().map(|(n, v)| (n.clone(), text(v)))).to_string()
    };
    let mut expected = BTreeMap::new();
    for t in theirs["data"]["activeTargets"].as_array().unwrap() {
        let fields = [
            labels(&t["discoveredLabels"]),
            labels(&t["labels"]),
            text(&t["scrapeUrl"]),
            text(&t["health"]),
            text(&t["lastError"]),
            text(&t["scrapeInterval"]),
            text(&t["scrapeTimeout"]),
        ];
        expected.insert(text(&t["scrapePool"]), fields);
    }
    let dropped = theirs["data"]["droppedTargets"].as_array().unwrap();
    let expected_dropped: Vec<String> = dropped.iter().map(|t| labels(&t["discoveredLabels"])).collect();
    let mut ours = BTreeMap::new();
    for (pool, targets) in rig.manager.targets_active() {
        for t in targets {
            let status = t.status();
            let fields = [
                t.discovered_labels().to_string(),
                t.labels().to_string(),
                t.url().to_string(),
                status.health.to_string(),
                status.last_error.to_string(),
                t.interval_text().to_string(),
                t.timeout_text().to_string(),
            ];
            ours.insert(pool.clone(), fields);
        }
    }
    for pool in expected.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let (e, o) = (expected.get(pool), ours.get(pool));
        if e != o {
            for (e, o) in e.iter().copied().flatten().zip(o.iter().copied().flatten()) {
                // Ours tells the line and column of a syntax error too.
                if meaning(e) == meaning(o) {
                    continue;
                }
                problems.push(format!("target of {pool}:\n  prometheus: {e}\n  godwit:     {o}"));
            }
            if e.is_none() != o.is_none() {
                problems.push(format!("target of {pool}: prometheus {e:?}, godwit {o:?}"));
            }
        }
    }
    let dropped = rig.manager.targets_dropped().into_values().flatten();
    let ours: Vec<String> = dropped.map(|t| t.discovered_labels().to_string()).collect();
    if ours != expected_dropped {
        problems.push(format!("dropped targets: prometheus {expected_dropped:?}, godwit {ours:?}"));
    }
}

/// A syntax error without what was found and where, which the two sides word differently.
fn meaning(text: &str) -> &str {
    let text = text.split_once(" (line ").map_or(text, |(text, _)| text);
    if text.contains("value out of range") {
        return "value out of range";
    }
    match text.split_once(", got ") {
        Some((expected, found)) if found.contains("while parsing") => expected,
        _ => text,
    }
}

fn compare_series(rig: &Rig, live: &Value, problems: &mut Vec<String>) {
    let mut expected = BTreeMap::new();
    for s in live["data"]["result"].as_array().unwrap() {
        let labels =
            s["metric"].as_object().unwrap().iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default()));
        let value = s["value"][1].as_str().map(|v| v.replace("+Inf", "inf").parse::<f64>().unwrap());
        expected.insert(Labels::from_pairs(labels), value);
    }
    let mut ours = BTreeMap::new();
    for (labels, last) in rig.last_values() {
        if !is_stale(last) {
            ours.insert(labels, last);
        }
    }
    for labels in expected.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        match (expected.get(labels), ours.get(labels)) {
            (Some(e), Some(o)) => {
                let timed = labels.metric_name() == "scrape_duration_seconds";
                // A histogram has no number in this answer.
                let same =
                    e.is_none_or(|e| e.to_bits() == o.to_bits() || e == *o || (e.is_nan() && o.is_nan()));
                if !same && !timed {
                    problems.push(format!("{labels}: prometheus {e:?}, godwit {o}"));
                }
            }
            (e, o) => problems.push(format!("{labels}: prometheus {e:?}, godwit {o:?}")),
        }
    }
}

fn compare_requests(requests: &[Recorded], problems: &mut Vec<String>) {
    let mut by_path: BTreeMap<String, BTreeMap<bool, Vec<&Recorded>>> = BTreeMap::new();
    for r in requests {
        let godwit = r.header("user-agent") == Some("Prometheus/3.15.0");
        by_path.entry(r.target.clone()).or_default().entry(godwit).or_default().push(r);
    }
    let epoch = Instant::now();
    for (path, sides) in by_path {
        let (Some(theirs), Some(ours)) = (sides.get(&false), sides.get(&true)) else {
            problems.push(format!("{path}: asked for by one side only: {:?}", sides.keys()));
            continue;
        };
        let headers = |all: &[&Recorded]| -> BTreeSet<Vec<(String, String)>> {
            let one = |r: &&Recorded| {
                let mut h: Vec<_> =
                    r.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect();
                h.retain(|(n, _)| n != "user-agent");
                h.sort();
                h
            };
            all.iter().map(one).collect()
        };
        let (e, o) = (headers(theirs), headers(ours));
        if e != o {
            problems.push(format!("{path}: headers\n  prometheus: {e:?}\n  godwit:     {o:?}"));
        }
        // Several jobs may share a path; with one, the phase within the interval must agree.
        let phases = |all: &[&Recorded]| -> Vec<i64> {
            all.iter().map(|r| (epoch.duration_since(r.at).as_millis() % 2000) as i64).collect()
        };
        let (a, b) = (phases(theirs), phases(ours));
        let near = |x: i64, y: i64| ((x - y).rem_euclid(2000)).min((y - x).rem_euclid(2000)) < 100;
        let strays = b.iter().filter(|y| !a.iter().any(|x| near(*x, **y))).count();
        if strays > b.len() / 3 {
            problems.push(format!("{path}: phases\n  prometheus: {a:?}\n  godwit:     {b:?}"));
        }
    }
}
