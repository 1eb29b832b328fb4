//! Floats of the log into series that may have newer ones: a start finds complete chunks before it reads the log,
//! and what is missing between them is put there at the end.

use hashbrown::HashMap;
use storage::SampleBuf;

use super::mapped::HeadChunks;
use super::open::Blocks;
use super::series::{Applied, ChunkRules, ChunkSink, Slot};

/// Samples older than the newest of their series, and in none of its chunks, by series.
pub(super) type Holes = HashMap<u64, SampleBuf>;

/// What became of a float of the log.
pub(super) enum Put {
    /// It is in; by how much there are more series that are stale.
    Done(Applied, i64),
    /// It is older than the newest, and in none of the chunks.
    Between,
    /// A chunk spans its time.
    Known,
}

/// Adds a float of the log to its series, unless that has newer ones.
#[inline]
pub(super) fn put_float(slot: &mut Slot, number: u64, t: i64, v: f64, sink: &mut ChunkSink<'_>) -> Put {
    if slot.max_time().is_some_and(|last| t <= last) {
        return if slot.covers(t) { Put::Known } else { Put::Between };
    }
    let was_stale = slot.stale;
    let done = slot.append_float(number, t, v, sink);
    Put::Done(done, i64::from(slot.stale) - i64::from(was_stale))
}

/// Puts samples of a series between chunks that were there before them, and gives how many chunks that made.
pub(super) fn fill_hole(
    slot: &mut Slot,
    number: u64,
    mut samples: SampleBuf,
    (rules, files): (&ChunkRules, &HeadChunks),
) -> i64 {
    crate::block::sort_by_time(&mut samples, 0);
    let before = i64::from(slot.chunk_count());
    // Runs of samples without a chunk in between.
    let run_of = |t: i64| slot.mapped.partition_point(|c| c.min_time <= t);
    let runs: Vec<usize> = samples.times.iter().map(|t| run_of(*t)).collect();
    let (mut made, mut own) = (Slot::default(), Blocks::default());
    let mut sink = ChunkSink { rules, files, blocks: &mut own };
    for (i, t) in samples.times.iter().enumerate() {
        if i > 0 && runs.get(i) != runs.get(i - 1) {
            made.close_open(number, &mut sink);
        }
        match samples.histogram_at(i) {
            Some(h) => made.append_histogram(number, *t, h, &mut sink),
            None => {
                let v = samples.values.get(i).copied().unwrap_or_default();
                made.append_float(number, *t, v, &mut sink)
            }
        };
    }
    made.close_open(number, &mut sink);
    slot.add_mapped(&made.mapped);
    i64::from(slot.chunk_count()) - before
}
