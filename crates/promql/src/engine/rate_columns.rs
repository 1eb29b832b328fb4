//! `rate`, `increase` and `delta` of a series of floats alone, all steps in one loop: what nearly every dashboard
//! asks for. Bit for bit what [`super::rate`] gives window by window, which stays for histograms, start timestamps,
//! `anchored` and `smoothed`.
//!
//! Scrapes come at even distances and so do steps, so a few shapes of window (distances of its bounds to its first
//! and last sample, and their number) return again and again. What depends on the shape alone, six divisions of
//! seven, is kept from the last steps; a step then costs a subtraction, a comparison and a multiplication.

use super::error::QueryError;
use super::read::Columns;
use super::row::{Ahead, Grid, Meter};

/// Shapes kept: steps of a half and a quarter of the distance of scrapes have two and four.
const SHAPES: usize = 4;
/// Steps between two looks at the deadline.
const STEPS_A_LOOK: usize = 1 << 12;

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) offset: i64,
    pub(crate) range_ms: i64,
    pub(crate) counter: bool,
    pub(crate) per_second: bool,
}

/// What a window's shape says.
#[derive(Clone, Copy, Default)]
struct Shape {
    /// In ms: bound to first sample, first to last, last to bound; and the number of samples.
    key: (i64, i64, i64, usize),
    /// Seconds.
    to_start: f64,
    to_end: f64,
    sampled: f64,
    /// What the difference is multiplied with, where the counter's zero lies before the window's reach.
    factor: f64,
    /// A first value of so many differences is surely that far from zero: some more than `to_start / sampled`, as
    /// both sides are rounded.
    far: f64,
}

impl Shape {
    /// As upstream's `extrapolatedRate`, in its order.
    fn new(key: (i64, i64, i64, usize), call: Call, seconds: f64) -> Shape {
        let (before, between, behind, samples) = key;
        let mut to_start = before as f64 / 1000.0;
        let mut to_end = behind as f64 / 1000.0;
        let sampled = between as f64 / 1000.0;
        let average = sampled / (samples - 1) as f64;
        let threshold = average * 1.1;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let far = to_start / sampled * (1.0 + 1e-9);
        let mut shape = Shape { key, to_start, to_end, sampled, factor: 0.0, far };
        shape.factor = shape.factor_from(to_start, call, seconds);
        shape
    }

    fn factor_from(&self, to_start: f64, call: Call, seconds: f64) -> f64 {
        let factor =
            if self.sampled == 0.0 { 1.0 } else { (self.sampled + to_start + self.to_end) / self.sampled };
        if call.per_second { factor / seconds } else { factor }
    }
}

/// Fills `out` (empty cells) for a series without histograms; answers with the samples looked at, all windows
/// together, and whether there is any value.
pub(crate) fn fill(
    columns: &Columns,
    grid: Grid,
    call: Call,
    out: &mut [f64],
    meter: &Meter,
    ahead: &Ahead,
) -> Result<(u64, bool), QueryError> {
    let (times, values) = (&columns.ft[..], &columns.fv[..]);
    let seconds = call.range_ms as f64 / 1000.0;
    let mut shapes = [Shape::default(); SHAPES];
    let (mut lo, mut hi, mut fall) = (0, 0, 0);
    let (mut looked_at, mut any) = (0_u64, false);
    for (step, cell) in out.iter_mut().enumerate() {
        if step % STEPS_A_LOOK == STEPS_A_LOOK - 1 {
            meter.ctx.check()?;
        }
        let end = grid.at(step) - call.offset;
        let start = end - call.range_ms;
        while times.get(hi).is_some_and(|t| *t <= end) {
            hi += 1;
        }
        while lo < hi && times[lo] <= start {
            lo += 1;
        }
        let samples = hi - lo;
        looked_at += samples as u64;
        if let (Some(counts), true) = (&ahead.steps, samples > 0) {
            counts.add(step, samples as u64);
        }
        if samples < 2 {
            continue;
        }
        let (first, last) = (times[lo], times[hi - 1]);
        let key = (first - start, last - first, end - last, samples);
        let shape = &mut shapes[step % SHAPES];
        if shape.key != key {
            *shape = Shape::new(key, call, seconds);
        }
        let begin = values[lo];
        let mut result = values[hi - 1] - begin;
        let mut factor = shape.factor;
        if call.counter {
            while columns.falls.get(fall).is_some_and(|at| *at as usize <= lo) {
                fall += 1;
            }
            for at in columns.falls[fall..].iter().take_while(|at| (**at as usize) < hi) {
                result += values[*at as usize - 1];
            }
            // A counter that began within reach is not taken beyond its beginning.
            let far = begin > result * shape.far;
            if result > 0.0 && begin >= 0.0 && !far {
                let to_zero = shape.sampled * (begin / result);
                if to_zero < shape.to_start {
                    factor = shape.factor_from(to_zero, call, seconds);
                }
            }
        }
        *cell = result * factor;
        any = true;
    }
    Ok((looked_at, any))
}
