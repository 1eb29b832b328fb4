//! `histogram_quantile` and its kin, over classic buckets (`le`) and native histograms.

use std::collections::HashMap;

use model::{FloatHistogram, Labels, go_math};

use super::annotations::Annotations;
use super::error::{QueryError, execution};
use super::eval::{Eval, Out};
use super::functions::text;
use super::labels::without_metadata;
use super::math::kahan;
use super::plan::Node;
use super::row::{Ahead, Cell, Grid, Hist, Row, is_absent};
use crate::parse::{FunctionId as F, PosRange};

const LE: &str = "le";
/// Relative difference of cumulative counts that is taken for rounding.
const SMALL_DELTA: f64 = 1e-12;

/// A classic histogram: rows of its buckets by upper bound.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

impl Eval<'_> {
    /// `histogram_count` and others that make one number of a native histogram.
    pub(crate) fn histogram_figure(&mut self, id: F, arg: &Node, grid: Grid) -> Result<Out, QueryError> {
        let mut frame = self.rows(arg, grid)?;
        let mut rows: Vec<Row> = frame.take_rows().into_iter().filter(|r| r.hists.is_some()).collect();
        for row in &mut rows {
            self.meter.ctx.check()?;
            let hists = row.hists.take().unwrap_or_default();
            for (step, h) in hists.iter().enumerate() {
                row.floats[step] = match h {
                    // Where there is a float as well, it goes first and is no histogram.
                    _ if !is_absent(row.floats[step]) => super::row::absent(),
                    None => super::row::absent(),
                    Some(h) => match id {
                        F::HistogramCount => h.count,
                        F::HistogramSum => h.sum,
                        F::HistogramAvg => h.sum / h.count,
                        F::HistogramStddev => variance(h).sqrt(),
                        _ => variance(h),
                    },
                };
            }
            if !self.settings.delayed_names {
                row.labels = row.labels.without_name();
            }
            row.drop_name = true;
        }
        rows.retain(|r| !r.is_empty());
        drop(frame);
        let rows = self.join_equal(rows, grid)?;
        self.frame(rows)
    }

    pub(crate) fn classic_or_native(&mut self, id: F, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let (vector, scalars): (usize, Vec<usize>) = match id {
            F::HistogramQuantile => (1, vec![0]),
            F::HistogramFraction => (2, vec![0, 1]),
            _ => (0, (2..args.len()).collect()),
        };
        let label = if id == F::HistogramQuantiles { text(&args[1]).map(str::to_string) } else { None };
        let mut numbers = Vec::with_capacity(scalars.len());
        for i in &scalars {
            numbers.push((self.scalar(&args[*i], grid)?, args[*i].pos));
        }
        let Some(argument) = args.get(vector) else { return execution("missing argument") };
        let frame = self.rows(argument, grid)?;
        let pos = argument.pos;
        if id != F::HistogramFraction {
            for (values, pos) in &numbers {
                for q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                    self.notes.invalid_quantile(*q, *pos);
                }
            }
        }
        let (classics, natives) = self.split(&frame.rows, pos);
        let (mut out, ahead): (Vec<Row>, _) = (Vec::new(), self.ahead());
        let calls: Vec<Vec<&[f64]>> = if id == F::HistogramFraction {
            vec![numbers.iter().map(|(v, _)| &**v).collect()]
        } else {
            numbers.iter().map(|(v, _)| vec![&**v]).collect()
        };
        for call in &calls {
            for (row_index, clashes) in &natives {
                self.meter.ctx.check()?;
                let source = &frame.rows[*row_index];
                let name_for_notes =
                    if self.settings.delayed_names { source.labels.metric_name() } else { "" };
                ahead.row(grid.count)?;
                let mut row = self.result_row(&source.labels, grid);
                for (step, first) in call[0].iter().enumerate() {
                    let Cell::Hist(h) = source.cell(step) else { continue };
                    if clashes.is_some_and(|c: usize| has_buckets(&classics[c], &frame.rows, step)) {
                        self.notes.mixed_classic_native(name_for_notes, pos);
                        continue;
                    }
                    row.floats[step] = if id == F::HistogramFraction {
                        native_fraction(*first, call[1][step], h, name_for_notes, pos, &mut self.notes)
                    } else {
                        native_quantile(*first, h, name_for_notes, pos, &mut self.notes)
                    };
                }
                self.finish(row, label.as_deref(), call[0], &ahead, &mut out)?;
            }
            for (index, classic) in classics.iter().enumerate() {
                self.meter.ctx.check()?;
                let clash: Vec<usize> =
                    natives.iter().filter(|(_, c)| *c == Some(index)).map(|(i, _)| *i).collect();
                ahead.row(grid.count)?;
                let mut row = self.result_row(&classic.labels, grid);
                let mut buckets: Vec<(f64, f64)> = Vec::new();
                for (step, first) in call[0].iter().enumerate() {
                    buckets.clear();
                    let cell = |r: usize| frame.rows[r].floats[step];
                    buckets.extend(
                        classic.buckets.iter().map(|(le, r)| (*le, cell(*r))).filter(|(_, v)| !is_absent(*v)),
                    );
                    if buckets.is_empty()
                        || clash.iter().any(|i| matches!(frame.rows[*i].cell(step), Cell::Hist(_)))
                    {
                        continue;
                    }
                    row.floats[step] = if id == F::HistogramFraction {
                        classic_fraction(*first, call[1][step], &mut buckets)
                    } else {
                        let (value, forced) = classic_quantile(*first, &mut buckets);
                        if let Some(forced) = forced {
                            let name =
                                if self.settings.delayed_names { classic.labels.metric_name() } else { "" };
                            self.notes.forced_monotonicity(name, grid.at(step), forced, pos);
                        }
                        value
                    };
                }
                self.finish(row, label.as_deref(), call[0], &ahead, &mut out)?;
            }
        }
        drop(frame);
        let rows = self.join_equal(out, grid)?;
        self.settled(rows, ahead)
    }

    fn result_row(&self, labels: &Labels, grid: Grid) -> Row {
        let mut row = Row::empty(labels.clone(), grid.count);
        if !self.settings.delayed_names {
            row.labels = without_metadata(labels);
        }
        row.drop_name = true;
        row
    }

    /// Puts a row out; with a label for the quantile, in as many rows as the quantile has values.
    fn finish(
        &self,
        row: Row,
        label: Option<&str>,
        quantiles: &[f64],
        ahead: &Ahead,
        out: &mut Vec<Row>,
    ) -> Result<(), QueryError> {
        if row.is_empty() {
            return Ok(());
        }
        let Some(label) = label else {
            out.push(row);
            return Ok(());
        };
        let mut by_quantile: HashMap<u64, Row> = HashMap::new();
        for (step, v) in row.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            let q = quantiles[step];
            if !by_quantile.contains_key(&q.to_bits()) {
                ahead.row(row.floats.len())?;
            }
            let target = by_quantile.entry(q.to_bits()).or_insert_with(|| {
                let mut builder = row.labels.to_builder();
                builder.set(label, &model::float_text::format_openmetrics(q));
                Row { drop_name: true, ..Row::empty(builder.build(), row.floats.len()) }
            });
            target.floats[step] = *v;
        }
        out.extend(by_quantile.into_values());
        Ok(())
    }

    /// Classic histograms, and native rows with the classic one of the same labels, if there is one.
    fn split(&mut self, rows: &[Row], pos: PosRange) -> (Vec<Classic>, Vec<(usize, Option<usize>)>) {
        let mut classics: Vec<Classic> = Vec::new();
        let mut seen: HashMap<Labels, usize> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            if row.floats.iter().all(|v| is_absent(*v)) {
                continue;
            }
            let le = row.labels.get(LE);
            let Ok(bound) = model::float_text::parse_float(le) else {
                let name = if self.settings.delayed_names { row.labels.metric_name() } else { "" };
                self.notes.bad_bucket_label(name, le, pos);
                continue;
            };
            let key = row.labels.filtered(|n| n != LE);
            let index = *seen.entry(key.clone()).or_insert_with(|| {
                classics.push(Classic { labels: key, buckets: Vec::new() });
                classics.len() - 1
            });
            classics[index].buckets.push((bound, i));
        }
        let natives = rows
            .iter()
            .enumerate()
            .filter(|(_, r)| r.hists.is_some())
            .map(|(i, r)| (i, seen.get(&r.labels).copied()))
            .collect();
        (classics, natives)
    }
}

