//! A series' samples in columns, floats and histograms apart, staleness markers taken out where asked.

use std::sync::Arc;

use model::{FloatHistogram, HistogramValue, is_stale_nan};
use storage::{SampleBuf, Series};

use super::error::QueryError;
use super::row::{Grid, Hist, Meter, Row, is_absent};

/// Samples of one series. Reused from series to series.
#[derive(Default)]
pub(crate) struct Columns {
    buf: SampleBuf,
    /// Samples that the memory was taken for.
    paid: Option<Paid>,
    pub(crate) ft: Vec<i64>,
    pub(crate) fv: Vec<f64>,
    /// Start timestamps, parallel to `ft` where `has_starts`.
    pub(crate) fs: Vec<i64>,
    pub(crate) ht: Vec<i64>,
    pub(crate) hv: Vec<Hist>,
    pub(crate) hs: Vec<i64>,
    pub(crate) has_starts: bool,
    /// Where the value falls, as indices into `fv`; filled by [`Columns::find_falls`].
    pub(crate) falls: Vec<u32>,
}

/// Memory of columns, given back with them.
struct Paid {
    meter: Arc<Meter>,
    samples: u64,
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.meter.ctx.budget.release(self.samples * SAMPLE_BYTES);
    }
}

/// Time and value, and as much again for the column they are moved to.
const SAMPLE_BYTES: u64 = 32;
/// Fewer samples cost nothing: 256 KiB a thread.
const SAMPLES_FREE: usize = 8192;

/// Values looked at together where the odd one is rare.
const PAIRS: usize = 64;

/// Whether histograms are needed whole.
#[derive(Clone, Copy)]
pub(crate) enum Stats {
    /// Buckets and all.
    Whole,
    /// Count, sum and reset hint of what these steps look at, each `back` ms before its time.
    Only { grid: Grid, offset: i64, back: i64 },
}

impl Columns {
    fn clear(&mut self) {
        self.buf.clear();
        self.ft.clear();
        self.fv.clear();
        self.fs.clear();
        self.ht.clear();
        self.hv.clear();
        self.hs.clear();
        self.has_starts = false;
        self.falls.clear();
    }

    /// Looks once for the places where a counter began anew; windows of later steps share them, instead of going
    /// over their samples each.
    pub(crate) fn find_falls(&mut self) {
        self.falls.clear();
        let Some(behind) = self.fv.get(1..) else { return };
        let falls = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(false, |any, (a, b)| any | (b < a));
        // Mostly there are none: many pairs are looked at together, without a branch for each.
        for (block, (a, b)) in self.fv.chunks(PAIRS).zip(behind.chunks(PAIRS)).enumerate() {
            if falls(a, b) {
                let at = |i: usize| (block * PAIRS + i + 1) as u32;
                self.falls
                    .extend(a.iter().zip(b).enumerate().filter(|(_, (a, b))| b < a).map(|(i, _)| at(i)));
            }
        }
    }

    /// Takes the memory that a series will need, before it is read.
    fn pay(
        &mut self,
        meter: &Arc<Meter>,
        series: &dyn Series,
        mint: i64,
        maxt: i64,
    ) -> Result<(), QueryError> {
        let samples = series.samples_about(mint, maxt);
        let have = self.paid.as_ref().map_or(SAMPLES_FREE as u64, |p| p.samples);
        if samples as u64 <= have {
            return Ok(());
        }
        let paid = self.paid.get_or_insert_with(|| Paid { meter: Arc::clone(meter), samples: 0 });
        meter.ctx.budget.charge((samples as u64 - paid.samples) * SAMPLE_BYTES)?;
        paid.samples = samples as u64;
        self.buf.times.reserve(samples);
        self.buf.values.reserve(samples);
        Ok(())
    }

    /// Reads [mint, maxt] for range functions: without staleness markers.
    pub(crate) fn read(
        &mut self,
        meter: &Arc<Meter>,
        series: &dyn Series,
        mint: i64,
        maxt: i64,
        starts: bool,
        stats: Stats,
    ) -> Result<(), QueryError> {
        self.clear();
        self.pay(meter, series, mint, maxt)?;
        series.read(mint, maxt, &mut self.buf)?;
        if let Stats::Only { grid, offset, back } = stats {
            let jumps = jumps(&self.buf.times, grid, offset, back);
            keep_stats(&mut self.buf.histograms, &jumps);
        }
        self.has_starts = starts && !self.buf.starts.is_empty();
        let float_only = self.buf.histograms.is_empty();
        let stale = |part: &[f64]| part.iter().fold(false, |any, v| any | is_stale_nan(*v));
        if float_only && !self.has_starts && !self.buf.values.chunks(PAIRS).any(stale) {
            // The common case moves whole columns.
            std::mem::swap(&mut self.ft, &mut self.buf.times);
            std::mem::swap(&mut self.fv, &mut self.buf.values);
            return Ok(());
        }
        let mut hists = self.buf.histograms.iter().peekable();
        for (i, (t, v)) in self.buf.times.iter().zip(&self.buf.values).enumerate() {
            let start = if self.has_starts { self.buf.starts.get(i).copied().unwrap_or(0) } else { 0 };
            match hists.next_if(|(at, _)| *at as usize == i) {
                Some((_, h)) if !h.is_stale() => {
                    self.ht.push(*t);
                    self.hv.push(h.to_float());
                    self.hs.push(start);
                }
                Some(_) => {}
                None if is_stale_nan(*v) => {}
                None => {
                    self.ft.push(*t);
                    self.fv.push(*v);
                    self.fs.push(start);
                }
            }
        }
        Ok(())
    }

