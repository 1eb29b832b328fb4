//! How cost grows with the number of active series: memory, CPU, and how long a start takes after kill -9 and
//! after a clean stop, for godwit and real peers one after the other under the same load.
//!
//! Every figure is the server's own, from `/proc/PID`; the fleet that it scrapes lives in this process. Pages are
//! made as they are asked for: kept ones of ten million series would be as large as what is measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::http;
use e2e::options;
use e2e::process::{Server, peer};
use e2e::program::Program;
use e2e::usage::{self, Usage};
use testkit::{Fleet, SERIES_A_POD};

const HELP: &str = "\
million: memory, CPU and start time with many active series, godwit beside real peers

  --series A,B    numbers of active series, one run for each (1000000)
  --subjects A,B  godwit, prometheus (3.5), prometheus-old (2.42), prometheus-new (3.15, where peers.sh --go or
                  GODWIT_PEER_NEW gives it), victoria-metrics (GODWIT_PEER_VM names it) (godwit,prometheus)
  --image WHAT    images of godwit's head: off, on, both (both)
  --peers N       no peer beyond so many series (1000000)
  --targets N     targets, each on a port of its own (one for 1000 series, from 10 to 100)
  --interval N    seconds between two scrapes (1 up to 10000 series, 5 up to 100000, 15 up to 1000000, else 60)
  --seconds N     least length of the measured window, after two intervals of warm-up; whole intervals, two at
                  least (90)
  --results FILE  the same as JSON

GODWIT_BIN names godwit's binary. Data lies in the folder for temporary files (TMPDIR). A million series want 4 GiB
of memory and 4 GiB of disk; ten million of godwit alone, 5 GiB and 8 GiB.";

/// Rest before the memory of an idle server is read.
const IDLE: Duration = Duration::from_secs(5);
/// How long a server may take to take in all series, to stop, and to start over them.
const SLOWEST: Duration = Duration::from_secs(1200);
/// Of the series, what must be there again: some may have gone while the numbers were read.
const THERE: f64 = 0.999;
const EMPTY: &str = "scrape_configs: []\n";

struct Plan {
    sizes: Vec<usize>,
    peers_max: usize,
    targets: Option<usize>,
    interval: Option<u64>,
    seconds: u64,
    subjects: Vec<Subject>,
    results: Option<PathBuf>,
}

/// A server and how it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Godwit { image: bool },
    Peer(Program),
    Victoria,
}

impl Subject {
    fn title(self) -> &'static str {
        match self {
            Subject::Godwit { image: false } => "godwit",
            Subject::Godwit { image: true } => "godwit, image",
            Subject::Peer(program) => program.title(),
            Subject::Victoria => "VictoriaMetrics",
        }
    }

    fn path(self) -> Result<PathBuf> {
        match self {
            Subject::Godwit { .. } => Program::Godwit.path(),
            Subject::Peer(program) => program.path(),
            Subject::Victoria => match std::env::var_os("GODWIT_PEER_VM") {
                Some(path) => Ok(path.into()),
                None => peer("victoria-metrics"),
            },
        }
    }

    fn args(self) -> Vec<&'static str> {
        if self == Subject::Victoria {
            return vec![
                "-httpListenAddr=127.0.0.1:{port}",
                "-promscrape.config=prometheus.yml",
                "-promscrape.maxScrapeSize=256MB",
                "-storageDataPath=data",
            ];
        }
        let mut args = vec![
            "--web.listen-address=127.0.0.1:{port}",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.enable-lifecycle",
        ];
        if matches!(self, Subject::Godwit { .. }) {
            args.push("--godwit.config=godwit.yml");
        }
        args
    }

    fn ready(self) -> &'static str {
        if self == Subject::Victoria { "/health" } else { "/-/ready" }
    }

    /// Series that it knows.
    fn series(self, server: &Server) -> Result<f64> {
        match self {
            Subject::Victoria => {
                let answer = http::get(server.port, "/prometheus/api/v1/status/tsdb?topN=1")?.json()?;
                Ok(answer["data"]["totalSeries"].as_f64().unwrap_or(0.0))
            }
            _ => metric(server, "prometheus_tsdb_head_series"),
        }
    }

    /// Samples it took in since its start.
    fn samples(self, server: &Server) -> Result<f64> {
        match self {
            Subject::Victoria => metric(server, "vm_rows_inserted_total"),
            _ => metric(server, "prometheus_tsdb_head_samples_appended_total"),
        }
    }
}