fn has_buckets(classic: &Classic, rows: &[Row], step: usize) -> bool {
    classic.buckets.iter().any(|(_, r)| !is_absent(rows[*r].floats[step]))
}

fn variance(h: &FloatHistogram) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut c) = (0.0, 0.0);
    for b in h.all_buckets().iter().filter(|b| b.count != 0.0) {
        let value = if h.uses_custom_buckets() {
            (b.upper + b.lower) / 2.0
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            let mean = (b.upper * b.lower).sqrt();
            if b.upper < 0.0 { -mean } else { mean }
        };
        let delta = value - mean;
        (sum, c) = kahan(b.count * delta * delta, sum, c);
    }
    (sum + c) / h.count
}

fn sort_and_join(buckets: &mut Vec<(f64, f64)>) -> bool {
    buckets.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        return false;
    }
    buckets.dedup_by(|b, a| {
        let same = a.0 == b.0;
        if same {
            a.1 += b.1;
        }
        same
    });
    true
}

fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    if a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

/// Lifts counts that fall: (lowest and highest bound lifted, largest lift).
fn ensure_monotonic(buckets: &mut [(f64, f64)]) -> Option<(f64, f64, f64)> {
    let mut forced: Option<(f64, f64, f64)> = None;
    let mut previous = buckets[0].1;
    for (bound, count) in &mut buckets[1..] {
        if *count == previous {
            continue;
        }
        if almost_equal(previous, *count, SMALL_DELTA) {
            *count = previous;
            continue;
        }
        if *count < previous {
            let (min, max, lift) = forced.unwrap_or((f64::INFINITY, f64::NEG_INFINITY, 0.0));
            forced = Some((min.min(*bound), max.max(*bound), lift.max(previous - *count)));
            *count = previous;
            continue;
        }
        previous = *count;
    }
    forced
}

