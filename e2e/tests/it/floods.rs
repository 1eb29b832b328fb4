//! Very many targets, names that nobody resolves, certificates that ran out, secrets that change, configurations
//! of megabytes, a machine that is suspended, a change to summer time: beside the ledger's ordinary targets.
//! `docs/faults.md` has the pass lines.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::faults::{Rig, TARGETS, percent, said, time};
use e2e::http;
use e2e::ledger::{Check, Source};
use e2e::process::{Server, free_port, godwit};
use e2e::wait::until;
use testkit::{Answer, FakeTarget};

use crate::faults::{Shares, all_there_after_a_kill, clean, limited, long};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// How far the times between two requests of the ordinary targets are off a second: the median, 99 %, and the most,
/// in milliseconds.
fn jitter(rig: &Rig, from_ms: i64) -> (i64, i64, i64) {
    let book = rig.ledger.book();
    let mut off = Vec::new();
    for (_, entries) in book.iter().filter(|(s, _)| matches!(s, Source::Target(_))) {
        let times: Vec<i64> = entries.values().map(|e| e.at_ms).filter(|at| *at >= from_ms).collect();
        off.extend(times.windows(2).map(|w| (w[1] - w[0] - 1000).abs()));
    }
    off.sort_unstable();
    let at = |share: usize| off.get(off.len() * share / 100).copied().unwrap_or(-1);
    (at(50), at(99), off.last().copied().unwrap_or(-1))
}

fn reload(port: u16) -> u16 {
    http::request(port, "POST", "/-/reload", &[], &[]).unwrap().status
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Nine in ten refuse the connection, the tenth answers. Those that memory has no room for wait and are told.
#[test]
fn a_hundred_thousand_targets_at_once() {
    let (all, seconds) = if long() { (100_000, 180) } else { (2000, 5) };
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    // All addresses of 127.0.0.0/8 are this machine.
    let alive = FakeTarget::start_on("0.0.0.0:0", |_| Answer::text("flood_value 1\n"));
    let alive = runtime.block_on(alive).unwrap();
    let port = alive.address().rsplit_once(':').unwrap().1.to_string();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &[]).unwrap();
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(5.0).unwrap();
    let before = jitter(&rig, 0);
    let mut list = String::from("[{\"targets\":[");
    for n in 0..all {
        let port = if n % 10 == 0 { &port } else { "9" };
        let _ = write!(list, "\"127.{}.{}.{}:{port}\",", n / 40_000 + 1, n / 200 % 200, n % 200 + 1);
    }
    list.pop();
    list += "]}]";
    put(&folder.path().join("flood.json"), &list);
    let job = "- {job_name: flood, scrape_interval: 60s, scrape_timeout: 10s, file_sd_configs: [{files: [flood.json]}]}\n";
    put(&rig.plan.config.clone(), &(rig.plan.text(true) + job));
    let (from, began) = (time(), Instant::now());
    let shares = Shares::begin(&rig);
    assert_eq!(reload(rig.port), 200);
    println!("reload: {:.2} s", began.elapsed().as_secs_f64());
    let rounds = || rig.metric("prometheus_tsdb_head_series");
    println!("series before: {}", rounds().unwrap());
    let waiting = |rig: &Rig| rig.metric("godwit_target_scrape_pool_targets_refused");
    until("all were scraped or wait", || {
        rig.alive()?;
        let path = e2e::answers::instant("count(up{job=\"flood\"})", e2e::wait::now());
        let found = e2e::answers::query(rig.port, &path)?;
        let count = found.values().next().and_then(|p| p[0].1.trim_matches('"').parse::<f64>().ok());
        let waiting = waiting(&rig)?;
        // While memory fills up some are started every few seconds, and scraped within a minute.
        let share = if waiting > 0.0 { 0.95 } else { 0.99 };
        ensure!(count.unwrap_or(0.0) + waiting >= f64::from(all) * share, "{count:?}, {waiting} wait");
        Ok(())
    })
    .unwrap();
    println!(
        "all but a few of {all} targets were scraped or wait after {:.0} s",
        began.elapsed().as_secs_f64()
    );
    rig.go_on(f64::from(seconds)).unwrap();
    let share = shares.look(&rig);
    let after = jitter(&rig, from);
    println!("off a second, median, 99 %, most: {before:?} ms before, {after:?} ms with {all} targets");
    let up = e2e::answers::instant("sum(up{job=\"flood\"})", e2e::wait::now());
    println!("up: {:?}", e2e::answers::query(rig.port, &up).unwrap().values().next());
    println!("series: {}", rig.metric("prometheus_tsdb_head_series").unwrap());
    let waiting = waiting(&rig).unwrap();
    println!("targets that wait for memory: {waiting}");
    let (came, due) = share.scrapes;
    share.hold("beside a flood of targets");
    assert!(!long() || came * 100 >= due * 99, "{came} of {due} scrapes");
    if waiting > 0.0 {
        let text = |path: &str| http::get(rig.port, path).unwrap().text();
        assert!(text("/api/v1/notifications").contains("Targets of job \\\"flood\\\""));
        let told = |page: &str| page.matches("not scraped for lack of memory").count();
        assert_eq!(told(&text("/api/v1/targets?scrapePool=flood")), 1000.min(waiting as usize));
        let named = "godwit_target_scrape_pool_targets_refused{scrape_job=\"flood\"}";
        assert!(text("/metrics").contains(named));
    }
    all_there_after_a_kill(&mut rig, "flood of targets, after kill -9");
    rig.stop().unwrap();
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}

