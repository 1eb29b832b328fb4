//! What each range function calculates from one window. Names, rules and notes follow upstream's
//! `promql/functions.go`.

use model::{CounterResetHint, FloatHistogram};

use super::annotations::{Annotations, HistogramOperation};
use super::error::{QueryError, execution};
use super::math::{kahan, quantile};
use super::range::{Answer, RangeCall};
use super::read::Window;
use super::{extended, rate};
use crate::parse::FunctionId as F;

pub(crate) fn evaluate(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    notes: &mut Annotations,
) -> Result<Answer, QueryError> {
    // What works on floats only passes histograms by, with an info where both are there.
    let floats_only = |notes: &mut Annotations| {
        if !w.ft.is_empty() && !w.ht.is_empty() {
            notes.histogram_ignored_in_range(call.metric(), call.pos);
        }
        !w.ft.is_empty()
    };
    let float = |v: f64| Ok(Answer::Float(v));
    match call.id {
        F::Rate => Ok(rate::extrapolated(call, w, true, true, notes)),
        F::Increase => Ok(rate::extrapolated(call, w, true, false, notes)),
        F::Delta => Ok(rate::extrapolated(call, w, false, false, notes)),
        F::Irate => Ok(rate::instant(call, w, true, notes)),
        F::Idelta => Ok(rate::instant(call, w, false, notes)),
        F::CountOverTime => float((w.ft.len() + w.ht.len()) as f64),
        F::PresentOverTime | F::AbsentOverTime => float(1.0),
        F::SumOverTime => Ok(sum_or_avg(call, w, false, notes)),
        F::AvgOverTime => Ok(sum_or_avg(call, w, true, notes)),
        F::MaxOverTime if floats_only(notes) => float(extreme(w, |v, best| v > best).1),
        F::MinOverTime if floats_only(notes) => float(extreme(w, |v, best| v < best).1),
        F::TsOfMaxOverTime if floats_only(notes) => float(extreme(w, |v, best| v >= best).0 as f64 / 1000.0),
        F::TsOfMinOverTime if floats_only(notes) => float(extreme(w, |v, best| v <= best).0 as f64 / 1000.0),
        F::StddevOverTime if floats_only(notes) => float(variance(w.fv).sqrt()),
        F::StdvarOverTime if floats_only(notes) => float(variance(w.fv)),
        F::MadOverTime if floats_only(notes) => float(median_deviation(w.fv)),
        F::QuantileOverTime if !w.ft.is_empty() => {
            let q = call.scalars[0];
            if !(0.0..=1.0).contains(&q) {
                notes.invalid_quantile(q, call.pos);
            }
            let _ = floats_only(notes);
            float(quantile(q, &mut w.fv.to_vec()))
        }
        F::FirstOverTime => Ok(end_of_range(w, true)),
        F::LastOverTime => Ok(end_of_range(w, false)),
        F::TsOfFirstOverTime => {
            let t = w.ft.first().copied().unwrap_or(i64::MAX).min(w.ht.first().copied().unwrap_or(i64::MAX));
            float(t as f64 / 1000.0)
        }
        F::TsOfLastOverTime => {
            let t = w.ft.last().copied().unwrap_or(0).max(w.ht.last().copied().unwrap_or(0));
            float(t as f64 / 1000.0)
        }
        F::Changes => {
            Ok(extended::first_samples(call, w).map_or(Answer::None, |w| Answer::Float(changes(&w))))
        }
        F::Resets => Ok(extended::first_samples(call, w).map_or(Answer::None, |w| Answer::Float(resets(&w)))),
        F::Deriv | F::PredictLinear | F::DoubleExponentialSmoothing => {
            if call.id == F::DoubleExponentialSmoothing {
                check_smoothing(call.scalars)?;
            }
            if w.ft.is_empty() || !floats_only(notes) || w.ft.len() < 2 {
                return Ok(Answer::None);
            }
            match call.id {
                F::Deriv => float(linear_regression(w, w.ft[0]).0),
                F::PredictLinear => {
                    let (slope, intercept) = linear_regression(w, w.ts);
                    float(slope * call.scalars[0] + intercept)
                }
                _ => float(smoothing(w.fv, call.scalars[0], call.scalars[1])),
            }
        }
        _ => Ok(Answer::None),
    }
}

fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let (mut t, mut best) = (w.ft[0], w.fv[0]);
    for (at, v) in w.ft.iter().zip(w.fv) {
        if better(*v, best) || best.is_nan() {
            (t, best) = (*at, *v);
        }
    }
    (t, best)
}

fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut c_mean, mut aux, mut c_aux) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for v in values {
        count += 1.0;
        let delta = v - (mean + c_mean);
        (mean, c_mean) = kahan(delta / count, mean, c_mean);
        (aux, c_aux) = kahan(delta * (v - (mean + c_mean)), aux, c_aux);
    }
    (aux + c_aux) / count
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut values)
}

fn end_of_range(w: &Window<'_>, first: bool) -> Answer {
    let pick = |n: usize| if first { 0 } else { n.saturating_sub(1) };
    let (f, h) = (pick(w.ft.len()), pick(w.ht.len()));
    match (w.ft.get(f), w.ht.get(h)) {
        (Some(ft), Some(ht)) if (first && ft < ht) || (!first && ht < ft) => Answer::Float(w.fv[f]),
        (_, Some(_)) => Answer::Hist(FloatHistogram::clone(&w.hv[h])),
        (Some(_), None) => Answer::Float(w.fv[f]),
        (None, None) => Answer::None,
    }
}

fn sum_or_avg(call: &RangeCall<'_>, w: &Window<'_>, avg: bool, notes: &mut Annotations) -> Answer {
    if !w.ft.is_empty() && !w.ht.is_empty() {
        notes.mixed_floats_histograms(call.metric(), call.pos);
        return Answer::None;
    }
    if !w.ft.is_empty() {
        return Answer::Float(if avg { average(w.fv) } else { sum(w.fv) });
    }
    let mut seen = ResetsSeen::default();
    w.hv.iter().for_each(|h| seen.see(h));
    let result = if avg { average_histograms(w) } else { sum_histograms(w) };
    let Some((h, reconciled)) = result else {
        notes.mixed_exponential_custom(call.metric(), call.pos);
        return Answer::None;
    };
    if seen.collide() {
        notes.reset_collision(HistogramOperation::Aggregate, call.pos);
    }
    if reconciled {
        notes.mismatched_custom_buckets(HistogramOperation::Aggregate, call.pos);
    }
    Answer::Hist(h)
}

/// Whether samples say both "reset" and "not reset".
#[derive(Default)]
pub(crate) struct ResetsSeen {
    reset: bool,
    not_reset: bool,
}

impl ResetsSeen {
    pub(crate) fn see(&mut self, h: &FloatHistogram) {
        self.reset |= h.reset_hint == CounterResetHint::Reset;
        self.not_reset |= h.reset_hint == CounterResetHint::NotReset;
    }
    pub(crate) fn collide(&self) -> bool {
        self.reset && self.not_reset
    }
}

pub(crate) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut c) = (0.0, 0.0);
    for v in values {
        (sum, c) = kahan(*v, sum, c);
    }
    if sum.is_infinite() { sum } else { sum + c }
}

