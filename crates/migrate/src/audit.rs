//! What was deleted in the source while nobody looked.
//!
//! What is deleted of a block stands beside it until the block is merged with others: then it is gone without a word.
//! A merged block whose samples are not the sum of those that we know of is compared with what is here: a sample that
//! came from the source, and that the source has no more, goes here too. Proof that it came from there are the pinned
//! logs and blocks; what this server has of its own is never touched. Rejected: deleting all that the source does not
//! have, which needs no proof and would take a neighbour's samples.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{Labels, MatchOp, Matcher};
use storage::{
    Querier, QueryContext, Queryable, SampleBuf, SelectHints, SeriesSet, StorageError, merge_sets,
};
use tsdb::Db;
use tsdb::block::{Block, BlockMeta};
use tsdb::disk::Disk;
use tsdb::wal::record::Record;

use crate::apply::delete_exactly;
use crate::blocks::{in_order_end_ms, list_blocks};
use crate::error::MigrateError;
use crate::follow::Follower;
use crate::pin::{BEFORE_DIR, PinnedLog};
use crate::source::{Place, Source, Who};

/// Samples that are looked at in one go, 40 bytes each: 40 MiB. What is more waits for the next look.
const EXTRA_MAX: usize = 1 << 20;

/// A sample that is here and not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) t_ms: i64,
    /// Its place among those of its series within the range: neighbours go together.
    pub(crate) nth: usize,
    /// It came from the source.
    pub(crate) proven: bool,
}

pub(crate) type Extras = HashMap<Labels, Vec<Extra>>;

/// Deletes what came from the source within the range of `block` and is not there any more. Gives how many samples
/// went; `None` where the source's blocks changed meanwhile, or there is more: to be called again.
///
/// # Errors
/// A block or a log cannot be read; our store refused.
pub(crate) fn audit(
    db: &Db,
    pin: &dyn Source,
    block: &BlockMeta,
    fence_ms: i64,
) -> Result<Option<u64>, MigrateError> {
    // First, as what leaves that log is in a block by then.
    let first_late = pin.first_held(PinnedLog::Wbl)?;
    let Some(held) = pin.hold(Who::Audit, (block.mint_ms, block.maxt_ms))? else { return Ok(None) };
    // The head has what is behind the newest block of all series.
    // From the fence on both take samples of their own.
    let range = (block.mint_ms, block.maxt_ms.min(in_order_end_ms(&held)).min(fence_ms).saturating_sub(1));
    if range.0 > range.1 {
        pin.let_go(Who::Audit)?;
        return Ok(Some(0));
    }
    let theirs = select_all(pin.disk(), &pin.held_dir(Who::Audit), &held, range)?;
    let mut extras = Extras::new();
    let all = find(db, &theirs, range, &mut extras)?;
    drop(theirs);
    let mut deleted = 0;
    if !extras.is_empty() {
        prove_by_blocks(pin, range, &mut extras)?;
        prove_by_logs(pin, first_late, &mut extras)?;
        for (labels, extras) in &extras {
            for (range, samples) in runs(extras) {
                delete_exactly(db, labels, range)?;
                deleted += samples;
            }
        }
    }
    pin.let_go(Who::Audit)?;
    Ok(all.then_some(deleted))
}

pub(crate) fn everything() -> Result<[Matcher; 1], MigrateError> {
    Matcher::new(MatchOp::NotEqual, "__name__", "")
        .map(|m| [m])
        .map_err(|e| StorageError::Other(e.to_string()).into())
}

/// Series of these blocks in `dir` within a range, sorted.
pub(crate) fn select_all(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    metas: &[BlockMeta],
    (mint, maxt): (i64, i64),
) -> Result<SeriesSet, MigrateError> {
    let (ctx, every) = (QueryContext::unlimited(), everything()?);
    let mut sets = Vec::new();
    for meta in metas.iter().filter(|m| m.overlaps(mint, maxt)) {
        let block = Block::open(Arc::clone(disk), &dir.join(meta.ulid.to_string()))?;
        sets.push(block.querier(mint, maxt).select(&ctx, true, &SelectHints::default(), &every)?);
    }
    Ok(merge_sets(sets))
}