/// Two thousand names, and a resolver that never answers: threads that wait for it are not those of queries,
/// writes and scrapes.
#[test]
fn a_resolver_that_never_answers() {
    let (names, seconds) = if long() { (3000, 60.0) } else { (1000, 10.0) };
    let folder = tempfile::tempdir().unwrap();
    let silent = match UdpSocket::bind("127.9.9.9:53") {
        Ok(silent) => silent,
        Err(e) => return println!("skipped, this needs root: {e}"),
    };
    let resolv = folder.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.9.9.9\noptions timeout:10 attempts:3\n").unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &[]).unwrap();
    let own = format!("mount --bind '{}' /etc/resolv.conf && exec \"$0\" \"$@\"", resolv.display());
    let can = Command::new("unshare").args(["-m", "sh", "-c", &own, "true"]).output();
    if !can.is_ok_and(|o| o.status.success()) {
        return println!("skipped, no mount namespaces");
    }
    let memory = limited(&mut rig);
    rig.wrapper.extend(["unshare", "-m", "sh", "-c", &own].map(String::from));
    rig.start().unwrap();
    rig.go_on(3.0).unwrap();
    let list: Vec<String> = (0..names).map(|n| format!("host-{n}.storm.test:80")).collect();
    let job = format!("- {{job_name: storm, static_configs: [{{targets: [{}]}}]}}\n", list.join(", "));
    put(&rig.plan.config.clone(), &(rig.plan.text(true) + &job));
    let (from, shares) = (time(), Shares::begin(&rig));
    assert_eq!(reload(rig.port), 200);
    rig.go_on(seconds).unwrap();
    let writes = rig.figures();
    println!("off a second, median, 99 %, most: {:?} ms", jitter(&rig, from));
    shares.end("names that nobody resolves", &rig);
    assert!(writes.not_now == 0 && writes.taken > 10, "{writes:?}");
    let page = http::get(rig.port, "/api/v1/targets?scrapePool=storm").unwrap().json().unwrap();
    let targets = page["data"]["activeTargets"].as_array().unwrap();
    assert_eq!(targets.len(), names);
    let told = targets.iter().filter(|t| t["health"] == "down" && t["lastError"] != "").count();
    println!("{told} of {names} targets are down with a reason: {}", targets[0]["lastError"]);
    assert!(told > names / 2, "{told} of {names}");
    println!("{:?}", said(&rig.kill().unwrap()));
    drop(silent);
    rig.start_alone().unwrap();
    clean("dead resolver, after kill -9", &rig.check(&Check::default()).unwrap());
    rig.kill().unwrap();
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}

/// `openssl s_server`; it ends when dropped.
struct Tls(Child);

