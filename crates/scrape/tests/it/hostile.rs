//! Targets that want to hurt: each fails with a clear text, memory stays bounded, and the ordinary
//! targets beside them are scraped on time.

use std::time::Duration;

use scrape::TargetHealth;
use testkit::{Answer, FakeTarget, Hostile};

use crate::rig::{Rig, options, until};

/// Pages that are well-formed HTTP and hostile inside.
fn pages() -> Vec<(&'static str, Answer)> {
    let value = "v".repeat(10 << 20);
    let many: String = (0..50_000).map(|i| format!("l{i}=\"1\",")).collect();
    vec![
        ("10 MB label value, unterminated", Answer::text(format!("a{{b=\"{value}"))),
        ("invalid UTF-8", Answer::text(b"a{b=\"\xff\"} 1\n".to_vec())),
        ("duplicate labels", Answer::text("a{b=\"1\",b=\"2\"} 1\n")),
        ("50,000 labels, then garbage", Answer::text(format!("a{{{many}}} x\n"))),
        ("wrong content type", Answer::page("image/png", "\u{89}PNG")),
        ("empty content type", Answer::page("", "a 1\n")),
        ("protobuf that is none", Answer::page(PROTO, vec![0xff; 1 << 16])),
        ("protobuf of a huge length", Answer::page(PROTO, vec![0xff, 0xff, 0xff, 0xff, 0x7f, 1])),
        ("open braces", Answer::text("{".repeat(1 << 20))),
        ("a quote without end", Answer::text(format!("\"{}", "x".repeat(1 << 20)))),
        ("OpenMetrics without EOF", Answer::page(OPENMETRICS, "a 1\n")),
        ("timestamps out of range", Answer::page(OPENMETRICS, "a 1 1e400\n# EOF\n")),
    ]
}

const PROTO: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// Peak resident memory of this process in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_they_do_reaches_the_others() {
    const ORDINARY: usize = 20;
    let bodies = net::BodyLimits { body_bytes_max: 12 << 20, in_flight_bytes_max: 64 << 20 };
    let mut targets = Vec::new();
    let mut jobs = String::new();
    let mut add = |name: String, target: FakeTarget, timeout: &str| {
        jobs += &format!("- job_name: '{name}'\n  scrape_interval: 2s\n  scrape_timeout: {timeout}\n");
        targets.push((name, target));
    };
    for i in 0..ORDINARY {
        let page: String = (0..1000).map(|n| format!("ordinary{{n=\"{n}\"}} {n}\n")).collect();
        let answer = Answer::text(testkit::gzip(page.as_bytes())).with("Content-Encoding", "gzip");
        add(format!("ordinary {i}"), FakeTarget::start(move |_| answer.clone()).await.unwrap(), "2s");
    }
    for hostile in Hostile::all() {
        let name = format!("hostile {hostile:?}").replace('\'', "");
        let answer = Answer::Hostile(hostile);
        add(name, FakeTarget::start(move |_| answer.clone()).await.unwrap(), "2s");
    }
    for (name, answer) in pages() {
        add(format!("hostile page: {name}"), FakeTarget::start(move |_| answer.clone()).await.unwrap(), "2s");
    }
    let before = peak_memory();
    let options = scrape::Options { bodies, zstd_scrape: true, ..options() };
    let rig = Rig::with_options(&format!("scrape_configs:\n{jobs}"), options).await;
    for (name, target) in &targets {
        rig.targets(name, &[&target.address()]).await;
    }
    let n = targets.len();
    until("every target scraped", || {
        let active = rig.active();
        active.len() == n && active.iter().all(|t| t.status().health != TargetHealth::Unknown)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    for (name, targets) in rig.manager.targets_active() {
        let status = targets[0].status();
        if name.starts_with("hostile") {
            assert_eq!(status.health, TargetHealth::Down, "{name}");
            assert!(status.last_error.len() > 5, "{name}: {:?}", status.last_error);
            assert!(status.last_error.len() < 2000, "{name}: a text for people, not a page");
            println!("{name}: {}", status.last_error);
        } else {
            assert_eq!(&*status.last_error, "", "{name}");
        }
    }
    let mut late = 0;
    for (labels, samples) in rig.series("up") {
        if labels.get("job").starts_with("ordinary") {
            assert!(samples.iter().all(|s| s.1 == 1.0), "{labels}");
            late += samples.windows(2).filter(|w| (w[1].0 - w[0].0 - 2000).abs() > 300).count();
        }
    }
    // The hostile targets run in this very process and burn its cores; a few scrapes may come late.
    assert!(late <= 5, "{late} scrapes of ordinary targets were late");
    let grown = peak_memory().saturating_sub(before) >> 20;
    // 64 MiB of large bodies, what the parsers make of them, the pages of the targets themselves.
    assert!(grown < 700, "{grown} MiB");
    println!("{n} targets, memory grew by {grown} MiB at its peak, {late} scrapes late");
}
