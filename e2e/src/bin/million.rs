//! A million active series: what they cost in memory and CPU, and how long a start takes after a clean stop and
//! after kill -9, for godwit and real Prometheuses one after the other under the same load.
//!
//! Every figure is the server's own, from `/proc/PID`; the fleet that it scrapes lives in this process.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::http;
use e2e::options;
use e2e::process::Server;
use e2e::program::Program;
use e2e::usage::{self, Usage};
use testkit::{Fleet, SERIES_A_POD};

const HELP: &str = "\
million: memory, CPU and start time with many active series, godwit beside real Prometheuses

  --targets N     targets, each on a port of its own (100)
  --series N      series of a target, a multiple of 500 (10000)
  --interval N    seconds between two scrapes (15)
  --seconds N     length of the measured window, after two intervals of warm-up (300)
  --subjects A,B  godwit, lts (3.5), old (2.42), new (3.15, where peers.sh --go or GODWIT_PEER_NEW gives it)
                  (godwit,lts)

GODWIT_BIN names godwit's binary. Data lies in the folder for temporary files (TMPDIR); a run with the default
values wants 4 GiB of memory and 4 GiB of disk.";

const LISTEN: &str = "--web.listen-address=127.0.0.1:{port}";
/// Rest before the memory of an idle server is read.
const IDLE: Duration = Duration::from_secs(5);
/// How long a server may take to take in all series, and to start over them.
const SLOWEST: Duration = Duration::from_secs(1200);

struct Plan {
    targets: usize,
    series: usize,
    interval: u64,
    seconds: u64,
    subjects: Vec<Program>,
}

