//! Random expressions to godwit and to a real Prometheus over the same block: the same answers to the last
//! character, but for what COMPAT.md names. The full count is that of `GODWIT_TEST_LONG`; its figures are in
//! `corpus/differential.md`.

use std::path::Path;
use std::process::Command;

use e2e::differential::{Asker, Question, Report, Servers, data, lists, run};
use e2e::program::Program;

/// Questions that once had another answer, one JSON object a line.
const ONCE_DIFFERENT: &str = include_str!("../../corpus/differential.jsonl");
/// Expressions of the long run, and of what is always run: some seconds.
const LONG: u64 = 100_000;
const SHORT: u64 = 600;
/// How often the long run must have seen each function, operator and modifier with a result.
const EACH: u64 = 300;

fn compare_with(peer: Program, (first, count): (u64, u64)) -> Option<Report> {
    if !peer.at_hand() {
        println!("{peer:?} is not at hand: `e2e/peers.sh --go` builds it");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let blocks = data::make(folder.path()).unwrap();
    let theirs = Servers::start(peer, peer, folder.path(), &blocks).unwrap();
    let ours = Servers::start(Program::Godwit, peer, folder.path(), &blocks).unwrap();
    let mut asker = Asker::new(&theirs, &ours);
    // The older release differs in many of them itself.
    for line in ONCE_DIFFERENT.lines().filter(|_| peer == Program::New) {
        let verdict = asker.ask(&Question::of_line(line).unwrap()).unwrap();
        let said = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        assert_eq!(
            verdict.difference,
            None,
            "{line}\n{}\n{}",
            said(&verdict.theirs.1),
            said(&verdict.ours.1)
        );
    }
    let report = run(&theirs, &ours, (first, count)).unwrap();
    println!("{peer:?}: {}", report.summary());
    Some(report)
}

fn judge(report: &Report) {
    assert_eq!(report.different, 0, "{}", report.groups(2));
    assert!(report.filled * 100 >= report.asked * 60, "too little to compare: {}", report.summary());
}

#[test]
fn as_3_5() {
    judge(&compare_with(Program::Lts, (1, SHORT)).unwrap());
}

#[test]
fn as_3_15() {
    if std::env::var_os("GODWIT_TEST_LONG").is_none() {
        return compare_with(Program::New, (1, SHORT)).iter().for_each(judge);
    }
    let Some(report) = compare_with(Program::New, (1, LONG)) else { return };
    let commit = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit =
        commit.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).into_owned());
    let text = format!(
        "# Random expressions: godwit beside Prometheus\n\nWritten by `make test-long`: seeds 1 to {LONG}, {}, godwit {}.\n\n{}.\n\n{}",
        Program::New.title(),
        commit.trim(),
        report.summary(),
        report.table()
    );
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/differential.md"), text).unwrap();
    judge(&report);
    for mark in lists::all_marks() {
        let seen = report.marks.get(mark).copied().unwrap_or(0);
        assert!(seen >= EACH, "{mark} only {seen} times with a result");
    }
}
