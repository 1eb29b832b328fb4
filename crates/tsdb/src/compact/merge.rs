//! Several blocks into one, series by series: memory holds the symbols, one series of each block, and what
//! the index writer needs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use model::Labels;
use storage::{CancelToken, RawChunk, StorageError};
use ulid::Ulid;

use super::recode::{Recode, RecodeWork, clip_chunk, merge_chunks, recode_floats};
use crate::block::{
    Block, BlockDesc, BlockMeta, BlockSeriesIter, BlockWriter, Compaction, HINT_OUT_OF_ORDER,
    HINT_SELECTED_SERIES, HINT_STALE_SERIES, StoredSeries,
};
use crate::chunks::SEGMENT_BYTES;
use crate::disk::Disk;
use crate::index::SymbolIter;

/// Description of the block that these become. `metas` must not be empty.
#[must_use]
pub fn merged_meta(ulid: Ulid, metas: &[BlockMeta]) -> BlockMeta {
    let mint_ms = metas.iter().map(|m| m.mint_ms).min().unwrap_or_default();
    let maxt_ms = metas.iter().map(|m| m.maxt_ms).max().unwrap_or_default();
    let mut sources: Vec<Ulid> = metas.iter().flat_map(|m| m.compaction.sources.iter().copied()).collect();
    sources.sort_unstable();
    sources.dedup();
    let parent = |m: &BlockMeta| BlockDesc { ulid: m.ulid, mint_ms: m.mint_ms, maxt_ms: m.maxt_ms };
    let mut compaction = Compaction {
        level: 1 + metas.iter().map(|m| m.compaction.level).max().unwrap_or_default(),
        sources,
        parents: metas.iter().map(parent).collect(),
        ..Compaction::default()
    };
    // A part of the head stays one; out-of-order is what all of it must be.
    for hint in [HINT_STALE_SERIES, HINT_SELECTED_SERIES] {
        if metas.iter().any(|m| m.compaction.has_hint(hint)) {
            compaction.set_hint(hint);
        }
    }
    if !metas.is_empty() && metas.iter().all(|m| m.compaction.has_hint(HINT_OUT_OF_ORDER)) {
        compaction.set_hint(HINT_OUT_OF_ORDER);
    }
    BlockMeta { compaction, ..BlockMeta::level_one(ulid, mint_ms, maxt_ms) }
}

/// Description of a block rewritten without its deleted samples: a fresh one, as upstream has it, whose parent
/// is the old one.
#[must_use]
pub fn rewritten_meta(ulid: Ulid, old: &BlockMeta) -> BlockMeta {
    let mut meta = BlockMeta::level_one(ulid, old.mint_ms, old.maxt_ms);
    meta.compaction.parents = vec![BlockDesc { ulid: old.ulid, mint_ms: old.mint_ms, maxt_ms: old.maxt_ms }];
    for hint in [HINT_OUT_OF_ORDER, HINT_STALE_SERIES, HINT_SELECTED_SERIES] {
        if old.compaction.has_hint(hint) {
            meta.compaction.set_hint(hint);
        }
    }
    meta
}

/// What a compaction does beside merging. The default is nothing.
#[derive(Clone, Copy, Default)]
pub struct Rewrite<'a> {
    /// The time from which on samples of a series are kept; `i64::MIN` keeps all.
    pub keep_from: Option<&'a dyn Fn(&Labels) -> i64>,
    /// How chunks of floats are encoded anew.
    pub recode: Option<Recode>,
}

/// What a compaction made.
#[derive(Clone, Debug)]
pub struct Compacted {
    /// The new block; `None` where no sample was left: the sources are marked deletable then.
    pub meta: Option<BlockMeta>,
    /// Whether blocks overlapped in time.
    pub overlapping: bool,
}

impl Source<'_> {
    /// The next series that can be read; damaged ones are noted and left out.
    fn advance(&mut self) -> Result<(), StorageError> {
        loop {
            match self.iter.next().transpose() {
                Err(e @ StorageError::Corrupt { .. }) => {
                    let meta = self.iter.block().meta();
                    self.iter.block().note_damage(meta.mint_ms, meta.maxt_ms, &e);
                }
                other => {
                    self.head = other?;
                    return Ok(());
                }
            }
        }
    }
}

/// Merges blocks into a new one in `data_dir`, without deleted samples; the sources stay for the caller to
/// remove. Damaged series and chunks are left out and noted ([`Block::damage`]). A source that cannot be
/// read at all is not marked: the caller does that with [`Block::update_meta`].
///
/// # Errors
/// Corrupt data, no room, cancelled; nothing is left of the new block then.
pub fn compact(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    ulid: Ulid,
    blocks: &[Block],
    rewrite: Rewrite<'_>,
    cancel: &CancelToken,
) -> Result<Compacted, StorageError> {
    let mut metas: Vec<BlockMeta> = blocks.iter().map(|b| (*b.meta()).clone()).collect();
    metas.sort_by_key(|m| m.mint_ms);
    compact_as(disk, data_dir, merged_meta(ulid, &metas), blocks, rewrite, cancel)
}

