//! What lies in the data folder: blocks that open and whose chunks are whole, a log without holes and without
//! damage, leftovers, and what does not belong there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tsdb::block::{Block, BlockMeta};
use tsdb::disk::RealDisk;
use tsdb::wal::{SegmentReader, WalLoss};

use super::holes::Holes;
use super::report::Report;

/// Bytes of chunks and log that are read without `--full`: a few seconds on a common disk. The newest blocks
/// come first.
const READ_BYTES_MAX: u64 = 2 << 30;
/// Findings of one kind that are told one by one; the rest is counted.
const TOLD_MAX: usize = 10;
/// A block may end this far ahead of the clock: clocks differ a little, and samples may come from elsewhere.
const AHEAD_MS_MAX: i64 = 3_600_000;

/// What may lie in a data folder beside blocks and leftovers.
const KNOWN: &[&str] = &[
    "wal",
    "wbl",
    "chunks_head",
    "lock",
    "queries.active",
    "snapshots",
    "thanos.shipper.json",
    "thanos",
    "lost+found",
    // Of a migration.
    "godwit-pin",
    "godwit-incoming",
    "godwit-unpacked",
    "migration.godwit",
];

/// `read` is told of bytes that were read.
pub(in crate::cmd) fn examine(data: &Path, full: bool, report: &mut Report, read: &mut dyn FnMut(u64)) {
    let Ok(entries) = std::fs::read_dir(data) else { return };
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    // Block names begin with their time: the newest first.
    names.sort();
    names.reverse();
    let mut left = if full { u64::MAX } else { READ_BYTES_MAX };
    let (mut leftovers, mut strange) = (Vec::new(), Vec::new());
    let mut blocks = Blocks::default();
    for name in names {
        if name == "damaged" {
            let kept = std::fs::read_dir(data.join(&name)).map_or(0, |entries| entries.flatten().count());
            report.warn(
                "damaged blocks",
                format!("{kept} blocks that were found damaged are kept under {name}/"),
                "restore them from a copy where there is one, then delete the folder",
            );
        } else if name.ends_with(".tmp-for-creation")
            || name.ends_with(".tmp-for-deletion")
            || name.ends_with(".tmp")
        {
            leftovers.push(name);
        } else if is_ulid(&name) {
            blocks.examine(data, &name, &mut left, report, read);
        } else if !KNOWN.contains(&name.as_str()) && !name.starts_with("chunk_snapshot.") {
            strange.push(name);
        }
    }
    blocks.tell(report);
    if !leftovers.is_empty() {
        let what = format!(
            "{} unfinished folders of an interrupted compaction: {}",
            leftovers.len(),
            leftovers.join(", ")
        );
        report.ok("leftovers", format!("{what}; the next start removes them"));
    }
    if !strange.is_empty() {
        strange.sort();
        report.warn(
            "strangers",
            format!("not of a data folder: {}", some(&strange)),
            "the server leaves them alone; if this is not the folder you meant, name another with --storage.tsdb.path, else move them away",
        );
    }
    head_chunks(&data.join("chunks_head"), &mut left, report, read);
    let mut holes = blocks.holes;
    holes.begin_part();
    for (name, subject) in [("wal", "log"), ("wbl", "log of late samples")] {
        log(&data.join(name), subject, &mut left, (report, &mut holes), read);
    }
    holes.tell(report);
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(TOLD_MAX);
    let shown = names.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn is_ulid(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

#[derive(Default)]
struct Blocks {
    good: usize,
    unread: usize,
    bad: usize,
    holes: Holes,
}

impl Blocks {
    fn examine(
        &mut self,
        data: &Path,
        name: &str,
        left: &mut u64,
        report: &mut Report,
        read: &mut dyn FnMut(u64),
    ) {
        let dir = data.join(name);
        let found = match Block::open(Arc::new(RealDisk), &dir) {
            Err(e) => {
                // What it does not have is told with it, not as a hole.
                if let Ok(meta) = BlockMeta::read(&RealDisk, &dir) {
                    self.holes.pass_over(&meta);
                }
                Err(e.to_string())
            }
            Ok(block) => {
                ahead(name, &block, report);
                let size = block.size_bytes();
                if size > *left {
                    self.unread += 1;
                    self.holes.pass_over(&block.meta());
                    Ok(())
                } else {
                    *left -= size;
                    let found = read_whole(&block, read);
                    match found {
                        Ok(()) => self.holes.block(&block),
                        Err(_) => self.holes.pass_over(&block.meta()),
                    }
                    found
                }
            }
        };
        match found {
            Ok(()) => self.good += 1,
            Err(e) => {
                self.bad += 1;
                if self.bad <= TOLD_MAX {
                    report.bad("block", format!("{name}: {e}"), remedy(&dir));
                }
            }
        }
    }

    fn tell(&self, report: &mut Report) {
        if self.bad > TOLD_MAX {
            let what = format!("{} more blocks are broken", self.bad - TOLD_MAX);
            report.bad("block", what, "as above; godwit doctor --output=json is the same list");
        }
        match (self.good, self.unread) {
            (0, _) => {}
            (good, 0) => report.ok("blocks", format!("{good} blocks open, all checksums are right")),
            (good, unread) => report.ok(
                "blocks",
                format!("{good} blocks open; checksums of {} are right, {unread} were not read (--full reads all)", good - unread),
            ),
        }
    }
}

fn remedy(dir: &Path) -> String {
    let meta = dir.join(tsdb::block::META_FILE);
    let what = if meta.exists() {
        "restore it from a copy, or move it away: the server leaves a block that does not open out and runs on, and queries that meet a broken chunk of an open one fail"
    } else {
        "a block without meta.json was never finished: move it away"
    };
    format!("{what} (mv {} elsewhere)", dir.display())
}

/// Read between two looks at the clock of whoever waits.
const STEP_BYTES: u64 = 16 << 20;

/// Reads all series, all chunks and all lists of the index, which checks every checksum there is.
fn read_whole(block: &Block, read: &mut dyn FnMut(u64)) -> Result<(), String> {
    let mut from = Some(0);
    while let Some(at) = from {
        let (next, bytes) = block.verify(at, STEP_BYTES).map_err(|e| e.to_string())?;
        read(bytes);
        from = next;
    }
    let Some(damage) = block.damage() else { return Ok(()) };
    let times = range_text(damage.mint_ms, damage.maxt_ms);
    let shown = some(&damage.places);
    Err(format!("{} damaged places, samples of {times} may be missing: {shown}", damage.count))
}

/// `1795332600000 (2026-11-22T12:50:00Z) to ...`.
pub(super) fn range_text(mint_ms: i64, maxt_ms: i64) -> String {
    let one = |t: i64| match jiff::Timestamp::from_millisecond(t) {
        Ok(time) => format!("{t} ({})", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
        Err(_) => t.to_string(),
    };
    format!("{} to {}", one(mint_ms), one(maxt_ms))
}

/// Blocks from the future say that a clock was or is wrong.
fn ahead(name: &str, block: &Block, report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let ahead = block.meta().maxt_ms.saturating_sub(now);
    if ahead > AHEAD_MS_MAX {
        report.warn(
            "block",
            format!("{name} ends {} hours in the future", ahead / 3_600_000),
            "look at the clock (timedatectl, chronyc tracking); while samples of the future are stored, samples of now are refused as too old",
        );
    }
}

/// Files of chunks that the head wrote. The end of the newest one may be on its way to the disk.
fn head_chunks(dir: &Path, left: &mut u64, report: &mut Report, read: &mut dyn FnMut(u64)) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    files.sort();
    let (mut good, mut chunks, mut unread) = (0_usize, 0, 0_usize);
    for (i, path) in files.iter().enumerate() {
        let size = path.metadata().map_or(0, |m| m.len());
        if size > *left {
            unread += 1;
            continue;
        }
        *left -= size;
        read(size);
        let found = match tsdb::examine_head_chunks(&RealDisk, path) {
            Ok(found) => found,
            Err(e) => {
                report.bad("head chunks", e.to_string(), "give this user the right to read it");
                continue;
            }
        };
        chunks += found.chunks;
        let Some(at) = found.damaged_at else {
            good += 1;
            continue;
        };
        let times =
            found.range_ms.map(|(first, last)| format!(", whole ones hold {}", range_text(first, last)));
        let what = format!(
            "{}: damaged at offset {at} behind {} whole chunks{}",
            path.display(),
            found.chunks,
            times.unwrap_or_default()
        );
        let remedy =
            "the next start cuts the file there and reads these samples from the log, which has them";
        if at > 0 && i + 1 == files.len() {
            report.warn("head chunks", format!("{what}; it is the newest file, a kill leaves it so"), remedy);
        } else {
            report.bad("head chunks", what, remedy);
        }
    }
    if good > 0 {
        let rest =
            if unread > 0 { format!("; {unread} were not read (--full reads all)") } else { String::new() };
        report.ok("head chunks", format!("{good} files, {chunks} chunks, all checksums are right{rest}"));
    }
}

/// Segments are numbered without gaps; a gap means that someone removed one. Every record has a checksum.
fn log(
    dir: &Path,
    subject: &'static str,
    left: &mut u64,
    (report, holes): (&mut Report, &mut Holes),
    read: &mut dyn FnMut(u64),
) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let (mut strange, mut empty) = (Vec::new(), true);
    for name in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        empty = false;
        let number = name.strip_prefix("checkpoint.").unwrap_or(&name);
        if number.trim_end_matches(".tmp").bytes().any(|b| !b.is_ascii_digit()) {
            strange.push(name);
        }
    }
    if !strange.is_empty() {
        strange.sort();
        let what = format!("not of a log: {} in {}", some(&strange), dir.display());
        report.warn(subject, what, "the server leaves them alone; move them away");
    }
    let (segments, checkpoints) =
        match (tsdb::wal::segments(&RealDisk, dir), tsdb::wal::checkpoints(&RealDisk, dir)) {
            (Ok(segments), Ok(checkpoints)) => (segments, checkpoints),
            (Err(e), _) | (_, Err(e)) => {
                return report.bad(subject, e.to_string(), "give this user the right to read it");
            }
        };
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        if !empty && checkpoints.is_empty() {
            report.warn(subject, format!("{} has no segments", dir.display()), "restore them from a copy");
        }
        return;
    };
    let gap = segments.windows(2).find(|w| matches!(w, [a, b] if *b != a + 1));
    if let Some([before, behind]) = gap {
        report.bad(
            subject,
            format!("segments between {before:08} and {behind:08} are missing"),
            "restore them from a copy; without them the samples in between are lost, the others are kept",
        );
    }
    let mut files: Vec<PathBuf> = Vec::new();
    if let Some(newest) = checkpoints.last() {
        let dir = tsdb::wal::checkpoint_path(dir, *newest);
        let numbers = tsdb::wal::segments(&RealDisk, &dir).unwrap_or_default();
        files.extend(numbers.iter().map(|n| tsdb::wal::segment_path(&dir, *n)));
    }
    files.extend(segments.iter().map(|n| tsdb::wal::segment_path(dir, *n)));
    let damage = read_log(&files, left, holes, read);
    if damage.unread > 0 || !damage.bad.is_empty() || gap.is_some() {
        holes.pass_over_log();
    }
    if damage.bad.is_empty() && gap.is_none() {
        let read = if damage.unread > 0 {
            format!("; {} files were not read (--full reads all)", damage.unread)
        } else {
            ", all checksums are right".to_string()
        };
        let torn = if damage.torn {
            "; the last record is cut off, as a kill leaves it: the next start cuts it away"
        } else {
            ""
        };
        report
            .ok(subject, format!("segments {first:08} to {last:08}, {} records{read}{torn}", damage.records));
    }
    for loss in damage.bad.iter().take(TOLD_MAX) {
        report.bad(
            subject,
            loss.clone(),
            "the next start cuts these bytes out, keeps all other records and says so in its log; a Prometheus drops everything behind them. Restore the file from a copy where there is one",
        );
    }
    if damage.bad.len() > TOLD_MAX {
        report.bad(subject, format!("{} more places are damaged", damage.bad.len() - TOLD_MAX), "as above");
    }
}