    /// Reads [mint, maxt] for instant selectors: every sample as it is.
    pub(crate) fn read_raw(
        &mut self,
        series: &dyn Series,
        mint: i64,
        maxt: i64,
    ) -> Result<&SampleBuf, QueryError> {
        self.clear();
        series.read(mint, maxt, &mut self.buf)?;
        Ok(&self.buf)
    }

    /// Reads what the steps of an instant selector may look at.
    pub(crate) fn read_steps(
        &mut self,
        meter: &Arc<Meter>,
        series: &dyn Series,
        grid: Grid,
        offset: i64,
        lookback: i64,
        stats_only: bool,
    ) -> Result<&SampleBuf, QueryError> {
        let (mint, maxt) =
            ((grid.start - offset).saturating_sub(lookback).saturating_add(1), grid.last() - offset);
        self.clear();
        self.pay(meter, series, mint, maxt)?;
        series.read(mint, maxt, &mut self.buf)?;
        if stats_only {
            let jumps = jumps(&self.buf.times, grid, offset, lookback - 1);
            keep_stats(&mut self.buf.histograms, &jumps);
        }
        Ok(&self.buf)
    }

    /// The values of a row of a subquery.
    pub(crate) fn read_row(&mut self, row: &Row, grid: Grid) {
        self.clear();
        for (i, v) in row.floats.iter().enumerate() {
            if !is_absent(*v) {
                self.ft.push(grid.at(i));
                self.fv.push(*v);
            }
        }
        for (i, h) in row.hists.iter().flatten().enumerate() {
            if let Some(h) = h {
                self.ht.push(grid.at(i));
                self.hv.push(without_reset_hint(h));
            }
        }
    }
}

/// Samples that upstream comes to by a jump, where a step leaves out what lies between: there it does not know
/// the sample before.
///
/// `back`: how far before each step's time it looks, in ms.
fn jumps(times: &[i64], grid: Grid, offset: i64, back: i64) -> Vec<usize> {
    let (mut all, mut next) = (Vec::new(), 0);
    for step in 0..grid.count {
        let reference = grid.at(step) - offset;
        let oldest = reference.saturating_sub(back);
        if times.get(next).is_none_or(|t| *t < oldest) {
            next += times[next..].partition_point(|t| *t < oldest);
            if next == times.len() {
                break;
            }
            all.push(next);
        }
        while next + 1 < times.len() && times[next] < reference {
            next += 1;
        }
    }
    all
}

/// Leaves only count, sum and reset hint of histograms, where nothing else is asked for. The hint is made
/// here, as without buckets a reset cannot be seen later.
fn keep_stats(histograms: &mut [(u32, HistogramValue)], jumps: &[usize]) {
    use model::CounterResetHint::{NotReset, Reset, Unknown};
    let mut last: Option<FloatHistogram> = None;
    let mut jumps = jumps.iter().peekable();
    for (at, value) in histograms {
        while jumps.next_if(|jump| **jump <= *at as usize).is_some() {
            last = None;
        }
        if value.is_stale() {
            continue;
        }
        let mut h = FloatHistogram::clone(&value.to_float());
        h.reset_hint = match (h.reset_hint, &last) {
            (Unknown, None) => Unknown,
            (Unknown, Some(last)) => {
                if h.detect_reset(last) {
                    Reset
                } else {
                    NotReset
                }
            }
            (known, _) => known,
        };
        *value = HistogramValue::Float(Arc::new(FloatHistogram {
            reset_hint: h.reset_hint,
            schema: h.schema,
            count: h.count,
            sum: h.sum,
            ..FloatHistogram::default()
        }));
        last = Some(h);
    }
}

/// Explicit reset hints say something of neighbours that a subquery may leave out or double.
fn without_reset_hint(h: &Hist) -> Hist {
    use model::CounterResetHint::{NotReset, Reset, Unknown};
    if !matches!(h.reset_hint, NotReset | Reset) {
        return Arc::clone(h);
    }
    let mut h = model::FloatHistogram::clone(h);
    h.reset_hint = Unknown;
    Arc::new(h)
}

/// What a range function sees at one step: the samples in (start, end] and the bounds.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(crate) ft: &'a [i64],
    pub(crate) fv: &'a [f64],
    pub(crate) fs: &'a [i64],
    pub(crate) ht: &'a [i64],
    pub(crate) hv: &'a [Hist],
    pub(crate) hs: &'a [i64],
    /// Where the value falls: (index of the first float in the series, places within the series); `None` where
    /// nobody has looked.
    pub(crate) falls: Option<(usize, &'a [u32])>,
    /// Evaluation time.
    pub(crate) ts: i64,
    /// Bounds of the range; for `anchored` and `smoothed` the samples reach farther.
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Window<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.ft.is_empty() && self.ht.is_empty()
    }
}

/// Two pointers that move forward over sorted times: the slice within (mint, maxt].
#[derive(Clone, Copy, Default)]
pub(crate) struct Cursor {
    lo: usize,
    hi: usize,
}

impl Cursor {
    pub(crate) fn advance(&mut self, times: &[i64], mint: i64, maxt: i64) -> std::ops::Range<usize> {
        while self.hi < times.len() && times[self.hi] <= maxt {
            self.hi += 1;
        }
        while self.lo < self.hi && times[self.lo] <= mint {
            self.lo += 1;
        }
        self.lo..self.hi
    }
}

impl Columns {
    /// Time of the newest raw sample at or before `t`, of what `read_raw` read last.
    pub(crate) fn newest_at_or_before(&self, t: i64) -> Option<i64> {
        let n = self.buf.times.partition_point(|x| *x <= t);
        n.checked_sub(1).map(|i| self.buf.times[i])
    }
}