impl Tls {
    fn start(folder: &Path, port: u16, certificate: &str) -> Tls {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-HTTP", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", &format!("{certificate}.pem"), "-key", "key.pem"]).current_dir(folder);
        Tls(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(folder: &Path, words: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(words).current_dir(folder).output().context("openssl")?;
    ensure!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A certificate authority, a certificate that ran out and one that holds.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    let subject = ["-subj", "/CN=127.0.0.1", "-nodes"];
    let ca =
        ["req", "-x509", "-newkey", "rsa:2048", "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "30"];
    openssl(folder, &[&ca[..], &["-subj", "/CN=test", "-nodes"]].concat())?;
    let asked = ["req", "-newkey", "rsa:2048", "-keyout", "key.pem", "-out", "asked.pem"];
    openssl(folder, &[&asked[..], &subject].concat())?;
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n")?;
    // -1: it held until a day ago.
    for (name, days) in [("old", "-1"), ("new", "30")] {
        let out = format!("{name}.pem");
        let words = ["x509", "-req", "-in", "asked.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem"];
        let more = ["-CAcreateserial", "-extfile", "names", "-days", days, "-out", &out];
        openssl(folder, &[&words[..], &more].concat())?;
    }
    Ok(())
}

/// A target's certificate runs out: it is down and why is said, others go on; it is up with a new one.
#[test]
fn a_certificate_that_ran_out() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(e) = certificates(folder.path()) {
        return println!("skipped: {e:#}");
    }
    std::fs::write(
        folder.path().join("metrics"),
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nsafe 1\n",
    )
    .unwrap();
    let port = free_port().unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &[]).unwrap();
    let job = format!(
        "- {{job_name: tls, scheme: https, tls_config: {{ca_file: ca.pem}}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    );
    let tls = Tls::start(folder.path(), port, "old");
    rig.start().unwrap();
    put(&rig.plan.config.clone(), &(rig.plan.text(true) + &job));
    assert_eq!(reload(rig.port), 200);
    let shares = Shares::begin(&rig);
    let target = |port: u16| -> anyhow::Result<(String, String)> {
        let page = http::get(port, "/api/v1/targets?scrapePool=tls")?.json()?;
        let target = &page["data"]["activeTargets"][0];
        let text = |name: &str| target[name].as_str().unwrap_or_default().to_string();
        Ok((text("health"), text("lastError")))
    };
    until("the target is down for its certificate", || {
        let (health, error) = target(rig.port)?;
        ensure!(health == "down" && error.contains("expired"), "{health}: {error}");
        println!("{error}");
        Ok(())
    })
    .unwrap();
    rig.go_on(4.0).unwrap();
    shares.end("beside a certificate that ran out", &rig);
    drop(tls);
    let _tls = Tls::start(folder.path(), port, "new");
    until("the target is up", || {
        let (health, error) = target(rig.port)?;
        ensure!(health == "up", "{health}: {error}");
        Ok(())
    })
    .unwrap();
    rig.kill().unwrap();
    rig.start_alone().unwrap();
    clean("certificates", &rig.check(&Check::default()).unwrap());
    rig.kill().unwrap();
}

/// Files with secrets change while the server runs: the next scrape has the new one. A file that is gone is told,
/// and nothing is sent without it.
#[test]
fn secrets_that_change() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let page = || FakeTarget::start(|_| Answer::text("safe 1\n"));
    let (basic, bearer) = (runtime.block_on(page()).unwrap(), runtime.block_on(page()).unwrap());
    let secret = |name: &str, text: &str| put(&folder.path().join(name), text);
    secret("password", "one");
    secret("token", "one\n");
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - {{job_name: basic, basic_auth: {{username: u, password_file: password}}, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: bearer, authorization: {{credentials_file: token}}, static_configs: [{{targets: ['{}']}}]}}\n",
        basic.address(),
        bearer.address()
    );
    put(&folder.path().join("prometheus.yml"), &config);
    let arguments =
        ["--web.listen-address=127.0.0.1:{port}", "--config.file=prometheus.yml", "--storage.tsdb.path=data"];
    let server = Server::start(&godwit().unwrap(), &arguments, folder.path(), "/-/ready").unwrap();
    let seen = |target: &FakeTarget, wanted: &str| {
        until("the secret is sent", || {
            let last = target.last_request().context("no request")?;
            let sent = last.header("authorization").unwrap_or_default();
            ensure!(sent == wanted, "{sent:?} in place of {wanted:?}");
            Ok(())
        })
        .unwrap();
    };
    // u:one, u:two in base64.
    seen(&basic, "Basic dTpvbmU=");
    seen(&bearer, "Bearer one");
    secret("password", "two");
    secret("token", "two\n");
    let changed = Instant::now();
    seen(&basic, "Basic dTp0d28=");
    seen(&bearer, "Bearer two");
    for (target, old) in [(&basic, "Basic dTpvbmU="), (&bearer, "Bearer one")] {
        let late = target.requests().into_iter().filter(|r| r.at > changed);
        let late = late.filter(|r| r.header("authorization") == Some(old)).count();
        // The one that was on its way.
        assert!(late <= 1, "{late} scrapes with the old secret");
    }
    std::fs::remove_file(folder.path().join("token")).unwrap();
    until("the target is down for want of its secret", || {
        let page = http::get(server.port, "/api/v1/targets?scrapePool=bearer")?.json()?;
        let target = &page["data"]["activeTargets"][0];
        let told =
            target["health"] == "down" && target["lastError"].as_str().is_some_and(|e| e.contains("token"));
        ensure!(told, "{target}");
        Ok(())
    })
    .unwrap();
    assert!(bearer.requests().iter().all(|r| r.header("authorization").is_some()));
    secret("token", "three");
    seen(&bearer, "Bearer three");
    assert!(server.stop().unwrap().success());
}