impl Plan {
    fn read(words: impl Iterator<Item = String>) -> Result<Option<Plan>> {
        let mut plan = Plan {
            targets: 100,
            series: 10_000,
            interval: 15,
            seconds: 300,
            subjects: vec![Program::Godwit, Program::Lts],
        };
        let go_on = options::read(words, &[], |name, value| {
            match name {
                "--targets" => plan.targets = value.parse()?,
                "--series" => plan.series = value.parse()?,
                "--interval" => plan.interval = value.parse::<u64>()?.max(1),
                "--seconds" => plan.seconds = value.parse::<u64>()?.max(1),
                "--subjects" => {
                    plan.subjects = value.split(',').map(subject).collect::<Result<_>>()?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !go_on {
            return Ok(None);
        }
        ensure!(plan.series.is_multiple_of(SERIES_A_POD), "--series: a multiple of {SERIES_A_POD}");
        Ok(Some(plan))
    }

    fn total(&self) -> usize {
        self.targets * self.series
    }
}

fn subject(name: &str) -> Result<Program> {
    Ok(match name {
        "godwit" => Program::Godwit,
        "lts" => Program::Lts,
        "old" => Program::Old,
        "new" => Program::New,
        other => bail!("--subjects: {other:?} is none of godwit, lts, old, new"),
    })
}

/// What became of one subject: rows of the table in order.
type Rows = Vec<(&'static str, String)>;

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

/// Sum of a metric of ours over its labels.
fn metric(server: &Server, name: &str) -> Result<f64> {
    let page = http::get(server.port, "/metrics")?.text();
    let mut sum = 0.0;
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        if rest.starts_with(['{', ' ']) {
            sum += rest.rsplit(' ').next().unwrap_or_default().parse::<f64>().unwrap_or(0.0);
        }
    }
    Ok(sum)
}

fn disk_bytes(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { disk_bytes(&entry.path()) } else { meta.len() };
    }
    sum
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < SLOWEST, "not within {SLOWEST:?}: {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// A start over the data: wall and CPU seconds until it is ready, and the most memory until then.
fn start_again(program: Program, folder: &Path, more: &[&str]) -> Result<(Server, String)> {
    let began = Instant::now();
    let server = Server::start_within(&program.path()?, more, folder, "/-/ready", SLOWEST)?;
    let (wall, used) = (began.elapsed().as_secs_f64(), usage::of(server.pid())?);
    let text = format!("{wall:.1} s / {:.1} CPU-s / {} MiB", used.cpu_seconds, mib(used.rss_peak_bytes));
    Ok((server, text))
}

/// Mean of the memory, once a second, over a window; and the CPU seconds used by others meanwhile.
fn window(server: &Server, seconds: u64) -> Result<(Usage, Usage, u64, f64)> {
    let (others, began) = (usage::machine_cpu_seconds()?, Instant::now());
    let first = usage::of(server.pid())?;
    let (mut sum, mut count) = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_secs(1));
        sum += usage::of(server.pid())?.rss_bytes;
        count += 1;
    }
    let last = usage::of(server.pid())?;
    let own = last.cpu_seconds - first.cpu_seconds;
    let busy = (usage::machine_cpu_seconds()? - others - own) / began.elapsed().as_secs_f64();
    Ok((first, last, sum / count.max(1), busy))
}

fn measure(program: Program, plan: &Plan, fleet: &Fleet) -> Result<Rows> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (path, empty) = (program.path()?, "scrape_configs: []\n");
    let addresses: Vec<String> = fleet.addresses().iter().map(|a| format!("'{a}'")).collect();
    let scraping = format!(
        "global: {{scrape_interval: {0}s, scrape_timeout: {0}s}}\nscrape_configs:\n- job_name: fleet\n  static_configs:\n  - targets: [{1}]\n",
        plan.interval,
        addresses.join(", ")
    );
    let arguments =
        [LISTEN, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.enable-lifecycle"];
    let say = |what: &str| eprintln!("{program:?}: {what}");

    std::fs::write(folder.join("prometheus.yml"), empty)?;
    let server = Server::start(&path, &arguments, folder, "/-/ready")?;
    std::thread::sleep(IDLE);
    let idle = usage::of(server.pid())?;
    say("taking in the series");
    std::fs::write(folder.join("prometheus.yml"), &scraping)?;
    ensure!(http::request(server.port, "POST", "/-/reload", &[], &[])?.status == 200, "no reload");
    let began = Instant::now();
    wait_until("all series are in", || {
        Ok(metric(&server, "prometheus_tsdb_head_series")? >= plan.total() as f64)
    })?;
    let (taken_in, warm) = (began.elapsed().as_secs_f64(), usage::of(server.pid())?);
    std::thread::sleep(Duration::from_secs(plan.interval * 2));

    say("measuring");
    let (samples, pages) = (metric(&server, "prometheus_tsdb_head_samples_appended_total")?, fleet.served());
    let (first, last, rss, busy) = window(&server, plan.seconds)?;
    let samples = metric(&server, "prometheus_tsdb_head_samples_appended_total")? - samples;
    let pages = (fleet.served() - pages) as f64;
    let due = plan.targets as f64 * plan.seconds as f64 / plan.interval as f64;
    let series = metric(&server, "prometheus_tsdb_head_series")?;

    say("stopping and starting");
    let began = Instant::now();
    ensure!(server.stop()?.success(), "the stop was not clean");
    let stopped = began.elapsed().as_secs_f64();
    let disk = disk_bytes(&folder.join("data"));
    let (server, after_stop) = start_again(program, folder, &arguments)?;
    let there = metric(&server, "prometheus_tsdb_head_series")?;
    ensure!(there >= series * 0.999, "{there} of {series} series are there after a clean stop");
    // Scraped once or twice more, so that the end comes in the midst of work.
    std::thread::sleep(Duration::from_secs(plan.interval * 2));
    server.kill()?;
    let (server, after_kill) = start_again(program, folder, &arguments)?;
    let there = metric(&server, "prometheus_tsdb_head_series")?;
    ensure!(there >= series * 0.999, "{there} of {series} series are there after kill -9");
    server.kill()?;

    let cpu = last.cpu_seconds - first.cpu_seconds;
    Ok(vec![
        ("active series", format!("{series:.0}")),
        ("samples a second in the window", format!("{:.0}", samples / plan.seconds as f64)),
        ("scrapes served / due", format!("{pages:.0} / {due:.0}")),
        ("RSS idle, MiB", mib(idle.rss_bytes)),
        ("RSS steady, MiB", mib(rss)),
        ("RSS peak, MiB", mib(last.rss_peak_bytes)),
        (
            "bytes per active series (steady less idle)",
            format!("{:.0}", rss.saturating_sub(idle.rss_bytes) as f64 / series),
        ),
        ("CPU-s per million samples", format!("{:.2}", cpu / samples * 1e6)),
        (
            "CPU-s to take in the series / wall s",
            format!("{:.1} / {taken_in:.1}", warm.cpu_seconds - idle.cpu_seconds),
        ),
        ("clean stop, s", format!("{stopped:.1}")),
        ("start after a clean stop: wall / CPU / peak RSS", after_stop),
        ("start after kill -9: wall / CPU / peak RSS", after_kill),
        ("data on disk at the clean stop, MiB", mib(disk)),
        ("cores busy with others (the fleet too)", format!("{busy:.2}")),
    ])
}

fn main() -> Result<()> {
    let Some(plan) = Plan::read(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let fleet = runtime.block_on(Fleet::start(plan.targets, plan.series / SERIES_A_POD))?;
    let mut columns = Vec::new();
    for &program in &plan.subjects {
        columns.push(measure(program, &plan, &fleet).with_context(|| format!("{program:?}"))?);
    }
    println!(
        "{} targets of {} series each {} s; window {} s; gzip on the wire\n",
        plan.targets, plan.series, plan.interval, plan.seconds
    );
    let names: Vec<String> = plan.subjects.iter().map(|p| p.title().to_string()).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (row, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let cells: Vec<&str> =
            columns.iter().map(|c| c.get(row).map_or("", |(_, text)| text.as_str())).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}
