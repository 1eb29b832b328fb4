//! Kills a real server again and again while it is scraped into, written to, queried and reloaded, starts it
//! again on the same folder, and holds what it answers against the ledger. Now and then a copy of the folder,
//! without what only godwit knows, is opened by a real Prometheus, which must answer the same and find nothing
//! to repair.

#![allow(clippy::print_stdout, reason = "said when asked for")]

mod point;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use point::{Dice, Point};

use crate::ledger::{Check, Figures, Found, Ledger, Load, Plan, check, now_ms};
use crate::process::{Server, free_port};
use crate::program::Program;
use crate::wait::LIMIT;

/// Targets; the last one comes and goes.
const TARGETS: u64 = 4;
/// What is kept. Everything of the last seven minutes is held against the ledger.
const RETENTION_SECONDS: i64 = 480;
/// Blocks end on their own grid: as much may go before its time.
const RETENTION_SLACK_MS: i64 = 60_000;
/// A start takes this long at first; then it is measured.
const START_FIRST: Duration = Duration::from_millis(400);

/// Flags of godwit and of Prometheus that make blocks of ten seconds, so that heads are cut, merged and let go
/// within minutes.
pub const SHORT_BLOCKS: [&str; 3] = [
    "--storage.tsdb.min-block-duration=10s",
    "--storage.tsdb.max-block-duration=90s",
    "--storage.tsdb.retention.time=8m",
];
/// What the load needs.
pub const RECEIVES: [&str; 2] = ["--web.enable-lifecycle", "--web.enable-remote-write-receiver"];

/// How to do it.
#[derive(Clone, Debug)]
pub struct Order {
    /// Kills.
    pub kills: u64,
    /// Choices follow from it.
    pub seed: u64,
    /// True: `storage.strict_sync`.
    pub strict: bool,
    /// After every so many kills a real Prometheus looks; 0 for never.
    pub peer_every: u64,
    /// Where everything lies.
    pub folder: PathBuf,
    /// After the last kill the newest segment of the log is emptied: the ledger must see it.
    pub sabotage: bool,
    /// Prints each kill.
    pub verbose: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Kills by their moment: those that hit it, and those where it never came.
    pub kills: BTreeMap<Point, (u64, u64)>,
    /// Sum of all checks.
    pub found: Found,
    /// Checks by a real Prometheus, and what they found.
    pub peers: (u64, Found),
    /// What the load did.
    pub load: Figures,
    /// Starts until ready, in milliseconds, sorted.
    pub ready_ms: Vec<u64>,
    /// From a kill to the first request to a target after it, in milliseconds, sorted.
    pub gap_ms: Vec<i64>,
    /// Lines of warnings and errors by message.
    pub messages: BTreeMap<String, u64>,
    /// The same of real Prometheuses.
    pub peer_messages: BTreeMap<String, u64>,
}

impl Report {
    /// True where nothing acknowledged was lost, nothing was doubled or altered, and no push was refused.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_clean()
            && self.peers.1.is_clean()
            && self.load.refused == 0
            && self.peer_messages.is_empty()
    }
}

/// What is said of a healthy folder: after every kill, of blocks of late samples, of a flag, and by a real
/// Prometheus whose configuration changes quickly.
const FINE: [&str; 6] = [
    "a lockfile from a previous",
    "found healthy block",
    "received an os signal",
    "overlapping blocks found during reloadblocks",
    "native-histograms",
    "error reloading target set",
];

/// Adds warnings and errors of a log by their messages.
pub fn messages(log: &str, into: &mut BTreeMap<String, u64>) {
    for line in log.lines() {
        let lower = line.to_ascii_lowercase();
        if !["level=warn", "level=error", "panic", "corrupt", "repair"].iter().any(|w| lower.contains(w)) {
            continue;
        }
        if FINE.iter().any(|w| lower.contains(w)) {
            continue;
        }
        let level = if lower.contains("level=error") { "error" } else { "warn" };
        let text = line.split_once("msg=").map_or(line, |(_, m)| m);
        let message = match text.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or(quoted),
            None => text.split(' ').next().unwrap_or(text),
        };
        *into.entry(format!("{level}: {message}")).or_default() += 1;
    }
}

