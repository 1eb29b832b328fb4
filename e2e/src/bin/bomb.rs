//! A cardinality bomb beside ordinary targets, under a memory limit: restarts, ordinary scrapes that are stored,
//! time until the culprit is named, memory. For godwit and, one after the other, other servers.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::bomb::Bomb;
use e2e::cage::Cage;
use e2e::http;
use e2e::options;
use e2e::process::Server;
use e2e::subject::{Kept, Subject};
use e2e::usage;
use testkit::{Fleet, SERIES_A_POD};

const HELP: &str = "\
bomb: a cardinality bomb beside ordinary targets, under a memory limit (needs root for the limit)

  --limit N       memory limit in MiB (512)
  --ordinary N    ordinary targets (50), of --series N series each, a multiple of 500 (1000), each --interval N
                  seconds (5)
  --bombs N       targets of the bomb (40), of --lines N series each (250000), each --every N seconds (20), all of
                  them other series after --turn N seconds (60)
  --seconds N     how long the bomb lasts (600)
  --subjects A,B  godwit, lts (Prometheus 3.5), new (3.15), vm (VictoriaMetrics, named by GODWIT_PEER_VM) (godwit)

GODWIT_BIN names godwit's binary. The end is an error where godwit restarts, stores less than 99.9 % of the ordinary
scrapes, or needs more than ten seconds to name the culprit.";

struct Plan {
    limit_mib: u64,
    ordinary: usize,
    series: usize,
    interval: u64,
    bombs: usize,
    lines: usize,
    every: u64,
    turn: u64,
    seconds: u64,
    subjects: Vec<Subject>,
}

