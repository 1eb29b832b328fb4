//! Floats of a log record as runs of series of one page, without making samples of them: what a replay hands
//! to pages that sleep.

use std::ops::Range;
use std::sync::Arc;

use super::table::{PAGE_SERIES, bit};
use crate::wal::bytes::{Bytes, BytesError};
use crate::wal::record::{RecordError, RecordType, SampleRecord};

/// Type, and what the first element's differences are to.
const HEADER_BYTES: usize = 1 + 8 + 8;

/// A record of floats.
pub(super) struct Floats {
    record: Arc<[u8]>,
    pub(super) runs: Vec<Run>,
}

/// Floats of one page that follow each other in the record.
pub(super) struct Run {
    /// A series of the page.
    pub(super) first: u64,
    /// Which of the page's series they are of.
    pub(super) series: [u64; 4],
    /// First and last time.
    pub(super) times: (i64, i64),
    bytes: Range<u32>,
}

impl Floats {
    /// Reads a record, whole or not at all: some 3 ns a float. `None` for one of another kind (floats without
    /// start timestamps are of this one), and where a series has several samples, which are looked at together.
    pub(super) fn read(record: &[u8]) -> Result<Option<Self>, RecordError> {
        if record.first() != Some(&(RecordType::Samples as u8)) || record.len() <= HEADER_BYTES {
            return Ok(None);
        }
        let (base, mut b) = base_of(record)?;
        let mut runs: Vec<Run> = Vec::new();
        let mut twice = false;
        while !b.is_empty() {
            let from = (record.len() - b.0.len()) as u32;
            let s = next(base, &mut b)?;
            let to = (record.len() - b.0.len()) as u32;
            let (word, mask) = bit(s.series);
            match runs.last_mut() {
                Some(run) if run.first / PAGE_SERIES == s.series / PAGE_SERIES => {
                    run.bytes.end = to;
                    run.times = (run.times.0.min(s.t_ms), run.times.1.max(s.t_ms));
                    for w in run.series.iter_mut().skip(word).take(1) {
                        twice |= *w & mask != 0;
                        *w |= mask;
                    }
                }
                _ => {
                    let mut series = [0; 4];
                    series.iter_mut().skip(word).take(1).for_each(|w| *w |= mask);
                    runs.push(Run { first: s.series, series, times: (s.t_ms, s.t_ms), bytes: from..to });
                }
            }
        }
        if !runs.is_sorted_by_key(|run| run.first / PAGE_SERIES) {
            // New series among the lines of a scrape.
            let mut pages: Vec<&Run> = runs.iter().collect();
            pages.sort_by_key(|run| run.first / PAGE_SERIES);
            for own in pages.chunk_by(|a, b| a.first / PAGE_SERIES == b.first / PAGE_SERIES) {
                let mut all = [0; 4];
                for (w, series) in own.iter().flat_map(|run| run.series.into_iter().enumerate()) {
                    for seen in all.iter_mut().skip(w).take(1) {
                        twice |= *seen & series != 0;
                        *seen |= series;
                    }
                }
            }
        }
        Ok((!twice).then(|| Floats { record: record.into(), runs }))
    }

    /// About how many.
    pub(super) fn len(&self) -> usize {
        self.record.len() / 10
    }

    /// The floats of a run, to be kept.
    pub(super) fn part(&self, run: &Run) -> Part {
        Part { record: Arc::clone(&self.record), bytes: run.bytes.clone() }
    }
}

/// Floats of a page, in one record.
pub(super) struct Part {
    record: Arc<[u8]>,
    bytes: Range<u32>,
}

impl Part {
    /// The floats.
    pub(super) fn samples(&self) -> impl Iterator<Item = SampleRecord> {
        let base = base_of(&self.record).map_or((0, 0), |(base, _)| base);
        let bytes = self.record.get(self.bytes.start as usize..self.bytes.end as usize);
        let mut b = Bytes(bytes.unwrap_or_default());
        std::iter::from_fn(move || if b.is_empty() { None } else { next(base, &mut b).ok() })
    }

    /// Bytes that it keeps, for statistics.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + size_of::<Part>()
    }
}

fn base_of(record: &[u8]) -> Result<((u64, i64), Bytes<'_>), BytesError> {
    let mut b = Bytes(record);
    b.byte()?;
    Ok(((b.u64()?, b.u64()? as i64), b))
}

#[inline]
fn next(base: (u64, i64), b: &mut Bytes<'_>) -> Result<SampleRecord, BytesError> {
    let series = base.0.wrapping_add(b.varint()? as u64);
    let t_ms = base.1.wrapping_add(b.varint()?);
    Ok(SampleRecord { series, start_ms: 0, t_ms, value: b.f64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::record::{decode, encode_samples};
    use proptest::prelude::*;

    proptest! {
        /// Runs have what the record has, in its order, each of one page; a record that is cut short is none.
        #[test]
        fn runs_have_all(
            samples in prop::collection::vec((0..2_000_u64, 0..100_000_i64, any::<u64>()), 1..60),
            cut in 1..8_usize,
        ) {
            let make = |(series, t_ms, v): (u64, i64, u64)| SampleRecord {
                series, start_ms: 0, t_ms, value: f64::from_bits(v),
            };
            let all: Vec<SampleRecord> = samples.into_iter().map(make).collect();
            let mut record = Vec::new();
            encode_samples(&mut record, &all);
            let mut series: Vec<u64> = all.iter().map(|s| s.series).collect();
            series.sort_unstable();
            let twice = series.windows(2).any(|w| w[0] == w[1]);
            let floats = Floats::read(&record).unwrap();
            prop_assert_eq!(floats.is_none(), twice);
            let floats = floats.unwrap_or(Floats { record: record.as_slice().into(), runs: Vec::new() });
            let mut found = Vec::new();
            for run in &floats.runs {
                let own: Vec<SampleRecord> = floats.part(run).samples().collect();
                prop_assert!(own.iter().all(|s| s.series / PAGE_SERIES == run.first / PAGE_SERIES));
                let times = own.iter().map(|s| s.t_ms);
                prop_assert_eq!(run.times, (times.clone().min().unwrap(), times.max().unwrap()));
                let mut series = [0; 4];
                own.iter().for_each(|s| series[bit(s.series).0] |= bit(s.series).1);
                prop_assert_eq!(run.series, series);
                found.extend(own);
            }
            let key = |s: &SampleRecord| (s.series, s.t_ms, s.value.to_bits());
            let all: Vec<_> = all.iter().map(key).filter(|_| !twice).collect();
            prop_assert_eq!(found.iter().map(key).collect::<Vec<_>>(), all);
            record.truncate(record.len() - cut);
            prop_assert_eq!(Floats::read(&record).is_err(), decode(&record).is_err());
        }
    }
}