/// Whether all fitted.
fn find(
    db: &Db,
    theirs: &SeriesSet,
    (mint, maxt): (i64, i64),
    extras: &mut Extras,
) -> Result<bool, MigrateError> {
    let ctx = QueryContext::unlimited();
    let ours = db.querier(mint, maxt)?.select(&ctx, true, &SelectHints::default(), &everything()?)?;
    let mut there = theirs.series.iter().peekable();
    let (mut mine, mut other, mut found) = (SampleBuf::default(), SampleBuf::default(), 0);
    for series in &ours.series {
        while there.peek().is_some_and(|t| t.labels() < series.labels()) {
            there.next();
        }
        mine.clear();
        other.clear();
        series.read(mint, maxt, &mut mine)?;
        if let Some(t) = there.peek().filter(|t| t.labels() == series.labels()) {
            t.read(mint, maxt, &mut other)?;
        }
        let mut theirs = other.times.iter().peekable();
        let mut extra = Vec::new();
        for (nth, t) in mine.times.iter().enumerate() {
            while theirs.peek().is_some_and(|x| *x < t) {
                theirs.next();
            }
            if theirs.peek() != Some(&t) {
                extra.push(Extra { t_ms: *t, nth, proven: false });
            }
        }
        if extra.is_empty() {
            continue;
        }
        found += extra.len();
        extras.insert(series.labels().clone(), extra);
        if found > EXTRA_MAX {
            return Ok(false);
        }
    }
    Ok(true)
}

fn prove(extras: &mut [Extra], t_ms: i64) {
    if let Ok(at) = extras.binary_search_by_key(&t_ms, |e| e.t_ms)
        && let Some(extra) = extras.get_mut(at)
    {
        extra.proven = true;
    }
}

pub(crate) fn prove_by_blocks(
    pin: &dyn Source,
    range: (i64, i64),
    extras: &mut Extras,
) -> Result<(), MigrateError> {
    let before = pin.dir().join(BEFORE_DIR);
    let held = list_blocks(&**pin.disk(), &before)?;
    let mut buf = SampleBuf::default();
    for (dir, metas) in [(pin.dir(), pin.blocks_in(Place::Pinned)?), (&before, held)] {
        for series in &select_all(pin.disk(), dir, &metas, range)?.series {
            let Some(extra) = extras.get_mut(series.labels()) else { continue };
            buf.clear();
            series.read(range.0, range.1, &mut buf)?;
            buf.times.iter().for_each(|t| prove(extra, *t));
        }
    }
    Ok(())
}

/// What the logs have came from the source. But late samples that its own log still has, from segment `first_late` on,
/// are there, in no block yet, and stay.
pub(crate) fn prove_by_logs(
    pin: &dyn Source,
    first_late: Option<u64>,
    extras: &mut Extras,
) -> Result<(), MigrateError> {
    prove_by_logs_in(pin, pin.dir(), first_late, extras)?;
    let before = pin.dir().join(BEFORE_DIR);
    if pin.disk().exists(&before)? {
        prove_by_logs_in(pin, &before, first_late, extras)?;
    }
    Ok(())
}

fn prove_by_logs_in(
    pin: &dyn Source,
    dir: &Path,
    first_late: Option<u64>,
    extras: &mut Extras,
) -> Result<(), MigrateError> {
    // Numbers of series are told by the first log alone.
    let mut numbers: HashMap<u64, Labels> = HashMap::new();
    for log in PinnedLog::ALL {
        let path = dir.join(log.dir());
        if !pin.disk().exists(&path)? {
            continue;
        }
        let mut follower = Follower::new(pin.disk(), path, None)?;
        while let Some(record) = follower.next_record()? {
            let stays =
                log == PinnedLog::Wbl && first_late.is_some_and(|first| follower.place().segment >= first);
            let mut met = |series: u64, t_ms: i64| {
                let Some(extra) = numbers.get(&series).and_then(|l| extras.get_mut(l)) else { return };
                if stays { extra.retain(|e| e.t_ms != t_ms) } else { prove(extra, t_ms) }
            };
            match record {
                Record::Series(all) => {
                    let wanted = all.into_iter().filter(|s| extras.contains_key(&s.labels));
                    numbers.extend(wanted.map(|s| (s.series, s.labels)));
                }
                Record::Samples(all) => all.iter().for_each(|s| met(s.series, s.t_ms)),
                Record::Histograms(all) => all.iter().for_each(|s| met(s.series, s.t_ms)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// First and last time of proven samples without another one between them, and how many they are.
fn runs(extras: &[Extra]) -> Vec<((i64, i64), u64)> {
    let mut runs: Vec<((i64, i64), u64)> = Vec::new();
    let mut last = None;
    for e in extras.iter().filter(|e| e.proven) {
        match runs.last_mut().filter(|_| last.is_some_and(|l| l + 1 == e.nth)) {
            Some(run) => {
                run.0.1 = e.t_ms;
                run.1 += 1;
            }
            None => runs.push(((e.t_ms, e.t_ms), 1)),
        }
        last = Some(e.nth);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_go_together_and_what_is_not_proven_stays() {
        let extra = |nth: usize, proven| Extra { t_ms: nth as i64 * 10, nth, proven };
        let all = [extra(1, true), extra(2, true), extra(4, true), extra(5, false), extra(6, true)];
        assert_eq!(runs(&all), [((10, 20), 2), ((40, 40), 1), ((60, 60), 1)]);
    }
}
