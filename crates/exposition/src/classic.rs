//! A classic histogram put together bucket by bucket, and its conversion to a native one with custom bounds
//! (upstream: `util/convertnhcb`).

use std::sync::Arc;

use model::histogram::CUSTOM_BUCKETS_SCHEMA;
use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span};

use crate::sparse::Sparse;

/// Buckets of one histogram that are kept: four times what any known exporter has; each is 16 bytes.
const BUCKETS_MAX: usize = 1 << 16;

/// Why there is no native form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// A bound that is no number.
    #[error("bucket boundary must not be NaN")]
    NanBound,
    /// A bucket below zero.
    #[error("bucket count must be non-negative")]
    NegativeBucket,
    /// A count below zero.
    #[error("count must be non-negative")]
    NegativeCount,
    /// A higher bucket with a lower count.
    #[error("count is not cumulative")]
    NotCumulative,
    /// The count is not that of the last bucket.
    #[error("count mismatch")]
    CountMismatch,
    /// More buckets than [`BUCKETS_MAX`].
    #[error("more than 65536 buckets")]
    TooManyBuckets,
    /// Sum of buckets does not fit.
    #[error("buckets do not make a valid histogram")]
    Invalid,
}

/// Buckets, count and sum seen so far. Reused.
#[derive(Debug, Default)]
pub struct ClassicHistogram {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    error: Option<ConversionError>,
}

impl ClassicHistogram {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
        (self.count, self.sum, self.error) = (None, 0.0, None);
    }

    fn check(&mut self, bad: bool, error: ConversionError) -> bool {
        if bad && self.error.is_none() {
            self.error = Some(error);
        }
        self.error.is_some()
    }

    /// Number of observations.
    pub fn set_count(&mut self, count: f64) {
        if !self.check(count < 0.0, ConversionError::NegativeCount) {
            self.count = Some(count);
        }
    }

    /// Sum of observations.
    pub fn set_sum(&mut self, sum: f64) {
        if self.error.is_none() {
            self.sum = sum;
        }
    }

    /// A cumulative bucket, in any order; a bound seen before is ignored.
    pub fn set_bucket(&mut self, upper: f64, count: f64) {
        if self.check(upper.is_nan(), ConversionError::NanBound)
            || self.check(count < 0.0, ConversionError::NegativeBucket)
        {
            return;
        }
        let at = match self.buckets.last() {
            Some((last, _)) if *last < upper => self.buckets.len(),
            None => 0,
            Some(_) => self.buckets.partition_point(|(u, _)| *u < upper),
        };
        if self.buckets.get(at).is_some_and(|(u, _)| *u == upper) {
            return;
        }
        let below = at.checked_sub(1).and_then(|i| self.buckets.get(i)).is_some_and(|(_, c)| count < *c);
        let above = self.buckets.get(at).is_some_and(|(_, c)| count > *c);
        if self.check(below || above, ConversionError::NotCumulative)
            || self.check(self.buckets.len() >= BUCKETS_MAX, ConversionError::TooManyBuckets)
        {
            return;
        }
        self.buckets.insert(at, (upper, count));
    }

    /// The native form: integer where all counts are.
    ///
    /// # Errors
    /// The first thing that did not fit.
    pub fn convert(&self, gauge: bool) -> Result<HistogramValue, ConversionError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut buckets = self.buckets.clone();
        let count = self.count.unwrap_or_else(|| buckets.last().map_or(0.0, |b| b.1));
        if buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        if buckets.last().is_none_or(|b| b.1 != count) {
            return Err(ConversionError::CountMismatch);
        }
        let reset_hint = if gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
        let bounds: Arc<[f64]> = buckets.iter().map(|b| b.0).filter(|b| *b != f64::INFINITY).collect();
        let positive_spans = vec![Span { offset: 0, length: buckets.len() as u32 }];
        // 2^63 is a float, and not an i64; NaN is neither.
        let whole = |c: f64| c.round() == c && c.abs() < 9_223_372_036_854_775_808.0;
        if buckets.iter().all(|b| whole(b.1)) && whole(count) {
            let (mut before, mut last) = (0_i64, 0_i64);
            let deltas = buckets.iter().map(|b| {
                let here = b.1 as i64 - std::mem::replace(&mut before, b.1 as i64);
                here - std::mem::replace(&mut last, here)
            });
            let mut h = Histogram {
                reset_hint,
                schema: CUSTOM_BUCKETS_SCHEMA,
                count: count as u64,
                sum: self.sum,
                positive_buckets: deltas.collect(),
                positive_spans,
                custom_values: bounds,
                ..Histogram::default()
            };
            h.drop_empty(2);
            return Ok(HistogramValue::Int(Arc::new(h)));
        }
        let mut before = 0.0;
        let counts = buckets.iter().map(|b| b.1 - std::mem::replace(&mut before, b.1));
        let mut h = FloatHistogram {
            reset_hint,
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_buckets: counts.collect(),
            positive_spans,
            custom_values: bounds,
            ..FloatHistogram::default()
        };
        h.drop_empty(0);
        Ok(HistogramValue::Float(Arc::new(h)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_in_any_order() {
        let mut c = ClassicHistogram::default();
        for (upper, count) in [(1.0, 3.0), (0.5, 1.0), (f64::INFINITY, 7.0), (1.0, 99.0)] {
            c.set_bucket(upper, count);
        }
        c.set_sum(2.5);
        let HistogramValue::Int(h) = c.convert(false).unwrap() else { panic!() };
        assert_eq!((h.count, h.sum, &*h.custom_values), (7, 2.5, &[0.5, 1.0][..]));
        assert_eq!(h.positive_buckets, [1, 1, 2]);
        c.set_count(8.0);
        assert_eq!(c.convert(false), Err(ConversionError::CountMismatch));
        c.clear();
        c.set_bucket(1.0, 1.5);
        c.set_count(2.0);
        assert!(matches!(c.convert(true), Ok(HistogramValue::Float(h)) if h.positive_buckets == [1.5, 0.5]));
        c.set_bucket(2.0, 1.0);
        assert_eq!(c.convert(false), Err(ConversionError::NotCumulative));
    }
}