/// Mean of floats: the sum divided, or, where the sum would overflow, a running mean.
pub(crate) struct Mean {
    count: f64,
    sum: f64,
    mean: f64,
    c: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn new(first: f64) -> Mean {
        Mean { count: 1.0, sum: first, mean: first, c: 0.0, incremental: false }
    }
    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.incremental {
            let (sum, c) = kahan(v, self.sum, self.c);
            if !sum.is_infinite() {
                (self.sum, self.c) = (sum, c);
                return;
            }
            self.incremental = true;
            self.mean = self.sum / (self.count - 1.0);
            self.c /= self.count - 1.0;
        }
        let q = (self.count - 1.0) / self.count;
        (self.mean, self.c) = kahan(v / self.count, q * self.mean, q * self.c);
    }
    pub(crate) fn get(&self) -> f64 {
        if self.incremental { self.mean + self.c } else { self.sum / self.count + self.c / self.count }
    }
}

fn average(values: &[f64]) -> f64 {
    let mut mean = Mean::new(values[0]);
    values[1..].iter().for_each(|v| mean.add(*v));
    mean.get()
}

fn sum_histograms(w: &Window<'_>) -> Option<(FloatHistogram, bool)> {
    let mut sum = FloatHistogram::clone(&w.hv[0]);
    let (mut compensation, mut reconciled) = (None, false);
    for h in &w.hv[1..] {
        reconciled |= sum.kahan_add(h, &mut compensation).ok()?.bounds_reconciled;
    }
    if let Some(c) = &compensation {
        reconciled |= sum.add(c).ok()?.bounds_reconciled;
    }
    Some((sum, reconciled))
}

/// Mean of histograms, by the rules of [`Mean`].
pub(crate) struct HistogramMean {
    count: f64,
    sum: FloatHistogram,
    c: Option<FloatHistogram>,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &FloatHistogram) -> Self {
        HistogramMean { count: 1.0, sum: first.clone(), c: None, incremental: false }
    }

    /// Adds one; says whether custom bounds had to be reconciled, or `None` where schemas do not go together.
    pub(crate) fn add(&mut self, h: &FloatHistogram, count: f64) -> Option<bool> {
        self.count = count;
        if !self.incremental {
            let (mut sum, mut c) = (self.sum.clone(), self.c.clone());
            let met = sum.kahan_add(h, &mut c).ok()?;
            if !sum.has_overflow() {
                (self.sum, self.c) = (sum, c);
                return Some(met.bounds_reconciled);
            }
            self.incremental = true;
            self.sum.div(count - 1.0);
            if let Some(c) = &mut self.c {
                c.div(count - 1.0);
            }
        }
        let q = (count - 1.0) / count;
        if let Some(c) = &mut self.c {
            c.mul(q);
        }
        let mut part = h.clone();
        part.div(count);
        self.sum.mul(q);
        Some(self.sum.kahan_add(&part, &mut self.c).ok()?.bounds_reconciled)
    }

    pub(crate) fn get(mut self) -> Option<FloatHistogram> {
        if !self.incremental {
            self.sum.div(self.count);
            if let Some(c) = &mut self.c {
                c.div(self.count);
            }
        }
        if let Some(c) = &self.c {
            self.sum.add(c).ok()?;
        }
        Some(self.sum)
    }
}

fn average_histograms(w: &Window<'_>) -> Option<(FloatHistogram, bool)> {
    let mut mean = HistogramMean::new(&w.hv[0]);
    let mut reconciled = false;
    for (i, h) in w.hv[1..].iter().enumerate() {
        reconciled |= mean.add(h, (i + 2) as f64)?;
    }
    Some((mean.get()?, reconciled))
}

/// Floats and histograms in one order of time: (index, is histogram).
fn in_order<'a>(w: &'a Window<'_>) -> impl Iterator<Item = (usize, bool)> + 'a {
    let (mut f, mut h) = (0, 0);
    std::iter::from_fn(move || match (w.ft.get(f), w.ht.get(h)) {
        (Some(a), Some(b)) if a < b => {
            f += 1;
            Some((f - 1, false))
        }
        (_, Some(_)) => {
            h += 1;
            Some((h - 1, true))
        }
        (Some(_), None) => {
            f += 1;
            Some((f - 1, false))
        }
        (None, None) => None,
    })
}

