//! Cuts the power of a guest machine that runs godwit under load: see `e2e::power`. `e2e/peers.sh --go` fetches the
//! guest's kernel.

#![allow(clippy::print_stdout, reason = "a command")]

use std::path::PathBuf;

use anyhow::{Result, ensure};
use e2e::options;
use e2e::power::{Order, guest, run};

const HELP: &str = "\
power: power cuts under load, checked against a ledger of what was served and acknowledged

  --cuts N       cuts (25)
  --seed N       what the moments follow from (the time)
  --strict       with storage.strict_sync: nothing acknowledged may be lost. Without it, the last second may
  --kernel PATH  a user-mode-linux kernel (linux.uml)

GODWIT_BIN names godwit's binary. Ends with 1 where something was lost, doubled or altered.";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, share, disk, strict] = words.as_slice()
        && word == "guest"
    {
        return guest(share.as_ref(), disk.as_ref(), strict == "true");
    }
    let mut order = Order {
        cuts: 25,
        seed: e2e::ledger::now_ms() as u64,
        strict: false,
        folder: PathBuf::new(),
        share: PathBuf::new(),
        kernel: "linux.uml".into(),
    };
    let go_on = options::read(words, &["--strict"], |name, value| {
        match name {
            "--strict" => order.strict = true,
            "--cuts" => order.cuts = value.parse()?,
            "--seed" => order.seed = value.parse()?,
            "--kernel" => order.kernel = value.into(),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !go_on {
        println!("{HELP}");
        return Ok(());
    }
    let (folder, share) = (tempfile::tempdir()?, e2e::power::share()?);
    order.folder = folder.path().canonicalize()?;
    order.share = share.path().canonicalize()?;
    println!("seed {}", order.seed);
    let result = run(&order, |line| println!("{line}"));
    let clean = result.as_ref().is_ok_and(|r| r.bad == 0);
    if !clean {
        println!("kept: {} and {}", folder.keep().display(), share.keep().display());
    }
    let report = result?;
    let mode = if order.strict { "strict" } else { "default" };
    println!("{} power cuts in {mode} mode, {} boots found something wrong", report.cuts, report.bad);
    ensure!(report.bad == 0, "something was lost, doubled or altered");
    Ok(())
}
