//! Arithmetic on float histograms: addition, scaling, compaction, resolution, reset detection.
//!
//! Follows the semantics of upstream's `model/histogram/float_histogram.go`. Sides are worked on as lists
//! of (index, count) in order of index rather than as spans: merging two lists is one loop, where spans
//! need four cases; the result is written back as spans.

use std::fmt;
use std::sync::Arc;

use crate::go_math::log2;

use super::{Bucket, CounterResetHint, FloatHistogram, Histogram, Span, bucket_bound};

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot combine histograms with exponential and custom buckets")]
pub struct Incompatible;

/// What came up when two histograms were combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// One said "reset", the other "not reset".
    pub reset_collision: bool,
    /// Custom bounds differed and were cut down to those in common.
    pub bounds_reconciled: bool,
}

type Side = Vec<(i32, f64)>;

fn side(spans: &[Span], counts: &[f64]) -> Side {
    FloatHistogram::side(spans, counts).collect()
}

fn spans_of(side: &[(i32, f64)]) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut end = 0_i32;
    for (index, _) in side {
        match spans.last_mut() {
            Some(last) if *index == end => last.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(end), length: 1 }),
        }
        end = index.wrapping_add(1);
    }
    (spans, side.iter().map(|(_, v)| *v).collect())
}

/// One step of the Kahan-Neumaier sum: (sum, compensation).
fn kahan(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    if t.is_infinite() {
        return (t, 0.0);
    }
    if sum.abs() >= inc.abs() { (t, c + ((sum - t) + inc)) } else { (t, c + ((inc - t) + sum)) }
}

/// Bucket of a coarser schema that holds bucket `index`.
fn coarser(index: i32, from: i32, to: i32) -> i32 {
    let shift = u32::try_from(from - to).unwrap_or(0).min(31);
    ((index.wrapping_sub(1)) >> shift).wrapping_add(1)
}

fn reduce(entries: &Side, from: i32, to: i32) -> Side {
    let mut out: Side = Vec::with_capacity(entries.len());
    for (index, v) in entries {
        let index = coarser(*index, from, to);
        match out.last_mut() {
            Some((last, sum)) if *last == index => *sum += v,
            _ => out.push((index, *v)),
        }
    }
    out
}

