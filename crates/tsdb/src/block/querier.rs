//! A view on a time range of a block.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Matcher;
use storage::{LabelHints, Querier, QueryContext, SelectHints, Series, SeriesSet, StorageError};

use super::reader::{Block, Inner};
use super::series::BlockSeries;
use crate::chunks::ChunkMeta;
use crate::index::{label_values_of, postings_for_matchers};
use crate::tombstones::{self, Tombstones};

/// A view on [mint_ms, maxt_ms] of a block. It keeps the block's files open.
#[derive(Debug)]
pub struct BlockQuerier {
    block: Arc<Inner>,
    tombstones: Arc<Tombstones>,
    mint_ms: i64,
    maxt_ms: i64,
}

impl BlockQuerier {
    pub(super) fn new(block: &Block, mint_ms: i64, maxt_ms: i64) -> Self {
        BlockQuerier { block: Arc::clone(&block.inner), tombstones: block.tombstones(), mint_ms, maxt_ms }
    }
}

/// Bytes a handle costs beside its labels and chunk list.
const HANDLE_BYTES: usize = size_of::<BlockSeries>() + 32;

impl Querier for BlockQuerier {
    fn select(
        &self,
        ctx: &QueryContext,
        _sorted: bool,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<SeriesSet, StorageError> {
        let (mut mint_ms, mut maxt_ms) = (self.mint_ms, self.maxt_ms);
        if (hints.start_ms, hints.end_ms) != (0, 0) {
            mint_ms = mint_ms.max(hints.start_ms);
            maxt_ms = maxt_ms.min(hints.end_ms);
        }
        let ids = postings_for_matchers(&self.block.index, ctx, matchers).inspect_err(|e| {
            // Which series are missing cannot be told: all such queries fail until upkeep has written the
            // block anew from its series.
            if matches!(e, StorageError::Corrupt { .. }) {
                self.block.damage.note(mint_ms, maxt_ms, e);
            }
        })?;
        let mut set = SeriesSet::default();
        let (mut cursor, mut chunks) = (self.block.index.cursor(), Vec::<ChunkMeta>::new());
        // Ids ascend with labels: the answer is sorted whether asked for or not.
        for (n, id) in ids.iter().enumerate() {
            if n.is_multiple_of(256) {
                ctx.check()?;
            }
            if hints.limit > 0 && set.series.len() >= hints.limit {
                break;
            }
            let labels = match cursor.series(*id, &mut chunks) {
                Ok(labels) => labels,
                Err(e @ StorageError::Corrupt { .. }) if self.block.damage.note(mint_ms, maxt_ms, &e) => {
                    continue;
                }
                Err(e) => return Err(e),
            };
            let deleted = self.tombstones.of(u64::from(*id));
            let live = |c: &&ChunkMeta| {
                c.overlaps(mint_ms, maxt_ms) && !tombstones::covers(deleted, c.mint_ms, c.maxt_ms)
            };
            let within: Box<[ChunkMeta]> = chunks.iter().filter(live).copied().collect();
            let Some(last) = within.last() else { continue };
            let behind = chunks.iter().map(|c| c.chunk).find(|c| *c > last.chunk);
            let bytes = HANDLE_BYTES + labels.as_bytes().len() + size_of_val(&*within);
            ctx.budget.charge(bytes as u64)?;
            set.series.push(Arc::new(BlockSeries {
                block: Arc::clone(&self.block),
                labels,
                chunks: within,
                behind,
                deleted: deleted.into(),
                mint_ms,
                maxt_ms,
            }) as Arc<dyn Series>);
        }
        if let Some(damage) = self.block.damage.get() {
            set.warnings.push(format!(
                "a block is damaged in {} places: samples between {} and {} may be missing (first: {})",
                damage.count,
                damage.mint_ms,
                damage.maxt_ms,
                damage.places.first().map_or("", String::as_str)
            ));
        }
        Ok(set)
    }

    fn label_values(
        &self,
        ctx: &QueryContext,
        name: &str,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        label_values_of(&self.block.index, ctx, name, hints.limit, matchers)
    }

    fn label_names(
        &self,
        ctx: &QueryContext,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        let index = &self.block.index;
        let mut names = if matchers.is_empty() {
            index.label_names()
        } else {
            let ids = postings_for_matchers(index, ctx, matchers)?;
            let mut found = BTreeSet::new();
            let mut cursor = index.cursor();
            for (n, id) in ids.iter().enumerate() {
                if n.is_multiple_of(256) {
                    ctx.check()?;
                }
                cursor.names(*id, |name| {
                    if !found.contains(name) {
                        found.insert(name.to_string());
                    }
                })?;
            }
            found.into_iter().collect()
        };
        if hints.limit > 0 {
            names.truncate(hints.limit);
        }
        Ok(names)
    }
}