#[derive(Default)]
struct LogDamage {
    records: u64,
    bad: Vec<String>,
    unread: usize,
    /// The last file ends within a record: nothing that was acknowledged is lost.
    torn: bool,
}

fn read_log(files: &[PathBuf], left: &mut u64, holes: &mut Holes, read: &mut dyn FnMut(u64)) -> LogDamage {
    let mut damage = LogDamage::default();
    let disk: Arc<dyn tsdb::disk::Disk> = Arc::new(RealDisk);
    for (i, file) in files.iter().enumerate() {
        let size = file.metadata().map_or(0, |m| m.len());
        if size > *left {
            damage.unread += 1;
            continue;
        }
        *left -= size;
        read(size);
        match read_segment(file, &mut damage.records, holes) {
            Err(e) => damage.bad.push(e),
            Ok((losses, torn)) => {
                // The same losses with the times around them.
                let told = tsdb::wal::mend::examine_segment(&disk, file).ok();
                let losses = told.filter(|t| t.len() == losses.len()).unwrap_or(losses);
                let at_end = torn && i + 1 == files.len();
                damage.torn |= at_end;
                let told = losses.len() - usize::from(at_end && !losses.is_empty());
                damage.bad.extend(losses.iter().take(told).map(ToString::to_string));
            }
        }
    }
    damage
}

fn read_segment(file: &Path, records: &mut u64, holes: &mut Holes) -> Result<(Vec<WalLoss>, bool), String> {
    let mut reader = SegmentReader::open(&RealDisk, file).map_err(|e| e.to_string())?;
    loop {
        let why = match reader.next_record() {
            Ok(Some(record)) => {
                *records += 1;
                let decoded = tsdb::wal::record::decode(record);
                decoded.map(|record| holes.record(&record)).err()
            }
            Ok(None) => return Ok((reader.losses().to_vec(), reader.is_torn())),
            Err(e) => return Err(e.to_string()),
        };
        if let Some(why) = why {
            reader.reject_record(&why);
        }
    }
}