/// Ten megabytes of configuration.
fn huge(jobs: usize, ordinary: &str, changed: &str) -> String {
    let mut text = format!(
        "global: {{scrape_interval: 60s, scrape_timeout: 10s}}\nscrape_configs:\n\
         - {{job_name: ordinary, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: ['{ordinary}']}}]}}\n"
    );
    for n in 0..jobs {
        let _ = write!(
            text,
            "- job_name: team-{n}\n  metrics_path: /metrics{}\n  params: {{module: [http_2xx], team: ['{n}']}}\n  \
             relabel_configs:\n  - {{source_labels: [__address__], regex: '(.*):9', target_label: host, replacement: 'host-$1-{n}'}}\n  \
             - {{source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name], separator: /, target_label: job_path}}\n  \
             metric_relabel_configs:\n  - {{source_labels: [__name__], regex: 'go_gc_.*|process_max_.*|promhttp_.*', action: drop}}\n  \
             static_configs:\n  - {{targets: ['127.3.{}.{}:9'], labels: {{team: 'team-{n}', environment: production}}}}\n",
            if n == 7 { changed } else { "" },
            n / 200,
            n % 200 + 1
        );
    }
    text
}

/// Twenty thousand jobs in ten megabytes: checked, started, reloaded with one change, and with a fault in the end.
#[test]
fn a_configuration_of_ten_megabytes() {
    let jobs = if long() { 20_000 } else { 300 };
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let ordinary = runtime.block_on(FakeTarget::start(|_| Answer::text("ordinary 1\n"))).unwrap();
    let (place, text) = (folder.path().join("prometheus.yml"), huge(jobs, &ordinary.address(), ""));
    put(&place, &text);
    let seconds = |began: Instant| began.elapsed().as_secs_f64();
    let began = Instant::now();
    let check = Command::new(godwit().unwrap()).args(["check", "config"]).arg(&place).output().unwrap();
    println!("{} bytes, {jobs} jobs; check config: {:.2} s", text.len(), seconds(began));
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-lifecycle",
    ];
    let memory = e2e::faults::Memory::limit(512 << 20).ok();
    if memory.is_none() {
        println!("no control group can be made here: without a limit of memory");
    }
    let mut words = memory.as_ref().map(e2e::faults::Memory::wrapper).unwrap_or_default();
    words.push(godwit().unwrap().display().to_string());
    words.extend(arguments.map(String::from));
    let program = words.remove(0);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let began = Instant::now();
    let server = Server::start(Path::new(&program), &words, folder.path(), "/-/ready").unwrap();
    println!("ready after {:.2} s", seconds(began));
    let timed = |what: &str, text: &str, want: u16| {
        put(&place, text);
        let began = Instant::now();
        let answer = http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap();
        println!("reload, {what}: {} after {:.2} s", answer.status, seconds(began));
        assert_eq!(answer.status, want, "{what}: {}", answer.text());
        let metrics = http::get(server.port, "/metrics").unwrap().text();
        let good = format!("prometheus_config_last_reload_successful {}", u8::from(want == 200));
        assert!(metrics.lines().any(|l| l == good), "{what}");
    };
    let in_force = || {
        let json = http::get(server.port, "/api/v1/status/config").unwrap().json().unwrap();
        json["data"]["yaml"].as_str().unwrap().contains("metrics_path: /metrics/changed")
    };
    let from = Instant::now();
    timed("nothing changed", &text, 200);
    let changed = huge(jobs, &ordinary.address(), "/changed");
    timed("one job changed", &changed, 200);
    assert!(in_force());
    for (what, bad) in [
        ("a key that nobody knows at the end", "- {job_name: bad, scrape_intervall: 1s}\n"),
        ("no YAML at the end", "- {job_name: 'bad\n"),
        ("a name twice", "- {job_name: team-9}\n"),
        ("a regular expression that does not parse", "- {job_name: bad, relabel_configs: [{regex: '('}]}\n"),
    ] {
        timed(what, &(text.clone() + bad), 500);
        assert!(in_force(), "{what}");
        let told = http::get(server.port, "/api/v1/notifications").unwrap().text();
        assert!(told.contains("Configuration reload has failed"), "{what}: {told}");
    }
    timed("good again", &text, 200);
    assert!(!in_force());
    let requests = ordinary.requests();
    let times: Vec<Instant> = requests.iter().map(|r| r.at).filter(|at| *at > from).collect();
    let gap = times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default();
    println!("the ordinary target was asked {} times, at most {gap:.2?} apart", times.len());
    assert!(gap < Duration::from_secs(10), "{gap:?}");
    if let Some(memory) = &memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
    assert!(server.stop().unwrap().success());
}

