//! One folder is passed on between godwit and real Prometheuses while each scrapes in its turn: writes out of
//! order, deletions, short blocks that are cut, merged and dropped for their age within each turn; every turn
//! ends with a stop or a kill, and the next one must show what the ledger says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::kills::{RECEIVES, messages};
use crate::ledger::{Check, Deleted, Figures, Found, Ledger, Load, Plan, check, now_ms};
use crate::process::Server;
use crate::program::Program;
use crate::wait::LIMIT;

/// Targets; the last one comes and goes.
const TARGETS: u64 = 4;
/// A deletion covers so much, and ends so long before now.
const DELETED_MS: (i64, i64) = (3000, 1500);

/// How long and with what.
#[derive(Clone, Debug)]
pub struct Order {
    /// The programs in their turns.
    pub programs: Vec<Program>,
    /// Seconds of a turn at least; it goes on until the head was cut and a checkpoint written.
    pub seconds: u64,
    /// Seconds of the smallest block.
    pub block_seconds: u64,
    /// Seconds that are kept.
    pub retention_seconds: u64,
    /// `out_of_order_time_window`; writes go half as far back.
    pub window_seconds: u64,
}

/// One turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Who.
    pub program: Program,
    /// Ended by SIGTERM; else by kill -9.
    pub clean: bool,
    /// What its first answer was like.
    pub found: Found,
    /// What the load did.
    pub load: Figures,
    /// Blocks written, checkpoints written, blocks dropped for their age, samples out of order.
    pub work: [u64; 4],
    /// Lines of the log that say that something is wrong.
    pub messages: BTreeMap<String, u64>,
}

const WORK: [&str; 4] = [
    "prometheus_tsdb_compactions_total",
    "prometheus_tsdb_checkpoint_creations_total",
    "prometheus_tsdb_time_retentions_total",
    "prometheus_tsdb_head_out_of_order_samples_appended_total",
];

fn work(server: &Server) -> Result<[u64; 4]> {
    let page = http::get(server.port, "/metrics")?.text();
    Ok(WORK.map(|name| {
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.sum::<f64>() as u64
    }))
}

fn start(order: &Order, program: Program, folder: &Path) -> Result<Server> {
    let flags = [
        format!("--storage.tsdb.min-block-duration={}s", order.block_seconds),
        format!("--storage.tsdb.max-block-duration={}s", order.block_seconds * 3),
        format!("--storage.tsdb.retention.time={}s", order.retention_seconds),
    ];
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).chain(RECEIVES).collect();
    arguments.extend([
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-admin-api",
        program.features(),
    ]);
    if program == Program::Godwit {
        // Images of the head stay while others change the folder, and have to be told from what it is then.
        std::fs::write(folder.join("godwit.yml"), "storage: {head_image: true, head_image_log: 1KB}\n")?;
        arguments.push("--godwit.config=godwit.yml");
    }
    Server::start(&program.path()?, &arguments, folder, "/-/ready")
}

/// Deletes a range of a target's samples.
fn delete(port: u16, target: u64) -> Result<Deleted> {
    let to_ms = now_ms() - DELETED_MS.1;
    let deleted = Deleted { target, from_ms: to_ms - DELETED_MS.0, to_ms };
    let path = format!(
        "/api/v1/admin/tsdb/delete_series?match[]={}&start={}&end={}",
        http::encode(&format!("{{instance=\"t{target}\"}}")),
        deleted.from_ms as f64 / 1000.0,
        deleted.to_ms as f64 / 1000.0
    );
    let answer = http::request(port, "POST", &path, &[], &[])?;
    ensure!(answer.status == 204, "delete_series: {} {}", answer.status, answer.text());
    Ok(deleted)
}

/// Passes a folder on.
///
/// # Errors
/// A program does not start or answer.
pub fn run(order: &Order, folder: &Path) -> Result<Vec<Turn>> {
    let ledger = Ledger::default();
    let mut plan = Plan::new(&ledger, TARGETS, &folder.join("prometheus.yml"))?;
    plan.window_seconds = order.window_seconds;
    let mut deleted: Vec<Deleted> = Vec::new();
    let mut turns = Vec::new();
    for (number, &program) in order.programs.iter().enumerate() {
        plan.put(true)?;
        let life = ledger.next_life();
        let server = start(order, program, folder).with_context(|| format!("turn {number}"))?;
        let from_ms = now_ms() - order.retention_seconds as i64 * 1000;
        let what = Check { from_ms, deleted: deleted.clone(), ..Check::default() };
        let found = check(&ledger, server.port, &what).with_context(|| format!("turn {number}"))?;
        let load = Load::start(&ledger, server.port, &plan);
        let began = Instant::now();
        let mut deletes = true;
        let work = loop {
            std::thread::sleep(Duration::from_millis(300));
            let done = work(&server)?;
            let least = Duration::from_secs(order.seconds);
            if deletes && began.elapsed() > least / 2 {
                deletes = false;
                deleted.push(delete(server.port, life % (TARGETS - 1))?);
                if number % 4 == 3 {
                    let path = "/api/v1/admin/tsdb/clean_tombstones";
                    let answer = http::request(server.port, "POST", path, &[], &[])?;
                    ensure!(answer.status == 204, "{path}: {} {}", answer.status, answer.text());
                }
            }
            if began.elapsed() > least && done[0] > 0 && done[1] > 0 {
                break done;
            }
            ensure!(began.elapsed() < LIMIT, "turn {number}: {done:?}\n{}", server.log_tail());
        };
        let load = load.stop();
        let mut said = BTreeMap::new();
        messages(&server.log_text(), &mut said);
        let clean = number % 4 < 2;
        if clean {
            ensure!(server.stop()?.success(), "turn {number}: not a clean end");
        } else {
            server.kill()?;
        }
        turns.push(Turn { program, clean, found, load, work, messages: said });
    }
    // The last one's samples are looked at by godwit.
    ledger.next_life();
    plan.put(true)?;
    let server = start(order, Program::Godwit, folder)?;
    let from_ms = now_ms() - order.retention_seconds as i64 * 1000;
    let found = check(&ledger, server.port, &Check { from_ms, deleted, ..Check::default() })?;
    let mut said = BTreeMap::new();
    messages(&server.log_text(), &mut said);
    ensure!(server.stop()?.success(), "not a clean end");
    turns.push(Turn {
        program: Program::Godwit,
        clean: true,
        found,
        load: Figures::default(),
        work: [0; 4],
        messages: said,
    });
    Ok(turns)
}