/// Quantile of cumulative buckets (bound, count).
fn classic_quantile(q: f64, buckets: &mut Vec<(f64, f64)>) -> (f64, Option<(f64, f64, f64)>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !sort_and_join(buckets) {
        return (f64::NAN, None);
    }
    let forced = ensure_monotonic(buckets);
    let n = buckets.len();
    let observations = buckets[n - 1].1;
    if n < 2 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    // As Go's search: the first bucket that holds the rank; NaN counts never do.
    let b = buckets[..n - 1].iter().position(|(_, count)| *count >= rank).unwrap_or(n - 1);
    let value = if b == n - 1 {
        buckets[n - 2].0
    } else if b == 0 && buckets[0].0 <= 0.0 {
        buckets[0].0
    } else {
        let (mut start, end, mut count) = (0.0, buckets[b].0, buckets[b].1);
        if b > 0 {
            start = buckets[b - 1].0;
            count -= buckets[b - 1].1;
            rank -= buckets[b - 1].1;
        }
        start + (end - start) * (rank / count)
    };
    (value, forced)
}

/// Ranks of both bounds while buckets pass by.
struct Ranks {
    lower: Option<f64>,
    upper: Option<f64>,
}

impl Ranks {
    /// Takes a bucket (its bounds, the rank before it); true when both ranks are known.
    fn pass(
        &mut self,
        (lower, upper): (f64, f64),
        (from, to): (f64, f64),
        rank: f64,
        at: impl Fn(f64) -> f64,
    ) -> bool {
        if self.lower.is_none() && from >= lower {
            self.lower = Some(rank);
        }
        if self.upper.is_none() && from >= upper {
            self.upper = Some(rank);
        }
        if self.lower.is_some() && self.upper.is_some() {
            return true;
        }
        if self.lower.is_none() && from < lower && to > lower {
            self.lower = Some(at(lower));
        }
        if self.upper.is_none() && from < upper && to > upper {
            self.upper = Some(at(upper));
        }
        self.lower.is_some() && self.upper.is_some()
    }

