//! The manager: what it restarts, shares, forgets and sends.

use std::fs;
use std::time::Duration;

use config::{FileSdConfig, HttpClientConfig, HttpSdConfig, SdConfigs, StaticConfig};

use crate::support::{Running, addresses};

fn fixed(targets: &[&str]) -> SdConfigs {
    let one =
        StaticConfig { targets: targets.iter().map(|t| t.to_string()).collect(), ..StaticConfig::default() };
    SdConfigs { static_configs: vec![one].into(), ..SdConfigs::default() }
}

fn file(path: &str) -> SdConfigs {
    let one = FileSdConfig { files: vec![path.to_string()], refresh_interval: Duration::from_secs(3600) };
    SdConfigs { file_sd_configs: vec![one], ..SdConfigs::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_come_change_and_go() {
    let mut running = Running::new();
    running
        .apply(&[("a", fixed(&["a:1", "a:2"])), ("b", fixed(&["b:1"])), ("none", SdConfigs::default())])
        .await;
    let sets = running.until("three jobs", |sets| sets.len() == 3 && addresses(sets, "b") == ["b:1"]).await;
    assert_eq!(addresses(&sets, "a"), ["a:1", "a:2"]);
    assert_eq!((sets["a"][0].source.as_str(), sets["none"].len()), ("0", 0));
    let discovered = |running: &Running, job| {
        running.figure("prometheus_sd_discovered_targets", &[("name", "scrape"), ("config", job)])
    };
    assert_eq!((discovered(&running, "a"), discovered(&running, "none")), (Some(2.0), Some(0.0)));

    running.apply(&[("a", fixed(&["a:3"])), ("none", SdConfigs::default())]).await;
    let sets = running.until_addresses("a", &["a:3"]).await;
    assert!(!sets.contains_key("b"));
    assert_eq!(discovered(&running, "b"), None);
    running.nothing_for(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_configurations_run_once_and_unchanged_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.json");
    fs::write(&path, r#"[{"targets":["x:1"]}]"#).unwrap();
    let path = path.to_str().unwrap();
    let mut running = Running::new();
    running.apply(&[("a", file(path)), ("b", file(path))]).await;
    running
        .until("both jobs", |sets| addresses(sets, "a") == ["x:1"] && addresses(sets, "b") == ["x:1"])
        .await;
    let received =
        |running: &Running| running.figure("prometheus_sd_received_updates_total", &[("name", "scrape")]);
    assert_eq!(received(&running), Some(1.0));

    // A third job joins and gets what was found before: nothing is read again.
    running.apply(&[("b", file(path)), ("c", file(path)), ("d", fixed(&["d:1"]))]).await;
    let sets = running
        .until("c and d", |sets| addresses(sets, "c") == ["x:1"] && addresses(sets, "d") == ["d:1"])
        .await;
    assert_eq!((sets.contains_key("a"), addresses(&sets, "b")), (false, vec!["x:1".to_string()]));
    assert_eq!(received(&running), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_made_spoils_nothing() {
    let mut running = Running::new();
    let mut http = HttpClientConfig::default();
    http.tls_config.ca_file = "/nonexistent/ca.pem".to_string();
    let bad = HttpSdConfig { http, url: "https://127.0.0.1:1/".to_string(), ..HttpSdConfig::default() };
    let bad = SdConfigs { http_sd_configs: vec![bad], ..SdConfigs::default() };
    running.apply(&[("bad", bad), ("good", fixed(&["g:1"]))]).await;
    let sets = running.until_addresses("good", &["g:1"]).await;
    assert!(sets["bad"].is_empty());
    assert_eq!(running.figure("prometheus_sd_failed_configs", &[("name", "scrape")]), Some(1.0));
    running.apply(&[("good", fixed(&["g:1"]))]).await;
    assert_eq!(running.figure("prometheus_sd_failed_configs", &[("name", "scrape")]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_gets_the_newest_state() {
    let mut running = Running::new();
    for n in 0..20 {
        running.apply(&[("a", fixed(&[&format!("a:{n}")]))]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.until_addresses("a", &["a:19"]).await;
    running.nothing_for(Duration::from_millis(400)).await;
}
