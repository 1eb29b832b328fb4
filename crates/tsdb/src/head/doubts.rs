//! Samples that the log has behind newer ones of their series, in a chunk that spans their time: copies, as a
//! rule. But a commit that failed in strict mode is in the log and was not in the head, which then took older
//! samples as in order; a replay that passes over what is older would lose them. So they are looked for at its
//! end, and kept as late ones.
//!
//! Rejected: keeping what failed out of the log, as others' records lie behind it; showing what failed, as its
//! sender was told that it is not stored.

use hashbrown::HashMap;
use storage::SampleBuf;

use super::Head;
use super::series::Slot;

/// Samples that are looked at once more, the oldest ones: 16 bytes each.
const DOUBTS_MAX: usize = 4 << 20;

/// Which samples of a record lie behind others of their series in it. They passed for such as come in order
/// while the record was made, as those others were not in memory yet, and were then taken as late ones: their
/// own log has them, or a block that may not have all of them any more.
#[derive(Default)]
pub(super) struct LateInRecord(Option<Vec<usize>>);

impl LateInRecord {
    /// Whether the one at this place is such a one. `all` are series and times of the record, looked at once.
    pub(super) fn has(&mut self, at: usize, all: impl Iterator<Item = (u64, i64)>) -> bool {
        let late = self.0.get_or_insert_with(|| {
            let mut newest: HashMap<u64, i64> = HashMap::new();
            let mut is_late = |series: u64, t: i64| {
                let last = newest.entry(series).or_insert(i64::MIN);
                t <= std::mem::replace(last, t.max(*last))
            };
            all.enumerate().filter(|(_, (series, t))| is_late(*series, *t)).map(|(at, _)| at).collect()
        });
        late.binary_search(&at).is_ok()
    }
}

/// Samples of a replay that may be in no chunk.
#[derive(Default)]
pub(super) struct Doubts {
    samples: HashMap<u64, SampleBuf>,
    count: usize,
    /// Commits may fail: otherwise they succeed from memory, and what is behind newer samples is in the log of
    /// late ones too.
    strict: bool,
}

impl Doubts {
    /// `strict`: the log was written in strict mode, see `strict`.
    pub(super) fn new(strict: bool) -> Self {
        Doubts { strict, ..Doubts::default() }
    }

    /// Where to put a sample that is not newer than its series and that a chunk spans, if it is in doubt. Also
    /// where that chunk is from before: a start before this one may have made it of such a log.
    pub(super) fn of(&mut self, series: u64, slot: &Slot, t: i64) -> Option<&mut SampleBuf> {
        if !self.strict || slot.max_time() == Some(t) || self.count >= DOUBTS_MAX {
            return None;
        }
        self.count += 1;
        Some(self.samples.entry(series).or_default())
    }

    /// Those that turn out to be in no chunk, and are not deleted either, by series.
    pub(super) fn missing(self, head: &Head) -> Vec<(u64, SampleBuf)> {
        let mut missing = Vec::new();
        // In order, so that runs with equal seeds read alike.
        let mut doubts: Vec<(u64, SampleBuf)> = self.samples.into_iter().collect();
        doubts.sort_unstable_by_key(|(number, _)| *number);
        for (number, mut samples) in doubts {
            crate::block::sort_by_time(&mut samples, 0);
            let (Some(first), Some(last)) = (samples.times.first(), samples.times.last()) else { continue };
            let Ok(there) = head.in_order_times(number, *first, *last) else { continue };
            if let Some(deleted) = head.deleted(number) {
                crate::tombstones::apply(&deleted, &mut samples, 0);
            }
            let mut left = SampleBuf::default();
            for (i, t) in samples.times.iter().enumerate().filter(|(_, t)| there.binary_search(t).is_err()) {
                match samples.histogram_at(i) {
                    Some(h) => left.push_histogram(*t, h.clone()),
                    None => left.push(*t, samples.values.get(i).copied().unwrap_or_default()),
                }
            }
            if !left.is_empty() {
                missing.push((number, left));
            }
        }
        missing
    }
}