/// Merges two lists; `join` gets (a, b) of an index that either has.
fn merge(a: &Side, b: &Side, mut join: impl FnMut(i32, Option<f64>, Option<f64>)) {
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (None, None) => return,
            (Some((x, v)), Some((y, w))) if x == y => {
                join(*x, Some(*v), Some(*w));
                (i, j) = (i + 1, j + 1);
            }
            (Some((x, v)), other) if other.is_none_or(|(y, _)| x < y) => {
                join(*x, Some(*v), None);
                i += 1;
            }
            (_, Some((y, w))) => {
                join(*y, None, Some(*w));
                j += 1;
            }
            (Some((x, v)), None) => {
                join(*x, Some(*v), None);
                i += 1;
            }
        }
    }
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if a[i] < b[j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// Index among `bounds` of the bucket that holds bucket `index` of `own`.
fn map_custom(index: i32, own: &[f64], bounds: &[f64]) -> usize {
    match usize::try_from(index).ok().and_then(|i| own.get(i)) {
        Some(upper) => bounds.partition_point(|b| b < upper),
        None => bounds.len(),
    }
}

/// Buckets of two histograms in the bounds that both have, one after the other: (sums, compensations).
fn within_common(
    bounds: &[f64],
    (a, a_comps, a_bounds): (&Side, &Side, &[f64]),
    (b, b_bounds): (&Side, &[f64]),
    sign: f64,
) -> (Side, Side) {
    let mut all = vec![(0.0, 0.0); bounds.len() + 1];
    let mut put = |index: usize, v: f64| {
        if let Some((sum, c)) = all.get_mut(index) {
            (*sum, *c) = kahan(v, *sum, *c);
        }
    };
    for (n, (index, v)) in a.iter().enumerate() {
        let target = map_custom(*index, a_bounds, bounds);
        put(target, *v);
        if let Some((_, c)) = a_comps.get(n) {
            put(target, *c);
        }
    }
    for (index, v) in b {
        put(map_custom(*index, b_bounds, bounds), sign * v);
    }
    let filled = all.iter().enumerate().filter(|(_, (sum, c))| *sum != 0.0 || *c != 0.0);
    filled.map(|(i, (sum, c))| ((i as i32, *sum), (i as i32, *c))).unzip()
}

fn remap(entries: &Side, own: &[f64], bounds: &[f64]) -> Side {
    let mut out: Side = Vec::new();
    for (index, v) in entries {
        let index = map_custom(*index, own, bounds) as i32;
        match out.last_mut() {
            Some((last, sum)) if *last == index => *sum += v,
            _ => out.push((index, *v)),
        }
    }
    out
}

impl FloatHistogram {
    fn positive(&self) -> Side {
        side(&self.positive_spans, &self.positive_buckets)
    }
    fn negative(&self) -> Side {
        side(&self.negative_spans, &self.negative_buckets)
    }
    fn set_positive(&mut self, entries: &[(i32, f64)]) {
        (self.positive_spans, self.positive_buckets) = spans_of(entries);
    }
    fn set_negative(&mut self, entries: &[(i32, f64)]) {
        (self.negative_spans, self.negative_buckets) = spans_of(entries);
    }

    fn same_bounds(&self, other: &FloatHistogram) -> bool {
        super::same_floats(&self.custom_values, &other.custom_values)
    }

    /// Multiplies everything; a negative factor makes a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.zero_count *= factor;
        self.count *= factor;
        self.sum *= factor;
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(|v| *v *= factor);
        if factor < 0.0 {
            self.reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides everything; by 0 the buckets go away.
    pub fn div(&mut self, divisor: f64) {
        self.zero_count /= divisor;
        self.count /= divisor;
        self.sum /= divisor;
        if divisor == 0.0 {
            self.set_positive(&[]);
            self.set_negative(&[]);
            return;
        }
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(|v| *v /= divisor);
        if divisor < 0.0 {
            self.reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Removes empty buckets, so that equal contents have equal spans.
    pub fn compact(&mut self) {
        let clean = |spans: &[Span], counts: &[f64]| {
            let empty_span = spans.iter().enumerate().any(|(i, s)| s.length == 0 || (i > 0 && s.offset == 0));
            !empty_span && counts.iter().all(|v| *v != 0.0)
        };
        if !clean(&self.positive_spans, &self.positive_buckets) {
            let mut entries = self.positive();
            entries.retain(|(_, v)| *v != 0.0);
            self.set_positive(&entries);
        }
        if !clean(&self.negative_spans, &self.negative_buckets) {
            let mut entries = self.negative();
            entries.retain(|(_, v)| *v != 0.0);
            self.set_negative(&entries);
        }
    }

    /// A copy in a coarser exponential schema. A finer one, or custom bounds, gives a plain copy.
    #[must_use]
    pub fn copy_to_schema(&self, schema: i32) -> FloatHistogram {
        if schema >= self.schema || self.uses_custom_buckets() || schema < super::SCHEMA_MIN {
            return self.clone();
        }
        // The copy knows nothing of resets, as upstream's.
        let mut copy = FloatHistogram {
            reset_hint: CounterResetHint::Unknown,
            schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            ..FloatHistogram::default()
        };
        copy.set_positive(&reduce(&self.positive(), self.schema, schema));
        copy.set_negative(&reduce(&self.negative(), self.schema, schema));
        copy
    }

    /// Equal in value: floats by their bits, zero thresholds by value; the reset hint does not count.
    #[must_use]
    pub fn equals(&self, other: &FloatHistogram) -> bool {
        self == other
            || (self.zero_threshold == other.zero_threshold && {
                let with = FloatHistogram { zero_threshold: other.zero_threshold, ..self.clone() };
                with == *other
            })
    }

    /// True where any number is infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(&self.positive_buckets)
            .chain(&self.negative_buckets)
            .chain(self.custom_values.iter())
            .any(|v| v.is_infinite())
    }

    fn adjust_reset_hint(&mut self, other: &FloatHistogram) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        match (self.reset_hint, other.reset_hint) {
            (a, b) if a == b => {}
            (Gauge, _) => {}
            (_, Gauge) => self.reset_hint = Gauge,
            (Unknown, _) => {}
            (_, Unknown) => self.reset_hint = Unknown,
            _ => {
                self.reset_hint = Unknown;
                return true;
            }
        }
        false
    }

    /// Buckets of one side in order of index, as intervals.
    fn intervals(&self, positive: bool) -> Vec<Bucket> {
        let entries = if positive { self.positive() } else { self.negative() };
        let custom = self.uses_custom_buckets();
        let bound = |i: i32| {
            if !custom {
                return bucket_bound(i, self.schema);
            }
            match usize::try_from(i) {
                Err(_) => f64::NEG_INFINITY,
                Ok(i) => self.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
            }
        };
        let one = |(index, count): (i32, f64)| {
            let (mut lower, mut upper) = (bound(index.wrapping_sub(1)), bound(index));
            if !positive {
                (lower, upper) = (-upper, -lower);
            }
            let (lower_inclusive, upper_inclusive) =
                if custom { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
            Bucket { lower, upper, lower_inclusive, upper_inclusive, count, index }
        };
        entries.into_iter().map(one).collect()
    }

    /// The zero bucket as an interval.
    #[must_use]
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: i32::MIN,
        }
    }

    /// All buckets in ascending order of their bounds, the zero bucket where it counts anything.
    #[must_use]
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let mut all = self.intervals(false);
        all.reverse();
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        all.extend(self.intervals(true));
        all
    }

    /// The zero count if the zero bucket were as wide as `threshold`, and the threshold that results: a
    /// populated bucket that reaches beyond is taken in whole. `c` are compensations by bucket.
    fn zero_count_for(&self, mut threshold: f64, c: Option<&FloatHistogram>) -> (f64, f64, f64) {
        let start_c = c.map_or(0.0, |c| c.zero_count);
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold, start_c);
        }
        let (positive, negative) = (self.intervals(true), self.intervals(false));
        let compensation = |positive: bool, i: usize| {
            c.map(|c| if positive { &c.positive_buckets } else { &c.negative_buckets })
                .and_then(|b| b.get(i).copied())
                .unwrap_or(0.0)
        };
        'wider: loop {
            let (mut count, mut count_c) = (self.zero_count, start_c);
            for (i, b) in positive.iter().enumerate() {
                if b.lower >= threshold {
                    break;
                }
                (count, count_c) = kahan(b.count, count, count_c);
                (count, count_c) = kahan(compensation(true, i), count, count_c);
                if b.upper > threshold {
                    if b.count != 0.0 {
                        threshold = b.upper;
                    }
                    break;
                }
            }
            for (i, b) in negative.iter().enumerate() {
                if b.upper <= -threshold {
                    break;
                }
                (count, count_c) = kahan(b.count, count, count_c);
                (count, count_c) = kahan(compensation(false, i), count, count_c);
                if b.lower < -threshold {
                    if b.count != 0.0 {
                        threshold = -b.lower;
                        continue 'wider;
                    }
                    break;
                }
            }
            return (count, threshold, count_c);
        }
    }

    /// Takes the buckets out that lie in the zero bucket.
    fn trim_zero(&mut self, c: Option<&mut FloatHistogram>) {
        let threshold = self.zero_threshold;
        let inside = |bs: &[Bucket]| -> usize {
            bs.iter().take_while(|b| b.lower.abs().min(b.upper.abs()) < threshold).count()
        };
        let (p, n) = (inside(&self.intervals(true)), inside(&self.intervals(false)));
        let cut = |h: &mut FloatHistogram| {
            let (mut positive, mut negative) = (h.positive(), h.negative());
            positive.drain(..p.min(positive.len()));
            negative.drain(..n.min(negative.len()));
            h.set_positive(&positive);
            h.set_negative(&negative);
        };
        cut(self);
        if let Some(c) = c {
            cut(c);
        }
    }

    /// Brings the zero buckets of both to one width; gives the other's zero count then.
    fn reconcile_zero(&mut self, other: &FloatHistogram, mut c: Option<&mut FloatHistogram>) -> (f64, f64) {
        let (mut other_count, mut other_threshold, mut other_c) =
            (other.zero_count, other.zero_threshold, 0.0);
        // Each turn widens one of the two to a bound of a bucket; NaN thresholds would never meet.
        while other_threshold != self.zero_threshold {
            if other_threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
            if self.zero_threshold > other_threshold {
                (other_count, other_threshold, other_c) = other.zero_count_for(self.zero_threshold, None);
            }
            if other_threshold > self.zero_threshold {
                let (count, threshold, count_c) = self.zero_count_for(other_threshold, c.as_deref());
                (self.zero_count, self.zero_threshold) = (count, threshold);
                if let Some(c) = c.as_deref_mut() {
                    c.zero_count = count_c;
                }
                self.trim_zero(c.as_deref_mut());
            }
        }
        (other_count, other_c)
    }

    /// The other's buckets that lie outside the zero bucket.
    fn outside_zero(&self, entries: Side) -> Side {
        if self.uses_custom_buckets() {
            return entries;
        }
        let inside =
            entries.iter().take_while(|(i, _)| bucket_bound(*i, self.schema) <= self.zero_threshold).count();
        entries[inside..].to_vec()
    }

    fn combine(&mut self, other: &FloatHistogram, sign: f64) -> Result<Met, Incompatible> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(Incompatible);
        }
        let mut met = Met { reset_collision: self.adjust_reset_hint(other), bounds_reconciled: false };
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        let join = |a: &Side, b: &Side| {
            let mut out = Vec::with_capacity(a.len() + b.len());
            merge(a, b, |i, x, y| {
                let v = match (x, y) {
                    (Some(x), Some(y)) => x + sign * y,
                    (Some(x), None) => x,
                    (None, y) => sign * y.unwrap_or(0.0),
                };
                out.push((i, v));
            });
            out
        };
        if self.uses_custom_buckets() {
            let (a, b) = (self.positive(), other.positive());
            if !self.same_bounds(other) {
                met.bounds_reconciled = true;
                let bounds = common_bounds(&self.custom_values, &other.custom_values);
                let own = (&a, &Vec::new(), &*self.custom_values);
                let (joined, _) = within_common(&bounds, own, (&b, &*other.custom_values), sign);
                self.custom_values = Arc::from(bounds);
                self.set_positive(&joined);
                return Ok(met);
            }
            let joined = join(&a, &b);
            self.set_positive(&joined);
            return Ok(met);
        }
        let (zero, _) = self.reconcile_zero(other, None);
        self.zero_count += sign * zero;
        let schema = self.schema.min(other.schema);
        let (sp, sn) = (
            reduce_to(self.positive(), self.schema, schema),
            reduce_to(self.negative(), self.schema, schema),
        );
        self.schema = schema;
        let (op, on) = (
            reduce_to(other.positive(), other.schema, schema),
            reduce_to(other.negative(), other.schema, schema),
        );
        let (op, on) = (self.outside_zero(op), self.outside_zero(on));
        self.set_positive(&join(&sp, &op));
        self.set_negative(&join(&sn, &on));
        Ok(met)
    }

    /// Adds another histogram to this one, in the coarser schema and the wider zero bucket of the two.
    ///
    /// # Errors
    /// One has custom bounds, the other not.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Met, Incompatible> {
        self.combine(other, 1.0)
    }

    /// Subtracts another histogram from this one.
    ///
    /// # Errors
    /// As `add`.
    pub fn sub(&mut self, other: &FloatHistogram) -> Result<Met, Incompatible> {
        self.combine(other, -1.0)
    }

    /// Adds with a compensation histogram, which starts as `None` and is to be added at the end.
    ///
    /// # Errors
    /// As `add`; both are unchanged then.
    pub fn kahan_add(
        &mut self,
        other: &FloatHistogram,
        compensation: &mut Option<FloatHistogram>,
    ) -> Result<Met, Incompatible> {
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(Incompatible);
        }
        let mut met = Met { reset_collision: self.adjust_reset_hint(other), bounds_reconciled: false };
        let mut c = compensation.take().unwrap_or_else(|| FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            custom_values: Arc::clone(&self.custom_values),
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: vec![0.0; self.positive_buckets.len()],
            negative_buckets: vec![0.0; self.negative_buckets.len()],
            ..FloatHistogram::default()
        });
        if !self.uses_custom_buckets() {
            let (zero, zero_c) = self.reconcile_zero(other, Some(&mut c));
            (self.zero_count, c.zero_count) = kahan(zero, self.zero_count, c.zero_count);
            (self.zero_count, c.zero_count) = kahan(zero_c, self.zero_count, c.zero_count);
        }
        (self.count, c.count) = kahan(other.count, self.count, c.count);
        (self.sum, c.sum) = kahan(other.sum, self.sum, c.sum);
        let schema = self.schema.min(other.schema);
        let bounds = if self.uses_custom_buckets() && !self.same_bounds(other) {
            met.bounds_reconciled = true;
            Some(common_bounds(&self.custom_values, &other.custom_values))
        } else {
            None
        };
        if let Some(bounds) = bounds {
            let (a, ac, b) = (self.positive(), c.positive(), other.positive());
            let own = (&a, &ac, &*self.custom_values);
            let (sums, comps) = within_common(&bounds, own, (&b, &*other.custom_values), 1.0);
            self.set_positive(&sums);
            c.set_positive(&comps);
            self.custom_values = Arc::from(bounds);
            c.custom_values = Arc::clone(&self.custom_values);
            *compensation = Some(c);
            return Ok(met);
        }
        for positive in [true, false] {
            let pick = |h: &FloatHistogram| if positive { h.positive() } else { h.negative() };
            let (mut a, mut ac, mut b, mut bc) = (pick(self), pick(&c), pick(other), Vec::new());
            if schema < self.schema {
                (a, ac) = compensated(&a, &ac, |i| coarser(i, self.schema, schema));
            } else if schema < other.schema {
                (b, bc) = compensated(&b, &Vec::new(), |i| coarser(i, other.schema, schema));
            }
            let skip =
                FloatHistogram { schema, zero_threshold: self.zero_threshold, ..FloatHistogram::default() };
            if !self.uses_custom_buckets() {
                b = skip.outside_zero(b);
            }
            let (mut sums, mut comps): (Side, Side) = (Vec::new(), Vec::new());
            let at =
                |side: &Side, i: i32| side.binary_search_by_key(&i, |(x, _)| *x).map_or(0.0, |p| side[p].1);
            merge(&a, &b, |i, x, y| {
                let (mut v, mut vc) = (x.unwrap_or(0.0), at(&ac, i));
                if let Some(y) = y {
                    (v, vc) = if x.is_some() { kahan(y, v, vc) } else { (y, vc) };
                    let extra = at(&bc, i);
                    if extra != 0.0 {
                        (v, vc) = kahan(extra, v, vc);
                    }
                }
                sums.push((i, v));
                comps.push((i, vc));
            });
            if positive {
                self.set_positive(&sums);
                c.set_positive(&comps);
            } else {
                self.set_negative(&sums);
                c.set_negative(&comps);
            }
        }
        (self.schema, c.schema, c.zero_threshold) = (schema, schema, self.zero_threshold);
        *compensation = Some(c);
        Ok(met)
    }

    /// Whether a counter was reset between `previous` and this: by the hint, or by counts that fell.
    #[must_use]
    pub fn detect_reset(&self, previous: &FloatHistogram) -> bool {
        match self.reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.uses_custom_buckets() {
            if !previous.uses_custom_buckets() {
                return true;
            }
            if !self.same_bounds(previous) {
                let bounds = common_bounds(&self.custom_values, &previous.custom_values);
                let now = remap(&self.positive(), &self.custom_values, &bounds);
                let before = remap(&previous.positive(), &previous.custom_values, &bounds);
                return fell(&now, &before);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (before_zero, threshold, _) = previous.zero_count_for(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < before_zero {
            return true;
        }
        for positive in [true, false] {
            let pick = |h: &FloatHistogram| if positive { h.positive() } else { h.negative() };
            let before = reduce_to(pick(previous), previous.schema, self.schema);
            if fell(&self.outside_zero(pick(self)), &self.outside_zero(before)) {
                return true;
            }
        }
        false
    }

    /// Cuts off what lies above (`upper`) or below `bound`; within the bucket that holds it, by
    /// interpolation. Count and sum are estimated anew where anything was cut.
    pub fn trim_buckets(&mut self, bound: f64, upper: bool) {
        let custom = self.uses_custom_buckets();
        let (mut count, mut sum, mut trimmed) = (0.0, 0.0, false);
        let mut populated = [false; 2];
        for (side, positive) in [true, false].into_iter().enumerate() {
            let buckets = self.intervals(positive);
            let mut kept = Vec::with_capacity(buckets.len());
            for b in &buckets {
                if b.count == 0.0 {
                    kept.push((b.index, 0.0));
                    continue;
                }
                populated[side] = true;
                let (whole, partly) = if upper {
                    (b.upper <= bound, b.lower < bound)
                } else {
                    (b.lower >= bound, b.upper > bound)
                };
                let (keep, middle) = if whole {
                    (b.count, midpoint(b.lower, b.upper, positive, custom))
                } else if partly {
                    trim_bucket(b, bound, upper, positive, custom)
                } else {
                    (0.0, 0.0)
                };
                trimmed |= keep != b.count;
                if keep != 0.0 {
                    count += keep;
                    sum += middle * keep;
                }
                kept.push((b.index, keep));
            }
            if positive { self.set_positive(&kept) } else { self.set_negative(&kept) }
        }
        if self.zero_count > 0.0 {
            let (keep, middle) = trim_zero_bucket(&self.zero_bucket(), bound, populated, upper);
            trimmed |= keep != self.zero_count;
            self.zero_count = keep;
            sum += middle * keep;
            count += keep;
        }
        if trimmed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

fn reduce_to(entries: Side, from: i32, to: i32) -> Side {
    if to < from { reduce(&entries, from, to) } else { entries }
}

/// Sums into coarser buckets with compensation: (sums, compensations).
fn compensated(entries: &Side, comps: &Side, target: impl Fn(i32) -> i32) -> (Side, Side) {
    let (mut sums, mut out): (Side, Side) = (Vec::new(), Vec::new());
    for (n, (index, v)) in entries.iter().enumerate() {
        let extra = comps.get(n).map_or(0.0, |(_, c)| *c);
        let index = target(*index);
        match (sums.last_mut(), out.last_mut()) {
            (Some((last, sum)), Some((_, c))) if *last == index => {
                (*sum, *c) = kahan(*v, *sum, *c);
                (*sum, *c) = kahan(extra, *sum, *c);
            }
            _ => {
                sums.push((index, *v));
                out.push((index, extra));
            }
        }
    }
    (sums, out)
}

/// Whether any bucket counts less than before.
fn fell(now: &Side, before: &Side) -> bool {
    let mut found = false;
    merge(now, before, |_, now, before| {
        if let Some(before) = before {
            found |= match now {
                Some(now) => now < before,
                None => before != 0.0,
            };
        }
    });
    found
}

fn midpoint(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => return 0.0,
        (true, false) if upper > 0.0 => return upper / 2.0,
        (true, false) => return upper,
        (false, true) => return lower,
        (false, false) => {}
    }
    if linear {
        return (lower + upper) / 2.0;
    }
    let mean = (lower * upper).abs().sqrt();
    if positive { mean } else { -mean }
}

impl Bucket {
    /// Share of the bucket below `v`, by linear or exponential interpolation.
    #[must_use]
    pub fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (log2(self.lower.abs()), log2(self.upper.abs()), log2(v.abs()));
        if v > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - ((at - upper) / (lower - upper)) }
    }
}

/// Count that stays of a bucket that holds the bound, and the middle of what stays.
fn trim_bucket(b: &Bucket, bound: f64, upper: bool, positive: bool, custom: bool) -> (f64, f64) {
    let finite_or_zero = |v: f64| if v.is_infinite() { 0.0 } else { v };
    if b.lower == f64::NEG_INFINITY {
        if upper {
            if bound >= b.upper {
                return (b.count, 0.0);
            }
            if bound > 0.0 && b.upper > 0.0 && b.upper != f64::INFINITY {
                return (b.count * bound / b.upper, bound / 2.0);
            }
            if b.upper <= 0.0 {
                return (b.count, bound);
            }
            return (0.0, finite_or_zero(b.upper));
        }
        if bound <= b.lower {
            return (b.count, 0.0);
        }
        if bound >= 0.0 && b.upper > bound && b.upper != f64::INFINITY {
            return (b.count * (1.0 - bound / b.upper), (bound + b.upper) / 2.0);
        }
        return (0.0, finite_or_zero(b.upper));
    }
    if b.upper == f64::INFINITY {
        if !upper && bound >= b.lower {
            return (b.count, bound);
        }
        return (0.0, finite_or_zero(b.lower));
    }
    let below = if bound <= b.lower {
        0.0
    } else if bound >= b.upper {
        b.count
    } else {
        b.count * b.fraction_below(bound, custom)
    };
    if upper {
        (below, midpoint(b.lower, bound, positive, custom))
    } else {
        (b.count - below, midpoint(bound, b.upper, positive, custom))
    }
}

fn trim_zero_bucket(b: &Bucket, bound: f64, [positive, negative]: [bool; 2], upper_trim: bool) -> (f64, f64) {
    let lower = if positive && !negative { 0.0 } else { b.lower };
    let upper = if negative && !positive { 0.0 } else { b.upper };
    if (upper_trim && bound <= lower) || (!upper_trim && bound > lower && bound >= upper) {
        return (0.0, 0.0);
    }
    if (upper_trim && bound >= upper) || (!upper_trim && bound <= lower) {
        return (b.count, (lower + upper) / 2.0);
    }
    let (fraction, middle) = if upper_trim {
        ((bound - lower) / (upper - lower), (lower + bound) / 2.0)
    } else {
        ((upper - bound) / (upper - lower), (bound + upper) / 2.0)
    };
    (b.count * fraction, middle)
}

fn write_bucket(f: &mut fmt::Formatter<'_>, b: &Bucket, count: fn(f64) -> String) -> fmt::Result {
    let (open, close) =
        (if b.lower_inclusive { '[' } else { '(' }, if b.upper_inclusive { ']' } else { ')' });
    let g = crate::float_text::format_g;
    write!(f, ", {open}{},{}{close}:{}", g(b.lower), g(b.upper), count(b.count))
}

impl FloatHistogram {
    fn write(&self, f: &mut fmt::Formatter<'_>, count: fn(f64) -> String) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", count(self.count), crate::float_text::format_g(self.sum))?;
        for b in self.intervals(false).iter().rev().filter(|b| b.count != 0.0) {
            write_bucket(f, b, count)?;
        }
        if self.zero_count != 0.0 {
            write_bucket(f, &self.zero_bucket(), count)?;
        }
        for b in self.intervals(true).iter().filter(|b| b.count != 0.0) {
            write_bucket(f, b, count)?;
        }
        f.write_str("}")
    }
}

/// `{count:4, sum:2.5, [-0.001,0.001]:1, (1,2]:3}`, as upstream prints one.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, crate::float_text::format_g)
    }
}

