//! What a Prometheus left behind (an archive, a snapshot, its folder) into a godwit that scrapes the same targets
//! already: every sample of both, then and after compactions and a kill.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use e2e::http;
use e2e::process::{Server, free_port, godwit};
use e2e::push::push;
use e2e::wait::{LIMIT, now, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget};

use crate::migrate::{raw, source};

fn destination(folder: &Path, port: u16, target: &FakeTarget) -> Server {
    // Another interval than the source's: at the same time both would have a sample, and either may stay.
    let config = format!(
        "global: {{scrape_interval: 1300ms}}\nscrape_configs:\n- job_name: pages\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    std::fs::write(folder.join("g.yml"), config).unwrap();
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=g.yml",
        "--storage.tsdb.path=ours",
        "--web.enable-admin-api",
        "--enable-feature=native-histograms",
        "--storage.tsdb.min-block-duration=10s",
        "--storage.tsdb.max-block-duration=30s",
    ];
    let program = godwit().unwrap();
    let mut server = Server::spawn(&program, &arguments, folder, port).unwrap();
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    server
}

fn pack(from: &Path, mut out: impl Write) {
    let mut tar = tar::Builder::new(&mut out);
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(from.join(&dir)).unwrap().flatten() {
            let name = dir.join(entry.file_name());
            if !entry.path().is_dir() {
                tar.append_path_with_name(entry.path(), Path::new("prometheus").join(name)).unwrap();
            } else if entry.file_name() != "snapshots" {
                dirs.push(name);
            }
        }
    }
    tar.finish().unwrap();
}

#[test]
fn what_a_prometheus_left_behind_comes_into_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pages = AtomicU64::new(0);
    let page = move |_: &_| {
        let n = pages.fetch_add(1, Ordering::Relaxed);
        let lines = (0..50).map(|s| format!("g{{s=\"{s}\"}} {}\n", n * 50 + s));
        Page::page("text/plain; version=0.0.4", lines.collect::<String>())
    };
    let target = runtime.block_on(FakeTarget::start(page)).unwrap();
    let theirs = source(folder, &target, free_port().unwrap());
    let end = now() as i64 - 120;
    push(theirs.port, end - 1800, end).unwrap();
    push(theirs.port, end - 3600, end - 2700).unwrap();
    let port = free_port().unwrap();
    let ours = destination(folder, port, &target);
    // Blocks on both sides, of the same time.
    std::thread::sleep(Duration::from_secs(25));
    // While it compacts it may say no.
    let tell = |path: &str| {
        until(path, || {
            let answer = http::request(theirs.port, "POST", path, &[], &[])?;
            ensure!(answer.status < 300, "{}", answer.status);
            Ok(answer.body)
        })
        .unwrap()
    };
    tell("/api/v1/admin/tsdb/delete_series?match[]=g%7Bs%3D%221%22%7D");
    tell("/api/v1/admin/tsdb/delete_series?match[]=pushed_float%7Bseries%3D%222%22%7D");
    let snapshot: Value = serde_json::from_slice(&tell("/api/v1/admin/tsdb/snapshot")).unwrap();
    let snapshot = format!("theirs/snapshots/{}", snapshot["data"]["name"].as_str().unwrap());

    let migrate = |verb: &str, arguments: &[&str]| -> Output {
        let url = format!("--url=http://127.0.0.1:{port}");
        let mut command = Command::new(godwit().unwrap());
        command.args(["migrate", verb, &url]).args(arguments).current_dir(folder).output().unwrap()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let refused = migrate("run", &["--offline", "theirs"]);
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("without --offline"), "{said}");

    // What was scraped until then is stored, on a machine that hangs too.
    let at = now();
    std::thread::sleep(Duration::from_secs(8));
    let mut wanted = raw(theirs.port, at).unwrap();
    assert!(theirs.stop().unwrap().success());
    let own = raw(port, at).unwrap();
    for (labels, samples) in own {
        let both = wanted.entry(labels).or_default();
        for (t, v) in samples {
            // At the same time, which is here already stays.
            both.insert(t, v);
        }
    }
    let samples: usize = wanted.values().map(|s| s.len()).sum();
    assert!(samples > 3000, "{samples}");
    let check = |what: &str, log: String| {
        let got = raw(port, at).unwrap();
        for (labels, samples) in &wanted {
            let mine = got.get(labels);
            let lost = samples.iter().find(|(t, v)| mine.and_then(|m| m.get(t)) != Some(v));
            assert!(lost.is_none(), "{what}: {labels}: {lost:?} is not here\n{log}");
        }
        let count: usize = got.values().map(|s| s.len()).sum();
        assert_eq!(count, samples, "{what}: more than both had");
    };
    let archive = folder.join("theirs.tar.zst");
    pack(
        &folder.join("theirs"),
        zstd::Encoder::new(File::create(&archive).unwrap(), 1).unwrap().auto_finish(),
    );
    for source in [&["theirs.tar.zst"][..], &[&snapshot], &["--offline", "theirs"]] {
        let done = migrate("run", source);
        let said = text(&done.stdout);
        assert!(
            done.status.success() && said.contains("complete"),
            "{source:?}: {said}{}",
            text(&done.stderr)
        );
        check(source[0], ours.log_tail());
        let verified = migrate("verify", &[]);
        let said = text(&verified.stdout);
        assert!(verified.status.success() && said.contains("missing 0, altered 0"), "{source:?}: {said}");
        assert!(migrate("release", &[]).status.success());
        assert!(!folder.join("ours/godwit-unpacked").exists());
    }
    assert!(!folder.join("theirs/godwit-pin").exists(), "nothing is written there");
    // Overlapping blocks become one of all.
    std::thread::sleep(Duration::from_secs(15));
    check("compacted", ours.log_tail());
    ours.kill().unwrap();
    let ours = destination(folder, port, &target);
    until("the same after a kill", || {
        let got = raw(port, at)?;
        let count: usize = got.values().map(|s| s.len()).sum();
        ensure!(count == samples, "{count} samples of {samples}");
        Ok(())
    })
    .unwrap();
    check("after a kill", ours.log_tail());
    assert!(ours.stop().unwrap().success());
}
