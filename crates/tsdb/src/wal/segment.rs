//! Names and framing of log segments. Follows upstream's `tsdb/docs/format/wal.md`.
//!
//! A segment is a file of 32 KiB pages. A record is cut into fragments so that none crosses a page; each
//! has a header of seven bytes: type and compression, length, CRC-32C of its data. The rest of a page that
//! cannot hold a header is zeros.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskResult};

/// Size of a page.
pub(crate) const PAGE_BYTES: usize = 32 << 10;
/// Type, length (2), checksum (4).
pub(crate) const HEADER_BYTES: usize = 7;

/// Fragment types, in the low three bits.
pub(crate) const PAGE_END: u8 = 0;
pub(crate) const FULL: u8 = 1;
pub(crate) const FIRST: u8 = 2;
pub(crate) const MIDDLE: u8 = 3;
pub(crate) const LAST: u8 = 4;
pub(crate) const TYPE_MASK: u8 = 0b0000_0111;
pub(crate) const SNAPPY: u8 = 0b0000_1000;
pub(crate) const ZSTD: u8 = 0b0001_0000;

/// Path of a segment.
#[must_use]
pub fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:08}"))
}

/// Path of a checkpoint.
#[must_use]
pub fn checkpoint_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("checkpoint.{segment:08}"))
}

/// Numbers of the segments in a folder, ascending; empty where the folder does not exist.
///
/// # Errors
/// The folder cannot be read.
pub fn segments(disk: &dyn Disk, dir: &Path) -> DiskResult<Vec<u64>> {
    if !disk.exists(dir)? {
        return Ok(Vec::new());
    }
    let number = |name: &str| name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse().ok()).flatten();
    let entries = disk.list(dir)?;
    let mut all: Vec<u64> = entries.iter().filter(|e| !e.is_dir).filter_map(|e| number(&e.name)).collect();
    all.sort_unstable();
    Ok(all)
}

/// Numbers of the checkpoints in a folder, ascending.
///
/// # Errors
/// The folder cannot be read.
pub fn checkpoints(disk: &dyn Disk, dir: &Path) -> DiskResult<Vec<u64>> {
    if !disk.exists(dir)? {
        return Ok(Vec::new());
    }
    let entries = disk.list(dir)?;
    let number = |name: &str| name.strip_prefix("checkpoint.")?.parse().ok();
    let mut all: Vec<u64> = entries.iter().filter(|e| e.is_dir).filter_map(|e| number(&e.name)).collect();
    all.sort_unstable();
    Ok(all)
}
