//! Makes a damaged segment readable by everyone: upstream drops all that follows a bad record, segments
//! behind it included, so the bad parts must not stay.

use std::path::Path;
use std::sync::Arc;

use super::record::{self, Record};
use super::{SegmentReader, WalCompression, WalLoss, WalWriter};
use crate::disk::{Disk, DiskResult, WriteMode};

/// Mends a segment: a torn tail is cut off; damage inside is left out by writing the good records into a
/// new file that replaces the old one, which is kept beside it as `<name>.damaged` in the parent folder
/// of the log. Returns what was lost; nothing is touched where that is nothing.
///
/// # Errors
/// The device failed, no room; the old file is in place then.
pub fn mend_segment(disk: &Arc<dyn Disk>, path: &Path) -> DiskResult<Vec<WalLoss>> {
    let mut reader = SegmentReader::open(&**disk, path)?;
    while reader.next_record()?.is_some() {}
    let mut losses = reader.losses().to_vec();
    if !losses.is_empty() {
        date(disk, path, &mut losses)?;
    }
    let inner = if reader.is_torn() { losses.len() - 1 } else { losses.len() };
    if inner == 0 {
        if reader.is_torn() {
            let mut file = disk.open_write(path, WriteMode::Append)?;
            file.set_len(reader.good_end())?;
            file.sync()?;
        }
        return Ok(losses);
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(losses) };
    let mut scratch = name.to_os_string();
    scratch.push(".mend");
    let scratch = dir.join(scratch);
    disk.remove_dir_all(&scratch)?;
    // One segment at least as large as the old one, so that all good records fit.
    let size = disk.size(path)?.max(super::segment::PAGE_BYTES as u64) * 2;
    let mut writer = WalWriter::open(Arc::clone(disk), &scratch, WalCompression::Snappy, size)?;
    let mut reader = SegmentReader::open(&**disk, path)?;
    while let Some(record) = reader.next_record()? {
        writer.log([record])?;
    }
    if let Some(work) = writer.take_sync_work() {
        work.run()?;
    }
    drop(writer);
    if let Some(parent) = dir.parent() {
        let mut kept = name.to_os_string();
        kept.push(".damaged");
        // Only a help for whoever wants to look; the file's name in the log's folder would confuse others.
        let _ = disk.hard_link(path, &parent.join(kept));
    }
    disk.rename(&super::segment_path(&scratch, 0), path)?;
    disk.remove_dir_all(&scratch)?;
    disk.sync_dir(dir)?;
    Ok(losses)
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
    let mut before = None;
    while let Some(bytes) = reader.next_record()? {
        let time = match record::decode(bytes) {
            Ok(Record::Samples(all)) => all.first().map(|s| s.t_ms),
            Ok(Record::Histograms(all)) => all.first().map(|h| h.t_ms),
            _ => None,
        };
        let Some(time) = time else { continue };
        let end = reader.good_end();
        for loss in losses.iter_mut() {
            if loss.offset < end {
                // Set once: the first record behind it.
                loss.between_ms.0 = loss.between_ms.0.or(before);
                loss.between_ms.1 = loss.between_ms.1.or(Some(time));
            }
        }
        before = Some(time);
    }
    for loss in losses.iter_mut().filter(|l| l.between_ms.1.is_none()) {
        loss.between_ms.0 = before;
    }
    Ok(())
}