/// The machine is suspended: nothing of the process runs, then all of it goes on.
#[test]
fn a_machine_that_is_suspended() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &e2e::kills::SHORT_BLOCKS).unwrap();
    rig.start().unwrap();
    rig.go_on(4.0).unwrap();
    rig.server().unwrap().signal("STOP").unwrap();
    let stopped = time();
    std::thread::sleep(Duration::from_secs(if long() { 180 } else { 8 }));
    rig.server().unwrap().signal("CONT").unwrap();
    let from = time();
    let requests = |from: i64, to: i64| rig_pages(&rig, from, to);
    until("it scrapes again", || {
        ensure!(requests(from, time()) >= TARGETS, "no requests");
        Ok(())
    })
    .unwrap();
    let resumed = time();
    rig.go_on(8.0).unwrap();
    let (came, due) = rig.scrapes(resumed, time());
    let within = rig_pages(&rig, from, from + 1000);
    println!(
        "suspended for {} s: {} of scrapes afterwards, {within} in the first second",
        (from - stopped) / 1000,
        percent(came, due)
    );
    assert!(came * 10 >= due * 8, "{came} of {due} scrapes");
    // Those that were missed are not made up for.
    assert!(came <= due * 2 + TARGETS * 2, "{came} of {due} scrapes");
    let late = rig.metric("prometheus_target_scrapes_sample_out_of_order_total").unwrap();
    let twice = rig.metric("prometheus_target_scrapes_sample_duplicate_timestamp_total").unwrap();
    assert!(late + twice == 0.0, "{late} samples out of order, {twice} of a time twice");
    assert_eq!(rig.figures().refused, 0, "{:?}", rig.figures());
    let log = rig.kill().unwrap();
    println!("{:?}, {} lines of log", said(&log), log.lines().count());
    assert!(log.lines().count() < 300, "a storm of messages");
    rig.start_alone().unwrap();
    clean("suspended, after kill -9", &rig.check(&Check::default()).unwrap());
    rig.stop().unwrap();
}

fn rig_pages(rig: &Rig, from: i64, to: i64) -> u64 {
    rig.scrapes(from, to).0
}

/// Summer time begins, and ends, while the process runs.
#[test]
fn summer_time() {
    if !long() {
        return;
    }
    let date = |plus: u64, format: &str| {
        let at = format!("@{}", e2e::wait::now() as u64 + plus);
        let output = Command::new("date").args(["-u", "-d", &at, format]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    // Days from 0 here, from 1 there. The end is given in summer time, an hour ahead.
    let day = |plus: u64| date(plus, "+%j").parse::<u64>().unwrap() - 1;
    let (begins, ends) = (12, 22);
    let zone = format!(
        "AAA0BBB,{}/{},{}/{}",
        day(begins),
        date(begins, "+%H:%M:%S"),
        day(ends + 3600),
        date(ends + 3600, "+%H:%M:%S")
    );
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &e2e::kills::SHORT_BLOCKS).unwrap();
    rig.wrapper = vec!["env".into(), format!("TZ={zone}")];
    println!("TZ={zone}");
    rig.start().unwrap();
    let shares = Shares::begin(&rig);
    rig.go_on(30.0).unwrap();
    shares.end("summer time", &rig);
    let log = rig.kill().unwrap();
    println!("{:?}, {} lines of log", said(&log), log.lines().count());
    let times: Vec<&str> = log.lines().filter_map(|l| l.strip_prefix("time=")?.split(' ').next()).collect();
    assert!(times.is_sorted() && times.iter().all(|t| t.ends_with('Z')), "{times:?}");
    rig.start_alone().unwrap();
    clean("summer time, after kill -9", &rig.check(&Check::default()).unwrap());
    rig.stop().unwrap();
}
