//! `anchored` and `smoothed` selectors: windows whose ends are taken from, or interpolated between, the
//! samples around their bounds.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram};

use super::annotations::Annotations;
use super::error::QueryError;
use super::eval::Eval;
use super::plan::Selector;
use super::range::{Answer, RangeCall};
use super::rate::{add_noted, sub_noted};
use super::read::{Columns, Stats, Window};
use super::row::{Ahead, Grid, Hist, Row};
use crate::parse::PosRange;

fn interpolate(t0: i64, v0: f64, t1: i64, v1: f64, t: i64, counter: bool) -> f64 {
    let v0 = if counter && v1 < v0 { 0.0 } else { v0 };
    v0 + (v1 - v0) * (t - t0) as f64 / (t1 - t0) as f64
}

/// First and last sample that matter: the one before the range, and the last or the first behind it.
fn ends(times: &[i64], start: i64, end: i64, smoothed: bool) -> (usize, usize) {
    let mut last = times.len() - 1;
    let first = times[..last].partition_point(|t| *t <= start).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|t| *t < end);
    }
    (first, last)
}

fn left_value(t: &[i64], v: &[f64], first: usize, start: i64, smoothed: bool, counter: bool) -> f64 {
    match (t.get(first + 1), v.get(first + 1)) {
        (Some(t1), Some(v1)) if smoothed && t[first] < start => {
            interpolate(t[first], v[first], *t1, *v1, start, counter)
        }
        _ => v[first],
    }
}

fn right_value(t: &[i64], v: &[f64], last: usize, end: i64, smoothed: bool, counter: bool) -> f64 {
    if smoothed && last > 0 && t[last] > end {
        return interpolate(t[last - 1], v[last - 1], t[last], v[last], end, counter);
    }
    v[last]
}

/// The samples of an extended range selector, with one at each bound. `times` is not empty.
pub(crate) fn extend(times: &[i64], values: &[f64], start: i64, end: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let (mut first, last) = ends(times, start, end, smoothed);
    if times[last] <= start {
        return Vec::new();
    }
    let left = left_value(times, values, first, start, smoothed, false);
    let right = right_value(times, values, last, end, smoothed, false);
    if times[first] <= start {
        first += 1;
    }
    let stop = if times[last] >= end { last } else { last + 1 };
    let mut out = vec![(start, left)];
    out.extend((first..stop).map(|i| (times[i], values[i])));
    out.push((end, right));
    out
}

/// For `changes` and `resets` with `anchored`: the window from the newest sample at or before its start.
pub(crate) fn first_samples<'a>(call: &RangeCall<'_>, w: &Window<'a>) -> Option<Window<'a>> {
    if !call.anchored {
        return Some(*w);
    }
    let f = w.ft.partition_point(|t| *t <= w.start);
    let h = w.ht.partition_point(|t| *t <= w.start);
    if f >= w.ft.len() && h >= w.ht.len() {
        return None;
    }
    let (f, h) = match (f.checked_sub(1), h.checked_sub(1)) {
        (None, None) => (0, 0),
        (Some(i), None) => (i, h),
        (Some(i), Some(j)) if w.ft[i] >= w.ht[j] => (i, h),
        (_, Some(j)) => (f, j),
    };
    let cut = |s: &'a [i64], n: usize| s.get(n..).unwrap_or(&[]);
    Some(Window {
        falls: None,
        ft: &w.ft[f..],
        fv: &w.fv[f..],
        fs: cut(w.fs, f),
        ht: &w.ht[h..],
        hv: &w.hv[h..],
        hs: cut(w.hs, h),
        ..*w
    })
}