/// As [`compact`], into the block that `meta` describes.
///
/// # Errors
/// As [`compact`].
pub fn compact_as(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    meta: BlockMeta,
    blocks: &[Block],
    rewrite: Rewrite<'_>,
    cancel: &CancelToken,
) -> Result<Compacted, StorageError> {
    let mut blocks: Vec<&Block> = blocks.iter().collect();
    blocks.sort_by_key(|b| b.meta().mint_ms);
    let metas: Vec<BlockMeta> = blocks.iter().map(|b| (*b.meta()).clone()).collect();
    let mut end = i64::MIN;
    let mut overlapping = false;
    for m in &metas {
        overlapping |= m.mint_ms < end;
        end = end.max(m.maxt_ms);
    }
    // The range is half open.
    let (mint_ms, maxt_ms) = (meta.mint_ms, meta.maxt_ms.saturating_sub(1));
    let mut writer = BlockWriter::create(disk, data_dir, meta, SEGMENT_BYTES)?;
    let check = || if cancel.is_cancelled() { Err(StorageError::Cancelled) } else { Ok(()) };

    let mut symbols = MergedSymbols::new(&blocks)?;
    while let Some(symbol) = symbols.next()? {
        writer.add_symbol(&symbol)?;
    }
    check()?;

    let mut sources = Vec::with_capacity(blocks.len());
    for block in &blocks {
        sources.push(Source { iter: block.series()?, head: None });
    }
    for source in &mut sources {
        source.advance()?;
    }
    let (mut buf, mut work) = (Vec::new(), RecodeWork::default());
    let mut count = 0_u64;
    loop {
        count += 1;
        if count.is_multiple_of(256) {
            check()?;
        }
        let heads = sources.iter().filter_map(|s| s.head.as_ref().map(|h| &h.labels));
        let Some(labels) = heads.min().cloned() else { break };
        let mut chunks = Vec::new();
        let mut parts = 0;
        let from_ms = rewrite.keep_from.map_or(mint_ms, |from| from(&labels).max(mint_ms));
        for source in &mut sources {
            if let Some(series) = source.head.take_if(|h| h.labels == labels) {
                read_chunks(source.iter.block(), &series, (from_ms, maxt_ms), &mut buf, &mut chunks)?;
                source.advance()?;
                parts += 1;
            }
        }
        // Also within one block: chunks of an out-of-order head may touch.
        if parts > 1 || overlapping {
            chunks = merge_chunks(chunks)
                .map_err(|e| StorageError::Other(format!("compact series {labels}: {e}")))?;
        }
        if let Some(recode) = rewrite.recode {
            chunks = recode_floats(chunks, recode, &mut work)
                .map_err(|e| StorageError::Other(format!("encode series {labels} anew: {e}")))?;
        }
        writer.add_series(&labels, &chunks)?;
    }
    let meta = writer.finish()?;
    if meta.is_none() {
        for block in &blocks {
            block.update_meta(|m| m.compaction.deletable = true)?;
        }
    }
    Ok(Compacted { meta, overlapping })
}

fn read_chunks(
    block: &Block,
    series: &StoredSeries,
    (mint_ms, maxt_ms): (i64, i64),
    buf: &mut Vec<u8>,
    out: &mut Vec<RawChunk>,
) -> Result<(), StorageError> {
    // Chunks beyond retention are not even read.
    let first = series.chunks.partition_point(|c| c.maxt_ms < mint_ms);
    let wanted = series.chunks.get(first..).unwrap_or_default();
    block.chunk_reader().read_each(wanted, None, buf, |i, chunk| {
        let meta = &wanted[i];
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(e @ StorageError::Corrupt { .. }) => {
                block.note_damage(meta.mint_ms, meta.maxt_ms, &e);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let raw = RawChunk {
            mint_ms: meta.mint_ms,
            maxt_ms: meta.maxt_ms,
            encoding: chunk.encoding,
            data: Arc::from(chunk.data),
        };
        clip_chunk(raw, mint_ms, maxt_ms, &series.deleted, out).map_err(|e| StorageError::Corrupt {
            place: block.chunk_reader().place(meta.chunk),
            what: format!("series {}: {e}", series.labels),
        })
    })
}

struct Source<'a> {
    iter: BlockSeriesIter<'a>,
    head: Option<StoredSeries>,
}

/// Symbols of several blocks in order, once each.
struct MergedSymbols {
    sources: Vec<SymbolIter>,
    heads: BinaryHeap<Head>,
    last: Option<String>,
}

#[derive(PartialEq, Eq)]
struct Head {
    symbol: String,
    source: usize,
}

impl Ord for Head {
    fn cmp(&self, o: &Self) -> Ordering {
        // The heap gives the greatest: turned round.
        (&o.symbol, o.source).cmp(&(&self.symbol, self.source))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}

impl MergedSymbols {
    fn new(blocks: &[&Block]) -> Result<Self, StorageError> {
        let sources = blocks.iter().map(|b| b.symbols()).collect::<Result<Vec<_>, _>>()?;
        let mut merged = MergedSymbols { sources, heads: BinaryHeap::new(), last: None };
        for source in 0..merged.sources.len() {
            merged.pull(source)?;
        }
        Ok(merged)
    }

    fn pull(&mut self, source: usize) -> Result<(), StorageError> {
        if let Some(symbol) = self.sources[source].next() {
            self.heads.push(Head { symbol: symbol?, source });
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<String>, StorageError> {
        while let Some(Head { symbol, source }) = self.heads.pop() {
            self.pull(source)?;
            if self.last.as_ref() != Some(&symbol) {
                self.last = Some(symbol.clone());
                return Ok(Some(symbol));
            }
        }
        Ok(None)
    }
}
