//! Cardinality figures for status pages.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use model::labels::METRIC_NAME;
use storage::{CardinalityEntry, HeadStatus, TsdbStatus};

use super::Head;

/// Keeps the `limit` largest entries.
#[derive(Default)]
struct Top {
    entries: Vec<CardinalityEntry>,
}

impl Top {
    fn push(&mut self, limit: usize, name: impl FnOnce() -> String, value: u64) {
        let full = self.entries.len() >= limit;
        if limit == 0 || full && self.entries.last().is_some_and(|e| e.value >= value) {
            return;
        }
        let at = self.entries.partition_point(|e| e.value >= value);
        self.entries.insert(at, CardinalityEntry { name: name(), value });
        self.entries.truncate(limit);
    }
}

impl Head {
    /// Floats, histograms and exemplars that came in since the start.
    pub(crate) fn appended(&self) -> [u64; 3] {
        let all = [&self.metrics.floats, &self.metrics.histograms].map(|c| c.get() as u64);
        [all[0], all[1], self.exemplars.appended()]
    }

    /// Figures of the head, tables of at most `limit` rows.
    pub(crate) fn status(&self, limit: usize) -> TsdbStatus {
        let index = self.index.read();
        let mut by_label: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let (mut metrics, mut pairs) = (Top::default(), Top::default());
        let mut label_pairs = 0;
        index.each_pair(|name, value, series| {
            label_pairs += 1;
            if name == METRIC_NAME {
                metrics.push(limit, || value.to_string(), series);
            }
            pairs.push(limit, || format!("{name}={value}"), series);
            // Upstream: what `series` label sets spend on this pair, sizes included.
            let bytes = (name.len() + value.len() + 2) as u64 * series;
            match by_label.get_mut(name) {
                Some(sums) => *sums = (sums.0 + 1, sums.1 + bytes),
                None => {
                    by_label.insert(name.to_string(), (1, bytes));
                }
            }
        });
        let series = index.len();
        drop(index);
        let (mut values, mut memory) = (Top::default(), Top::default());
        for (name, (count, bytes)) in by_label {
            values.push(limit, || name.clone(), count);
            memory.push(limit, || name.clone(), bytes);
        }
        TsdbStatus {
            head: HeadStatus {
                series,
                label_pairs,
                chunks: self.metrics.chunks.load(Ordering::Relaxed).max(0) as u64,
                mint_ms: self.min_time(),
                maxt_ms: self.max_time(),
            },
            series_by_metric: metrics.entries,
            values_by_label: values.entries,
            memory_by_label: memory.entries,
            series_by_pair: pairs.entries,
        }
    }

    /// Bytes of memory that series and index hold, as far as this crate counts them: (series, index).
    pub(crate) fn memory(&self) -> (usize, usize) {
        let series = self.table.all().iter().map(|p| p.lock().memory()).sum();
        (series, self.index.read().memory())
    }
}
