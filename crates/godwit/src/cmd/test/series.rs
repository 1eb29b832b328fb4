//! The series of a test: read from its notation, stored step by step as time goes on.

use std::sync::Arc;
use std::time::Duration;

use model::{HistogramValue, Labels};
use promql::parse::{SequenceValue, parse_series};
use storage::{Appendable as _, SeriesRef};
use tsdb::disk::MemDisk;
use tsdb::{Db, DbOptions};

/// Range of the store's head: rules of long tests write into one head.
const HEAD_MS: i64 = 24 * 3_600_000;

struct Input {
    labels: Labels,
    known: SeriesRef,
    /// Still to be stored, the next one last.
    values: Vec<(i64, SequenceValue)>,
}

/// Series that are stored up to a time.
pub(super) struct Series {
    all: Vec<Input>,
}

impl Series {
    /// Reads series; times are in milliseconds since 1970.
    pub(super) fn read(
        series: &[config::InputSeries],
        start_ms: i64,
        interval: Duration,
    ) -> Result<Series, String> {
        let step = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let mut all: Vec<Input> = Vec::new();
        for one in series {
            let text = format!("{} {}", one.series.trim(), one.values.trim());
            let (labels, values) = parse_series(&text).map_err(|e| format!("{text:.200}: {e}"))?;
            let at =
                |i: usize| start_ms.saturating_add(step.saturating_mul(i64::try_from(i).unwrap_or(i64::MAX)));
            let mut values: Vec<(i64, SequenceValue)> = values
                .into_iter()
                .enumerate()
                .filter(|(_, value)| *value != SequenceValue::Omitted)
                .map(|(i, value)| (at(i), value))
                .collect();
            values.reverse();
            // A series that is there twice has the values of the last one.
            all.retain(|input| input.labels != labels);
            all.push(Input { labels, known: SeriesRef::NONE, values });
        }
        Ok(Series { all })
    }

    /// Stores all samples up to a time.
    pub(super) fn store(&mut self, db: &Db, until_ms: i64) -> Result<(), String> {
        let mut appender = db.appender();
        for input in &mut self.all {
            while let Some((t, value)) = input.values.pop_if(|(t, _)| *t <= until_ms) {
                let stored = match value {
                    SequenceValue::Omitted => continue,
                    SequenceValue::Float(v) => appender.append(input.known, &input.labels, 0, t, v),
                    SequenceValue::Histogram(h, _) => {
                        let h = HistogramValue::Float(h);
                        appender.append_histogram(input.known, &input.labels, 0, t, &h)
                    }
                };
                input.known = stored.map_err(|e| format!("{}: {e}", input.labels))?;
            }
        }
        appender.commit().map(drop).map_err(|e| e.to_string())
    }
}

/// A store in memory with all that a store on disk does: histograms come back with the hints that it gives them.
pub(super) fn store() -> Result<Arc<Db>, String> {
    let mut options = DbOptions::new("/data");
    options.disk = Arc::new(MemDisk::new());
    options.retention.duration_ms = i64::MAX;
    options.min_block_ms = HEAD_MS;
    options.max_block_ms = HEAD_MS;
    options.lockfile = false;
    options.stale = None;
    Db::open(options).map(Arc::new).map_err(|e| e.to_string())
}