    fn difference(&self, count: f64) -> f64 {
        let capped = |r: Option<f64>| r.filter(|r| *r <= count || r.is_nan()).unwrap_or(count);
        capped(self.upper) - capped(self.lower)
    }
}

fn classic_fraction(lower: f64, upper: f64, buckets: &mut Vec<(f64, f64)>) -> f64 {
    if !sort_and_join(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].1;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut ranks = Ranks { lower: None, upper: None };
    let mut rank = 0.0;
    let mut from = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    for (to, cumulative) in buckets.iter() {
        let at = |v: f64| {
            if from == f64::NEG_INFINITY {
                *cumulative
            } else {
                rank + (cumulative - rank) * (v - from) / (to - from)
            }
        };
        if ranks.pass((lower, upper), (from, *to), rank, at) {
            break;
        }
        rank = *cumulative;
        from = *to;
    }
    ranks.difference(count) / count
}

fn native_quantile(q: f64, h: &Hist, name: &str, pos: PosRange, notes: &mut Annotations) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if h.count == 0.0 || q.is_nan() {
        return f64::NAN;
    }
    let mut buckets = h.all_buckets();
    let ascending = h.sum.is_nan() || q < 0.5;
    if !ascending {
        buckets.reverse();
    }
    let mut rank = if ascending { q * h.count } else { (1.0 - q) * h.count };
    let mut count = 0.0;
    let mut bucket = model::histogram::Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
        index: 0,
    };
    let mut rest = buckets.iter();
    for b in rest.by_ref() {
        bucket = *b;
        if b.count == 0.0 {
            continue;
        }
        count += b.count;
        if count >= rank {
            break;
        }
    }
    if h.uses_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            // The lowest bucket begins at 0 where it reaches above; else only its bound is known.
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        narrow_zero(h, &mut bucket);
    }
    count = if count > h.count { h.count } else { count };
    if count < rank {
        if h.sum.is_nan() {
            notes.quantile_nan_result(name, pos);
            return f64::NAN;
        }
        return bucket.upper;
    }
    if ascending {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    if h.sum.is_nan() {
        for b in rest {
            count += b.count;
            // Upstream goes on with the last bucket, not with the one that holds the rank.
            bucket = *b;
        }
        if count < h.count {
            notes.quantile_nan_skew(name, pos);
        }
    }
    let fraction = rank / bucket.count;
    if h.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (go_math::log2(bucket.lower.abs()), go_math::log2(bucket.upper.abs()));
    if bucket.lower > 0.0 {
        return go_math::exp2(lower + (upper - lower) * fraction);
    }
    -go_math::exp2(upper + (lower - upper) * (1.0 - fraction))
}

/// The zero bucket ends at 0 on a side that has no buckets.
fn narrow_zero(h: &Hist, bucket: &mut model::histogram::Bucket) {
    if h.negative_buckets.is_empty() && !h.positive_buckets.is_empty() {
        bucket.lower = 0.0;
    } else if h.positive_buckets.is_empty() && !h.negative_buckets.is_empty() {
        bucket.upper = 0.0;
    }
}

fn native_fraction(
    lower: f64,
    upper: f64,
    h: &Hist,
    name: &str,
    pos: PosRange,
    notes: &mut Annotations,
) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let buckets = h.all_buckets();
    let mut ranks = Ranks { lower: None, upper: None };
    let (mut count, mut rank) = (0.0, 0.0);
    let mut rest = buckets.iter();
    for b in rest.by_ref() {
        let mut b = *b;
        count += b.count;
        let zero = b.lower <= 0.0 && b.upper >= 0.0;
        if zero {
            narrow_zero(h, &mut b);
        }
        let linear = h.uses_custom_buckets() || zero;
        let at = |v: f64| {
            if linear && b.lower == f64::NEG_INFINITY {
                return b.count;
            }
            rank + b.count * b.fraction_below(v, linear)
        };
        if ranks.pass((lower, upper), (b.lower, b.upper), rank, at) {
            break;
        }
        rank += b.count;
    }
    if h.sum.is_nan() {
        count += rest.map(|b| b.count).sum::<f64>();
        if count < h.count {
            notes.fraction_nans(name, pos);
        }
    } else {
        count = h.count;
    }
    ranks.difference(count) / h.count
}