pub(crate) fn rate(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    counter: bool,
    per_second: bool,
    notes: &mut Annotations,
) -> Answer {
    let seconds = call.range_ms as f64 / 1000.0;
    if !w.ht.is_empty() {
        return histogram_rate(call, w, counter, per_second.then_some(seconds), notes);
    }
    if w.ft.is_empty() {
        return Answer::None;
    }
    let (mut first, last) = ends(w.ft, w.start, w.end, call.smoothed);
    if w.ft[last] <= w.start || (call.smoothed && w.ft[first] > w.end) {
        return Answer::None;
    }
    let left = left_value(w.ft, w.fv, first, w.start, call.smoothed, counter);
    let right = right_value(w.ft, w.fv, last, w.end, call.smoothed, counter);
    let mut result = right - left;
    if counter {
        if w.ft[first] <= w.start {
            first += 1;
        }
        let stop = if w.ft[last] >= w.end { last } else { last + 1 };
        let mut previous = left;
        let mut correction = 0.0;
        for v in w.fv.get(first..stop).unwrap_or(&[]) {
            if *v < previous {
                correction += previous;
            }
            previous = *v;
        }
        if right < previous {
            correction += previous;
        }
        result += correction;
    }
    Answer::Float(if per_second { result / seconds } else { result })
}

/// Value between two histograms. `None` where schemas do not go together.
fn between(
    call: &RangeCall<'_>,
    (t0, a): (i64, &Hist),
    (t1, b): (i64, &Hist),
    t: i64,
    counter: bool,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    if t == t0 {
        return Some(FloatHistogram::clone(a));
    }
    if t == t1 {
        return Some(FloatHistogram::clone(b));
    }
    let fraction = (t - t0) as f64 / (t1 - t0) as f64;
    let mut result = FloatHistogram::clone(b);
    if counter && b.detect_reset(a) {
        result.mul(fraction);
        return Some(result);
    }
    if !sub_noted(call, &mut result, a, notes) {
        return None;
    }
    result.mul(fraction);
    add_noted(call, &mut result, a, notes).then_some(result)
}

fn histogram_rate(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    counter: bool,
    seconds: Option<f64>,
    notes: &mut Annotations,
) -> Answer {
    let (first, last) = ends(w.ht, w.start, w.end, call.smoothed);
    if w.ht[last] <= w.start || (call.smoothed && w.ht[first] > w.end) {
        return Answer::None;
    }
    let custom = w.hv[first].uses_custom_buckets();
    for h in &w.hv[first..=last] {
        if h.uses_custom_buckets() != custom {
            notes.mixed_exponential_custom(call.metric(), call.pos);
            return Answer::None;
        }
        if counter && h.reset_hint == CounterResetHint::Gauge {
            notes.native_not_counter(call.metric(), call.pos);
        }
    }
    let point = |i: usize| (w.ht[i], &w.hv[i]);
    let left = if call.smoothed && w.ht[first] < w.start && first + 1 < w.ht.len() {
        between(call, point(first), point(first + 1), w.start, counter, notes)
    } else {
        Some(FloatHistogram::clone(&w.hv[first]))
    };
    let right = if call.smoothed && last > 0 && w.ht[last] > w.end {
        between(call, point(last - 1), point(last), w.end, counter, notes)
    } else {
        Some(FloatHistogram::clone(&w.hv[last]))
    };
    let (Some(left), Some(right)) = (left, right) else { return Answer::None };
    let gauge = |h: &FloatHistogram| h.reset_hint == CounterResetHint::Gauge;
    if !counter && (!gauge(&left) || !gauge(&right)) {
        notes.native_not_gauge(call.metric(), call.pos);
    }
    let mut result = right.clone();
    if !sub_noted(call, &mut result, &left, notes) {
        return Answer::None;
    }
    if counter && !correct_resets(call, w, (first, last), &left, &right, &mut result, notes) {
        return Answer::None;
    }
    if let Some(seconds) = seconds {
        result.div(seconds);
    }
    result.reset_hint = CounterResetHint::Gauge;
    result.compact();
    Answer::Hist(result)
}

/// Adds what resets within the window took away; `false` where schemas do not go together.
fn correct_resets(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    (first, last): (usize, usize),
    left: &FloatHistogram,
    right: &FloatHistogram,
    result: &mut FloatHistogram,
    notes: &mut Annotations,
) -> bool {
    let mut from = first + 1;
    let mut previous = left;
    if call.smoothed && w.ht[first] < w.start && from < w.hv.len() && w.hv[from].detect_reset(&w.hv[first]) {
        previous = &w.hv[from];
        from += 1;
    }
    if from > last {
        return true;
    }
    let mut correction: Option<FloatHistogram> = None;
    for h in w.hv[from..last].iter().map(|h| &**h).chain([right]) {
        if h.detect_reset(previous) {
            match &mut correction {
                None => correction = Some(previous.clone()),
                Some(c) => {
                    if !add_noted(call, c, previous, notes) {
                        return false;
                    }
                }
            }
        }
        previous = h;
    }
    correction.is_none_or(|c| add_noted(call, result, &c, notes))
}

