//! Bringing blocks over: whole or not at all, as they are, and read back before they count.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use tsdb::block::{
    Block, BlockMeta, BlockSource, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES, META_FILE,
    transfer_block,
};
use tsdb::disk::{Disk, DiskResult, ReadFile, read_all};
use tsdb::tombstones::{FILE_NAME as TOMBSTONES, Interval};

use crate::error::MigrateError;
use crate::pin::{self, NO_TOMBSTONES_BYTES, TOMBSTONES_BYTES_MAX};

/// Compared at once.
const COMPARE_BYTES: usize = 1 << 20;

/// Descriptions of the blocks in a pinned folder, newest first: people look at what is new.
///
/// # Errors
/// The folder or a description cannot be read.
pub fn list_blocks(disk: &dyn Disk, dir: &Path) -> Result<Vec<BlockMeta>, MigrateError> {
    let mut all = pin::metas(disk, dir)?;
    all.sort_by_key(|m| (std::cmp::Reverse(m.maxt_ms), m.ulid));
    Ok(all)
}

/// Behind the newest sample that came in order and is in a block: what the log has before it is there too
/// (upstream: `tsdb/db.go`, `inOrderBlocksMaxTime`).
pub(crate) fn in_order_end_ms(metas: &[BlockMeta]) -> i64 {
    let parts = [HINT_OUT_OF_ORDER, HINT_STALE_SERIES, HINT_SELECTED_SERIES];
    let whole = metas.iter().filter(|m| !parts.iter().any(|hint| m.compaction.has_hint(hint)));
    whole.map(|m| m.maxt_ms).max().unwrap_or(i64::MIN)
}

/// A checksum of what is deleted of a block; 0 where nothing is.
pub(crate) fn deleted_sum(disk: &dyn Disk, dir: &Path) -> Result<u32, MigrateError> {
    match read_all(disk, &dir.join(TOMBSTONES), TOMBSTONES_BYTES_MAX) {
        Ok(bytes) if bytes.len() as u64 > NO_TOMBSTONES_BYTES => Ok(crc32c::crc32c(&bytes)),
        Ok(_) => Ok(0),
        Err(e) if e.is_not_found() => Ok(0),
        Err(e) => Err(e.into()),
    }
}

/// What is deleted of a block: series and range.
pub(crate) fn deleted(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<(Labels, Interval)>, MigrateError> {
    let block = Block::open(Arc::clone(disk), dir)?;
    let mut all = Vec::new();
    for series in block.series()? {
        let series = series?;
        all.extend(series.deleted.iter().map(|i| (series.labels.clone(), *i)));
    }
    Ok(all)
}

/// Copies a block into `data`, reads index and chunks back and compares them byte by byte. Gives the bytes of its files.
///
/// # Errors
/// A file cannot be read or written, no room; what was written differs from what was read. Nothing is left then.
pub fn copy_block(
    (from, dir): (&dyn Disk, &Path),
    (to, data): (&Arc<dyn Disk>, &Path),
) -> Result<u64, MigrateError> {
    let name = dir.file_name().unwrap_or_default();
    let place = data.join(name);
    transfer_block(&BlockSource { disk: from, dir, link: false, foreign: false }, &**to, data)?;
    match same_tree((from, dir), (&**to, &place)) {
        Ok(bytes) => Ok(bytes),
        Err(e) => {
            to.remove_dir_all(&place)?;
            Err(e)
        }
    }
}

fn same_tree((from, a): (&dyn Disk, &Path), (to, b): (&dyn Disk, &Path)) -> Result<u64, MigrateError> {
    let mut bytes = 0;
    for entry in to.list(b)? {
        // These two have checksums of their own, and what was loaded before a kill has our marks in them.
        if [TOMBSTONES, META_FILE].contains(&entry.name.as_str()) {
            continue;
        }
        let (a, b) = (a.join(&entry.name), b.join(&entry.name));
        bytes += match entry.is_dir {
            true => same_tree((from, &a), (to, &b))?,
            false => same_file(&*from.open_read(&a)?, &*to.open_read(&b)?)?,
        };
    }
    Ok(bytes)
}

fn same_file(a: &dyn ReadFile, b: &dyn ReadFile) -> Result<u64, MigrateError> {
    let (mut one, mut other) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(a, &mut one, at)?, fill(b, &mut other, at)?);
        if one.get(..n) != other.get(..m) {
            let (path, why) =
                (b.path().to_path_buf(), format!("differs from {} near byte {at}", a.path().display()));
            return Err(MigrateError::Differs { path, why });
        }
        if n == 0 {
            return Ok(at);
        }
        at += n as u64;
    }
}

fn fill(file: &dyn ReadFile, buf: &mut [u8], at: u64) -> DiskResult<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
