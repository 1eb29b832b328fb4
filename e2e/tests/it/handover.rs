//! The duty changes hands: a godwit that only followed scrapes, evaluates rules and sends from the fence on, gives it
//! back, and takes it once more. Every sample that either took is there, pending alerts go on.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::answers::{instant, query};
use e2e::http;
use e2e::process::{Server, free_port, godwit};
use e2e::program::Program;
use e2e::wait::{LIMIT, now, until};
use testkit::{Answer as Page, FakeTarget};

use crate::migrate::{LISTEN, agent, kill, raw, status};
use crate::notifications::alertmanager;

const RULES: &str = r#"
groups:
- name: g
  rules:
  - {record: twice, expr: "2 * up{job=\"pages\"}"}
  - {alert: Pending, expr: "vector(1)", for: 5s, labels: {severity: page}}
"#;

fn config(folder: &Path, target: &FakeTarget, alertmanager: u16) {
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{replica: a}}}}\nrule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}\nscrape_configs:\n- job_name: pages\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    std::fs::write(folder.join("p.yml"), config).unwrap();
}

fn destination(folder: &Path, port: u16) -> Server {
    let arguments = [
        LISTEN,
        "--config.file=p.yml",
        "--storage.tsdb.path=ours",
        "--web.enable-admin-api",
        "--godwit.hold",
    ];
    let program = godwit().unwrap();
    let mut server = Server::spawn(&program, &arguments, folder, port).unwrap();
    server.until_ready(&program, "/-/ready", LIMIT).unwrap();
    server
}

