//! `godwit check` beside promtool: the same verdict and exit code on every file of a corpus.
//!
//! The corpus is one text: a case begins with `=== kind name [flags]`, further files of it with `--- name`.
//! Cases on which the two differ on purpose (COMPAT.md) are not in it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::process::{godwit, peer};

const CORPUS: &str = include_str!("../../corpus/check.txt");
/// A certificate and its key, and a key that does not fit, for web configs; made by openssl for a century.
const PEM: [(&str, &str); 3] = [
    ("c.pem", include_str!("../../corpus/c.pem")),
    ("k.pem", include_str!("../../corpus/k.pem")),
    ("k2.pem", include_str!("../../corpus/k2.pem")),
];

struct Case {
    kind: &'static str,
    name: &'static str,
    flags: Vec<&'static str>,
    text: String,
    files: Vec<(&'static str, String)>,
}

fn corpus() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in CORPUS.split_inclusive('\n') {
        if let Some(head) = line.strip_prefix("=== ") {
            let mut words = head.split_ascii_whitespace();
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            cases.push(Case { kind, name, flags: words.collect(), text: String::new(), files: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        if let Some(file) = line.strip_prefix("--- ") {
            case.files.push((file.trim_end(), String::new()));
        } else {
            let text = case.files.last_mut().map_or(&mut case.text, |(_, text)| text);
            text.push_str(line);
        }
    }
    cases
}

/// Exit code, standard output, standard error.
fn run(program: &Path, case: &Case, folder: &Path) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(["check", case.kind]).args(&case.flags).current_dir(folder);
    if case.kind == "metrics" {
        command.stdin(std::fs::File::open(folder.join("c.yml")).unwrap());
    } else {
        command.arg("c.yml").stdin(Stdio::null());
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_verdicts_are_those_of_promtool() {
    let (ours, theirs) = (godwit().unwrap(), peer("promtool").unwrap());
    let cases = corpus();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let next = AtomicUsize::new(0);
    let differences = std::sync::Mutex::new(Vec::<String>::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let folder = tempfile::tempdir().unwrap();
                    let write =
                        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
                    write("c.yml", &case.text);
                    case.files.iter().for_each(|(name, text)| write(name, text));
                    if case.kind == "web-config" {
                        PEM.iter().for_each(|(name, text)| write(name, text));
                    }
                    let want = run(&theirs, case, folder.path());
                    let have = run(&ours, case, folder.path());
                    // Lint problems and tables are compared as texts: scripts read them.
                    let texts = case.kind == "metrics" && want.0 != 1;
                    if want.0 != have.0 || texts && want != have {
                        let what =
                            format!("{} {}:\n  promtool {want:?}\n  godwit   {have:?}", case.kind, case.name);
                        differences.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
