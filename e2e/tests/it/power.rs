//! Power cuts in a guest machine, in both modes: part of the long run only, where a user-mode-linux kernel is at
//! hand (`e2e/peers.sh --go` fetches it).

use e2e::power::{Order, run};
use e2e::process::peer;

fn cut(cuts: u64, strict: bool) {
    if std::env::var_os("GODWIT_TEST_LONG").is_none() {
        return;
    }
    let kernel = match peer("linux.uml") {
        Ok(kernel) => kernel,
        Err(e) => return println!("skipped, no power cuts without a guest: {e:#}"),
    };
    let runs = std::process::Command::new(&kernel).arg("--version").output();
    if !runs.is_ok_and(|o| o.status.success()) {
        return println!("skipped, user-mode-linux does not run here");
    }
    let (folder, share) = (tempfile::tempdir().unwrap(), e2e::power::share().unwrap());
    let order = Order {
        cuts,
        seed: e2e::ledger::now_ms() as u64,
        strict,
        folder: folder.path().canonicalize().unwrap(),
        share: share.path().canonicalize().unwrap(),
        kernel,
    };
    println!("seed {}", order.seed);
    let report = run(&order, |line| println!("{line}"));
    match report {
        Ok(report) if report.bad == 0 => assert_eq!(report.cuts, cuts),
        other => panic!(
            "seed {}, kept in {} and {}: {other:#?}",
            order.seed,
            folder.keep().display(),
            share.keep().display()
        ),
    }
}

#[test]
fn a_power_cut_costs_a_second_at_most() {
    cut(25, false);
}

#[test]
fn a_power_cut_costs_nothing_in_strict_mode() {
    cut(25, true);
}