/// As a float histogram, with counts as integers: `1234567` where that has `1.234567e+06`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Counts above 2^53 lose their last digits, here only.
        self.to_float().write(f, |count| format!("{count:.0}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h(schema: i32, offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            schema,
            count: buckets.iter().sum(),
            positive_spans: vec![Span { offset, length: buckets.len() as u32 }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn adds_in_the_coarser_schema() {
        let mut a = h(0, 1, &[1.0, 2.0, 0.0, 4.0]);
        a.add(&h(1, 1, &[1.0, 1.0, 1.0, 1.0])).unwrap();
        assert_eq!((a.schema, a.positive_buckets.as_slice()), (0, &[3.0, 4.0, 0.0, 4.0][..]));
        a.sub(&h(0, 1, &[3.0])).unwrap();
        a.compact();
        assert_eq!(a.positive_spans, [Span { offset: 2, length: 1 }, Span { offset: 1, length: 1 }]);
        let mut nhcb = FloatHistogram { schema: -53, ..h(0, 0, &[1.0]) };
        assert_eq!(nhcb.add(&a), Err(Incompatible));
    }

    #[test]
    fn detects_resets() {
        let a = h(0, 1, &[1.0, 2.0]);
        assert!(!h(0, 1, &[1.0, 3.0]).detect_reset(&a));
        assert!(h(0, 1, &[4.0, 1.0]).detect_reset(&a));
        assert!(h(1, 1, &[4.0, 4.0]).detect_reset(&a));
    }

    #[test]
    fn custom_bounds_meet_in_those_in_common() {
        let nhcb = |bounds: &[f64], buckets: &[f64]| FloatHistogram {
            schema: -53,
            custom_values: Arc::from(bounds),
            ..h(0, 0, buckets)
        };
        let mut a = nhcb(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        let met = a.add(&nhcb(&[1.0, 3.0], &[10.0, 10.0, 10.0])).unwrap();
        assert!(met.bounds_reconciled);
        assert_eq!(
            (&a.custom_values[..], a.positive_buckets.as_slice()),
            (&[1.0, 3.0][..], &[11.0, 12.0, 11.0][..])
        );
    }

    #[test]
    fn prints_like_upstream() {
        assert_eq!(h(0, 1, &[1.0, 2.0]).to_string(), "{count:3, sum:0, (1,2]:1, (2,4]:2}");
    }
}
