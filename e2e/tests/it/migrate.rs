//! Taking over a running, unmodified Prometheus that scrapes, takes late samples, deletes, compacts and forgets,
//! while the destination is killed: both say the same of every time.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::answers::{instant, query};
use e2e::dump::{Raw, of_answer};
use e2e::http;
use e2e::process::{Server, free_port, godwit};
use e2e::program::Program;
use e2e::push::push;
use e2e::wait::{LIMIT, now, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget};

pub(crate) const LISTEN: &str = "--web.listen-address=127.0.0.1:{port}";

pub(crate) fn source(folder: &Path, target: &FakeTarget, port: u16) -> Server {
    let config = format!(
        "global: {{scrape_interval: 1s}}\nstorage: {{tsdb: {{out_of_order_time_window: 2h}}}}\nscrape_configs:\n- job_name: pages\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    std::fs::write(folder.join("p.yml"), config).unwrap();
    let arguments = [
        LISTEN,
        "--config.file=p.yml",
        "--storage.tsdb.path=theirs",
        Program::Lts.features(),
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--storage.tsdb.min-block-duration=10s",
        "--storage.tsdb.max-block-duration=30s",
    ];
    // On its old port where it comes back.
    let program = Program::Lts.path().unwrap();
    let mut server = Server::spawn(&program, &arguments, folder, port).unwrap();
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    server
}

pub(crate) fn destination(folder: &Path, port: u16) -> Server {
    std::fs::write(folder.join("g.yml"), "scrape_configs: []\n").unwrap();
    let arguments = [
        LISTEN,
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

/// All samples of the last hours up to a time.
pub(crate) fn raw(port: u16, at: f64) -> Result<Raw> {
    of_answer(&query(port, &instant("{__name__=~\".+\",job!=\"godwit\"}[12h]", at))?)
}

pub(crate) fn status(port: u16) -> Result<Value> {
    let answer = http::get(port, "/api/v1/admin/migrate")?;
    let value: Value = serde_json::from_slice(&answer.body)?;
    Ok(value["data"]["migration"].clone())
}

pub(crate) fn same(theirs: u16, ours: u16, at: f64) -> Result<usize> {
    let (want, got) = (raw(theirs, at)?, raw(ours, at)?);
    for (labels, samples) in &want {
        let mine = got.get(labels);
        for (t, v) in samples {
            let found = mine.and_then(|m| m.get(t));
            ensure!(found == Some(v), "{labels} at {t}: {v:?} there, {found:?} here");
        }
    }
    for (labels, samples) in &got {
        let there = want.get(labels);
        let more = samples.keys().find(|t| !there.is_some_and(|s| s.contains_key(t)));
        ensure!(more.is_none(), "{labels} at {more:?} is here and not there");
    }
    Ok(want.values().map(|s| s.len()).sum())
}

/// The agent beside the source, as on another machine.
pub(crate) fn agent(folder: &Path, port: u16) -> Child {
    let listen = format!("--listen=127.0.0.1:{port}");
    let mut agent = Command::new(godwit().unwrap())
        .args(["migrate", "agent", &listen, "--key-file=m.key", "theirs"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("listening on 127.0.0.1:"), "{said}");
    agent
}

pub(crate) fn kill(mut agent: Child) {
    agent.kill().unwrap();
    agent.wait().unwrap();
}

#[test]
fn a_running_prometheus_is_taken_over() {
    take_over(None);
}

#[test]
fn a_running_prometheus_behind_an_agent_is_taken_over() {
    take_over(Some(free_port().unwrap()));
}

fn take_over(agent_port: Option<u16>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pages = AtomicU64::new(0);
    let page = move |_: &_| {
        let n = pages.fetch_add(1, Ordering::Relaxed);
        let mut text = format!("# TYPE pages_total counter\npages_total {n}\n");
        for s in 0..200 {
            text += &format!("g{{s=\"{s}\"}} {}\n", n * 200 + s);
        }
        Page::page("text/plain; version=0.0.4", text)
    };
    let target = runtime.block_on(FakeTarget::start(page)).unwrap();
    let theirs = source(folder, &target, free_port().unwrap());
    // History, late samples among it, and what was deleted of it.
    let end = now() as i64 - 120;
    push(theirs.port, end - 1800, end).unwrap();
    push(theirs.port, end - 3600, end - 2700).unwrap();
    let delete = |selector: &str| {
        let path = format!("/api/v1/admin/tsdb/delete_series?match[]={selector}");
        until("deletion", || {
            let status = http::request(theirs.port, "POST", &path, &[], &[])?.status;
            ensure!(status == 204, "{status}");
            Ok(())
        })
        .unwrap();
    };
    delete("pushed_float%7Bseries%3D%222%22%7D");
    let port = free_port().unwrap();
    let mut ours = destination(folder, port);
    let mut agents = agent_port.map(|port| agent(folder, port));
    let run = || {
        let url = format!("--url=http://127.0.0.1:{port}");
        let source = match agent_port {
            None => vec!["theirs".to_string()],
            Some(port) => {
                let cap = "--bwlimit=200MB".to_string();
                vec![cap, "--key-file=m.key".to_string(), format!("127.0.0.1:{port}")]
            }
        };
        Command::new(godwit().unwrap())
            .args(["migrate", "run", &url])
            .args(source)
            .current_dir(folder)
            .output()
            .unwrap()
    };
    if let Some(port_of_agent) = agent_port {
        let url = format!("--url=http://127.0.0.1:{port}");
        let config = format!("--source-config=http://127.0.0.1:{}", theirs.port);
        let source = format!("127.0.0.1:{port_of_agent}");
        let plan = Command::new(godwit().unwrap())
            .args(["migrate", "plan", "--output=json", "--key-file=m.key", &url, &config, &source])
            .current_dir(folder)
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let verdict = |name: &str| {
            let checks = said["plan"]["checks"].as_array().unwrap();
            checks.iter().find(|c| c["name"] == name).map(|c| c["verdict"].clone()).unwrap_or_default()
        };
        assert!(plan.status.success() && said["possible"] == true, "{said:#}");
        assert_eq!(
            (verdict("running"), verdict("clocks"), verdict("jobs")),
            ("ok".into(), "ok".into(), "warning".into())
        );
        assert!(!folder.join("theirs/godwit-pin").exists(), "a plan changes nothing");
    }
    let begun = run();
    let said = String::from_utf8_lossy(&begun.stdout).into_owned();
    assert!(
        begun.status.success() && said.contains("following"),
        "{said}{}",
        String::from_utf8_lossy(&begun.stderr)
    );
    let check = |ours: &Server| {
        until("the same on both sides", || {
            let at = now() - 1.5;
            let n = same(theirs.port, port, at)?;
            ensure!(n > 5000, "only {n} samples");
            Ok(())
        })
        .unwrap_or_else(|e| {
            panic!("{e:#}\n{:#}\n{}\n{}", status(port).unwrap(), ours.log_tail(), theirs.log_tail())
        });
    };
    check(&ours);
    // Killed while the other one goes on: compacts, is told to delete, takes late samples.
    for round in 0..3 {
        ours.kill().unwrap();
        // Away or not: the source keeps its files only while they are linked.
        let away = agents.take().map(kill);
        push(theirs.port, end + 10 * round, end + 10 * round + 5).unwrap();
        delete(&format!("g%7Bs%3D%22{round}%22%7D"));
        std::thread::sleep(Duration::from_secs(3));
        ours = destination(folder, port);
        if away.is_some() {
            // It asks until somebody answers.
            until("an error that names the agent", || {
                let error = status(port)?["error"].to_string();
                ensure!(error.contains("agent at 127.0.0.1"), "{error}");
                Ok(())
            })
            .unwrap();
            agents = agent_port.map(|port| agent(folder, port));
        }
        check(&ours);
    }
    if agent_port.is_some() {
        assert_eq!(status(port).unwrap()["blocks"]["bwlimit"], 200 << 20);
    }
    let url = format!("--url=http://127.0.0.1:{port}");
    // Compared sample by sample by the program itself. Blocks may be on their way again after the kills.
    let verified = until("equal", || {
        let done = Command::new(godwit()?).args(["migrate", "verify", &url, "--output=json"]).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        Ok(serde_json::from_str::<Value>(&said)?)
    })
    .unwrap();
    let counts = &verified["report"]["counts"];
    assert!(verified["equal"] == true && counts["samples"].as_u64() > Some(1000), "{verified:#}");
    assert_eq!(counts["sourceSum"], counts["hereSum"]);
    // Let go, both have their own lives; what came stays.
    let released = Command::new(godwit().unwrap())
        .args(["migrate", "release", &url])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    assert_eq!(status(port).unwrap(), Value::Null);
    assert!(!folder.join("theirs/godwit-pin").exists());
    if let Some(agent) = agents {
        kill(agent);
    }
    let at = now() - 5.0;
    same(theirs.port, port, at).unwrap();
    assert!(theirs.stop().unwrap().success() && ours.stop().unwrap().success());
}
