//! `rate`, `increase`, `delta`, `irate`, `idelta`: differences over a window, with extrapolation to its
//! bounds, counter resets and start timestamps.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram};

use super::annotations::{Annotations, HistogramOperation};
use super::extended;
use super::range::{Answer, RangeCall};
use super::read::Window;
use super::row::Hist;

/// Whether start timestamps say that the counter began anew between two samples.
pub(crate) fn start_reset(previous_start: i64, previous_t: i64, start: i64, t: i64) -> bool {
    if start == 0 || start >= t || start < previous_t {
        return false;
    }
    if start > previous_t {
        return true;
    }
    // It began exactly at the previous sample: a reset, unless that one began there as well.
    previous_start <= previous_t && previous_start != 0 && previous_start != previous_t
}

fn starts_overlap(previous_start: i64, previous_t: i64, start: i64) -> bool {
    start != 0 && start < previous_t && start != previous_start
}

/// Resets and overlaps that start timestamps show between samples `i` and `i + 1`.
fn start_events(call: &RangeCall<'_>, starts: &[i64], times: &[i64], notes: &mut Annotations) -> Vec<bool> {
    let mut overlapped = false;
    let mut resets = Vec::new();
    for i in 0..times.len().saturating_sub(1) {
        let Some((a, b)) = starts.get(i).zip(starts.get(i + 1)) else { break };
        if !overlapped && starts_overlap(*a, times[i], *b) {
            notes.start_overlap(call.metric(), call.pos);
            overlapped = true;
        }
        resets.push(start_reset(*a, times[i], *b, times[i + 1]));
    }
    resets
}

pub(crate) fn extrapolated(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    counter: bool,
    per_second: bool,
    notes: &mut Annotations,
) -> Answer {
    if !w.ft.is_empty() && !w.ht.is_empty() {
        notes.mixed_floats_histograms(call.metric(), call.pos);
        return Answer::None;
    }
    if call.anchored || call.smoothed {
        return extended::rate(call, w, counter, per_second, notes);
    }
    let seconds = call.range_ms as f64 / 1000.0;
    if w.ht.is_empty() {
        return float_rate(call, w, counter, per_second.then_some(seconds), notes);
    }
    let (times, starts) = (w.ht, if call.use_starts { w.hs } else { &[] });
    let mut result = None;
    if times.len() > 1 {
        match histogram_difference(call, w, starts, counter, notes) {
            Some(h) => result = Some(h),
            None => return Answer::None,
        }
    }
    let first_count = w.hv[0].count;
    let zero = result.as_ref().filter(|r| r.count > 0.0 && first_count >= 0.0).map(|r| first_count / r.count);
    let Some(e) = extrapolation(w, times, starts, counter, zero) else { return Answer::None };
    if e.from_start {
        match &mut result {
            None => result = Some(FloatHistogram::clone(&w.hv[0])),
            Some(r) => {
                if !add_noted(call, r, &w.hv[0], notes) {
                    return Answer::None;
                }
            }
        }
    }
    let Some(mut h) = result else { return Answer::None };
    h.mul(if per_second { e.factor / seconds } else { e.factor });
    Answer::Hist(h)
}

fn float_rate(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    counter: bool,
    seconds: Option<f64>,
    notes: &mut Annotations,
) -> Answer {
    let Some(last) = w.fv.last() else { return Answer::None };
    let starts = if call.use_starts { w.fs } else { &[] };
    let mut result = last - w.fv[0];
    if counter {
        if let (Some((first, falls)), true) = (w.falls, starts.is_empty()) {
            // In order, as below.
            for at in falls {
                result += w.fv[*at as usize - first - 1];
            }
        } else if starts.is_empty() {
            for pair in w.fv.windows(2) {
                if pair[1] < pair[0] {
                    result += pair[0];
                }
            }
        } else {
            let events = start_events(call, starts, w.ft, notes);
            for (i, pair) in w.fv.windows(2).enumerate() {
                if pair[1] < pair[0] || events.get(i) == Some(&true) {
                    result += pair[0];
                }
            }
        }
    }
    let zero = (result > 0.0 && w.fv[0] >= 0.0).then(|| w.fv[0] / result);
    let Some(e) = extrapolation(w, w.ft, starts, counter, zero) else { return Answer::None };
    if e.from_start {
        result += w.fv[0];
    }
    let factor = seconds.map_or(e.factor, |s| e.factor / s);
    Answer::Float(result * factor)
}

struct Extrapolation {
    factor: f64,
    /// The window begins at a start timestamp, so the first value counts in full.
    from_start: bool,
}

