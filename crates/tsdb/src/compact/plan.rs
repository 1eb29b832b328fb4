//! Chooses blocks to compact: overlapping ones first, then full ranges of the next size, then such with
//! many tombstones.

use ulid::Ulid;

use crate::block::{BlockMeta, HINT_SELECTED_SERIES, HINT_STALE_SERIES};

/// Each level is three of the level below.
const STEP: i64 = 3;
/// Levels that upstream makes before it cuts them at the maximum.
const LEVELS: usize = 10;
/// A big block is rewritten when it has more deleted ranges than this share of its series.
const TOMBSTONES_PER_SERIES_MAX: f64 = 0.05;

/// Block sizes from `min_ms` up to `max_ms`, each three times the one before.
#[must_use]
pub fn block_ranges(min_ms: i64, max_ms: i64) -> Vec<i64> {
    let sizes = std::iter::successors(Some(min_ms), |size| size.checked_mul(STEP));
    sizes.take(LEVELS).take_while(|size| *size <= max_ms).collect()
}

/// The blocks to compact into one now; empty where there is nothing to do. `ranges` are the block sizes in
/// milliseconds, ascending (see [`block_ranges`]).
///
/// Blocks of a part of the head (stale or chosen series) are never mixed with others: the result would
/// claim a range of which it has only some series.
#[must_use]
pub fn plan(metas: &[BlockMeta], ranges: &[i64]) -> Vec<Ulid> {
    let (mut stale, mut selected, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for meta in metas {
        if meta.compaction.has_hint(HINT_STALE_SERIES) {
            stale.push(meta);
        } else if meta.compaction.has_hint(HINT_SELECTED_SERIES) {
            selected.push(meta);
        } else {
            whole.push(meta);
        }
    }
    let classes = [whole, stale, selected].into_iter().map(|class| plan_class(class, ranges));
    classes.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

fn plan_class(mut metas: Vec<&BlockMeta>, ranges: &[i64]) -> Vec<Ulid> {
    metas.sort_by_key(|m| m.mint_ms);
    let overlapping = overlapping(&metas);
    if !overlapping.is_empty() {
        return overlapping;
    }
    // The newest block waits: whoever backs blocks up piece by piece gets one block's time to do so.
    metas.pop();
    let group = full_range(&metas, ranges);
    if !group.is_empty() {
        return group;
    }
    let big = ranges.get(ranges.len() / 2).copied().unwrap_or(i64::MAX);
    for meta in metas.iter().rev() {
        let (stones, series) = (meta.stats.num_tombstones, meta.stats.num_series);
        if meta.maxt_ms - meta.mint_ms < big {
            // A small one is worth it only if all of it is deleted.
            return if stones > 0 && stones >= series { vec![meta.ulid] } else { Vec::new() };
        }
        if stones as f64 / (series + 1) as f64 > TOMBSTONES_PER_SERIES_MAX {
            return vec![meta.ulid];
        }
    }
    Vec::new()
}

/// The first run of blocks that overlap each other.
fn overlapping(sorted: &[&BlockMeta]) -> Vec<Ulid> {
    let mut found = Vec::new();
    let Some(mut end) = sorted.first().map(|m| m.maxt_ms) else { return found };
    for pair in sorted.windows(2) {
        let (before, meta) = (pair[0], pair[1]);
        if meta.mint_ms < end {
            if found.is_empty() {
                found.push(before.ulid);
            }
            found.push(meta.ulid);
        } else if !found.is_empty() {
            break;
        }
        end = end.max(meta.maxt_ms);
    }
    found
}

/// Blocks that fill an aligned range of the next size, or lie in one that nothing will be added to.
fn full_range(sorted: &[&BlockMeta], ranges: &[i64]) -> Vec<Ulid> {
    let Some(newest) = sorted.last().map(|m| m.mint_ms) else { return Vec::new() };
    for range in ranges.iter().skip(1) {
        for group in by_range(sorted, *range) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let full = last.maxt_ms - first.mint_ms == *range;
            let failed = group.iter().any(|m| m.compaction.failed);
            if group.len() > 1 && !failed && (full || last.maxt_ms <= newest) {
                return group.iter().map(|m| m.ulid).collect();
            }
        }
    }
    Vec::new()
}

/// Groups of blocks within the same aligned range; blocks that fit in none are left out.
fn by_range<'a>(sorted: &[&'a BlockMeta], range: i64) -> Vec<Vec<&'a BlockMeta>> {
    let mut groups = Vec::new();
    let mut rest = sorted;
    while let Some((first, tail)) = rest.split_first() {
        let end = first.mint_ms.div_euclid(range).saturating_mul(range).saturating_add(range);
        if first.maxt_ms > end {
            rest = tail;
            continue;
        }
        let n = rest.iter().take_while(|m| m.maxt_ms <= end).count();
        let (group, tail) = rest.split_at(n);
        groups.push(group.to_vec());
        rest = tail;
    }
    groups
}
