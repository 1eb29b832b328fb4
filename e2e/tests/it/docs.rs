//! The commands in the README and the manual run as they stand there.
//!
//! Each page is run from top to bottom in one folder, beside a godwit on a port of its own that stands in
//! for the one on :9090. Blocks marked `sh` are run with `bash -e`; a block marked `sh no-run` is not
//! (it installs, or runs for ever), and a block marked `yaml FILE` is written to that file first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use e2e::answers::{instant, query};
use e2e::process::{Server, godwit};
use e2e::wait::{now, until};

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

/// Runs a page and gives the number of its blocks.
fn run(page: &Path, blocks: &[Block]) -> usize {
    let program = godwit().unwrap();
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let listen = "--web.listen-address=127.0.0.1:{port}";
    let server = Server::start(&program, &[listen], folder.path(), "/-/ready").unwrap();
    if blocks.iter().any(|b| ["/api/v1/query", "godwit query"].iter().any(|q| b.text.contains(q))) {
        // The first scrapes, so that examples have something to show.
        until("both jobs of the built-in configuration", || {
            let up = query(server.port, &instant("up == 1", now()))?;
            ensure!(up.len() == 2, "{up:?}");
            Ok(())
        })
        .unwrap();
    }
    let mut count = 0;
    for block in blocks {
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
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:{}\n{text}\n{out}\n{err}", page.display(), block.line);
        count += 1;
    }
    server.stop().unwrap();
    count
}

#[test]
fn commands_in_the_manual_run() {
    let mut count = 0;
    for page in pages() {
        let blocks = blocks(&std::fs::read_to_string(&page).unwrap());
        if blocks.iter().any(|b| b.kind == "sh") {
            count += run(&page, &blocks);
        }
    }
    assert!(count >= 6, "only {count} blocks");
}