/// How far the difference reaches beyond the first and last sample. `zero` is the first value by the
/// difference: how many sampled intervals ago the counter was 0.
fn extrapolation(
    w: &Window<'_>,
    times: &[i64],
    starts: &[i64],
    counter: bool,
    zero: Option<f64>,
) -> Option<Extrapolation> {
    let (first, last) = (*times.first()?, *times.last()?);
    let mut to_start = (first - w.start) as f64 / 1000.0;
    let mut to_end = (w.end - last) as f64 / 1000.0;
    let mut sampled = (last - first) as f64 / 1000.0;
    let intervals = times.len() - 1;
    let average = if intervals > 0 { sampled / intervals as f64 } else { 0.0 };
    let threshold = average * 1.1;
    let began = starts.first().copied().filter(|s| counter && *s != 0 && *s > w.start && *s < first);
    if let Some(began) = began {
        to_start = 0.0;
        sampled = (last - began) as f64 / 1000.0;
    } else if intervals == 0 {
        return None;
    } else {
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        if counter {
            let to_zero = zero.map_or(to_start, |z| sampled * z);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
    Some(Extrapolation { factor, from_start: began.is_some() })
}

/// Adds with upstream's notes; `false` where schemas do not go together.
pub(crate) fn add_noted(
    call: &RangeCall<'_>,
    base: &mut FloatHistogram,
    other: &FloatHistogram,
    notes: &mut Annotations,
) -> bool {
    noted(call, base.add(other), HistogramOperation::Add, notes)
}

pub(crate) fn sub_noted(
    call: &RangeCall<'_>,
    base: &mut FloatHistogram,
    other: &FloatHistogram,
    notes: &mut Annotations,
) -> bool {
    noted(call, base.sub(other), HistogramOperation::Sub, notes)
}

fn noted(
    call: &RangeCall<'_>,
    done: Result<model::histogram::ops::Met, model::histogram::ops::Incompatible>,
    operation: HistogramOperation,
    notes: &mut Annotations,
) -> bool {
    match done {
        Ok(met) => {
            if met.bounds_reconciled {
                notes.mismatched_custom_buckets(operation, call.pos);
            }
            true
        }
        Err(_) => {
            notes.mixed_exponential_custom(call.metric(), call.pos);
            false
        }
    }
}

fn histogram_difference(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    starts: &[i64],
    counter: bool,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let points = w.hv;
    let (first, last) = (points.first()?, points.last()?);
    let gauge = |h: &Hist| h.reset_hint == CounterResetHint::Gauge;
    if counter && (gauge(first) || gauge(last)) {
        notes.native_not_counter(call.metric(), call.pos);
    }
    let events = if counter { start_events(call, starts, w.ht, notes) } else { Vec::new() };
    let mut previous = Arc::clone(first);
    let mut custom = first.uses_custom_buckets();
    if counter {
        let second = &points[1];
        // The first sample only shows the reset; what it counted is from before.
        if events.first() == Some(&true) || second.detect_reset(&previous) {
            previous = Arc::new(FloatHistogram {
                schema: second.schema,
                custom_values: second.custom_values.clone(),
                ..FloatHistogram::default()
            });
            custom = second.uses_custom_buckets();
        }
    }
    let mixed = |notes: &mut Annotations| notes.mixed_exponential_custom(call.metric(), call.pos);
    if last.uses_custom_buckets() != custom {
        mixed(notes);
        return None;
    }
    let mut schema = last.schema.min(previous.schema);
    if counter {
        for h in &points[1..points.len() - 1] {
            if gauge(h) {
                notes.native_not_counter(call.metric(), call.pos);
            }
            schema = schema.min(h.schema);
            if h.uses_custom_buckets() != custom {
                mixed(notes);
                return None;
            }
        }
    }
    let mut result = last.copy_to_schema(schema);
    if !sub_noted(call, &mut result, &previous, notes) {
        return None;
    }
    if counter {
        for (i, h) in points[1..].iter().enumerate() {
            if (events.get(i) == Some(&true) || h.detect_reset(&previous))
                && !add_noted(call, &mut result, &previous, notes)
            {
                return None;
            }
            previous = Arc::clone(h);
        }
    } else if !gauge(first) || !gauge(last) {
        notes.native_not_gauge(call.metric(), call.pos);
    }
    result.reset_hint = CounterResetHint::Gauge;
    result.compact();
    Some(result)
}

enum Point<'a> {
    Float(f64),
    Hist(&'a Hist),
}

/// Difference of the two newest samples.
pub(crate) fn instant(
    call: &RangeCall<'_>,
    w: &Window<'_>,
    per_second: bool,
    notes: &mut Annotations,
) -> Answer {
    if w.ft.len() + w.ht.len() < 2 {
        return Answer::None;
    }
    let start = |s: &[i64], i: usize| s.get(i).copied().unwrap_or(0);
    let mut newest: Vec<(i64, i64, Point<'_>)> = Vec::with_capacity(4);
    for i in w.ft.len().saturating_sub(2)..w.ft.len() {
        newest.push((w.ft[i], start(w.fs, i), Point::Float(w.fv[i])));
    }
    for i in w.ht.len().saturating_sub(2)..w.ht.len() {
        newest.push((w.ht[i], start(w.hs, i), Point::Hist(&w.hv[i])));
    }
    newest.sort_by_key(|(t, ..)| *t);
    let [.., (t0, s0, a), (t1, s1, b)] = newest.as_slice() else { return Answer::None };
    if t0 == t1 {
        return Answer::None;
    }
    let seconds = (t1 - t0) as f64 / 1000.0;
    let began = start_reset(*s0, *t0, *s1, *t1);
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => {
            let difference = if per_second && (b < a || began) { *b } else { b - a };
            Answer::Float(if per_second { difference / seconds } else { difference })
        }
        (Point::Hist(a), Point::Hist(b)) => {
            let gauge = |h: &Hist| h.reset_hint == CounterResetHint::Gauge;
            if per_second && (gauge(a) || gauge(b)) {
                notes.native_not_counter(call.metric(), call.pos);
            }
            if !per_second && (!gauge(a) || !gauge(b)) {
                notes.native_not_gauge(call.metric(), call.pos);
            }
            let mut h = FloatHistogram::clone(b);
            if (!per_second || (!began && !b.detect_reset(a))) && !sub_noted(call, &mut h, a, notes) {
                return Answer::None;
            }
            h.reset_hint = CounterResetHint::Gauge;
            h.compact();
            if per_second {
                h.div(seconds);
            }
            Answer::Hist(h)
        }
        _ => {
            notes.mixed_floats_histograms(call.metric(), call.pos);
            Answer::None
        }
    }
}
