//! Reloads as fast as a hundred a second, half of them of bad files, while a hundred targets are scraped:
//! targets that did not change lose no scrape and keep their connections, a bad file changes nothing but the
//! metric that says so, and memory stays as it is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::answers::{instant, query};
use e2e::http;
use e2e::process::{Server, godwit};
use e2e::wait::{now, until};
use testkit::{Answer, FakeTarget};

const TARGETS: usize = 100;
/// Seconds between two scrapes.
const INTERVAL: f64 = 1.0;
/// Between two reloads at least.
const PAUSE: Duration = Duration::from_millis(10);
/// Fewer say nothing, however slow the machine is.
const RELOADS_MIN: usize = 50;
/// What memory may grow by from the first third to the end: allocator's slack, samples, the log of errors.
const GROWTH_MAX: u64 = 48 << 20;

/// What a configuration file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    /// With a second job of this number.
    Good(usize),
    /// No YAML.
    Unparsable,
    /// A key that nobody knows.
    UnknownKey,
    /// A job of the good file twice.
    Twice,
    /// No file at all.
    Missing,
    /// A link to itself: it is there and cannot be read.
    Unreadable,
}

fn text(unchanged: &[String], changing: &str, file: File) -> String {
    let targets = unchanged.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(", ");
    let head = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";
    let job = format!("- {{job_name: unchanged, static_configs: [{{targets: [{targets}]}}]}}\n");
    match file {
        File::Good(n) => {
            format!("{head}- {{job_name: changing{n}, static_configs: [{{targets: ['{changing}']}}]}}\n{job}")
        }
        File::Unparsable => format!("{head}{job}- {{job_name: 'x\n"),
        File::UnknownKey => format!("{head}{job}no_such_key: 1\n"),
        File::Twice => format!("{head}{job}{job}"),
        File::Missing | File::Unreadable => String::new(),
    }
}

/// Puts a file in the place of the one before, at once as a careful operator does.
fn put(folder: &Path, unchanged: &[String], changing: &str, file: File) {
    let (place, new) = (folder.join("prometheus.yml"), folder.join("new.yml"));
    match file {
        File::Missing => std::fs::remove_file(place).unwrap(),
        File::Unreadable => {
            let _ = std::fs::remove_file(&place);
            std::os::unix::fs::symlink("prometheus.yml", place).unwrap();
        }
        file => {
            std::fs::write(&new, text(unchanged, changing, file)).unwrap();
            std::fs::rename(new, place).unwrap();
        }
    }
}

/// Number of the changing job in the configuration that the server says is in force.
fn in_force(server: &Server) -> usize {
    let json = http::get(server.port, "/api/v1/status/config").unwrap().json().unwrap();
    let text = json["data"]["yaml"].as_str().unwrap();
    let name =
        text.lines().find_map(|l| l.split_once("job_name: changing")).unwrap_or_else(|| panic!("{text}")).1;
    name.parse().unwrap()
}

fn successful(server: &Server) -> bool {
    let page = http::get(server.port, "/metrics").unwrap().text();
    page.lines().any(|l| l == "prometheus_config_last_reload_successful 1")
}

/// Milliseconds for which this machine let a sleeping thread wait too long: a scrape may have been late then
/// through no fault of the server.
fn watch_machine(end: Arc<AtomicBool>, late: Arc<AtomicU64>) {
    let step = Duration::from_millis(50);
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(step);
        let over = began.elapsed().saturating_sub(step * 4);
        late.fetch_add(over.as_millis() as u64, Ordering::Relaxed);
    }
}

/// Scrapes of a target that did not come or failed, between two times.
fn lost(server: &Server, from: f64, to: f64) -> Result<Vec<(String, usize)>> {
    let samples = query(
        server.port,
        &instant(&format!("up{{job=\"unchanged\"}}[{}ms]", ((to - from) * 1000.0) as u64), to),
    )?;
    ensure!(samples.len() == TARGETS, "{} targets", samples.len());
    let mut all = Vec::new();
    for (labels, points) in samples {
        let mut before = from;
        let mut lost = points.iter().filter(|p| p.1 != "\"1\"").count();
        for time in points.iter().map(|p| p.0.parse::<f64>().unwrap()).chain([to]) {
            // The first gap is any part of an interval; others are one.
            lost += (((time - before) / INTERVAL).round() as usize).saturating_sub(1);
            before = time;
        }
        all.push((labels, lost));
    }
    Ok(all)
}

