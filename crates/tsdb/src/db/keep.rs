//! Series with a retention of their own: blocks that hold some of them for too long are written anew, one
//! after the other, at a set pace.
//!
//! Nothing is remembered on disk: a block is due where it still has such samples. So a crash, another
//! program's compaction or changed rules cannot bring it out of step, and a block that was written anew is
//! not due again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use model::Labels;
use storage::{QueryContext, StorageError};
use ulid::Ulid;

use super::Inner;
use crate::block::{Block, BlockMeta};
use crate::chunks::ChunkMeta;
use crate::compact::{self, Compacted, KeepRule, Rewrite};
use crate::disk::Disk;
use crate::index::postings_for_matchers;

/// The rules in force, and what is known of blocks under them.
#[derive(Debug, Default)]
pub(super) struct Keep {
    rules: Arc<Vec<KeepRule>>,
    /// For each block the oldest sample of each rule's series.
    oldest: HashMap<Ulid, Vec<Option<i64>>>,
    /// Bytes that may be written anew now.
    allowance: u64,
    /// When it last grew.
    grown_ms: Option<i64>,
}

impl Keep {
    pub(super) fn set(&mut self, rules: Vec<KeepRule>) {
        self.rules = Arc::new(rules);
        self.oldest.clear();
    }
}

const MINUTE_MS: u64 = 60_000;

impl Inner {
    /// A compaction under the rules in force, into a block of this folder.
    pub(super) fn compact_as(
        &self,
        disk: Arc<dyn Disk>,
        meta: BlockMeta,
        blocks: &[Block],
    ) -> Result<Compacted, StorageError> {
        let rules = Arc::clone(&self.keep.lock().rules);
        let (newest, min_block) = (self.newest_block_end(), self.options.min_block_ms);
        let from = |labels: &Labels| compact::keep_from(&rules, labels, newest, min_block);
        let rewrite =
            Rewrite { keep_from: (!rules.is_empty()).then_some(&from as _), recode: *self.recode.lock() };
        let folder: &Path = &self.options.path;
        compact::compact_as(disk, folder, meta, blocks, rewrite, &self.cancel)
    }

    fn newest_block_end(&self) -> i64 {
        self.view.read().blocks.iter().map(|b| b.meta().maxt_ms).max().unwrap_or(i64::MIN)
    }

    /// Writes blocks anew that hold samples beyond their series' own retention, as many as the pace allows.
    pub(super) fn apply_keep_rules(&self) -> Result<(), StorageError> {
        let rules = Arc::clone(&self.keep.lock().rules);
        if rules.is_empty() {
            return Ok(());
        }
        self.grow_allowance();
        let newest = self.newest_block_end();
        let mut blocks = self.view.read().blocks.clone();
        let known: BTreeSet<Ulid> = blocks.iter().map(|b| b.meta().ulid).collect();
        self.keep.lock().oldest.retain(|ulid, _| known.contains(ulid));
        // The oldest first: it has the most to give.
        blocks.sort_by_key(|b| b.meta().mint_ms);
        for block in blocks {
            if self.cancel.is_cancelled() || self.wants_cut() {
                return Ok(());
            }
            if block.meta().compaction.failed || !self.is_due(&block, &rules, newest)? {
                continue;
            }
            let size = block.size_bytes();
            {
                let mut keep = self.keep.lock();
                if keep.allowance < size {
                    // It saves up for this one.
                    return Ok(());
                }
                keep.allowance -= size;
            }
            if !self.has_room(std::slice::from_ref(&block)) {
                return Ok(());
            }
            let before = block.meta().stats.num_samples;
            let left: u64 = {
                let old: Vec<Ulid> = self.view.read().blocks.iter().map(|b| b.meta().ulid).collect();
                self.compact_into_one(std::slice::from_ref(&block))?;
                let view = self.view.read();
                let new = view.blocks.iter().find(|b| !old.contains(&b.meta().ulid));
                new.map_or(0, |b| b.meta().stats.num_samples)
            };
            self.metrics.keep_rewrites.inc();
            self.metrics.keep_samples.add(before.saturating_sub(left) as f64);
            tracing::info!(
                block = %block.meta().ulid,
                samples = before.saturating_sub(left),
                "block written anew without samples that are beyond the retention of their series"
            );
        }
        Ok(())
    }

    fn grow_allowance(&self) {
        let now = self.options.clock.0.now_ms();
        let largest = self.view.read().blocks.iter().map(Block::size_bytes).max().unwrap_or(0);
        let mut keep = self.keep.lock();
        let passed = keep.grown_ms.map_or(MINUTE_MS, |before| now.saturating_sub(before).max(0) as u64);
        let more = u128::from(self.options.keep_bytes) * u128::from(passed) / u128::from(MINUTE_MS);
        let cap = self.options.keep_bytes.max(largest);
        keep.allowance = keep.allowance.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(cap);
        keep.grown_ms = Some(now);
    }

    /// Whether a block has samples that are beyond their series' own retention.
    fn is_due(&self, block: &Block, rules: &[KeepRule], newest: i64) -> Result<bool, StorageError> {
        let meta = block.meta();
        let begins = |r: &KeepRule| r.keep_from(newest, self.options.min_block_ms);
        if !rules.iter().any(|r| meta.mint_ms < begins(r)) {
            return Ok(false);
        }
        let known = self.keep.lock().oldest.get(&meta.ulid).cloned();
        let oldest = match known {
            Some(oldest) => oldest,
            None => {
                let found = oldest_of(block, rules)?;
                self.keep.lock().oldest.insert(meta.ulid, found.clone());
                found
            }
        };
        Ok(rules.iter().zip(oldest).any(|(r, oldest)| oldest.is_some_and(|t| t < begins(r))))
    }
}

/// The oldest sample of each rule's series. The first rule that matches a series has it.
fn oldest_of(block: &Block, rules: &[KeepRule]) -> Result<Vec<Option<i64>>, StorageError> {
    let (ctx, index) = (QueryContext::unlimited(), block.index());
    let (mut cursor, mut chunks) = (index.cursor(), Vec::<ChunkMeta>::new());
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut all = Vec::with_capacity(rules.len());
    for rule in rules {
        let mut oldest: Option<i64> = None;
        for id in postings_for_matchers(index, &ctx, &rule.matchers)?.iter() {
            if !taken.insert(*id) {
                continue;
            }
            cursor.series(*id, &mut chunks)?;
            let first = chunks.iter().map(|c| c.mint_ms).min();
            oldest = oldest.into_iter().chain(first).min();
        }
        all.push(oldest);
    }
    Ok(all)
}