/// Copies of a folder what Prometheus knows.
///
/// # Errors
/// `cp` fails.
pub fn copy_for_peer(data: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(data)?.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let block = name.len() == 26 && !name.contains('.');
        if !block && !["wal", "wbl", "chunks_head"].contains(&name.as_str()) {
            continue;
        }
        let status = Command::new("cp").arg("-a").arg(entry.path()).arg(to).status()?;
        ensure!(status.success(), "cp {name}");
    }
    Ok(())
}

struct Run {
    order: Order,
    ledger: Ledger,
    plan: Plan,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    data: PathBuf,
    report: Report,
    start_time: Duration,
}

impl Run {
    fn new(order: &Order) -> Result<Run> {
        let folder = &order.folder;
        let ledger = Ledger::default();
        let plan = Plan::new(&ledger, TARGETS, &folder.join("prometheus.yml"))?;
        plan.put(true)?;
        let mut arguments: Vec<String> =
            SHORT_BLOCKS.iter().chain(&RECEIVES).map(ToString::to_string).collect();
        arguments.push("--web.listen-address=127.0.0.1:{port}".into());
        arguments.push("--config.file=prometheus.yml".into());
        arguments.push("--storage.tsdb.path=data".into());
        // An image after every kilobyte: by default so short a log would have none.
        let settings =
            format!("storage: {{strict_sync: {}, head_image: true, head_image_log: 1KB}}\n", order.strict);
        std::fs::write(folder.join("godwit.yml"), settings)?;
        arguments.push("--godwit.config=godwit.yml".into());
        Ok(Run {
            order: order.clone(),
            ledger,
            plan,
            program: Program::Godwit.path()?,
            arguments,
            port: free_port()?,
            data: folder.join("data"),
            report: Report::default(),
            start_time: START_FIRST,
        })
    }

