//! Random expressions to godwit and a real Prometheus, by hand: differences are made small and grouped.

#![allow(clippy::print_stdout, reason = "a command")]

use std::path::PathBuf;

use anyhow::Result;
use e2e::differential::{Asker, Question, Servers, data, run};
use e2e::options;
use e2e::program::Program;

const HELP: &str = "differential: random expressions to godwit and to a real Prometheus

  --count N        expressions (1000)
  --seed N         the first one's seed (1)
  --peer new|lts   Prometheus 3.15 or 3.5 (new)
  --examples N     examples of each group of differences (1)
  --list FILE      asks the questions of a list instead, one JSON object a line
  --table          prints how often each function, operator and modifier had a result";

fn main() -> Result<()> {
    let (mut count, mut seed, mut peer, mut examples, mut list, mut table) =
        (1000, 1, Program::New, 1, None::<PathBuf>, false);
    let go_on = options::read(std::env::args().skip(1), &["--table"], |name, value| {
        match name {
            "--count" => count = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--peer" => peer = if value == "lts" { Program::Lts } else { Program::New },
            "--examples" => examples = value.parse()?,
            "--list" => list = Some(value.into()),
            "--table" => table = true,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !go_on {
        println!("{HELP}");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let blocks = data::make(folder.path())?;
    let theirs = Servers::start(peer, peer, folder.path(), &blocks)?;
    let ours = Servers::start(Program::Godwit, peer, folder.path(), &blocks)?;
    if let Some(list) = list {
        let mut asker = Asker::new(&theirs, &ours);
        for line in std::fs::read_to_string(list)?.lines().filter(|l| !l.is_empty()) {
            let verdict = asker.ask(&Question::of_line(line)?)?;
            if let Some(difference) = verdict.difference {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                println!(
                    "{difference:?} {line}\n  theirs {}\n  ours   {}",
                    text(&verdict.theirs.1),
                    text(&verdict.ours.1)
                );
            }
        }
        return Ok(());
    }
    let begun = std::time::Instant::now();
    let report = run(&theirs, &ours, (seed, count))?;
    println!("{}", report.groups(examples));
    if table {
        println!("{}", report.table());
    }
    println!("{}; {:.1} s", report.summary(), begun.elapsed().as_secs_f64());
    Ok(())
}
