//! Scraping before the store is open: the log is on a disk that takes long to read, and no scrape is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{anyhow, ensure};
use e2e::http;
use e2e::process::{Server, free_port, godwit};
use e2e::wait::LIMIT;
use testkit::{Answer, FakeTarget};

use crate::disks::device;

/// Series of the page beside the number of the scrape: values that do not compress, so that the log has some
/// megabytes and a page is a large one.
const SERIES: u64 = 20_000;
/// Bytes a second of the slow disk: the log below takes 15 s, unless the test lets it go.
const SLOW: u64 = 200_000;

/// A page that says how many were asked for.
fn page(n: u64) -> String {
    let mut text = format!("n {n}\n");
    for s in 0..SERIES {
        let value = (n * SERIES + s).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.push_str(&format!("some_metric_of_a_page{{number=\"{s}\"}} {value}\n"));
    }
    text
}

/// Numbers of all pages that are stored.
fn stored(port: u16) -> anyhow::Result<Vec<u64>> {
    let answer = http::get(port, "/api/v1/query?query=n%5B1h%5D")?;
    ensure!(answer.status == 200, "{}", answer.text());
    let json = answer.json()?;
    let values = json["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    Ok(values.iter().filter_map(|v| v[1].as_str()?.parse().ok()).collect())
}

fn until(what: &str, holds: impl Fn() -> anyhow::Result<bool>) {
    let look = || holds().and_then(|yes| yes.then_some(()).ok_or_else(|| anyhow!("not yet")));
    e2e::wait::until(what, look).unwrap();
}

#[test]
fn no_scrape_is_lost_while_the_log_is_replayed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = device(folder.path(), 256 << 20) else { return };
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let behaviour = move |_: &_| Answer::text(page(count.fetch_add(1, Ordering::Relaxed) + 1));
    let target = runtime.block_on(FakeTarget::start(behaviour)).unwrap();
    let asked = || asked.load(Ordering::Relaxed);
    let job = format!("{{job_name: a, static_configs: [{{targets: ['{}']}}]}}", target.address());
    let config = format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{job}]\n");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let data = format!("--storage.tsdb.path={}", disk.at.join("data").display());
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--web.enable-remote-write-receiver",
        &data,
    ];
    let program = godwit().unwrap();
    let spawn = || Server::spawn(&program, &arguments, folder.path(), free_port().unwrap()).unwrap();
    let status = |server: &Server, path: &str| http::get(server.port, path).map_or(0, |a| a.status);

    let mut server = spawn();
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    until("some pages", || Ok(stored(server.port)?.len() >= 8));
    let before = stored(server.port).unwrap();
    server.kill().unwrap();

    // Told to end while the log is read.
    disk.again().unwrap();
    disk.speed(Some(SLOW));
    let mut server = spawn();
    let first = asked();
    until("a scrape", || Ok(asked() > first));
    assert_eq!(status(&server, "/-/ready"), 503);
    server.signal("TERM").unwrap();
    assert!(server.wait().unwrap().success(), "{}", server.log_tail());

    disk.again().unwrap();
    disk.speed(Some(SLOW));
    let first = asked();
    let mut server = spawn();
    until("the server answers", || Ok(status(&server, "/-/healthy") == 200));
    let frozen = disk.freeze();
    until("scrapes", || Ok(asked() >= first + 6));
    for path in ["/-/ready", "/api/v1/query?query=n", "/api/v1/targets", "/federate?match[]=n"] {
        assert_eq!(status(&server, path), 503, "{path}");
    }
    let write = http::request(server.port, "POST", "/api/v1/write", &[], b"").unwrap();
    assert_eq!(write.status, 503);
    let shown = http::get(server.port, "/metrics").unwrap().text();
    assert!(!shown.contains("\ngodwit_target_scrapes_held_total 0\n"), "{shown}");
    drop(frozen);
    disk.speed(None);
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    // At once, what survived.
    let found = stored(server.port).unwrap();
    assert!(before.iter().all(|n| found.contains(n)), "{before:?} {found:?}");
    // And what was scraped meanwhile.
    let newest = asked();
    until("the newest page", || Ok(stored(server.port)?.last() >= Some(&newest)));
    let found: Vec<u64> = stored(server.port).unwrap().into_iter().filter(|n| *n > first).collect();
    let wanted: Vec<u64> = (first + 1..=found.last().copied().unwrap_or(0)).collect();
    assert!(wanted.len() >= 6);
    assert_eq!(found, wanted);
    assert!(server.stop().unwrap().success());
}
