//! Many series sets as one: series with equal labels are joined, their samples merged by time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use model::Labels;

use crate::{RawChunk, SampleBuf, Series, SeriesSet, StorageError};

/// One series whose samples lie in several places, earlier places first in preference on equal times.
pub struct MergedSeries {
    parts: Vec<Arc<dyn Series>>,
}

impl MergedSeries {
    /// Joins parts of equal labels; `parts` must not be empty.
    #[must_use]
    pub fn new(parts: Vec<Arc<dyn Series>>) -> Self {
        debug_assert!(!parts.is_empty());
        MergedSeries { parts }
    }
}

impl Series for MergedSeries {
    fn labels(&self) -> &Labels {
        self.parts[0].labels()
    }

    /// Parts are read one behind the other; only where they overlap or lie out of order is anything moved.
    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        let begin = out.len();
        let mut in_order = true;
        let mut newest = None;
        for part in &self.parts {
            let at = out.len();
            part.read(mint_ms, maxt_ms, out)?;
            if let Some(first) = out.times.get(at) {
                in_order &= newest.is_none_or(|t| t < *first);
                newest = newest.max(out.times.last().copied());
            }
        }
        if !in_order {
            reorder(out, begin);
        }
        Ok(())
    }

    fn samples_about(&self, mint_ms: i64, maxt_ms: i64) -> usize {
        self.parts.iter().map(|part| part.samples_about(mint_ms, maxt_ms)).sum()
    }

    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.chunks(mint_ms, maxt_ms)?);
        }
        all.sort_by_key(|c| (c.mint_ms, c.maxt_ms));
        Ok(all)
    }
}

/// Sorts the columns from `begin` on by time; of equal times the first one stays. The parts are sorted
/// runs, which the standard stable sort finds and merges.
fn reorder(out: &mut SampleBuf, begin: usize) {
    if !out.starts.is_empty() {
        out.starts.resize(out.times.len(), 0);
    }
    let mut order: Vec<(i64, u32)> = Vec::with_capacity(out.times.len() - begin);
    order.extend(out.times[begin..].iter().enumerate().map(|(i, t)| (*t, i as u32)));
    order.sort_by_key(|(t, _)| *t);
    order.dedup_by_key(|(t, _)| *t);

    let values = out.values.split_off(begin);
    let starts = out.starts.split_off(begin.min(out.starts.len()));
    let keep = out.histograms.partition_point(|(i, _)| (*i as usize) < begin);
    let histograms = out.histograms.split_off(keep);
    out.times.truncate(begin);
    for (t, i) in order {
        let at = out.times.len() as u32;
        out.times.push(t);
        out.values.push(values[i as usize]);
        if let Some(start) = starts.get(i as usize) {
            out.starts.push(*start);
        }
        let absolute = i + begin as u32;
        if let Ok(h) = histograms.binary_search_by_key(&absolute, |(i, _)| *i) {
            out.histograms.push((at, histograms[h].1.clone()));
        }
    }
}

struct Cursor {
    series: std::vec::IntoIter<Arc<dyn Series>>,
    current: Arc<dyn Series>,
    set: usize,
}

impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.current.labels().cmp(other.current.labels()).then(self.set.cmp(&other.set))
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cursor {}

/// Merges sorted sets into one sorted set. Series of equal labels are joined, those of earlier sets first.
#[must_use]
pub fn merge_sets(sets: Vec<SeriesSet>) -> SeriesSet {
    let mut merged = SeriesSet::default();
    let mut heap = BinaryHeap::new();
    let mut total = 0;
    let filled = sets.iter().filter(|s| !s.series.is_empty()).count();
    for (set, mut from) in sets.into_iter().enumerate() {
        merged.warnings.append(&mut from.warnings);
        if filled == 1 && !from.series.is_empty() {
            merged.series = from.series;
            continue;
        }
        total += from.series.len();
        let mut series = from.series.into_iter();
        if let Some(current) = series.next() {
            heap.push(Reverse(Cursor { series, current, set }));
        }
    }
    if filled > 1 {
        merged.series.reserve(total);
    }
    let mut same: Vec<Arc<dyn Series>> = Vec::new();
    while let Some(Reverse(mut least)) = heap.pop() {
        let taken = match least.series.next() {
            Some(next) => {
                let taken = std::mem::replace(&mut least.current, next);
                heap.push(Reverse(least));
                taken
            }
            None => least.current,
        };
        if same.first().is_some_and(|s| s.labels() != taken.labels()) {
            flush(&mut same, &mut merged.series);
        }
        same.push(taken);
    }
    flush(&mut same, &mut merged.series);
    merged
}

