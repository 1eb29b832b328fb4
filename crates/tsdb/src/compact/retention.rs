//! Which blocks have to go, by age or by size (upstream: `BeyondTimeRetention`, `BeyondSizeRetention` in
//! `tsdb/db.go`).

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
