//! The same calls to a real Prometheus, where one is named.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::calls::{Compare, Line, all};
use crate::golden::{differences, headers, name};
use crate::parts::{Answer, data, headers_of};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn ask(base: &str, l: &Line) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut r = http::Request::builder().method(l.method).uri(format!("{base}{}", l.path));
    for (k, v) in headers(l) {
        r = r.header(k, v);
    }
    let response = client.request(r.body(Full::from(l.body.clone())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: headers_of(&parts.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

#[tokio::test]
async fn answers_equal_those_of_a_real_prometheus() {
    let Ok(binary) = std::env::var("GODWIT_TEST_PROMETHEUS") else { return };
    let port = std::env::var("GODWIT_TEST_PORT").unwrap_or_else(|_| "31790".into());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("p.yml");
    // One target that never answers, so that no sample of now gets into the data.
    std::fs::write(&config, "global: {scrape_interval: 1h}\nscrape_configs: [{job_name: prometheus, static_configs: [{targets: ['127.0.0.1:1']}], relabel_configs: [{source_labels: [x], regex: '(.+)', target_label: y, replacement: '<$1>'}, {source_labels: [x, a], regex: 'drop;b', action: drop}]}]\n").unwrap();
    let child = Command::new(binary)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.external-url=http://localhost:9090/")
        .arg("--web.enable-remote-write-receiver")
        .arg("--enable-feature=exemplar-storage,native-histograms")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    let base = format!("http://127.0.0.1:{port}");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for _ in 0..100 {
        let r = client.get(format!("{base}/-/ready").parse().unwrap()).await;
        if r.is_ok_and(|r| r.status() == 200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Discovery hands its targets over after some seconds.
    for _ in 0..150 {
        let r = client.get(format!("{base}/api/v1/targets").parse().unwrap()).await.unwrap();
        let body = r.into_body().collect().await.unwrap().to_bytes();
        if String::from_utf8_lossy(&body).contains("scrapeUrl") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let body = remote::encode::snappy(&remote::encode::write_v1(&data()));
    let r = http::Request::post(format!("{base}/api/v1/write")).header("content-encoding", "snappy");
    let r = r.header("content-type", "application/x-protobuf").body(Full::from(body)).unwrap();
    assert_eq!(client.request(r).await.unwrap().status(), 204);
    let mut theirs = BTreeMap::new();
    for l in all() {
        let mut answer = ask(&base, &l).await;
        if l.compare == Compare::Status {
            answer.body.clear();
        }
        theirs.insert(name(&l), answer);
    }
    if std::env::var("GODWIT_TEST_RECORD").is_ok() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden.json");
        std::fs::write(path, serde_json::to_string_pretty(&theirs).unwrap() + "\n").unwrap();
    }
    let found = differences(&theirs).await;
    assert!(found.is_empty(), "{} of {} calls differ:\n{}", found.len(), theirs.len(), found.join("\n"));
}
