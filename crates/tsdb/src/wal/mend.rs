//! Makes a damaged segment readable by everyone: upstream drops all that follows a bad record, segments
//! behind it included, so the bad parts must not stay.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use super::record::{self, Record};
use super::{SegmentReader, WalCompression, WalLoss, WalWriter};
use crate::disk::{Disk, DiskResult, WriteMode};

/// Names tried for an original that is kept: one a mend, and a checkpoint's first segment has the same name
/// each time, as have segments of the log and of the log of late samples.
const KEPT_MAX: usize = 1000;

/// Mends a segment: a torn tail is cut off; damage inside is left out by writing the good records into a
/// new file that replaces the old one, which is kept beside it as `<name>.damaged` (`<name>.1.damaged`, … where
/// that is taken) in the parent folder of the log. Where it cannot be kept (full disk, no hard links) it stays
/// in place, damage and all: a sector that cannot be read today may be read tomorrow, replay reads around it, and
/// it goes with the next checkpoint. Returns what was lost; nothing is touched where that is nothing.
///
/// # Errors
/// The device failed, no room; the old file is in place then.
pub fn mend_segment(disk: &Arc<dyn Disk>, path: &Path) -> DiskResult<Vec<WalLoss>> {
    let mut reader = SegmentReader::open(&**disk, path)?;
    while reader.next_record()?.is_some() {}
    let inner = reader.losses().len() - usize::from(reader.is_torn());
    if inner == 0 {
        let mut losses = reader.losses().to_vec();
        if !losses.is_empty() {
            date(disk, path, &mut losses)?;
        }
        if reader.is_torn() {
            let mut file = disk.open_write(path, WriteMode::Append)?;
            file.set_len(reader.good_end())?;
            file.sync()?;
        }
        return Ok(losses);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return examine_segment(disk, path);
    };
    let mut scratch = name.to_os_string();
    scratch.push(".mend");
    let scratch = dir.join(scratch);
    disk.remove_dir_all(&scratch)?;
    // One segment at least as large as the old one, so that all good records fit.
    let size = disk.size(path)?.max(super::segment::PAGE_BYTES as u64) * 2;
    let mut writer = WalWriter::open(Arc::clone(disk), &scratch, WalCompression::Snappy, size)?;
    // A sector may be read in one pass and not in the next: what is told is what this pass leaves out.
    let mut reader = SegmentReader::open(&**disk, path)?;
    let mut dates = Vec::new();
    while let Some(record) = reader.next_record()? {
        writer.log([record])?;
        let time = time_of(record);
        dates.extend(time.map(|t| (reader.good_end(), t)));
    }
    let mut losses = reader.losses().to_vec();
    put_dates(&mut losses, dates.into_iter());
    if let Some(work) = writer.take_sync_work() {
        work.run()?;
    }
    drop(writer);
    if let Err(e) = keep(disk, path, dir, name) {
        tracing::error!(path = %path.display(), error = %e,
            "the damaged file cannot be kept under another name and is not replaced");
        disk.remove_dir_all(&scratch)?;
        return Ok(losses);
    }
    disk.rename(&super::segment_path(&scratch, 0), path)?;
    disk.remove_dir_all(&scratch)?;
    disk.sync_dir(dir)?;
    Ok(losses)
}

/// Gives the original a second name that survives a power cut. In the parent folder: in the log's own it would
/// confuse others.
fn keep(disk: &Arc<dyn Disk>, path: &Path, dir: &Path, name: &OsStr) -> DiskResult<()> {
    let parent = dir.parent().unwrap_or(dir);
    let mut tried = 0;
    loop {
        let mut kept = name.to_os_string();
        if tried > 0 {
            kept.push(format!(".{tried}"));
        }
        kept.push(".damaged");
        let kept = parent.join(kept);
        tried += 1;
        if tried < KEPT_MAX && disk.exists(&kept)? {
            continue;
        }
        disk.hard_link(path, &kept)?;
        disk.sync_dir(parent)?;
        tracing::warn!(path = %path.display(), kept = %kept.display(), "log damaged; the file as it was is kept");
        return Ok(());
    }
}

/// Damage of a segment, with the times it lies between; nothing is touched.
///
/// # Errors
/// The device failed.
pub fn examine_segment(disk: &Arc<dyn Disk>, path: &Path) -> DiskResult<Vec<WalLoss>> {
    let mut reader = SegmentReader::open(&**disk, path)?;
    while reader.next_record()?.is_some() {}
    let mut losses = reader.losses().to_vec();
    if !losses.is_empty() {
        date(disk, path, &mut losses)?;
    }
    Ok(losses)
}

/// Finds out which times each loss lies between.
fn date(disk: &Arc<dyn Disk>, path: &Path, losses: &mut [WalLoss]) -> DiskResult<()> {
    let mut reader = SegmentReader::open(&**disk, path)?;
    let mut dates = Vec::new();
    while let Some(bytes) = reader.next_record()? {
        let time = time_of(bytes);
        dates.extend(time.map(|t| (reader.good_end(), t)));
    }
    put_dates(losses, dates.into_iter());
    Ok(())
}

/// Time of the first sample of a record.
fn time_of(bytes: &[u8]) -> Option<i64> {
    match record::decode(bytes) {
        Ok(Record::Samples(all)) => all.first().map(|s| s.t_ms),
        Ok(Record::Histograms(all)) => all.first().map(|h| h.t_ms),
        _ => None,
    }
}

/// Writes into each loss which times it lies between, out of the ends and times of the good records.
fn put_dates(losses: &mut [WalLoss], dates: impl Iterator<Item = (u64, i64)>) {
    let mut before = None;
    for (end, time) in dates {
        for loss in losses.iter_mut().filter(|l| l.offset < end) {
            // Set once: the first record behind it.
            if loss.between_ms.1.is_none() {
                loss.between_ms = (before, Some(time));
            }
        }
        before = Some(time);
    }
    for loss in losses.iter_mut().filter(|l| l.between_ms.1.is_none()) {
        loss.between_ms.0 = before;
    }
}