fn flush(same: &mut Vec<Arc<dyn Series>>, out: &mut Vec<Arc<dyn Series>>) {
    match same.len() {
        0 => {}
        1 => out.append(same),
        _ => out.push(Arc::new(MergedSeries::new(std::mem::take(same)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Histogram, HistogramValue};

    struct Fixed(Labels, SampleBuf);

    impl Series for Fixed {
        fn labels(&self) -> &Labels {
            &self.0
        }
        fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
            for (i, t) in self.1.times.iter().enumerate().filter(|(_, t)| (mint_ms..=maxt_ms).contains(t)) {
                match self.1.histogram_at(i) {
                    Some(h) => out.push_histogram(*t, h.clone()),
                    None => out.push(*t, self.1.values[i]),
                }
            }
            Ok(())
        }
        fn chunks(&self, _: i64, _: i64) -> Result<Vec<RawChunk>, StorageError> {
            Ok(Vec::new())
        }
    }

    fn series(name: &str, samples: &[(i64, f64)]) -> Arc<dyn Series> {
        let mut buf = SampleBuf::default();
        samples.iter().for_each(|(t, v)| buf.push(*t, *v));
        Arc::new(Fixed(Labels::from_pairs([("a", name)]), buf))
    }

    fn set(series: Vec<Arc<dyn Series>>) -> SeriesSet {
        SeriesSet { series, warnings: vec!["w".into()] }
    }

    #[test]
    fn joins_equal_labels_and_keeps_order() {
        let merged = merge_sets(vec![
            set(vec![series("a", &[(1, 1.0)]), series("c", &[(5, 5.0), (7, 7.0)])]),
            set(vec![]),
            set(vec![series("b", &[(2, 2.0)]), series("c", &[(1, 9.0), (5, 0.0), (6, 6.0)])]),
        ]);
        let names: Vec<&str> = merged.series.iter().map(|s| s.labels().get("a")).collect();
        assert_eq!((names, merged.warnings.len()), (vec!["a", "b", "c"], 3));
        let mut out = SampleBuf::default();
        out.push(0, 0.5);
        merged.series[2].read(0, 10, &mut out).unwrap();
        assert_eq!(out.times, [0, 1, 5, 6, 7]);
        assert_eq!(out.values, [0.5, 9.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn one_filled_set_passes_through() {
        let merged = merge_sets(vec![set(vec![]), set(vec![series("x", &[]), series("y", &[])])]);
        assert_eq!(merged.series.len(), 2);
        assert!(merge_sets(Vec::new()).series.is_empty());
    }

    #[test]
    fn histograms_and_starts_move_with_their_samples() {
        let h = |sum| HistogramValue::Int(Arc::new(Histogram { sum, ..Histogram::default() }));
        let labels = Labels::from_pairs([("a", "x")]);
        let mut late = SampleBuf::default();
        late.push_histogram(20, h(20.0));
        late.push(30, 30.0);
        let mut early = SampleBuf::default();
        early.push(10, 10.0);
        early.push_histogram(30, h(31.0));
        early.push_histogram(40, h(40.0));
        let parts: Vec<Arc<dyn Series>> =
            vec![Arc::new(Fixed(labels.clone(), late)), Arc::new(Fixed(labels, early))];
        let mut out = SampleBuf::default();
        out.push(0, 0.0);
        out.set_last_start(-5);
        MergedSeries::new(parts).read(0, 100, &mut out).unwrap();
        assert_eq!(out.times, [0, 10, 20, 30, 40]);
        assert_eq!(out.starts, [-5, 0, 0, 0, 0]);
        assert_eq!(out.values, [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(out.histograms.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [2, 4]);
    }
}
