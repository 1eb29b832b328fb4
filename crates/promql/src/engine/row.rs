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

    pub(crate) fn has_hist(&self, i: usize) -> bool {
        self.hists.as_ref().is_some_and(|h| h[i].is_some())
    }

    /// Where a step has both kinds of samples, what looks at steps one by one sees the float alone.
    pub(crate) fn keep_floats(&mut self) {
        for (h, v) in self.hists.iter_mut().flatten().zip(&self.floats) {
            if !is_absent(*v) {
                *h = None;
            }
        }
    }

    /// Beside a float, where there is one.
    pub(crate) fn put_hist(&mut self, i: usize, h: Hist) {
        let steps = self.floats.len();
        self.hists.get_or_insert_with(|| vec![None; steps])[i] = Some(h);
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

/// Samples that the query's own steps looked at, one by one.
#[derive(Clone, Debug)]
pub(crate) struct StepCounts(Arc<[AtomicU64]>);

impl StepCounts {
    /// Charged for until the query ends.
    pub(crate) fn new(meter: &Meter, steps: usize) -> Result<StepCounts, QueryError> {
        meter.ctx.budget.charge(8 * steps as u64)?;
        Ok(StepCounts((0..steps).map(|_| AtomicU64::new(0)).collect()))
    }

    #[inline]
    pub(crate) fn add(&self, step: usize, samples: u64) {
        if let Some(count) = self.0.get(step) {
            count.fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// To the last step.
    pub(crate) fn add_last(&self, samples: u64) {
        self.add(self.0.len().wrapping_sub(1), samples);
    }

    pub(crate) fn add_all(&self, samples: u64) {
        (0..self.0.len()).for_each(|i| self.add(i, samples));
    }

    pub(crate) fn by_time(&self, grid: Grid) -> Vec<(i64, u64)> {
        self.0.iter().enumerate().map(|(i, n)| (grid.at(i), n.load(Ordering::Relaxed))).collect()
    }
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

/// Bytes of rows taken before the rows are made: what is charged afterwards has been allocated by then. What is
/// left of them goes back when it goes.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Where samples are counted by step.
    pub(crate) steps: Option<StepCounts>,
    meter: Arc<Meter>,
    bytes: AtomicU64,
    /// Samples of the rows, as far as those that made them have said.
    samples: AtomicU64,
}

impl Ahead {
    pub(crate) fn new(meter: &Arc<Meter>, steps: Option<StepCounts>) -> Ahead {
        Ahead { steps, meter: Arc::clone(meter), bytes: AtomicU64::new(0), samples: AtomicU64::new(0) }
    }

    pub(crate) fn take(&self, bytes: u64) -> Result<(), QueryError> {
        self.meter.ctx.budget.charge(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a row's samples while the row is at hand: for [`Frame::counted`].
    pub(crate) fn samples(&self, samples: u64) {
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// Looks at the deadline.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        Ok(self.meter.ctx.check()?)
    }

    /// For a row of so many steps.
    pub(crate) fn row(&self, steps: usize) -> Result<(), QueryError> {
        self.take(ROW_BYTES + 8 * steps as u64)
    }

    /// For so many rows.
    pub(crate) fn rows(&self, rows: usize, steps: usize) -> Result<(), QueryError> {
        self.take((ROW_BYTES + 8 * steps as u64).saturating_mul(rows as u64))
    }

    /// For the `n`th histogram of a row, in steps.
    pub(crate) fn hist(&self, n: u64) -> Result<(), QueryError> {
        if n.is_multiple_of(HISTS_AT_ONCE) { self.take(HISTS_AT_ONCE * HIST_BYTES) } else { Ok(()) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.meter.ctx.budget.release(*self.bytes.get_mut());
    }
}

/// A number for each step, with what it costs.
#[derive(Debug)]
pub(crate) struct Numbers {
    values: Vec<f64>,
    meter: Arc<Meter>,
    bytes: u64,
}

impl Numbers {
    /// `value` gives that of a step.
    pub(crate) fn new(
        meter: &Arc<Meter>,
        steps: usize,
        value: impl FnMut(usize) -> f64,
    ) -> Result<Numbers, QueryError> {
        let bytes = 8 * steps as u64;
        meter.ctx.budget.charge(bytes)?;
        Ok(Numbers { values: (0..steps).map(value).collect(), meter: Arc::clone(meter), bytes })
    }

    /// The numbers, no longer charged for: they are about to become a row, which is.
    pub(crate) fn into_vec(mut self) -> Vec<f64> {
        std::mem::take(&mut self.values)
    }
}

impl std::ops::Deref for Numbers {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl std::ops::DerefMut for Numbers {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.meter.ctx.budget.release(self.bytes);
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

    /// Takes over rows that were paid for ahead, and settles the difference.
    pub(crate) fn settled(rows: Vec<Row>, ahead: Ahead) -> Result<Frame, QueryError> {
        let samples = rows.iter().map(Row::samples).sum();
        Frame::paid(rows, ahead, samples)
    }

    /// The same for rows whose samples were counted as they were made.
    pub(crate) fn counted(rows: Vec<Row>, ahead: Ahead) -> Result<Frame, QueryError> {
        let samples = ahead.samples.load(Ordering::Relaxed);
        Frame::paid(rows, ahead, samples)
    }

    fn paid(rows: Vec<Row>, mut ahead: Ahead, samples: u64) -> Result<Frame, QueryError> {
        debug_assert_eq!(samples, rows.iter().map(Row::samples).sum::<u64>());
        let bytes: u64 = rows.iter().map(row_bytes).sum();
        let (meter, paid) = (Arc::clone(&ahead.meter), std::mem::take(ahead.bytes.get_mut()));
        let mut frame = Frame { rows, meter, samples: 0, bytes: paid };
        if bytes <= paid {
            frame.meter.ctx.budget.release(paid - bytes);
        } else {
            frame.meter.ctx.budget.charge(bytes - paid)?;
        }
        frame.bytes = bytes;
        frame.samples = samples;
        frame.meter.take(samples)?;
        Ok(frame)
    }

    fn charged(mut self, samples: u64, bytes: u64) -> Result<Frame, QueryError> {
        self.meter.ctx.budget.charge(bytes)?;
        self.bytes = bytes;
        self.samples = samples;
        self.meter.take(samples)?;
        Ok(self)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }
}

/// A histogram of 50 buckets.
const HIST_BYTES: u64 = 600;
/// Histograms of a row that are paid for at once.
const HISTS_AT_ONCE: u64 = 64;

/// Bytes of a row; histograms are counted as an average of 50 buckets, labels where no one else has them.
pub(crate) fn row_bytes(row: &Row) -> u64 {
    let hists =
        row.hists.as_ref().map_or(0, |h| h.iter().map(|h| if h.is_some() { HIST_BYTES } else { 8 }).sum());
    let labels = if row.labels.is_shared() { 0 } else { row.labels.as_bytes().len() as u64 };
    ROW_BYTES + 8 * row.floats.len() as u64 + hists + labels
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.meter.ctx.budget.release(self.bytes);
        self.meter.give(self.samples);
    }
}
