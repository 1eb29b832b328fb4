//! The commands in the README and the manual run as they stand there.
//!
//! Each page is run from top to bottom in one folder, beside a godwit on a port of its own that stands in
//! for the one on :9090. Blocks marked `sh` are run with `bash -e`; a block marked `sh no-run` is not
//! (it installs, or runs for ever), and a block marked `yaml FILE` is written to that file first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::process::{Server, godwit};

struct Block {
    line: usize,
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut all, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => all.push(block),
            (Some(kind), None) => {
                open = Some(Block { line: number + 1, kind: kind.to_string(), text: String::new() });
            }
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    all
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manual = std::fs::read_dir(root.join("docs")).into_iter().flatten().flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = manual.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    all.push(root.join("README.md"));
    all.sort();
    all
}

#[test]
fn commands_in_the_manual_run() {
    let program = godwit().unwrap();
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut run = BTreeMap::new();
    for page in pages() {
        let folder = tempfile::tempdir().unwrap();
        let listen = "--web.listen-address=127.0.0.1:{port}";
        let server = Server::start(&program, &[listen], folder.path(), "/-/ready").unwrap();
        // The first scrapes, so that examples have something to show.
        std::thread::sleep(std::time::Duration::from_secs(16));
        for block in blocks(&std::fs::read_to_string(&page).unwrap()) {
            let text = block.text.replace("localhost:9090", &format!("localhost:{}", server.port));
            if let Some(name) = block.kind.strip_prefix("yaml ") {
                std::fs::write(folder.path().join(name), &block.text).unwrap();
            }
            if block.kind != "sh" {
                continue;
            }
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &text])
                .current_dir(folder.path())
                .env("PATH", &path)
                .output()
                .unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{}:{}\n{text}\n{out}\n{err}", page.display(), block.line);
            *run.entry(page.clone()).or_insert(0) += 1;
        }
        server.stop().unwrap();
    }
    assert!(run.values().sum::<usize>() >= 6, "{run:?}");
}
