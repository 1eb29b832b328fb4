//! The engine's table: one row a series, one cell a step.
//!
//! Cells without a value hold [`ABSENT`], a signalling NaN that no arithmetic makes, so that a row is one
//! plain array of floats that loops run over without a mask. Histograms, rare, lie beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{FloatHistogram, Labels};
use storage::QueryContext;

use super::error::{IN_EXECUTION, QueryError};

/// Bits of an empty cell: a signalling NaN, which arithmetic turns into a quiet one and so never yields.
pub(crate) const ABSENT_BITS: u64 = 0x7ff4_c0de_dead_0001;

/// An empty cell.
#[inline]
pub(crate) fn absent() -> f64 {
    f64::from_bits(ABSENT_BITS)
}

/// Whether a cell holds no float.
#[inline]
pub(crate) fn is_absent(v: f64) -> bool {
    v.to_bits() == ABSENT_BITS
}

pub(crate) type Hist = Arc<FloatHistogram>;

/// The times of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    /// Above 0.
    pub(crate) step: i64,
    pub(crate) count: usize,
    /// As asked for; need not fall on a step.
    pub(crate) end: i64,
}

impl Grid {
    pub(crate) fn new(start: i64, end: i64, step: i64) -> Grid {
        let count =
            if end < start { 0 } else { (end.saturating_sub(start) / step).saturating_add(1) as usize };
        Grid { start, step, count, end }
    }
    /// The first step alone.
    pub(crate) fn first(self) -> Grid {
        Grid { count: self.count.min(1), end: self.start, ..self }
    }
    pub(crate) fn at(&self, i: usize) -> i64 {
        self.start + self.step * i as i64
    }
    /// Time of the last step.
    pub(crate) fn last(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }
}

/// A series' values over the grid.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes at the end (delayed name removal).
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<f64>,
    pub(crate) hists: Option<Vec<Option<Hist>>>,
}

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cell<'a> {
    None,
    Float(f64),
    Hist(&'a Hist),
}

impl Row {
    pub(crate) fn empty(labels: Labels, steps: usize) -> Row {
        Row { labels, drop_name: false, floats: vec![absent(); steps], hists: None }
    }

    #[inline]
    pub(crate) fn cell(&self, i: usize) -> Cell<'_> {
        let f = self.floats[i];
        if !is_absent(f) {
            return Cell::Float(f);
        }
        match self.hists.as_ref().and_then(|h| h[i].as_ref()) {
            Some(h) => Cell::Hist(h),
            None => Cell::None,
        }
    }

    pub(crate) fn set_hist(&mut self, i: usize, h: Hist) {
        let steps = self.floats.len();
        self.floats[i] = absent();
        self.hists.get_or_insert_with(|| vec![None; steps])[i] = Some(h);
    }

    /// Cells that hold a value.
    pub(crate) fn samples(&self) -> u64 {
        let floats = self.floats.iter().filter(|v| !is_absent(**v)).count() as u64;
        let hists = self.hists.as_ref().map_or(0, |h| h.iter().flatten().map(|h| hist_size(h)).sum());
        floats + hists
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v))
            && self.hists.as_ref().is_none_or(|h| h.iter().all(Option::is_none))
    }
}

/// A histogram counts as this many samples: its bytes by those of a float and a time, as upstream.
pub(crate) fn hist_size(h: &FloatHistogram) -> u64 {
    let buckets = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    // 168 bytes of upstream's struct, 8 a bucket, 8 a span, 8 for the time.
    ((168 + 8 * buckets + 8 * spans + 8) / 16) as u64
}

/// Counts what a query holds, against `--query.max-samples` and the byte budget.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) ctx: QueryContext,
    max_samples: u64,
    held: AtomicU64,
    peak: AtomicU64,
    /// Samples that evaluations looked at.
    pub(crate) total: AtomicU64,
    /// Samples decoded.
    pub(crate) read: AtomicU64,
}

impl Meter {
    pub(crate) fn new(ctx: QueryContext, max_samples: usize) -> Meter {
        let max_samples = if max_samples == 0 { u64::MAX } else { max_samples as u64 };
        let zero = AtomicU64::default;
        Meter { ctx, max_samples, held: zero(), peak: zero(), total: zero(), read: zero() }
    }

    pub(crate) fn take(&self, samples: u64) -> Result<(), QueryError> {
        let held = self.held.fetch_add(samples, Ordering::Relaxed) + samples;
        self.peak.fetch_max(held, Ordering::Relaxed);
        if held > self.max_samples {
            return Err(QueryError::TooManySamples(IN_EXECUTION));
        }
        Ok(())
    }

    pub(crate) fn give(&self, samples: u64) {
        self.held.fetch_sub(samples, Ordering::Relaxed);
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Rows with what they cost; the cost is given back when the frame goes.
pub(crate) struct Frame {
    pub(crate) rows: Vec<Row>,
    meter: Arc<Meter>,
    samples: u64,
    bytes: u64,
}

/// Bytes of a row besides its cells: struct, allocation headers.
const ROW_BYTES: u64 = 96;

impl Frame {
    /// Takes rows over and charges for them.
    pub(crate) fn new(meter: &Arc<Meter>, rows: Vec<Row>) -> Result<Frame, QueryError> {
        let bytes = rows.iter().map(row_bytes).sum();
        let samples = rows.iter().map(Row::samples).sum();
        let frame = Frame { rows, meter: Arc::clone(meter), samples: 0, bytes: 0 };
        frame.charged(samples, bytes)
    }

    fn charged(mut self, samples: u64, bytes: u64) -> Result<Frame, QueryError> {
        self.meter.ctx.budget.charge(bytes)?;
        self.bytes = bytes;
        self.samples = samples;
        self.meter.take(samples)?;
        Ok(self)
    }

    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }
}

/// Bytes of a row; histograms are counted as an average of 50 buckets.
pub(crate) fn row_bytes(row: &Row) -> u64 {
    let hists = row.hists.as_ref().map_or(0, |h| h.iter().map(|h| if h.is_some() { 600 } else { 8 }).sum());
    ROW_BYTES + 8 * row.floats.len() as u64 + hists
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.meter.ctx.budget.release(self.bytes);
        self.meter.give(self.samples);
    }
}