    fn spawn(&self) -> Result<Server> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Server::spawn(&self.program, &arguments, &self.order.folder, self.port)
    }

    fn start(&mut self) -> Result<Server> {
        self.ledger.next_life();
        let began = Instant::now();
        let mut server = self.spawn()?;
        server.until_ready(&self.program, "/-/ready", LIMIT)?;
        self.start_time = began.elapsed();
        self.report.ready_ms.push(began.elapsed().as_millis() as u64);
        Ok(server)
    }

    /// The oldest that must be there.
    fn kept_from(&self) -> i64 {
        now_ms() - RETENTION_SECONDS * 1000 + RETENTION_SLACK_MS
    }

    /// What a new life shows.
    fn check(&mut self, server: &Server, number: u64) -> Result<()> {
        let found =
            check(&self.ledger, server.port, &Check { from_ms: self.kept_from(), ..Check::default() })?;
        if self.order.verbose && !found.is_clean() {
            println!("after kill {number}: {:#?}", found.faults);
        }
        self.report.found.add(found);
        Ok(())
    }

    /// Kills and counts.
    fn kill(&mut self, server: Server) -> Result<()> {
        messages(&server.log_text(), &mut self.report.messages);
        server.kill()
    }

    fn sabotage(&self) -> Result<()> {
        let segments = std::fs::read_dir(self.data.join("wal"))?.flatten().filter_map(|e| {
            let name = e.file_name().into_string().ok()?;
            (name.bytes().all(|b| b.is_ascii_digit()) && e.metadata().ok()?.len() > 0).then(|| e.path())
        });
        std::fs::write(segments.max().context("no segment")?, "")?;
        Ok(())
    }

    /// A real Prometheus opens what the kill left; nothing is scraped.
    fn ask_peer(&mut self, before_life: u64) -> Result<()> {
        let folder = self.order.folder.clone();
        std::fs::write(
            folder.join("peer.yml"),
            format!(
                "storage: {{tsdb: {{out_of_order_time_window: {}s}}}}\nscrape_configs: []\n",
                self.plan.window_seconds
            ),
        )?;
        let mut arguments = SHORT_BLOCKS.to_vec();
        arguments.extend([
            "--web.listen-address=127.0.0.1:{port}",
            "--config.file=peer.yml",
            "--storage.tsdb.path=peer",
            "--enable-feature=native-histograms",
        ]);
        let peer = Server::start(&Program::Lts.path()?, &arguments, &folder, "/-/ready")?;
        let what = Check { from_ms: self.kept_from(), before_life: Some(before_life), ..Check::default() };
        let found = check(&self.ledger, peer.port, &what)?;
        if self.order.verbose && !found.is_clean() {
            println!("a real Prometheus: {:#?}", found.faults);
        }
        self.report.peers.0 += 1;
        self.report.peers.1.add(found);
        let mut said = BTreeMap::new();
        messages(&peer.log_text(), &mut said);
        for (message, count) in said {
            *self.report.peer_messages.entry(message).or_default() += count;
        }
        peer.kill()
    }

    fn run(&mut self) -> Result<()> {
        let mut dice = Dice::new(self.order.seed);
        let mut server = self.start()?;
        let load = Load::start(&self.ledger, self.port, &self.plan);
        for number in 1..=self.order.kills {
            let point = dice.point();
            let came = point::wait(point, &self.data, &load, &mut dice);
            load.pause(true);
            self.kill(server)?;
            let killed = now_ms();
            let life = self.ledger.life() + 1;
            if self.order.sabotage && number == self.order.kills {
                self.sabotage()?;
            }
            let peer = self.order.peer_every > 0 && number % self.order.peer_every == 0;
            if peer {
                copy_for_peer(&self.data, &self.order.folder.join("peer"))?;
            }
            if point == Point::Start {
                // Into the start after it, once or more.
                for _ in 0..=dice.below(3) {
                    // It may scrape before it ends: what it stores is none of the copy's.
                    self.ledger.next_life();
                    let doomed = self.spawn()?;
                    let most = self.start_time.as_micros() as u64 * 13 / 10;
                    std::thread::sleep(Duration::from_micros(dice.below(most)));
                    self.kill(doomed)?;
                }
            }
            server = self.start().with_context(|| format!("after kill {number}, {point:?}"))?;
            load.pause(false);
            let count = self.report.kills.entry(point).or_default();
            if came {
                count.0 += 1
            } else {
                count.1 += 1
            }
            self.check(&server, number)?;
            if peer {
                self.ask_peer(life)?;
            }
            self.first_request(killed);
            if self.order.verbose {
                println!(
                    "kill {number}: {point:?}{} ready in {} ms; so far {}",
                    if came { "" } else { " (never came)" },
                    self.start_time.as_millis(),
                    self.report.found
                );
            }
        }
        self.report.load = load.stop();
        messages(&server.log_text(), &mut self.report.messages);
        ensure!(server.stop()?.success(), "the last end was not clean");
        server = self.start()?;
        self.check(&server, self.order.kills + 1)?;
        ensure!(server.stop()?.success(), "the last end was not clean");
        Ok(())
    }

    /// How long the targets were not asked after a kill.
    fn first_request(&mut self, killed_ms: i64) {
        let life = self.ledger.life();
        let entries = self.ledger.book();
        let first = entries.iter().filter(|(s, _)| matches!(s, crate::ledger::Source::Target(_)));
        let first = first.flat_map(|(_, e)| e.values()).filter(|e| e.life == life).map(|e| e.at_ms).min();
        self.report.gap_ms.extend(first.map(|at| at - killed_ms));
    }
}

/// Does it.
///
/// # Errors
/// A server does not start, or does not answer; what is wrong with its answers is in the report.
pub fn run(order: &Order) -> Result<Report> {
    let mut run = Run::new(order)?;
    run.run()?;
    run.report.ready_ms.sort_unstable();
    run.report.gap_ms.sort_unstable();
    Ok(run.report)
}
