//! Samples on their way to the store: those of known series at one time go there together.
//!
//! Senders queue whole scrapes, so runs of one time are long; `append_batch` takes such a run without a
//! call, a look-up or an allocation per sample.

use storage::{AppendError, Appender, Rejected, SeriesRef};

/// Rows that are handed over at once: 32 bytes each, so that a batch stays within the second-level cache.
const ROWS_MAX: usize = 4096;

/// A sample that the store did not take.
pub(super) struct Refused {
    /// Where the series stands in the body, as the caller gave it.
    pub(super) source: (usize, usize),
    /// Cache key of the series.
    pub(super) key: u128,
    pub(super) t_ms: i64,
    pub(super) value: f64,
    pub(super) error: AppendError,
}

#[derive(Default)]
pub(super) struct Batch {
    t_ms: i64,
    series: Vec<SeriesRef>,
    values: Vec<f64>,
    origin: Vec<((usize, usize), u128)>,
    rejected: Vec<Rejected>,
    pub(super) refused: Vec<Refused>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.origin.clear();
        self.rejected.clear();
        self.refused.clear();
    }

    /// True where a row of `t_ms` needs a [`Batch::flush`] first.
    #[inline]
    pub(super) fn must_flush(&self, t_ms: i64) -> bool {
        !self.series.is_empty() && (self.t_ms != t_ms || self.series.len() >= ROWS_MAX)
    }

    #[inline]
    pub(super) fn push(
        &mut self,
        series: SeriesRef,
        t_ms: i64,
        value: f64,
        source: (usize, usize),
        key: u128,
    ) {
        self.t_ms = t_ms;
        self.series.push(series);
        self.values.push(value);
        self.origin.push((source, key));
    }

    /// Hands the rows over; what was not taken is in `refused` then. Returns the number taken.
    pub(super) fn flush(&mut self, app: &mut dyn Appender) -> u64 {
        if self.series.is_empty() {
            return 0;
        }
        app.append_batch(self.t_ms, &self.series, &self.values, &mut self.rejected);
        let taken = self.series.len().saturating_sub(self.rejected.len()) as u64;
        for r in self.rejected.drain(..) {
            let (Some((source, key)), Some(value)) = (self.origin.get(r.index), self.values.get(r.index))
            else {
                continue;
            };
            self.refused.push(Refused {
                source: *source,
                key: *key,
                t_ms: self.t_ms,
                value: *value,
                error: r.error,
            });
        }
        self.series.clear();
        self.values.clear();
        self.origin.clear();
        taken
    }
}
