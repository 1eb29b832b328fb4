//! Which blocks have to go, by age or by size (upstream: `BeyondTimeRetention`, `BeyondSizeRetention` in
//! `tsdb/db.go`), and which series within them go earlier, which upstream does not have.

use model::{Labels, Matcher};
use ulid::Ulid;

use crate::block::BlockMeta;

/// Blocks whose newest time is more than `retention_ms` before the newest time of all. 0 keeps all.
#[must_use]
pub fn beyond_time(metas: &[BlockMeta], retention_ms: i64) -> Vec<Ulid> {
    let Some(newest) = metas.iter().map(|m| m.maxt_ms).max() else { return Vec::new() };
    if retention_ms <= 0 {
        return Vec::new();
    }
    let old = |m: &&BlockMeta| newest.saturating_sub(m.maxt_ms) >= retention_ms;
    metas.iter().filter(old).map(|m| m.ulid).collect()
}

/// Blocks, oldest first, that must go so that the rest and `other_bytes` (log and head) fit in `max_bytes`.
/// `blocks` has each block with its bytes on disk. 0 keeps all.
#[must_use]
pub fn beyond_size(blocks: &[(BlockMeta, u64)], other_bytes: u64, max_bytes: u64) -> Vec<Ulid> {
    if max_bytes == 0 {
        return Vec::new();
    }
    let mut newest_first: Vec<&(BlockMeta, u64)> = blocks.iter().collect();
    newest_first.sort_by_key(|(m, _)| (std::cmp::Reverse(m.maxt_ms), std::cmp::Reverse(m.mint_ms)));
    let mut used = other_bytes;
    // The first that does not fit takes all older ones with it: no holes in time.
    let kept = newest_first.iter().take_while(|(_, bytes)| {
        used = used.saturating_add(*bytes);
        used <= max_bytes
    });
    let kept = kept.count();
    newest_first.get(kept..).unwrap_or_default().iter().rev().map(|(m, _)| m.ulid).collect()
}

/// Keeps some series for another time than blocks are kept.
#[derive(Clone, Debug)]
pub struct KeepRule {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Milliseconds behind the newest block's end.
    pub keep_ms: i64,
}

/// Steps that a rule's time is rounded to: data goes at most an eighth of its time late, and a block is
/// written anew at most so often while it passes the border.
const KEEP_STEPS: i64 = 8;

impl KeepRule {
    /// From when on samples are kept, where blocks of at least `min_block_ms` reach up to `newest_ms`.
    #[must_use]
    pub fn keep_from(&self, newest_ms: i64, min_block_ms: i64) -> i64 {
        let step = (self.keep_ms / KEEP_STEPS).max(min_block_ms).max(1);
        newest_ms.saturating_sub(self.keep_ms).div_euclid(step).saturating_mul(step)
    }

    /// Whether it is about a series.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(m.name())))
    }
}

/// From when on samples of a series are kept: by the first rule that matches; `i64::MIN` where none does.
#[must_use]
pub fn keep_from(rules: &[KeepRule], labels: &Labels, newest_ms: i64, min_block_ms: i64) -> i64 {
    let rule = rules.iter().find(|r| r.matches(labels));
    rule.map_or(i64::MIN, |r| r.keep_from(newest_ms, min_block_ms))
}
