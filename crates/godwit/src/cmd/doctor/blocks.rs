//! What lies in the data folder: blocks that open, leftovers, a log without holes.

use std::path::Path;
use std::sync::Arc;

use super::report::Report;

pub(super) fn examine(data: &Path, report: &mut Report) {
    let Ok(entries) = std::fs::read_dir(data) else { return };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let (mut good, mut leftovers) = (0, Vec::new());
    let mut names: Vec<String> = names.collect();
    names.sort();
    for name in &names {
        if name == "damaged" {
            let kept = std::fs::read_dir(data.join(name)).map_or(0, |entries| entries.flatten().count());
            report.warn(
                "damaged blocks",
                format!("{kept} blocks that were found damaged are kept under {name}/"),
                "restore them from a copy where there is one, then delete the folder",
            );
        } else if name.ends_with(".tmp-for-creation")
            || name.ends_with(".tmp-for-deletion")
            || name.ends_with(".tmp")
        {
            leftovers.push(name.clone());
        } else if is_ulid(name) {
            match tsdb::block::Block::open(Arc::new(tsdb::disk::RealDisk), &data.join(name)) {
                Ok(_) => good += 1,
                Err(e) => report.bad(
                    "block",
                    format!("{name}: {e}"),
                    format!(
                        "the server leaves it out and runs on; move {name} away, or restore it from a copy"
                    ),
                ),
            }
        }
    }
    if good > 0 {
        report.ok("blocks", format!("{good} blocks open"));
    }
    if !leftovers.is_empty() {
        let what = format!(
            "{} unfinished folders of an interrupted compaction: {}",
            leftovers.len(),
            leftovers.join(", ")
        );
        report.ok("leftovers", format!("{what}; the next start removes them"));
    }
    log(&data.join("wal"), report);
}

fn is_ulid(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

/// Segments are numbered without gaps; a gap means that someone removed one.
fn log(wal: &Path, report: &mut Report) {
    let Ok(entries) = std::fs::read_dir(wal) else { return };
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    let gap = numbers.windows(2).find(|w| w[1] != w[0] + 1);
    match (gap, numbers.first(), numbers.last()) {
        (Some(gap), _, _) => report.bad(
            "log",
            format!("segments between {:08} and {:08} are missing", gap[0], gap[1]),
            "restore them from a copy; without them the samples in between are lost, the others are kept",
        ),
        (None, Some(first), Some(last)) => {
            report.ok("log", format!("segments {first:08} to {last:08}, none missing"))
        }
        _ => {}
    }
    damage(wal, &numbers, report);
}

/// Damaged records, by their checksums. A running server writes on: its newest segment may look torn.
fn damage(wal: &Path, numbers: &[u64], report: &mut Report) {
    let disk: Arc<dyn tsdb::disk::Disk> = Arc::new(tsdb::disk::RealDisk);
    let mut files: Vec<_> = numbers.iter().map(|n| tsdb::wal::segment_path(wal, *n)).collect();
    if let Some(newest) = tsdb::wal::checkpoints(&*disk, wal).ok().and_then(|all| all.last().copied()) {
        let folder = tsdb::wal::checkpoint_path(wal, newest);
        let inner = tsdb::wal::segments(&*disk, &folder).unwrap_or_default();
        files.extend(inner.into_iter().map(|n| tsdb::wal::segment_path(&folder, n)));
    }
    for path in files {
        match tsdb::wal::mend::examine_segment(&disk, &path) {
            Ok(losses) => {
                for loss in losses {
                    report.warn(
                        "log",
                        format!("damaged: {loss}"),
                        "the next start cuts it out and keeps the rest; nothing to do",
                    );
                }
            }
            Err(e) => report.bad("log", e.to_string(), "look at the disk's health"),
        }
    }
}
