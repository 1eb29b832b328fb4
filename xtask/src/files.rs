//! Rules on source files: a reason at the top, a bounded size, no traces of one machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::metadata::root;

/// STYLE.md: 400 is good, 800 asks why, 1,000 needs a line in `xtask/oversized.txt`.
pub const LINES_MAX: usize = 1000;

/// Files that git tracks or would track.
///
/// # Errors
/// git does not run here.
pub fn tracked() -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().context("git ls-files does not run")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().map(PathBuf::from).filter(|p| root().join(p).is_file()).collect())
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "rs")
}

/// Rust files that do not begin with `//!`.
///
/// # Errors
/// Unreadable files.
pub fn without_reason() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tracked()?.into_iter().filter(|p| is_rust(p)) {
        let text = std::fs::read_to_string(root().join(&path))?;
        if !text.starts_with("//!") {
            found.push(format!("{} does not begin with //! and its reason to exist", path.display()));
        }
    }
    Ok(found)
}

/// Rust files above the limit that `xtask/oversized.txt` does not excuse.
///
/// # Errors
/// Unreadable files.
pub fn oversized() -> Result<Vec<String>> {
    let excused = std::fs::read_to_string(root().join("xtask/oversized.txt")).unwrap_or_default();
    let is_excused = |path: &Path| {
        let reason = |line: &str| {
            let (file, reason) = line.split_once(':')?;
            (Path::new(file) == path && !reason.trim().is_empty()).then_some(())
        };
        excused.lines().any(|line| reason(line).is_some())
    };
    let mut found = Vec::new();
    for path in tracked()?.into_iter().filter(|p| is_rust(p)) {
        let lines = std::fs::read_to_string(root().join(&path))?.lines().count();
        if lines > LINES_MAX && !is_excused(&path) {
            found.push(format!("{} has {lines} lines, more than {LINES_MAX}", path.display()));
        }
    }
    Ok(found)
}
