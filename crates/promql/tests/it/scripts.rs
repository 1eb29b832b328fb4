//! Every eval of upstream's scripts, counted by file. The table only ever rises.

use crate::script;

#[test]
fn upstream_scripts() {
    let table = std::fs::read_to_string("testdata/promqltest/passing.txt").unwrap_or_default();
    let mut report = String::new();
    let mut worse = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir("testdata/promqltest").unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "test"));
    files.sort();
    assert!(files.len() >= 15, "scripts are there");
    let engine = script::engine();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let outcome = script::run(&std::fs::read_to_string(&path).unwrap(), &engine);
        let total = outcome.passed + outcome.failed.len();
        report.push_str(&format!("{name} {} of {total}\n", outcome.passed));
        let floor = table.lines().find_map(|l| l.strip_prefix(&format!("{name} "))).unwrap_or("0 of 0");
        let floor: usize = floor.split(' ').next().unwrap().parse().unwrap();
        if outcome.passed < floor {
            worse.push(format!("{name}: {} pass, {floor} did", outcome.passed));
        }
        for f in &outcome.failed {
            eprintln!("FAIL {name} {f}");
        }
    }
    eprintln!("{report}");
    assert!(worse.is_empty(), "{worse:?}");
}
