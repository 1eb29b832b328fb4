//! What blocks say of themselves: their ranges, and what is deleted of them.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use tsdb::block::{Block, BlockMeta, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES};
use tsdb::disk::{Disk, read_all};
use tsdb::tombstones::{FILE_NAME as TOMBSTONES, Interval};

use crate::error::MigrateError;
use crate::pin::{self, NO_TOMBSTONES_BYTES, TOMBSTONES_BYTES_MAX};

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
