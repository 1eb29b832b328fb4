//! Queries of death beside ordinary targets and rules, under a memory limit: deaths, rule evaluations kept, how
//! punctual scrapes are, whether timeouts are kept, memory. For godwit and, one after the other, Prometheus.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cage::Cage;
use e2e::deaths::{Heavy, Hostile, Load, Said, Sizes, Talk, bodies, queries};
use e2e::http;
use e2e::options;
use e2e::subject::{Kept, Subject};
use e2e::usage;

const HELP: &str = "\
deaths: queries of death beside ordinary targets and rules, under a memory limit (needs root for the limit)

  --limit N       memory limit in MiB (512)
  --targets N     ordinary targets (20), of --pods N times 500 series (5), each scraped every second
  --warm N        seconds before the first query (120)
  --timeout N     timeout of each query in seconds (4)
  --bombs N       hostile bodies of one kind at the same time (40)
  --rounds N      how often all queries are sent, four at once (1)
  --only A        only those whose name contains this
  --subjects A,B  godwit, lts (Prometheus 3.5), new (3.15) (godwit)
  --every         print each answer

GODWIT_BIN names godwit's binary. The end is an error where godwit dies, misses a rule evaluation, gives a wrong status,
scrapes with a jitter above 0.1 s (99th percentile) or answers later than a tenth beyond the timeout.";

struct Plan {
    limit_mib: u64,
    sizes: Sizes,
    warm: u64,
    timeout: u64,
    bombs: usize,
    rounds: usize,
    only: String,
    every: bool,
    subjects: Vec<Subject>,
}