fn changes(w: &Window<'_>) -> f64 {
    if w.ht.is_empty() {
        let changed = |p: &[f64]| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan());
        return w.fv.windows(2).filter(|p| changed(p)).count() as f64;
    }
    count_pairs(w, |w, a, b| match (a.1, b.1) {
        (false, false) => w.fv[a.0] != w.fv[b.0] && !(w.fv[a.0].is_nan() && w.fv[b.0].is_nan()),
        (true, true) => !w.hv[b.0].equals(&w.hv[a.0]),
        _ => true,
    })
}

fn resets(w: &Window<'_>) -> f64 {
    if w.ht.is_empty() && w.fs.is_empty() {
        return w.fv.windows(2).filter(|p| p[1] < p[0]).count() as f64;
    }
    let at = |s: &[i64], i: usize| s.get(i).copied().unwrap_or(0);
    count_pairs(w, |w, a, b| match (a.1, b.1) {
        (false, false) => {
            w.fv[b.0] < w.fv[a.0] || rate::start_reset(at(w.fs, a.0), w.ft[a.0], at(w.fs, b.0), w.ft[b.0])
        }
        (true, true) => {
            rate::start_reset(at(w.hs, a.0), w.ht[a.0], at(w.hs, b.0), w.ht[b.0])
                || w.hv[b.0].detect_reset(&w.hv[a.0])
        }
        _ => true,
    })
}

fn count_pairs(w: &Window<'_>, counts: impl Fn(&Window<'_>, (usize, bool), (usize, bool)) -> bool) -> f64 {
    let mut previous = None;
    let mut n = 0;
    for current in in_order(w) {
        if let Some(previous) = previous {
            n += usize::from(counts(w, previous, current));
        }
        previous = Some(current);
    }
    n as f64
}

/// Slope a second, and value at `intercept_ms`.
fn linear_regression(w: &Window<'_>, intercept_ms: i64) -> (f64, f64) {
    let (mut n, mut sx, mut cx, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut sxy, mut cxy, mut sx2, mut cx2) = (0.0, 0.0, 0.0, 0.0);
    let first = w.fv[0];
    let mut constant = true;
    for (i, (t, v)) in w.ft.iter().zip(w.fv).enumerate() {
        constant = constant && (i == 0 || *v == first);
        n += 1.0;
        let x = (t - intercept_ms) as f64 / 1e3;
        (sx, cx) = kahan(x, sx, cx);
        (sy, cy) = kahan(*v, sy, cy);
        (sxy, cxy) = kahan(x * v, sxy, cxy);
        (sx2, cx2) = kahan(x * x, sx2, cx2);
    }
    if constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (sx, sy, sxy, sx2) = (sx + cx, sy + cy, sxy + cxy, sx2 + cx2);
    let covariance = sxy - sx * sy / n;
    let variance = sx2 - sx * sx / n;
    let slope = covariance / variance;
    (slope, sy / n - slope * sx / n)
}

fn check_smoothing([sf, tf]: [f64; 2]) -> Result<(), QueryError> {
    if sf <= 0.0 || sf >= 1.0 {
        return execution(format!("invalid smoothing factor. Expected: 0 < sf < 1, got: {sf:.6}"));
    }
    if tf <= 0.0 || tf >= 1.0 {
        return execution(format!("invalid trend factor. Expected: 0 < tf < 1, got: {tf:.6}"));
    }
    Ok(())
}

fn smoothing(values: &[f64], sf: f64, tf: f64) -> f64 {
    let (mut s0, mut s1) = (0.0, values[0]);
    let mut b = values[1] - values[0];
    for (i, v) in values.iter().enumerate().skip(1) {
        let x = sf * v;
        if i > 1 {
            b = tf * (s1 - s0) + (1.0 - tf) * b;
        }
        let y = (1.0 - sf) * (s1 + b);
        (s0, s1) = (s1, x + y);
    }
    s1
}