impl Plan {
    fn read(words: impl Iterator<Item = String>) -> Result<Option<Plan>> {
        let mut plan = Plan {
            sizes: vec![1_000_000],
            peers_max: 1_000_000,
            targets: None,
            interval: None,
            seconds: 90,
            subjects: Vec::new(),
            results: None,
        };
        let (mut names, mut images) = ("godwit,prometheus".to_string(), vec![false, true]);
        let go_on = options::read(words, &[], |name, value| {
            match name {
                "--series" => plan.sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--subjects" => names = value.to_string(),
                "--image" => {
                    images = match value {
                        "off" => vec![false],
                        "on" => vec![true],
                        "both" => vec![false, true],
                        _ => bail!("none of off, on, both"),
                    }
                }
                "--peers" => plan.peers_max = value.parse()?,
                "--targets" => plan.targets = Some(value.parse::<usize>()?.max(1)),
                "--interval" => plan.interval = Some(value.parse::<u64>()?.max(1)),
                "--seconds" => plan.seconds = value.parse()?,
                "--results" => plan.results = Some(value.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !go_on {
            return Ok(None);
        }
        for name in names.split(',') {
            match name {
                "godwit" => {
                    plan.subjects.extend(images.iter().map(|image| Subject::Godwit { image: *image }))
                }
                "prometheus" => plan.subjects.push(Subject::Peer(Program::Lts)),
                "prometheus-old" => plan.subjects.push(Subject::Peer(Program::Old)),
                "prometheus-new" => plan.subjects.push(Subject::Peer(Program::New)),
                "victoria-metrics" => plan.subjects.push(Subject::Victoria),
                other => bail!("--subjects: {other:?} is no subject; --help lists all"),
            }
        }
        // Not after an hour of measuring.
        plan.subjects.iter().try_for_each(|s| s.path().map(drop))?;
        plan.sizes.iter().try_for_each(|s| plan.load(*s).map(drop))?;
        Ok(Some(plan))
    }

    fn load(&self, series: usize) -> Result<Load> {
        let targets = self.targets.unwrap_or((series / 1000).clamp(10, 100));
        let of_target = series / targets;
        ensure!(
            of_target > 0 && of_target.is_multiple_of(SERIES_A_POD) && of_target * targets == series,
            "--series: {series} is no multiple of {SERIES_A_POD} for each of {targets} targets"
        );
        // So many samples a second that the server's own idling is no part of the figure, and so few that two
        // cores carry it with the fleet: 10,000 to 167,000.
        let interval = self.interval.unwrap_or(match series {
            0..=10_000 => 1,
            10_001..=100_000 => 5,
            100_001..=1_000_000 => 15,
            _ => 60,
        });
        let seconds = self.seconds.div_ceil(interval).max(2) * interval;
        Ok(Load { series, targets, interval, seconds })
    }
}

/// What a run is about.
struct Load {
    series: usize,
    targets: usize,
    interval: u64,
    seconds: u64,
}

/// What became of one subject: rows of the table in order.
struct Row {
    name: &'static str,
    unit: &'static str,
    value: f64,
    digits: usize,
}

fn row(name: &'static str, unit: &'static str, value: f64, digits: usize) -> Row {
    Row { name, unit, value, digits }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Sum of a server's metric over its labels.
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

/// Files under a folder. What goes meanwhile is left out.
fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => files(&entry.path(), out),
            Ok(meta) if meta.is_file() => out.push(entry.path()),
            _ => {}
        }
    }
}

/// Takes a folder's files out of the page cache.
fn drop_cache(folder: &Path) -> Result<()> {
    let mut all = Vec::new();
    files(folder, &mut all);
    for path in all {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        // Pages that are not on the device yet stay.
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < SLOWEST, "not within {SLOWEST:?}: {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Names of a start's three rows: wall and CPU seconds until it is ready, memory then.
type StartNames = [&'static str; 3];
const WARM: StartNames =
    ["start after kill -9: wall", "start after kill -9: CPU", "start after kill -9: peak RSS"];
const COLD: StartNames = ["the same, files not cached: wall", "cold: CPU", "cold: peak RSS"];
const CLEAN: StartNames =
    ["start after a clean stop: wall", "start after a clean stop: CPU", "start after a clean stop: peak RSS"];

/// A start over the data, with all of its series.
fn start_again(
    subject: Subject,
    folder: &Path,
    series: f64,
    names: StartNames,
    rows: &mut Vec<Row>,
) -> Result<Server> {
    let began = Instant::now();
    let server = Server::start_within(&subject.path()?, &subject.args(), folder, subject.ready(), SLOWEST)?;
    let (wall, used) = (began.elapsed().as_secs_f64(), usage::of(server.pid())?);
    rows.push(row(names[0], "s", wall, 2));
    rows.push(row(names[1], "s", used.cpu_seconds, 2));
    rows.push(row(names[2], "MiB", mib(used.rss_peak_bytes), 0));
    let there = subject.series(&server)?;
    ensure!(there >= series * THERE, "{there} of {series} series are there: {}", names[0]);
    Ok(server)
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

fn measure(subject: Subject, load: &Load, fleet: &Fleet) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let config = folder.join("prometheus.yml");
    let addresses: Vec<String> = fleet.addresses().iter().map(|a| format!("'{a}'")).collect();
    let scraping = format!(
        "global: {{scrape_interval: {0}s, scrape_timeout: {0}s}}\nscrape_configs:\n- job_name: fleet\n  static_configs:\n  - targets: [{1}]\n",
        load.interval,
        addresses.join(", ")
    );
    let say = |what: &str| eprintln!("{} series, {}: {what}", load.series, subject.title());

    let image = subject == Subject::Godwit { image: true };
    std::fs::write(folder.join("godwit.yml"), format!("storage: {{head_image: {image}}}\n"))?;
    std::fs::write(&config, EMPTY)?;
    let server = Server::start(&subject.path()?, &subject.args(), folder, subject.ready())?;
    std::thread::sleep(IDLE);
    let idle = usage::of(server.pid())?;
    say("taking in the series");
    std::fs::write(&config, &scraping)?;
    let reloaded = http::request(server.port, "POST", "/-/reload", &[], &[])?.status;
    ensure!(matches!(reloaded, 200 | 204), "no reload: status {reloaded}");
    // A start shall find nothing to scrape: it would be measured too.
    let began = Instant::now();
    wait_until("all series are in", || Ok(subject.series(&server)? >= load.series as f64))?;
    let (taken_in, warm) = (began.elapsed().as_secs_f64(), usage::of(server.pid())?);
    std::fs::write(&config, EMPTY)?;
    std::thread::sleep(Duration::from_secs(load.interval * 2));

    say("measuring");
    let (samples, pages) = (subject.samples(&server)?, fleet.served());
    let (first, last, rss, busy) = window(&server, load.seconds)?;
    let samples = subject.samples(&server)? - samples;
    let pages = (fleet.served() - pages) as f64;
    let due = load.targets as f64 * load.seconds as f64 / load.interval as f64;
    let series = subject.series(&server)?;
    ensure!(samples > 0.0, "no samples");

    let cpu = last.cpu_seconds - first.cpu_seconds;
    let own = rss.saturating_sub(idle.rss_bytes) as f64;
    let mut rows = vec![
        row("active series", "", series, 0),
        row("samples in the window", "1/s", samples / load.seconds as f64, 0),
        row("scrapes served of those due", "%", pages / due * 100.0, 1),
        row("CPU of a million samples", "s", cpu / samples * 1e6, 2),
        row("CPU to take in the series", "s", warm.cpu_seconds - idle.cpu_seconds, 1),
        row("time to take in the series", "s", taken_in, 1),
        row("memory of an active series (steady less idle RSS)", "B", own / series, 0),
        row("RSS idle", "MiB", mib(idle.rss_bytes), 0),
        row("RSS steady", "MiB", mib(rss), 0),
        row("RSS peak", "MiB", mib(last.rss_peak_bytes), 0),
    ];
    say("killing and starting");
    server.kill()?;
    let server = start_again(subject, folder, series, WARM, &mut rows)?;
    server.kill()?;
    drop_cache(&folder.join("data"))?;
    let mut server = start_again(subject, folder, series, COLD, &mut rows)?;
    say("stopping and starting");
    let began = Instant::now();
    server.signal("TERM")?;
    wait_until("the server has stopped", || server.has_ended())?;
    rows.push(row("clean stop", "s", began.elapsed().as_secs_f64(), 1));
    let mut all = Vec::new();
    files(&folder.join("data"), &mut all);
    let disk = all.iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
    rows.push(row("data on disk then", "MiB", mib(disk), 0));
    start_again(subject, folder, series, CLEAN, &mut rows)?.kill()?;
    rows.push(row("cores busy with others (the fleet too)", "", busy, 2));
    Ok(rows)
}

/// The table of one number of series, and what is kept of it.
fn table(load: &Load, columns: &[(Subject, Vec<Row>)]) -> serde_json::Value {
    println!(
        "\n{} targets of {} series each {} s; window {} s; gzip on the wire\n",
        load.targets,
        load.series / load.targets,
        load.interval,
        load.seconds
    );
    let titles: Vec<&str> = columns.iter().map(|(s, _)| s.title()).collect();
    println!("| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (at, first) in columns.first().into_iter().flat_map(|(_, rows)| rows).enumerate() {
        let text = |r: &Row| format!("{:.*}", r.digits, r.value);
        let cells: Vec<String> =
            columns.iter().map(|(_, rows)| rows.get(at).map_or_else(String::new, text)).collect();
        let unit = if first.unit.is_empty() { String::new() } else { format!(", {}", first.unit) };
        println!("| {}{unit} | {} |", first.name, cells.join(" | "));
    }
    let subjects = columns.iter().map(|(subject, rows)| {
        let name =
            |r: &Row| if r.unit.is_empty() { r.name.into() } else { format!("{}, {}", r.name, r.unit) };
        let rows: serde_json::Map<String, serde_json::Value> =
            rows.iter().map(|r| (name(r), r.value.into())).collect();
        (subject.title().to_string(), rows.into())
    });
    let subjects: serde_json::Map<String, serde_json::Value> = subjects.collect();
    serde_json::json!({
        "series": load.series,
        "targets": load.targets,
        "interval_seconds": load.interval,
        "window_seconds": load.seconds,
        "subjects": subjects,
    })
}

fn main() -> Result<()> {
    let Some(plan) = Plan::read(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut all = Vec::new();
    for &series in &plan.sizes {
        let load = plan.load(series)?;
        let pods = load.series / load.targets / SERIES_A_POD;
        let fleet = runtime.block_on(Fleet::start(load.targets, pods))?;
        let mut columns = Vec::new();
        for &subject in &plan.subjects {
            if matches!(subject, Subject::Godwit { .. }) || series <= plan.peers_max {
                let rows = measure(subject, &load, &fleet)
                    .with_context(|| format!("{series}, {}", subject.title()))?;
                columns.push((subject, rows));
            }
        }
        all.push(table(&load, &columns));
        // After each size: a run of hours may be ended early.
        if let Some(path) = &plan.results {
            std::fs::write(path, serde_json::to_vec_pretty(&all)?)
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
