//! Writes a block: into `<ULID>.tmp-for-creation` first, made durable, then renamed. A crash leaves the
//! block whole or a leftover that the next start removes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Labels;
use storage::{ChunkEncoding, RawChunk, StorageError};

use super::{BlockMeta, BlockStats, CHUNKS_DIR, CREATION_SUFFIX, INDEX_FILE};
use crate::chunkenc;
use crate::chunks::{ChunkMeta, ChunkWriter};
use crate::disk::Disk;
use crate::index::IndexWriter;
use crate::tombstones::Tombstones;

/// Writes one block: symbols in order, then series in label order, then [`BlockWriter::finish`]. Dropped
/// before, it removes what it wrote.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    meta: BlockMeta,
    dir: PathBuf,
    tmp: PathBuf,
    files: Option<(ChunkWriter, IndexWriter)>,
    metas: Vec<ChunkMeta>,
}

impl BlockWriter {
    /// Begins the block that `meta` describes (its counts are filled in here) within `data_dir`.
    ///
    /// # Errors
    /// No permission, no room.
    pub fn create(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        meta: BlockMeta,
        segment_bytes: u64,
    ) -> Result<Self, StorageError> {
        let name = meta.ulid.to_string();
        let dir = data_dir.join(&name);
        let tmp = data_dir.join(format!("{name}{CREATION_SUFFIX}"));
        disk.remove_dir_all(&tmp)?;
        disk.create_dir_all(&tmp)?;
        let mut writer = BlockWriter { disk, meta, dir, tmp, files: None, metas: Vec::new() };
        writer.meta.stats = BlockStats::default();
        let chunks =
            ChunkWriter::create(Arc::clone(&writer.disk), &writer.tmp.join(CHUNKS_DIR), segment_bytes)?;
        let index = IndexWriter::create(Arc::clone(&writer.disk), &writer.tmp.join(INDEX_FILE))?;
        writer.files = Some((chunks, index));
        Ok(writer)
    }

    /// Adds a symbol (label name or value); all come before the first series, sorted and once each. More
    /// than the series use is allowed.
    ///
    /// # Errors
    /// Out of order, no room.
    pub fn add_symbol(&mut self, symbol: &str) -> Result<(), StorageError> {
        match &mut self.files {
            Some((_, index)) => index.add_symbol(symbol),
            None => Err(StorageError::NotReady),
        }
    }

    /// Adds a series with its chunks, which ascend and do not overlap. A series without chunks is left out.
    ///
    /// # Errors
    /// Out of order, unknown symbol, malformed chunk, no room.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[RawChunk]) -> Result<(), StorageError> {
        let Some((writer, index)) = &mut self.files else { return Err(StorageError::NotReady) };
        if chunks.is_empty() {
            return Ok(());
        }
        self.metas.clear();
        let stats = &mut self.meta.stats;
        for chunk in chunks {
            let samples = chunkenc::sample_count(chunk.encoding, &chunk.data)
                .map_err(|e| StorageError::Other(format!("write series {labels}: {e}")))?;
            let at = writer.write(chunk.encoding, &chunk.data)?;
            self.metas.push(ChunkMeta { mint_ms: chunk.mint_ms, maxt_ms: chunk.maxt_ms, chunk: at });
            stats.num_samples += u64::from(samples);
            match chunk.encoding {
                ChunkEncoding::Xor | ChunkEncoding::Xor2 => stats.num_float_samples += u64::from(samples),
                _ => stats.num_histogram_samples += u64::from(samples),
            }
        }
        stats.num_chunks += chunks.len() as u64;
        stats.num_series += 1;
        index.add_series(labels, &self.metas)
    }

    /// Completes the block and makes it visible, durably. `None` where no sample was added: nothing is left
    /// then.
    ///
    /// # Errors
    /// No room, device failed; nothing is left then either.
    pub fn finish(mut self) -> Result<Option<BlockMeta>, StorageError> {
        let Some((chunks, index)) = self.files.take() else { return Err(StorageError::NotReady) };
        if self.meta.stats.num_samples == 0 {
            return Ok(None);
        }
        let disk = Arc::clone(&self.disk);
        chunks.finish()?;
        index.finish()?;
        Tombstones::default().write(&*disk, &self.tmp)?;
        self.meta.write(&*disk, &self.tmp)?;
        disk.sync_dir(&self.tmp)?;
        disk.rename(&self.tmp, &self.dir)?;
        if let Some(parent) = self.dir.parent() {
            disk.sync_dir(parent)?;
        }
        Ok(Some(self.meta.clone()))
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        // Absent after a successful rename. A leftover that cannot be removed now goes at the next start.
        let _ = self.disk.remove_dir_all(&self.tmp);
    }
}

/// Writes a block from streams: what the head is cut with.
///
/// # Errors
/// As [`BlockWriter`]; what the streams give.
pub fn write_block(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    meta: BlockMeta,
    symbols: impl IntoIterator<Item = Result<String, StorageError>>,
    series: impl IntoIterator<Item = Result<(Labels, Vec<RawChunk>), StorageError>>,
) -> Result<Option<BlockMeta>, StorageError> {
    let mut writer = BlockWriter::create(disk, data_dir, meta, crate::chunks::SEGMENT_BYTES)?;
    for symbol in symbols {
        writer.add_symbol(&symbol?)?;
    }
    for item in series {
        let (labels, chunks) = item?;
        writer.add_series(&labels, &chunks)?;
    }
    writer.finish()
}