impl Eval<'_> {
    /// An instant selector with `smoothed`: interpolated between the neighbours within the lookback.
    pub(crate) fn smooth(
        &mut self,
        selector: &Selector,
        grid: Grid,
        pos: PosRange,
        ahead: &Ahead,
    ) -> Result<Vec<Row>, QueryError> {
        let offset = Self::offset_of(selector, grid);
        let lookback = self.settings.lookback_ms;
        let series = self.series(selector.slot);
        let meter = Arc::clone(&self.meter);
        let results = self.workers.map(series.len(), Columns::default, |columns, i| {
            meter.ctx.check()?;
            let first = grid.start - offset - lookback;
            columns.read(
                &meter,
                series[i].as_ref(),
                first + 1,
                grid.last() - offset + lookback,
                false,
                Stats::Whole,
            )?;
            let mut notes = Annotations::default();
            let labels = series[i].labels();
            ahead.row(grid.count)?;
            let mut row = Row::empty(labels.clone(), grid.count);
            let call = RangeCall {
                id: crate::parse::FunctionId::Delta,
                scalars: [0.0; 2],
                range_ms: 0,
                anchored: false,
                smoothed: true,
                labels,
                pos,
                use_starts: false,
            };
            for step in 0..grid.count {
                let t = grid.at(step) - offset;
                let within = |times: &[i64]| {
                    times.partition_point(|x| *x <= t - lookback)
                        ..times.partition_point(|x| *x <= t + lookback)
                };
                let (f, h) = (within(&columns.ft), within(&columns.ht));
                match (f.is_empty(), h.is_empty()) {
                    (true, true) => {}
                    (false, false) => notes.mixed_floats_histograms(labels.metric_name(), pos),
                    (false, true) => {
                        let (ft, fv) = (&columns.ft[f.clone()], &columns.fv[f]);
                        let next = ft.partition_point(|x| *x < t);
                        match (ft.get(next), next.checked_sub(1)) {
                            (Some(at), _) if *at == t => row.floats[step] = fv[next],
                            (Some(_), Some(p)) => {
                                row.floats[step] = interpolate(ft[p], fv[p], ft[next], fv[next], t, false);
                            }
                            (None, Some(p)) => row.floats[step] = fv[p],
                            _ => {}
                        }
                    }
                    (true, false) => {
                        let (ht, hv) = (&columns.ht[h.clone()], &columns.hv[h]);
                        let next = ht.partition_point(|x| *x < t);
                        match (ht.get(next), next.checked_sub(1)) {
                            (Some(at), _) if *at == t => row.set_hist(step, Arc::clone(&hv[next])),
                            (Some(_), Some(p)) => {
                                let gauge = |h: &Hist| h.reset_hint == CounterResetHint::Gauge;
                                if hv[p].uses_custom_buckets() != hv[next].uses_custom_buckets() {
                                    notes.mixed_exponential_custom(labels.metric_name(), pos);
                                    continue;
                                }
                                let counter = !gauge(&hv[p]) || !gauge(&hv[next]);
                                let (a, b) = ((ht[p], &hv[p]), (ht[next], &hv[next]));
                                if let Some(h) = between(&call, a, b, t, counter, &mut notes) {
                                    row.set_hist(step, Arc::new(h));
                                }
                            }
                            (None, Some(p)) => {
                                let mut h = FloatHistogram::clone(&hv[p]);
                                h.reset_hint = CounterResetHint::Unknown;
                                row.set_hist(step, Arc::new(h));
                            }
                            _ => {}
                        }
                    }
                }
            }
            Ok((row, notes))
        })?;
        let mut rows = Vec::new();
        for (row, notes) in results {
            self.notes.merge(notes);
            if !row.is_empty() {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}
