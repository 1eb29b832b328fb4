//! Makes a block usable again whose small files are damaged: its description can be made anew from index and
//! chunks, its deleted ranges cannot. What is damaged stays beside as `<name>.damaged`.

use std::path::Path;
use std::sync::Arc;

use storage::StorageError;
use ulid::Ulid;

use super::{BlockMeta, CHUNKS_DIR, HINT_OUT_OF_ORDER, INDEX_FILE, META_FILE};
use crate::chunkenc;
use crate::chunks::{ChunkMeta, ChunkReader};
use crate::disk::Disk;
use crate::index::{IndexReader, PostingSource};
use crate::tombstones::{self, Tombstones};

/// A file that should be there is not.
pub(crate) fn is_missing(e: &StorageError) -> bool {
    matches!(e, StorageError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// What is wrong is in the files, not with the device.
pub(crate) fn is_damage(e: &StorageError) -> bool {
    matches!(e, StorageError::Corrupt { .. }) || is_missing(e)
}

/// Repairs what can be; gives what was done in words, with the range of time concerned. Nothing is touched
/// where the small files are good.
///
/// # Errors
/// The device failed, no room; the description is damaged and the index as well.
pub fn repair_block(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<String>, StorageError> {
    let mut done = Vec::new();
    if let Err(e) = BlockMeta::read(&**disk, dir) {
        if !is_damage(&e) {
            return Ok(done);
        }
        let meta = describe(disk, dir)?;
        set_aside(&**disk, dir, META_FILE)?;
        meta.write(&**disk, dir)?;
        done.push(format!(
            "{e}: made anew from index and chunks, times {} to {}; its history of compactions is lost",
            meta.mint_ms, meta.maxt_ms
        ));
    }
    if let Err(e @ StorageError::Corrupt { .. }) = Tombstones::read(&**disk, dir) {
        set_aside(&**disk, dir, tombstones::FILE_NAME)?;
        Tombstones::default().write(&**disk, dir)?;
        done.push(format!(
            "{e}: left out; samples that were deleted from this block and not rewritten yet are back"
        ));
    }
    Ok(done)
}

fn set_aside(disk: &dyn Disk, dir: &Path, name: &str) -> Result<(), StorageError> {
    let kept = dir.join(format!("{name}.damaged"));
    if disk.exists(&kept)? {
        disk.remove_file(&kept)?;
    }
    // A link, so that there is a file under the old name at every instant.
    match disk.hard_link(&dir.join(name), &kept) {
        Err(e) if e.is_not_found() => Ok(()),
        other => Ok(other?),
    }
}

fn describe(disk: &Arc<dyn Disk>, dir: &Path) -> Result<BlockMeta, StorageError> {
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let ulid = Ulid::from_string(name).map_err(|e| StorageError::Other(format!("block {name}: {e}")))?;
    let index = IndexReader::open(&**disk, &dir.join(INDEX_FILE))?;
    let (chunks, _) = ChunkReader::open_damaged(&**disk, &dir.join(CHUNKS_DIR))?;
    let mut meta = BlockMeta::level_one(ulid, i64::MAX, i64::MIN);
    // Nobody knows whether the head had more of its range: the log must not be passed over for it.
    meta.compaction.set_hint(HINT_OUT_OF_ORDER);
    let (mut cursor, mut list, mut buf) = (index.cursor(), Vec::<ChunkMeta>::new(), Vec::new());
    for id in index.all()?.iter() {
        match cursor.series(*id, &mut list) {
            Err(StorageError::Corrupt { .. }) => continue,
            other => other?,
        };
        let stats = &mut meta.stats;
        stats.num_series += 1;
        stats.num_chunks += list.len() as u64;
        meta.mint_ms = list.iter().map(|c| c.mint_ms).fold(meta.mint_ms, i64::min);
        // Its end is open.
        meta.maxt_ms = list.iter().map(|c| c.maxt_ms.saturating_add(1)).fold(meta.maxt_ms, i64::max);
        chunks.read_each(&list, None, &mut buf, |_, chunk| {
            let Ok(chunk) = chunk else { return Ok(()) };
            let samples = u64::from(chunkenc::sample_count(chunk.encoding, chunk.data).unwrap_or(0));
            stats.num_samples += samples;
            match chunk.encoding {
                storage::ChunkEncoding::Xor | storage::ChunkEncoding::Xor2 => {
                    stats.num_float_samples += samples
                }
                _ => stats.num_histogram_samples += samples,
            }
            Ok(())
        })?;
    }
    if meta.mint_ms > meta.maxt_ms {
        return Err(crate::index::codec::corrupt(&dir.join(INDEX_FILE), 0, "no series can be read"));
    }
    Ok(meta)
}
