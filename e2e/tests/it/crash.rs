//! A real godwit is killed under load, again and again, and what it acknowledged is there afterwards, once and
//! unchanged. `make crash` is the same with three hundred kills and a page of figures.

use e2e::kills::{Order, Report, run};

fn order(folder: &std::path::Path, kills: u64, strict: bool) -> Order {
    let (seed, peer_every) = (e2e::ledger::now_ms() as u64, kills.min(25));
    Order { kills, seed, strict, peer_every, folder: folder.to_path_buf(), sabotage: false, verbose: true }
}

fn kill(kills: u64, strict: bool) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let order = order(folder.path(), kills, strict);
    println!("seed {}", order.seed);
    let report = run(&order);
    let report = match report {
        Ok(report) if report.is_clean() => report,
        other => panic!("seed {}, kept in {}: {other:#?}", order.seed, folder.keep().display()),
    };
    assert!(report.found.acknowledged > 100 && report.peers.0 > 0, "{report:#?}");
    report
}

#[test]
fn kill_9_loses_nothing() {
    let long = std::env::var_os("GODWIT_TEST_LONG").is_some();
    let report = kill(if long { 300 } else { 5 }, false);
    println!("{report:#?}");
}

#[test]
fn kill_9_loses_nothing_in_strict_mode() {
    if std::env::var_os("GODWIT_TEST_LONG").is_some() {
        println!("{:#?}", kill(50, true));
    }
}

#[test]
fn a_loss_would_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let order = Order { sabotage: true, peer_every: 0, ..order(folder.path(), 1, false) };
    let report = run(&order).unwrap();
    assert!(report.found.lost > 0, "{report:#?}");
}
