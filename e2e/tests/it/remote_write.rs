//! Everything that is scraped arrives where remote write sends it, whoever is killed meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use e2e::answers::{Answer, differences, instant, query};
use e2e::http;
use e2e::process::{Server, free_port, godwit, peer};
use e2e::wait::{LIMIT, now, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget};

/// Series beside the number of the page.
const SERIES: u64 = 40;
/// What the jobs of the test scrape, and nothing else.
const ALL: &str = "{job=~\"pages|histograms\"}[1h]";

fn page(n: u64) -> String {
    let mut text = format!("# TYPE pages counter\npages_total {n} # {{trace_id=\"t{n}\"}} {n}\n");
    text += "# TYPE g gauge\n# HELP g Some gauge.\n";
    for s in 0..SERIES {
        text += &format!("g{{s=\"{s}\"}} {}\n", n * SERIES + s);
    }
    text + "# EOF\n"
}

/// A receiver that is killed and started again on its port.
struct Receiver {
    program: std::path::PathBuf,
    folder: std::path::PathBuf,
    port: u16,
    server: Option<Server>,
}

impl Receiver {
    fn start(program: &str, folder: &Path) -> Receiver {
        let program = if program == "godwit" { godwit() } else { peer(program) }.unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("none.yml"), "scrape_configs: []\n").unwrap();
        let mut own = Receiver { program, folder: folder.into(), port: free_port().unwrap(), server: None };
        own.begin();
        own
    }

    fn begin(&mut self) {
        let arguments = [
            "--web.listen-address=127.0.0.1:{port}",
            "--config.file=none.yml",
            "--storage.tsdb.path=data",
            "--web.enable-remote-write-receiver",
            "--enable-feature=exemplar-storage,native-histograms",
        ];
        let mut server = Server::spawn(&self.program, &arguments, &self.folder, self.port).unwrap();
        server.until_ready(&self.program, "/-/ready", LIMIT).unwrap();
        self.server = Some(server);
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill().unwrap();
    }
}

fn sender(folder: &Path, port: u16) -> Server {
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-lifecycle",
        "--enable-feature=exemplar-storage",
    ];
    let program = godwit().unwrap();
    let mut server = Server::spawn(&program, &arguments, folder, port).unwrap();
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    server
}

fn exemplars(port: u16) -> Result<Vec<Value>> {
    let path = format!("/api/v1/query_exemplars?query=pages_total&start=0&end={:.0}", now() + 60.0);
    let json = http::get(port, &path)?.json()?;
    let all = json["data"][0]["exemplars"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().map(|e| e["labels"]["trace_id"].clone()).collect())
}

fn metric(port: u16, name: &str, url: &str) -> f64 {
    let text = http::get(port, "/metrics").unwrap().text();
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(url);
    let lines = text.lines().filter(of);
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn what_is_scraped_arrives_through_kills_of_both_sides() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let behaviour = move |_: &_| Page::page(kind, page(count.fetch_add(1, Ordering::Relaxed) + 1));
    let target = runtime.block_on(FakeTarget::start(behaviour)).unwrap();
    let asked = || asked.load(Ordering::Relaxed);
    let more = |n: u64| {
        let want = asked() + n;
        let look = || if asked() >= want { Ok(()) } else { Err(anyhow!("{} pages, not {want}", asked())) };
        until("pages are scraped", look).unwrap();
    };
    let mut one = Receiver::start("prometheus", &folder.path().join("one"));
    let mut two = Receiver::start("prometheus", &folder.path().join("two"));
    let own = Receiver::start("godwit", &folder.path().join("own"));
    let remotes = [
        (one.port, "one", "prometheus.WriteRequest"),
        (two.port, "two", "io.prometheus.write.v2.Request"),
    ]
    .into_iter()
    .chain([(own.port, "own", "prometheus.WriteRequest")])
    .map(|(port, name, message)| {
        format!(
            "- {{name: {name}, url: 'http://127.0.0.1:{port}/api/v1/write', protobuf_message: {message}, \
                 send_exemplars: true, send_native_histograms: true, \
                 metadata_config: {{send: {}, send_interval: 1s}}, \
                 queue_config: {{batch_send_deadline: 300ms, max_samples_per_send: 200, min_shards: 2}}}}\n",
            name != "two"
        )
    })
    .collect::<String>();
    let jobs = format!(
        "- {{job_name: pages, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: histograms, scrape_native_histograms: true, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}\n",
        target.address(),
        // Its own histograms; it stays.
        two.port,
    );
    let config = |jobs: &str| {
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\nremote_write:\n{remotes}scrape_configs:\n{jobs}"
        );
        std::fs::write(folder.path().join("prometheus.yml"), text).unwrap();
    };
    config(&jobs);
    let port = free_port().unwrap();
    let godwit = sender(folder.path(), port);
    more(10);
    // Receivers that are gone for a while get what they missed.
    one.kill();
    more(10);
    one.begin();
    more(3);
    two.kill();
    more(5);
    two.begin();
    more(5);
    // The sender's end while one of them is away: what it read is in its log only.
    one.kill();
    more(5);
    godwit.kill().unwrap();
    one.begin();
    let godwit = sender(folder.path(), port);
    more(5);
    assert!(godwit.stop().unwrap().success());
    let godwit = sender(folder.path(), port);
    more(5);
    config("  []\n");
    let reloaded = http::request(port, "POST", "/-/reload", &[], &[]).unwrap();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let at = now() + 1.0;
    let all = |port: u16| query(port, &instant(ALL, at));
    let sent: Answer = until("no more samples", || {
        let a = all(port)?;
        std::thread::sleep(Duration::from_millis(500));
        ensure!(a == all(port)?, "samples still come");
        Ok(a)
    })
    .unwrap();
    assert!(sent.len() > SERIES as usize + 100, "only {} series", sent.len());
    assert!(sent.values().flatten().any(|(_, v)| v.starts_with('{')), "no native histograms");
    for (port_of, name) in [(one.port, "one"), (two.port, "two"), (own.port, "own")] {
        let arrived = until("all has arrived", || {
            let found = differences(&sent, &all(port_of)?);
            ensure!(found.is_empty(), "{name}: {found:#?}");
            Ok(())
        });
        if let Err(error) = arrived {
            panic!("{error:#}\n{}\n{}", godwit.log_text(), http::get(port, "/metrics").unwrap().text());
        }
        // A kill forgets those of a receiver that it has not logged; both stores keep them all otherwise.
        let theirs = exemplars(port_of).unwrap();
        assert!(!theirs.is_empty(), "{name}: no exemplars");
        let url = format!("127.0.0.1:{port_of}/");
        assert!(metric(port, "prometheus_remote_storage_samples_total", &url) > 0.0);
        assert_eq!(metric(port, "godwit_remote_storage_skipped_segments_total", &url), 0.0);
    }
    let described = http::get(one.port, "/api/v1/metadata?metric=g").unwrap().status;
    assert_eq!(described, 200);
    assert!(godwit.stop().unwrap().success());
}