impl Plan {
    fn read(words: impl Iterator<Item = String>) -> Result<Option<Plan>> {
        let mut plan = Plan {
            limit_mib: 512,
            ordinary: 50,
            series: 1000,
            interval: 5,
            bombs: 40,
            lines: 250_000,
            every: 20,
            turn: 60,
            seconds: 600,
            subjects: vec![Subject::Ours],
        };
        let go_on = options::read(words, &[], |name, value| {
            match name {
                "--limit" => plan.limit_mib = value.parse()?,
                "--ordinary" => plan.ordinary = value.parse()?,
                "--series" => plan.series = value.parse()?,
                "--interval" => plan.interval = value.parse::<u64>()?.max(1),
                "--bombs" => plan.bombs = value.parse()?,
                "--lines" => plan.lines = value.parse()?,
                "--every" => plan.every = value.parse::<u64>()?.max(1),
                "--turn" => plan.turn = value.parse::<u64>()?.max(1),
                "--seconds" => plan.seconds = value.parse()?,
                "--subjects" => {
                    plan.subjects = value.split(',').map(Subject::named).collect::<Result<_>>()?
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !go_on {
            return Ok(None);
        }
        ensure!(plan.series.is_multiple_of(SERIES_A_POD), "--series: a multiple of {SERIES_A_POD}");
        plan.seconds -= plan.seconds % plan.interval;
        Ok(Some(plan))
    }
}

/// The first value of an instant query at a time; 0 where there is none.
fn value(port: u16, text: &str, at: f64) -> Result<f64> {
    let path = format!("/api/v1/query?query={}&time={at:.3}", http::encode(text));
    let answer = http::get(port, &path)?.json()?;
    let number = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse()?;
    Ok(number)
}

type Rows = Vec<(&'static str, String)>;

fn config(plan: &Plan, fleet: &Fleet, bomb: Option<&Bomb>) -> String {
    let addresses: Vec<String> = fleet.addresses().iter().map(|a| format!("'{a}'")).collect();
    let mut text = format!(
        "global: {{scrape_interval: {0}s, scrape_timeout: {0}s}}\nscrape_configs:\n- {{job_name: ordinary, static_configs: [{{targets: [{1}]}}]}}\n",
        plan.interval,
        addresses.join(", ")
    );
    text.extend(bomb.map(|b| b.job(plan.every)));
    text
}

fn measure(subject: Subject, plan: &Plan, runtime: &tokio::runtime::Runtime) -> Result<(Rows, bool)> {
    let folder = tempfile::tempdir()?;
    let fleet = runtime.block_on(Fleet::start(plan.ordinary, plan.series / SERIES_A_POD))?;
    let bomb = runtime.block_on(Bomb::start(plan.bombs, plan.lines, Duration::from_secs(plan.turn)))?;
    let cage = Cage::new("godwit-bomb", plan.limit_mib << 20);
    if cage.is_none() {
        eprintln!("no control group can be made: the limit is the program's own business");
    }
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config(plan, &fleet, None))?;
    let mut kept = Kept::start(subject, folder.path(), cage, &[])?;
    kept.until_ready()?;
    std::thread::sleep(Duration::from_secs(plan.interval * 4));

    eprintln!("{}: the bomb begins", subject.title());
    std::fs::write(&file, config(plan, &fleet, Some(&bomb)))?;
    let status = http::request(kept.port(), "POST", "/-/reload", &[], &[])?.status;
    ensure!((200..300).contains(&status), "no reload: {status}");
    while bomb.served() == 0 {
        kept.look()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let began = Instant::now();
    let (mut notice, mut in_metric) = (None, None);
    while began.elapsed() < Duration::from_secs(plan.seconds) {
        kept.look()?;
        let text = |path: &str| http::get(kept.port(), path).map(|a| a.text()).unwrap_or_default();
        if notice.is_none() && text("/api/v1/notifications").contains("job \\\"bomb\\\"") {
            notice = Some(began.elapsed().as_secs_f64());
        }
        if in_metric.is_none() && text("/metrics").contains("source_job=\"bomb\"") {
            in_metric = Some(began.elapsed().as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let end = e2e::wait::now();
    // What was begun before the end is stored then.
    std::thread::sleep(Duration::from_secs(plan.interval + 5));
    kept.until_ready()?;
    let due = plan.ordinary as f64 * plan.seconds as f64 / plan.interval as f64;
    let window = format!("[{}s]", plan.seconds);
    let port = kept.port();
    let ups = value(port, &format!("sum(sum_over_time(up{{job=\"ordinary\"}}{window}))"), end)?;
    let one = "runtime_value_0{job=\"ordinary\",shard=\"0\",pod=~\".*-000-.*\"}";
    let samples = value(port, &format!("sum(count_over_time({one}{window}))"), end)?;
    let stored = ups.min(samples) / due;
    let metrics = http::get(port, "/metrics")?.text();
    let head = metric(&metrics, "prometheus_tsdb_head_series").unwrap_or_default();
    let refused = metric(&metrics, "godwit_tsdb_series_refused_total").unwrap_or_default();
    let cpu = usage::of(kept.server.as_ref().context("it is gone")?.pid())?.cpu_seconds;

    eprintln!("{}: killed and started again", subject.title());
    if let Some(server) = kept.server.as_ref() {
        server.signal("KILL")?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let before = kept.restarts;
    kept.look()?;
    let ready = kept.until_ready()?;
    kept.look()?;
    let more = kept.restarts.saturating_sub(before + 1);
    kept.restarts = before;
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let seconds = |s: Option<f64>| s.map_or_else(|| "never".to_string(), |s| format!("{s:.1}"));
    let good = kept.restarts == 0 && more == 0 && stored >= 0.999 && notice.is_some_and(|s| s <= 10.0);
    let rows = vec![
        ("restarts", kept.restarts.to_string()),
        (
            "ordinary scrapes stored / due",
            format!("{:.0} / {due:.0} ({:.2} %)", ups.min(samples), stored * 100.0),
        ),
        ("culprit in /api/v1/notifications after, s", seconds(notice)),
        ("culprit in /metrics after, s", seconds(in_metric)),
        ("pages of the bomb served", bomb.served().to_string()),
        ("series in memory at the end", format!("{head:.0}")),
        ("series refused", format!("{refused:.0}")),
        ("CPU-s", format!("{cpu:.0}")),
        ("peak RSS, MiB", mib(kept.peak)),
        (
            "peak of the group, file cache included, MiB",
            kept.cage.as_ref().map_or_else(String::new, |c| mib(c.peak_bytes())),
        ),
        (
            "ended by the system for lack of memory",
            kept.cage.as_ref().map_or_else(String::new, |c| c.kills().to_string()),
        ),
        ("ready after kill -9, s (further deaths)", format!("{ready:.1} ({more})")),
    ];
    if !good {
        eprintln!("{}", kept.server.as_ref().map(Server::log_tail).unwrap_or_default());
    }
    Ok((rows, good || subject != Subject::Ours))
}

fn metric(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn main() -> Result<()> {
    let Some(plan) = Plan::read(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut columns, mut good) = (Vec::new(), true);
    for &subject in &plan.subjects {
        let (rows, fine) = measure(subject, &plan, &runtime).with_context(|| subject.title())?;
        good &= fine;
        columns.push(rows);
    }
    println!(
        "{} ordinary targets of {} series each {} s; bomb of {} x {} series each {} s, others each {} s; {} s; {} MiB\n",
        plan.ordinary,
        plan.series,
        plan.interval,
        plan.bombs,
        plan.lines,
        plan.every,
        plan.turn,
        plan.seconds,
        plan.limit_mib
    );
    let names: Vec<&str> = plan.subjects.iter().map(|s| s.title()).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (row, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let cells: Vec<&str> =
            columns.iter().map(|c| c.get(row).map_or("", |(_, text)| text.as_str())).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    ensure!(good, "the promise is not kept");
    Ok(())
}
