//! Samples that came late: those of a series that lie behind its newest one, while
//! `out_of_order_time_window` takes them (upstream: `tsdb/ooo_head.go`).
//!
//! A series keeps some 30 of them sorted and not encoded; then they become a chunk in `chunks_head`, marked
//! as out of order. Few series have any, so pages keep them apart from the slots.

use model::HistogramValue;
use storage::{RawChunk, SampleBuf, StorageError};

use super::mapped::{HeadChunks, OooChunk};
use crate::compact::ChunkBuilder;

/// Late samples that a series keeps before they become a chunk; upstream's default.
pub(crate) const OOO_SAMPLES_MAX: usize = 32;

/// A late sample's value.
#[derive(Clone, Debug)]
pub(crate) enum LateValue {
    /// A float.
    Float(f64),
    /// A histogram of either kind.
    Histogram(HistogramValue),
}

/// A late sample.
#[derive(Clone, Debug)]
pub(crate) struct LateSample {
    /// Time.
    pub(crate) t_ms: i64,
    /// Value.
    pub(crate) value: LateValue,
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// False: its time was among the newest late ones already.
    pub(crate) stored: bool,
    /// A chunk was begun.
    pub(crate) begun: bool,
}

/// The late samples of one series.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// Ascending by time.
    open: Vec<LateSample>,
    /// Complete chunks, in the order in which they were written; their times overlap.
    pub(crate) mapped: Vec<OooChunk>,
}

impl Late {
    /// The samples that are in no chunk yet, ascending.
    pub(crate) fn open(&self) -> &[LateSample] {
        &self.open
    }

    /// Forgets the newest samples at these times (ascending), which a chunk has; true where none is left.
    pub(crate) fn drop_contained(&mut self, times: &[i64]) -> bool {
        let had = !self.open.is_empty();
        self.open.retain(|s| times.binary_search(&s.t_ms).is_err());
        had && self.open.is_empty()
    }

    /// True where nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.mapped.is_empty()
    }

    /// First and last time, chunks up to the place `in_blocks` left out.
    pub(crate) fn range(&self, in_blocks: u64) -> Option<(i64, i64)> {
        let open = self.open.first().zip(self.open.last()).map(|(a, b)| (a.t_ms, b.t_ms));
        let all = self
            .mapped
            .iter()
            .filter(|c| c.place() > in_blocks)
            .map(|c| (c.min_time, c.max_time))
            .chain(open);
        all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Adds a sample; the newest ones become a chunk first where they are as many as may be. Chunks that are
    /// written on the way are pushed to `written`.
    pub(crate) fn insert(
        &mut self,
        series: u64,
        sample: LateSample,
        files: &HeadChunks,
        written: &mut Vec<OooChunk>,
    ) -> Inserted {
        let mut done = Inserted { stored: true, begun: self.open.is_empty() };
        if self.open.len() >= OOO_SAMPLES_MAX {
            self.write_open(series, files, written);
            done.begun = true;
        }
        // Late samples mostly come in order among themselves.
        if self.open.last().is_none_or(|last| last.t_ms < sample.t_ms) {
            if self.open.len() == self.open.capacity() {
                self.open.reserve_exact(self.open.len().clamp(4, OOO_SAMPLES_MAX));
            }
            self.open.push(sample);
            return done;
        }
        match self.open.binary_search_by_key(&sample.t_ms, |s| s.t_ms) {
            Ok(_) => done.stored = false,
            Err(at) => self.open.insert(at, sample),
        }
        done
    }

    /// Makes the newest ones a chunk.
    pub(crate) fn write_open(&mut self, series: u64, files: &HeadChunks, written: &mut Vec<OooChunk>) {
        for chunk in encode(&self.open) {
            let samples =
                crate::chunkenc::sample_count(chunk.encoding, &chunk.data).unwrap_or(OOO_SAMPLES_MAX as u16);
            let c = files.write_late(series, &chunk, samples);
            self.mapped.push(c);
            written.push(c);
        }
        self.open.clear();
    }

    /// The newest ones within [mint, maxt], as columns.
    pub(crate) fn copy_open(&self, mint: i64, maxt: i64) -> Option<SampleBuf> {
        let mut out = SampleBuf::default();
        for s in self.open.iter().filter(|s| (mint..=maxt).contains(&s.t_ms)) {
            match &s.value {
                LateValue::Float(v) => out.push(s.t_ms, *v),
                LateValue::Histogram(h) => out.push_histogram(s.t_ms, h.clone()),
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// Sorted samples as chunks: one, unless kinds or layouts change.
fn encode(samples: &[LateSample]) -> Vec<RawChunk> {
    let mut builder = ChunkBuilder::new(usize::MAX);
    for s in samples {
        let done = match &s.value {
            LateValue::Float(v) => builder.push(0, s.t_ms, *v),
            LateValue::Histogram(h) => builder.push_histogram(0, s.t_ms, h),
        };
        if let Err(e) = done {
            // Histograms were validated when they came.
            tracing::error!(error = %e, "late sample cannot be encoded");
        }
    }
    builder.finish()
}

/// A part of a series to be merged with others.
pub(crate) struct Part {
    /// Where its chunk begins.
    pub(crate) begin: i64,
    /// Late.
    pub(crate) late: bool,
    /// Its samples, ascending.
    pub(crate) samples: SampleBuf,
}

/// Appends the samples of all parts to `out`, sorted. Of equal times the one of the chunk that begins later
/// stays, and the late one where both begin at once: what upstream's iterators give in the plain case of
/// one late sample that repeats a time.
pub(crate) fn merge(mut parts: Vec<Part>, out: &mut SampleBuf) -> Result<(), StorageError> {
    parts.sort_by_key(|p| (std::cmp::Reverse(p.begin), !p.late));
    let from = out.len();
    for part in parts {
        append(out, &part.samples);
    }
    crate::block::restore_order(out, from);
    Ok(())
}

fn append(out: &mut SampleBuf, part: &SampleBuf) {
    let mut histograms = part.histograms.iter().peekable();
    for (i, (t, v)) in part.times.iter().zip(&part.values).enumerate() {
        match histograms.next_if(|(at, _)| *at as usize == i) {
            Some((_, h)) => out.push_histogram(*t, h.clone()),
            None => out.push(*t, *v),
        }
        if let Some(start) = part.starts.get(i) {
            out.set_last_start(*start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_times_the_chunk_that_begins_later_wins() {
        let part = |begin: i64, late: bool, samples: &[(i64, f64)]| {
            let mut buf = SampleBuf::default();
            samples.iter().for_each(|(t, v)| buf.push(*t, *v));
            Part { begin, late, samples: buf }
        };
        let mut out = SampleBuf::default();
        out.push(0, 9.0);
        let parts = vec![
            part(1, false, &[(1, 1.0), (5, 1.0), (9, 1.0)]),
            part(5, true, &[(5, 2.0), (6, 2.0)]),
            part(1, true, &[(1, 3.0), (6, 3.0)]),
        ];
        merge(parts, &mut out).unwrap();
        assert_eq!(out.times, [0, 1, 5, 6, 9]);
        assert_eq!(out.values, [9.0, 3.0, 2.0, 2.0, 1.0]);
    }
}
