//! A block whose index cannot be opened, written anew from the series that are left in it.

use std::path::Path;
use std::sync::Arc;

use storage::{RawChunk, StorageError};
use ulid::Ulid;

use super::{BlockMeta, BlockWriter, CHUNKS_DIR, INDEX_FILE};
use crate::chunks::{ChunkReader, SEGMENT_BYTES};
use crate::compact::{clip_chunk, merge_chunks, merged_meta};
use crate::disk::Disk;
use crate::index::Salvage;
use crate::tombstones::Tombstones;

/// What was saved.
#[derive(Clone, Debug)]
pub struct SalvagedBlock {
    /// The new block; `None` where no series could be read.
    pub meta: Option<BlockMeta>,
    /// Series whose entry is whole and whose strings are lost.
    pub lost_series: u64,
    /// Chunks that could not be read.
    pub lost_chunks: u64,
}

/// Writes the block in `dir` anew beside it, without its deleted samples, named `ulid`. The old one stays
/// for the caller to set aside.
///
/// # Errors
/// Its description, its deleted ranges, or both tables of strings are damaged as well; no room. Nothing is
/// left of the new block then.
pub fn salvage_block(disk: &Arc<dyn Disk>, dir: &Path, ulid: Ulid) -> Result<SalvagedBlock, StorageError> {
    let old = BlockMeta::read(&**disk, dir)?;
    let stones = Tombstones::read(&**disk, dir)?;
    let (chunks, _) = ChunkReader::open_damaged(&**disk, &dir.join(CHUNKS_DIR))?;
    let mut salvage = Salvage::open(&**disk, &dir.join(INDEX_FILE))?;
    let (mint, maxt) = (old.mint_ms, old.maxt_ms.saturating_sub(1));
    let data_dir = dir.parent().unwrap_or(Path::new("."));
    let meta = merged_meta(ulid, std::slice::from_ref(&old));
    let mut writer = BlockWriter::create(Arc::clone(disk), data_dir, meta, SEGMENT_BYTES)?;
    salvage.symbols().try_for_each(|s| writer.add_symbol(s))?;
    let (mut buf, mut lost_chunks) = (Vec::new(), 0);
    while let Some((id, labels, metas)) = salvage.next_series()? {
        let deleted = stones.of(u64::from(id));
        let mut kept: Vec<RawChunk> = Vec::with_capacity(metas.len());
        chunks.read_each(&metas, None, &mut buf, |i, chunk| {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(StorageError::Corrupt { .. }) => {
                    lost_chunks += 1;
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            let Some(meta) = metas.get(i) else { return Ok(()) };
            let (mint_ms, maxt_ms) = (meta.mint_ms, meta.maxt_ms);
            let raw = RawChunk { mint_ms, maxt_ms, encoding: chunk.encoding, data: Arc::from(chunk.data) };
            lost_chunks += u64::from(clip_chunk(raw, mint, maxt, deleted, &mut kept).is_err());
            Ok(())
        })?;
        match merge_chunks(kept) {
            Ok(kept) => writer.add_series(&labels, &kept)?,
            Err(_) => lost_chunks += metas.len() as u64,
        }
    }
    let lost_series = salvage.lost;
    Ok(SalvagedBlock { meta: writer.finish()?, lost_series, lost_chunks })
}