#[test]
fn reloads_under_load_disturb_nobody() {
    let seconds = if std::env::var_os("GODWIT_TEST_LONG").is_some() { 180 } else { 12 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let page = || (0..20).map(|i| format!("metric_{i}{{a=\"b\"}} {i}\n")).collect::<String>();
    let targets: Vec<FakeTarget> = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..=TARGETS {
            let body = page();
            all.push(FakeTarget::start(move |_| Answer::text(body.clone())).await.unwrap());
        }
        all
    });
    let unchanged: Vec<String> = targets[..TARGETS].iter().map(FakeTarget::address).collect();
    let changing = targets[TARGETS].address();

    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &unchanged, &changing, File::Good(0));
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-lifecycle",
        "--enable-feature=auto-reload-config",
        "--config.auto-reload-interval=1s",
    ];
    let server = Server::start(&godwit().unwrap(), &arguments, folder.path(), "/-/ready").unwrap();
    until("all targets are up", || {
        let up = query(server.port, &instant("count(up{job=\"unchanged\"} == 1)", now()))?;
        ensure!(up.values().any(|p| p[0].1 == format!("\"{TARGETS}\"")), "{up:?}");
        Ok(())
    })
    .unwrap();
    let connections_before: Vec<usize> =
        targets.iter().map(|t| t.last_request().unwrap().connection).collect();

    let (end, late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watcher = {
        let (end, late) = (Arc::clone(&end), Arc::clone(&late));
        std::thread::spawn(move || watch_machine(end, late))
    };
    let bad = [File::Unparsable, File::UnknownKey, File::Missing, File::Twice, File::Unreadable];
    let (began, from) = (Instant::now(), now());
    let limit = Duration::from_secs(seconds);
    let (mut reloads, mut good, mut third, mut rss) = (0_usize, 0_usize, false, 0_u64);
    while began.elapsed() < limit || reloads < RELOADS_MIN {
        let step = Instant::now();
        let is_good = reloads % 2 == 0;
        if is_good {
            good = reloads % 7;
        }
        let file = if is_good { File::Good(good) } else { bad[reloads / 2 % bad.len()] };
        put(folder.path(), &unchanged, &changing, file);
        if reloads % 3 == 0 {
            // Followed by a request, which is answered after it: what is in force is known again then.
            server.signal("HUP").unwrap();
        }
        let answer = http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap();
        let want = if is_good { 200 } else { 500 };
        assert_eq!(answer.status, want, "{file:?}: {}", answer.text());
        if reloads % 16 < 2 {
            assert_eq!(successful(&server), is_good, "after {file:?}");
            assert_eq!(in_force(&server), good, "after {file:?}");
        }
        reloads += 1;
        if !third && began.elapsed() > limit / 3 {
            (third, rss) = (true, e2e::usage::of(server.pid()).unwrap().rss_bytes);
        }
        std::thread::sleep(PAUSE.saturating_sub(step.elapsed()));
    }
    put(folder.path(), &unchanged, &changing, File::Good(1));
    assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
    assert!(successful(&server));
    let to = now();
    let mut opened = 0;
    for (target, before) in targets[..TARGETS].iter().zip(&connections_before) {
        opened += target.last_request().unwrap().connection - before;
    }
    end.store(true, Ordering::Relaxed);
    watcher.join().unwrap();

    let used = e2e::usage::of(server.pid()).unwrap();
    let lost = lost(&server, from, to).unwrap();
    let all_lost: usize = lost.iter().map(|(_, n)| n).sum();
    let scrapes = ((to - from) / INTERVAL) as usize * TARGETS;
    let late = late.load(Ordering::Relaxed) as f64 / 1000.0;
    println!(
        "{reloads} reloads in {:.1} s, {all_lost} of {scrapes} scrapes lost, machine late for {late:.1} s, RSS {} then {} MiB, {:.1} CPU-s",
        to - from,
        rss >> 20,
        used.rss_bytes >> 20,
        used.cpu_seconds
    );
    // One in two hundred for a moment in which the machine ran others, and what it was seen to be late by.
    let excused = scrapes / 200 + (late / INTERVAL * 2.0) as usize * TARGETS;
    assert!(all_lost <= excused, "{all_lost} of {scrapes} scrapes lost, {excused} excused: {lost:?}");
    // A connection ends only where a scrape failed.
    assert!(opened <= all_lost, "{opened} connections opened again, {all_lost} scrapes lost");
    assert!(used.rss_bytes < rss + GROWTH_MAX, "memory grew from {rss} to {} bytes", used.rss_bytes);
    assert!(server.stop().unwrap().success());
}
