//! Kills godwit a few hundred times under load and says what was lost: see `e2e::kills`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::kills::{Order, Report, run};
use e2e::options;
use e2e::process::godwit;

const HELP: &str = "\
crash: kill -9 of a real godwit under load, checked against a ledger of what was served and acknowledged

  --kills N       kills (300)
  --seed N        what the choices follow from (the time)
  --strict        with storage.strict_sync
  --peer-every N  every so many kills a real Prometheus opens a copy of the folder; 0 for never (25)
  --folder PATH   where everything is kept; must not exist (a folder for temporary files, removed if all is well)
  --results FILE  where the figures are written to as well

GODWIT_BIN names godwit's binary. Ends with 1 where something acknowledged was lost, or anything doubled or altered.";

struct Words {
    order: Order,
    results: Option<PathBuf>,
    temporary: Option<tempfile::TempDir>,
}

fn read(words: impl Iterator<Item = String>) -> Result<Option<Words>> {
    let mut folder = None;
    let mut all = Words {
        order: Order {
            kills: 300,
            seed: e2e::ledger::now_ms() as u64,
            strict: false,
            peer_every: 25,
            folder: PathBuf::new(),
            sabotage: false,
            verbose: true,
        },
        results: None,
        temporary: None,
    };
    let go_on = options::read(words, &["--strict"], |name, value| {
        match name {
            "--strict" => all.order.strict = true,
            "--kills" => all.order.kills = value.parse()?,
            "--seed" => all.order.seed = value.parse()?,
            "--peer-every" => all.order.peer_every = value.parse()?,
            "--folder" => folder = Some(PathBuf::from(value)),
            "--results" => all.results = Some(value.into()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !go_on {
        return Ok(None);
    }
    all.order.folder = match folder {
        Some(folder) => {
            std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
            folder
        }
        None => {
            let temporary = tempfile::tempdir()?;
            let folder = temporary.path().to_path_buf();
            all.temporary = Some(temporary);
            folder
        }
    };
    Ok(Some(all))
}

fn said(program: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_string()
}

fn quantile<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

fn text(order: &Order, report: &Report) -> Result<String> {
    let mut out = String::new();
    let mode = if order.strict { "strict" } else { "default" };
    writeln!(out, "{} kills, seed {}, {mode} mode", order.kills, order.seed)?;
    writeln!(out, "godwit: {}", said(&godwit()?, &["--version"]))?;
    writeln!(out, "commit: {}", said("git".as_ref(), &["describe", "--always", "--dirty"]))?;
    for (point, (hit, missed)) in &report.kills {
        writeln!(out, "  {point:?}: {hit} hit, {missed} where it never came")?;
    }
    for (name, found) in [("godwit after each kill", &report.found), ("a real Prometheus", &report.peers.1)] {
        writeln!(out, "{name}: {found}")?;
        for fault in &found.faults {
            writeln!(out, "  {fault}")?;
        }
    }
    writeln!(out, "looks by a real Prometheus: {}", report.peers.0)?;
    let load = &report.load;
    writeln!(
        out,
        "writes: {} taken, {} without an answer, {} refused {:?}; {} reloads; {} queries",
        load.taken, load.not_now, load.refused, load.refusals, load.reloads, load.queries
    )?;
    for (name, part) in [("half", 0.5), ("99 of 100", 0.99), ("all", 1.0)] {
        writeln!(
            out,
            "{name}: ready within {} ms, first scrape {} ms after the kill",
            quantile(&report.ready_ms, part),
            quantile(&report.gap_ms, part)
        )?;
    }
    for (message, count) in &report.messages {
        writeln!(out, "log: {count} x {message}")?;
    }
    for (message, count) in &report.peer_messages {
        writeln!(out, "log of the real Prometheus: {count} x {message}")?;
    }
    Ok(out)
}

fn main() -> Result<()> {
    let Some(mut words) = read(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    println!("seed {}, folder {}", words.order.seed, words.order.folder.display());
    let result = run(&words.order);
    let clean = result.as_ref().is_ok_and(Report::is_clean);
    if !clean && let Some(temporary) = words.temporary.take() {
        println!("kept: {}", temporary.keep().display());
    }
    let report = result?;
    let text = text(&words.order, &report)?;
    print!("{text}");
    if let Some(path) = &words.results {
        std::fs::write(path, &text)?;
    }
    if !clean {
        bail!("something was lost, doubled or altered");
    }
    Ok(())
}
