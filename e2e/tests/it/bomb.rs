//! A cardinality bomb under a memory budget: existing series go on, the culprit is named, memory stays.

use std::time::Duration;

use e2e::answers::instant;
use e2e::bomb::{Bomb, LABEL, METRIC};
use e2e::http;
use e2e::process::{Server, godwit};
use e2e::usage;
use e2e::wait::{now, until};
use testkit::{Fleet, SERIES_A_POD};

const BUDGET_MIB: u64 = 96;

#[test]
fn a_bomb_leaves_others_alone_and_is_named() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fleet = runtime.block_on(Fleet::start(5, 2)).unwrap();
    let bomb = runtime.block_on(Bomb::start(3, 100_000, Duration::from_secs(15))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let targets: Vec<String> = fleet.addresses().iter().map(|a| format!("'{a}'")).collect();
    let ordinary = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- {{job_name: ordinary, static_configs: [{{targets: [{}]}}]}}\n",
        targets.join(", ")
    );
    put("prometheus.yml", &ordinary);
    put("godwit.yml", &format!("memory_budget: {BUDGET_MIB}MB\n"));
    let args = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--godwit.config=godwit.yml",
        "--storage.tsdb.path=data",
        "--web.enable-lifecycle",
    ];
    let mut server = Server::start(&godwit().unwrap(), &args, folder.path(), "/-/ready").unwrap();
    let port = server.port;
    let count = || {
        let path = instant("count({job=\"ordinary\",namespace!=\"\"})", now());
        http::get(port, &path).map(|a| a.text())
    };
    let all = format!("\"{}\"", 5 * 2 * SERIES_A_POD);
    until("ordinary series are there", || {
        let found = count()?;
        anyhow::ensure!(found.contains(&all), "{found}");
        Ok(())
    })
    .unwrap();

    put("prometheus.yml", &(ordinary + &bomb.job(10)));
    assert_eq!(http::request(port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
    until("the culprit is named to those who look", || {
        let text = http::get(port, "/api/v1/notifications")?.text();
        let named = ["New series are refused", "job \\\"bomb\\\"", METRIC, LABEL]
            .iter()
            .all(|part| text.contains(part));
        anyhow::ensure!(named, "{text}");
        Ok(())
    })
    .unwrap();
    // All of the bomb was there twice by then, other series the second time.
    until("the bomb goes on", || {
        anyhow::ensure!(bomb.served() > 7, "{} pages", bomb.served());
        Ok(())
    })
    .unwrap();
    let status = http::get(port, "/api/v1/status/tsdb").unwrap().json().unwrap();
    let first = &status["data"]["newSeries"]["lastMinute"][0];
    assert_eq!((first["job"].as_str(), first["label"].as_str()), (Some("bomb"), Some(LABEL)), "{status}");
    let metrics = http::get(port, "/metrics").unwrap().text();
    assert!(metrics.contains("source_job=\"bomb\"") && metrics.contains("godwit_tsdb_refusing_new_series"));
    let log = server.log_text();
    assert!(log.contains("new series are refused") && log.contains("bomb"), "{log}");
    let targets = http::get(port, "/api/v1/targets?scrapePool=bomb").unwrap().text();
    assert!(targets.contains("new series refused") && targets.contains("\"health\":\"up\""), "{targets}");
    // The ordinary ones are as they were, and memory is within the limit that the budget is part of.
    until("ordinary series are scraped still", || {
        let found = count()?;
        anyhow::ensure!(found.contains(&all), "{found}");
        Ok(())
    })
    .unwrap();
    assert!(!server.has_ended().unwrap());
    let peak = usage::of(server.pid()).unwrap().rss_peak_bytes >> 20;
    assert!(peak < BUDGET_MIB * 5 / 4, "{peak} MiB");
}
