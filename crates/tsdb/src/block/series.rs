//! One series of a block, read when asked.

use std::sync::Arc;

use model::Labels;
use storage::{RawChunk, SampleBuf, Series, StorageError};

use super::reader::Inner;
use super::samples::restore_order;
use crate::chunkenc;
use crate::chunks::{ChunkMeta, ChunkRef};
use crate::compact::clip_chunk;
use crate::tombstones::{self, Interval};

/// Samples of a full chunk of floats.
const SAMPLES_A_CHUNK: usize = 120;

/// A handle on a series of a block.
#[derive(Debug)]
pub struct BlockSeries {
    pub(super) block: Arc<Inner>,
    pub(super) labels: Labels,
    /// Chunks within the view's range.
    pub(super) chunks: Box<[ChunkMeta]>,
    /// Place of the chunk behind them.
    pub(super) behind: Option<ChunkRef>,
    pub(super) deleted: Box<[Interval]>,
    /// The view's range.
    pub(super) mint_ms: i64,
    pub(super) maxt_ms: i64,
}

impl BlockSeries {
    /// The chunks that overlap the range, and the place behind them.
    fn within(&self, mint_ms: i64, maxt_ms: i64) -> (&[ChunkMeta], Option<ChunkRef>) {
        let overlapping = |c: &ChunkMeta| c.overlaps(mint_ms, maxt_ms);
        let Some(first) = self.chunks.iter().position(overlapping) else { return (&[], None) };
        let last = self.chunks.iter().rposition(overlapping).unwrap_or(first);
        let behind = self.chunks.get(last + 1).map(|c| c.chunk).or(self.behind);
        (self.chunks.get(first..=last).unwrap_or_default(), behind)
    }

    fn corrupt(&self, chunk: &ChunkMeta, what: &chunkenc::ChunkError) -> StorageError {
        StorageError::Corrupt {
            place: self.block.chunks.place(chunk.chunk),
            what: format!("series {}: {what}", self.labels),
        }
    }
}

impl BlockSeries {
    /// The first damage of a block fails the call that meets it; later ones leave the chunk out.
    fn damaged(&self, chunk: &ChunkMeta, e: StorageError) -> Result<(), StorageError> {
        match e {
            StorageError::Corrupt { .. } if self.block.damage.note(chunk.mint_ms, chunk.maxt_ms, &e) => {
                Ok(())
            }
            e => Err(e),
        }
    }
}

impl Series for BlockSeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        let (mint_ms, maxt_ms) = (mint_ms.max(self.mint_ms), maxt_ms.min(self.maxt_ms));
        let (chunks, behind) = self.within(mint_ms, maxt_ms);
        if chunks.is_empty() {
            return Ok(());
        }
        let from = out.len();
        let mut ordered = true;
        self.block.chunks.read_each(chunks, behind, &mut Vec::new(), |i, chunk| {
            let before = out.len();
            let decoded = chunk.and_then(|chunk| {
                chunkenc::decode(chunk.encoding, chunk.data, mint_ms, maxt_ms, out)
                    .map_err(|e| self.corrupt(&chunks[i], &e))
            });
            if let Err(e) = decoded {
                return self.damaged(&chunks[i], e);
            }
            let last = before.checked_sub(1).filter(|_| before > from).and_then(|b| out.times.get(b));
            ordered &= out.times.get(before).is_none_or(|first| last.is_none_or(|last| last < first));
            Ok(())
        })?;
        if !ordered {
            restore_order(out, from);
        }
        tombstones::apply(&self.deleted, out, from);
        Ok(())
    }

    fn samples_about(&self, mint_ms: i64, maxt_ms: i64) -> usize {
        let (chunks, _) = self.within(mint_ms.max(self.mint_ms), maxt_ms.min(self.maxt_ms));
        chunks.len() * SAMPLES_A_CHUNK
    }

    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        let (mint_ms, maxt_ms) = (mint_ms.max(self.mint_ms), maxt_ms.min(self.maxt_ms));
        let (metas, behind) = self.within(mint_ms, maxt_ms);
        let mut all = Vec::with_capacity(metas.len());
        self.block.chunks.read_each(metas, behind, &mut Vec::new(), |i, chunk| {
            let meta = &metas[i];
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(e) => return self.damaged(meta, e),
            };
            let raw = RawChunk {
                mint_ms: meta.mint_ms,
                maxt_ms: meta.maxt_ms,
                encoding: chunk.encoding,
                data: Arc::from(chunk.data),
            };
            // Deleted samples must not leave; the range may be exceeded.
            clip_chunk(raw, i64::MIN, i64::MAX, &self.deleted, &mut all).map_err(|e| self.corrupt(meta, &e))
        })?;
        Ok(all)
    }
}