fn tell(folder: &Path, port: u16, words: &[&str]) -> Result<()> {
    let url = format!("--url=http://127.0.0.1:{port}");
    let done = Command::new(godwit()?).arg("migrate").args(words).arg(url).current_dir(folder).output()?;
    let said = [done.stdout, done.stderr].concat();
    ensure!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Times of the samples of the target, in seconds.
fn times(port: u16, at: f64) -> Result<BTreeSet<u64>> {
    let all = raw(port, at)?;
    let found = all.iter().find(|(labels, _)| labels.contains("\"up\"") || labels.starts_with("up{"));
    let (_, samples) = found.context("no series up")?;
    Ok(samples.keys().map(|t| u64::try_from(*t).unwrap_or(0)).collect())
}

fn value(port: u16, expression: &str) -> Result<f64> {
    let answer = query(port, &instant(expression, now()))?;
    let point = answer.values().next().and_then(|points| points.first());
    let (_, text) = point.with_context(|| format!("{expression}: nothing"))?;
    let text = text.trim_matches('"');
    Ok(text.parse()?)
}

/// Longest distance between neighbours within [from, to].
fn longest(times: &BTreeSet<u64>, from: u64, to: u64) -> u64 {
    let all: Vec<u64> = times.range(from..=to).copied().collect();
    all.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(u64::MAX)
}

#[test]
fn the_duty_changes_hands_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let page = |_: &_| Page::page("text/plain; version=0.0.4", "# TYPE a gauge\na 1\n".to_string());
    let target = runtime.block_on(FakeTarget::start(page)).unwrap();
    let pager = alertmanager(folder);
    config(folder, &target, pager.port);
    let arguments = [LISTEN, "--config.file=p.yml", "--storage.tsdb.path=theirs", Program::Lts.features()];
    let theirs = Server::start(&Program::Lts.path().unwrap(), &arguments, folder, "/-/ready").unwrap();
    let for_state = "ALERTS_FOR_STATE{alertname=\"Pending\"}";
    until("a pending alert", || value(theirs.port, for_state)).unwrap();
    // It has targets and rules, and waits.
    let (port, agent_port) = (free_port().unwrap(), free_port().unwrap());
    let mut ours = destination(folder, port);
    let helper = agent(folder, agent_port);
    let source = format!("127.0.0.1:{agent_port}");
    assert!(tell(folder, port, &["switch"]).is_err());
    tell(folder, port, &["run", "--key-file=m.key", &source]).unwrap();
    assert_eq!(status(port).unwrap()["held"], true);
    assert!(tell(folder, port, &["release"]).is_err(), "a server that waits is not released by accident");
    until("the newest samples", || {
        let at = now() - 1.5;
        let (there, here) = (times(theirs.port, at)?, times(port, at)?);
        ensure!(there == here && there.len() > 3, "{there:?} there, {here:?} here");
        Ok(())
    })
    .unwrap();
    let mut fences = Vec::new();
    for round in 0..2 {
        tell(folder, port, &["switch"]).unwrap();
        let fence = status(port).unwrap()["fenceMs"].as_u64().unwrap();
        fences.push(fence);
        until("scrapes of its own", || {
            let here = times(port, now())?;
            ensure!(here.range(fence..).count() > 5, "{here:?}, fence {fence}");
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e:#}\n{:#}\n{}", status(port).unwrap(), ours.log_tail()));
        let here = times(port, now()).unwrap();
        let there = times(theirs.port, now()).unwrap();
        // Before the fence the source's, from it on one's own: no hole that the machine did not make there as well.
        let at_fence = longest(&here, fence - 4000, fence + 4000);
        let meanwhile = longest(&there, fence - 4000, fence + 4000);
        assert!(
            at_fence <= 2500.max(2 * meanwhile),
            "{at_fence} ms, {meanwhile} at the source\n{here:?}\n{there:?}"
        );
        let before = |all: &BTreeSet<u64>| all.range(..fences[0]).copied().collect::<Vec<_>>();
        assert_eq!(before(&there), before(&here));
        // The alert goes on where it was.
        until("the same pending alert", || {
            let (a, b) = (value(theirs.port, for_state)?, value(port, for_state)?);
            ensure!(a == b, "since {a} there, {b} here");
            value(port, "twice")
        })
        .unwrap_or_else(|e| panic!("{e:#}\n{}", ours.log_tail()));
        // Both send it, and it is one.
        until("one alert at the Alertmanager", || {
            let metrics = http::get(port, "/metrics")?.text();
            let sent = metrics.lines().filter(|l| l.starts_with("prometheus_notifications_sent_total{"));
            let sent: f64 = sent.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum();
            let all = http::get(pager.port, "/api/v2/alerts?active=true")?.json()?;
            let all = all.as_array().context("no list")?;
            ensure!(all.len() == 1 && all[0]["labels"]["alertname"] == "Pending", "{all:?}");
            ensure!(sent > 0.0, "nothing sent from here");
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e:#}\n{}", ours.log_tail()));
        if round == 0 {
            // Back: what the source took meanwhile comes as well, and nothing of one's own any more.
            tell(folder, port, &["rollback"]).unwrap();
            let held = status(port).unwrap();
            assert!(held["held"] == true && held["fenceMs"].is_null(), "{held:#}");
            let since = u64::try_from((now() * 1000.0) as i64).unwrap() + 1500;
            until("what the source took since the fence", || {
                let at = now() - 1.5;
                let (there, here) = (times(theirs.port, at)?, times(port, at)?);
                ensure!(there.is_subset(&here), "{there:?} there, {here:?} here");
                let newest = |all: &BTreeSet<u64>| all.range(since..).copied().collect::<Vec<_>>();
                ensure!(newest(&there).len() > 2 && newest(&there) == newest(&here));
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{e:#}\n{:#}\n{}", status(port).unwrap(), ours.log_tail()));
            // Killed while it waits it waits.
            ours.kill().unwrap();
            ours = destination(folder, port);
            until("it follows again", || {
                ensure!(status(port)?["stage"] == "following" && status(port)?["held"] == true);
                Ok(())
            })
            .unwrap();
        }
    }
    // The source goes, and nothing is missed.
    assert!(theirs.stop().unwrap().success());
    tell(folder, port, &["release"]).unwrap();
    assert!(!folder.join("theirs/godwit-pin").exists());
    kill(helper);
    // What has been taken over is not waited for again, whatever the flag says.
    ours.kill().unwrap();
    let ours = destination(folder, port);
    let since = u64::try_from((now() * 1000.0) as i64).unwrap();
    until("scrapes after a restart", || {
        let here = times(port, now() + 1.0)?;
        ensure!(here.range(since..).count() > 1, "{here:?}");
        Ok(())
    })
    .unwrap();
    assert!(ours.stop().unwrap().success());
}