impl Plan {
    fn read(words: impl Iterator<Item = String>) -> Result<Option<Plan>> {
        let sizes =
            Sizes { targets: 20, pods: 5, watches: 10, scrape_seconds: 1, groups: 5, rule_seconds: 5 };
        let mut plan = Plan {
            limit_mib: 512,
            sizes,
            warm: 120,
            timeout: 4,
            bombs: 40,
            rounds: 1,
            only: String::new(),
            every: false,
            subjects: vec![Subject::Ours],
        };
        let go_on = options::read(words, &["--every"], |name, value| {
            match name {
                "--limit" => plan.limit_mib = value.parse()?,
                "--targets" => plan.sizes.targets = value.parse()?,
                "--pods" => plan.sizes.pods = value.parse()?,
                "--warm" => plan.warm = value.parse()?,
                "--timeout" => plan.timeout = value.parse::<u64>()?.max(1),
                "--bombs" => plan.bombs = value.parse()?,
                "--rounds" => plan.rounds = value.parse()?,
                "--only" => plan.only = value.to_string(),
                "--every" => plan.every = true,
                "--subjects" => {
                    plan.subjects = value.split(',').map(Subject::named).collect::<Result<_>>()?
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(go_on.then_some(plan))
    }
}

/// The first value of an instant query; 0 where there is none.
fn value(port: u16, text: &str, at: f64) -> Result<f64> {
    let path = format!("/api/v1/query?query={}&time={at:.3}", http::encode(text));
    let answer = http::get(port, &path)?.json()?;
    Ok(answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").parse()?)
}

/// Figures of one part of the attack.
struct Part {
    heard: Vec<Said>,
    deaths: u64,
    jitter: Vec<f64>,
    rules_kept: f64,
    /// Ordinary queries that were answered, of all.
    ordinary: (u64, u64),
    seconds: f64,
}

/// The subject, looked after by a thread of its own while it is attacked.
struct Attack<'a> {
    kept: Mutex<Kept>,
    load: &'a Load,
    port: u16,
}

impl Attack<'_> {
    fn run(&self, work: impl FnOnce(&Talk<'_>) -> Vec<Said>) -> Result<Part> {
        let (over, asked, answered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let deaths_before = self.lock(|kept| kept.restarts);
        let (began, from) = (Instant::now(), e2e::wait::now());
        let ready = || {
            let begun = Instant::now();
            while !http::get(self.port, "/-/ready").is_ok_and(|a| a.status == 200)
                && begun.elapsed() < Duration::from_secs(60)
            {
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        let heard = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.lock(|kept| kept.look()).unwrap_or_else(|e| eprintln!("{e:#}"));
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let answer = http::get(self.port, "/api/v1/query?query=count(up)&timeout=10s");
                    if answer.is_ok_and(|a| a.status == 200) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(250));
                }
            });
            let heard = work(&Talk { port: self.port, before: &ready });
            over.store(true, Ordering::Relaxed);
            heard
        });
        let (ended, seconds) = (Instant::now(), began.elapsed().as_secs_f64());
        let jitter = self.load.jitter(began, ended);
        // What is due by now is evaluated then, and stored.
        let (until, rule) = (e2e::wait::now(), self.load.sizes().rule_seconds);
        std::thread::sleep(Duration::from_secs(rule + 2));
        self.lock(Kept::until_ready)?;
        let window = (((until - from) as u64) / rule).max(1) * rule;
        let text = format!("sum(count_over_time({{kept!=\"\"}}[{window}s]))");
        let rules_kept = value(self.port, &text, until)? / self.load.rule_samples_due(window);
        Ok(Part {
            heard,
            deaths: self.lock(|kept| kept.restarts) - deaths_before,
            jitter,
            rules_kept: rules_kept.min(1.0),
            ordinary: (answered.into_inner(), asked.into_inner()),
            seconds,
        })
    }

    fn lock<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// The share `q` of sorted values.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = (sorted.len() as f64 * q) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

type Rows = Vec<(String, String)>;

/// Seconds beyond the timeout, as a part of it, at worst; and how many answers were later than a tenth.
fn overrun(heard: &[Said], timeout: f64) -> (f64, usize) {
    let late = |said: &Said| (said.seconds / timeout - 1.0).max(0.0);
    let worst = heard.iter().map(late).fold(0.0, f64::max);
    (worst, heard.iter().filter(|said| late(said) > 0.1).count())
}

fn statuses(heard: &[Said]) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for said in heard {
        *counts.entry(said.status.map_or("none".to_string(), |s| s.to_string())).or_default() += 1;
    }
    counts.iter().map(|(status, n)| format!("{status}: {n}")).collect::<Vec<_>>().join(", ")
}

fn rows_of(part: &Part, what: &str, rows: &mut Rows) {
    let wrong = part.heard.iter().filter(|said| said.fault.is_some()).count();
    let mut put = |name: &str, text: String| rows.push((format!("{what}: {name}"), text));
    put("deaths", part.deaths.to_string());
    put("answers by status", statuses(&part.heard));
    put("answers missing or wrong", format!("{wrong} of {}", part.heard.len()));
    put("rule evaluations kept", format!("{:.1} %", part.rules_kept * 100.0));
    put(
        "scrape jitter p50 / p99 / worst, s",
        format!(
            "{:.3} / {:.3} / {:.2}",
            quantile(&part.jitter, 0.5),
            quantile(&part.jitter, 0.99),
            quantile(&part.jitter, 1.0)
        ),
    );
    put("ordinary queries answered", format!("{} of {}", part.ordinary.0, part.ordinary.1));
    put("seconds", format!("{:.0}", part.seconds));
}

fn measure(subject: Subject, plan: &Plan, all: &[Hostile]) -> Result<(Rows, bool)> {
    let folder = tempfile::tempdir()?;
    let load = Load::start(plan.sizes)?;
    load.write_files(folder.path())?;
    let cage = Cage::new("godwit-deaths", plan.limit_mib << 20);
    if cage.is_none() {
        eprintln!("no control group can be made: the limit is the program's own business");
    }
    // Debian's build of 3.5 is without OpenTelemetry.
    let extra = ["--web.enable-remote-write-receiver", "--web.enable-otlp-receiver"];
    let extra = if subject == Subject::Peer(e2e::program::Program::Lts) { &extra[..1] } else { &extra[..] };
    let mut kept = Kept::start(subject, folder.path(), cage, extra)?;
    kept.until_ready()?;
    let port = kept.port();
    std::thread::sleep(Duration::from_secs(plan.warm));
    kept.look()?;
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let before = usage::of(kept.server.as_ref().context("it is gone")?.pid())?.rss_bytes;

    let attack = Attack { kept: Mutex::new(kept), load: &load, port };
    eprintln!("{}: quiet", subject.title());
    let quiet = attack.run(|_| {
        std::thread::sleep(Duration::from_secs(20));
        Vec::new()
    })?;
    eprintln!("{}: queries", subject.title());
    let asked = attack.run(|talk| {
        let chosen = |q: &Heavy| q.name.contains(&plan.only);
        let round = |_| talk.ask(&queries(plan.timeout).into_iter().filter(chosen).collect::<Vec<_>>(), 4);
        (0..plan.rounds).flat_map(round).collect()
    })?;
    eprintln!("{}: bodies", subject.title());
    let sent = attack.run(|talk| {
        let chosen: Vec<Hostile> = all.iter().filter(|b| b.name.contains(&plan.only)).cloned().collect();
        talk.send(&chosen)
    })?;
    let mut worst: Vec<&Said> = asked.heard.iter().chain(&sent.heard).collect();
    worst.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    for said in worst {
        if plan.every || said.fault.is_some() {
            eprintln!("{said:?}");
        }
    }
    let kept = attack.kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (late, late_count) = overrun(&asked.heard, plan.timeout as f64);
    let mut rows = Rows::new();
    rows.push(("resident before, MiB".into(), mib(before)));
    rows.push((
        "quiet: scrape jitter p50 / p99 / worst, s".into(),
        format!(
            "{:.3} / {:.3} / {:.2}",
            quantile(&quiet.jitter, 0.5),
            quantile(&quiet.jitter, 0.99),
            quantile(&quiet.jitter, 1.0)
        ),
    ));
    rows_of(&asked, "queries", &mut rows);
    rows.push(("queries: worst time beyond the timeout".into(), format!("{:.0} %", late * 100.0)));
    rows.push(("queries: answers later than a tenth beyond it".into(), late_count.to_string()));
    rows_of(&sent, "bodies", &mut rows);
    rows.push(("peak resident, MiB".into(), mib(kept.peak)));
    let group = |text: fn(&Cage) -> u64| kept.cage.as_ref().map_or(0, text);
    rows.push(("peak of the group, file cache included, MiB".into(), mib(group(Cage::peak_bytes))));
    rows.push(("ended by the system for lack of memory".into(), group(Cage::kills).to_string()));
    let fine = |part: &Part| {
        part.deaths == 0
            && part.rules_kept >= 0.999
            && quantile(&part.jitter, 0.99) < 0.1
            && part.heard.iter().all(|said| said.fault.is_none())
    };
    let good = fine(&asked) && fine(&sent) && late <= 0.1;
    if !good {
        eprintln!("{}", kept.last_words);
    }
    Ok((rows, good || subject != Subject::Ours))
}

fn main() -> Result<()> {
    let Some(plan) = Plan::read(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let all = bodies(plan.bombs, 1)?;
    let (mut columns, mut good) = (Vec::new(), true);
    for &subject in &plan.subjects {
        let (rows, fine) = measure(subject, &plan, &all).with_context(|| subject.title())?;
        good &= fine;
        columns.push(rows);
    }
    println!(
        "{} targets of {} series each second, {} s before; timeout {} s; {} MiB\n",
        plan.sizes.targets,
        plan.sizes.pods * testkit::SERIES_A_POD,
        plan.warm,
        plan.timeout,
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
