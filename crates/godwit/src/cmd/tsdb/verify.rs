//! `tsdb verify`: reads every checksum of a folder. What it looks at and says is `godwit doctor`'s part about
//! the data folder, whole.

use std::path::Path;

use super::list::reason;
use super::output::Progress;
use super::{Failed, emit};
use crate::cmd::doctor::blocks;
use crate::cmd::doctor::report::Report;
use crate::cmd::flags::Found;

/// Bytes of a folder, for the bar. Two levels are what a data folder has.
fn size_of(path: &Path, depth: usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let one = |e: std::fs::DirEntry| match e.metadata() {
        Ok(m) if m.is_dir() && depth > 0 => size_of(&e.path(), depth - 1),
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    };
    entries.flatten().map(one).sum()
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let path = Path::new(found.arg(0));
    std::fs::read_dir(path)
        .map_err(|e| Failed::Work(format!("opening the db dir: open {}: {}", path.display(), reason(&e))))?;
    let mut report = Report::default();
    {
        let mut bar = Progress::new("verify", "B", size_of(path, 3));
        blocks::examine(path, true, &mut report, &mut |bytes| bar.add(bytes));
    }
    let text = match found.text("output") {
        "json" => report.to_json() + "\n",
        _ => report.to_text(),
    };
    emit(&text)?;
    Ok(u8::from(report.is_bad()))
}
