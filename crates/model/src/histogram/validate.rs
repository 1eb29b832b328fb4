//! Checks a histogram before it is stored: spans fit buckets, counts add up, bounds ascend. Rules and texts
//! are upstream's (`model/histogram`: `Validate` of both kinds); senders and tests read them.

use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, SCHEMA_MAX, SCHEMA_MIN, Span};

/// Why a histogram was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ValidateError {
    /// Schema outside the known ones.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for \
         custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// Something on the positive side.
    #[error("positive side: {0}")]
    Positive(SideError),
    /// Something on the negative side.
    #[error("negative side: {0}")]
    Negative(SideError),
    /// Something about custom buckets.
    #[error("custom buckets: {0}")]
    Custom(SideError),
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Custom buckets have one side.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// Custom buckets have one side.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Bounds belong to the custom schema.
    #[error("histogram with exponential schema must not have custom bounds")]
    BoundsWithExponentialSchema,
    /// More observations in buckets than in all, with a NaN sum.
    #[error(
        "{buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// In buckets.
        buckets: u64,
        /// In all.
        count: u64,
    },
    /// Observations in buckets differ from all.
    #[error(
        "{buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// In buckets.
        buckets: u64,
        /// In all.
        count: u64,
    },
    /// Zero bucket below 0.
    #[error(
        "zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative"
    )]
    NegativeZeroCount(f64),
    /// All observations below 0. (The two blanks are upstream's.)
    #[error("observation count is  {0}: histogram's observation count is negative")]
    NegativeCount(f64),
}

/// What is wrong with one side.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SideError {
    /// A span that goes back.
    #[error("span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeOffset {
        /// From 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and buckets differ in number.
    #[error(
        "spans need {need} buckets, have {have} buckets: histogram spans specify different number of buckets than \
         provided"
    )]
    SpansBucketsMismatch {
        /// By the spans.
        need: u64,
        /// There.
        have: usize,
    },
    /// A bucket below 0.
    #[error(
        "bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is \
         negative"
    )]
    NegativeBucket {
        /// From 1.
        number: usize,
        /// Its count, in text.
        count: String,
    },
    /// A bound that is no number.
    #[error("histogram custom bounds must not be NaN")]
    NanBound,
    /// Bounds that do not ascend.
    #[error(
        "previous bound is {previous:.6} and current is {current:.6}: histogram custom bounds must be in strictly \
         increasing order"
    )]
    BoundsOutOfOrder {
        /// The one before.
        previous: f64,
        /// This one.
        current: f64,
    },
    /// The last bucket's bound, which is implied.
    #[error("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    InfiniteBound,
    /// Fewer bounds than buckets need.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {needed}: histogram \
         custom bounds are too few"
    )]
    TooFewBounds {
        /// Bounds there.
        bounds: usize,
        /// Length of all spans with their gaps.
        needed: u64,
    },
}

fn check_spans(spans: &[Span], buckets: usize) -> Result<(), SideError> {
    let backward = spans.iter().enumerate().skip(1).find(|(_, s)| s.offset < 0);
    if let Some((i, span)) = backward {
        return Err(SideError::NegativeOffset { number: i + 1, offset: span.offset });
    }
    check_length(spans, buckets)
}

fn check_length(spans: &[Span], have: usize) -> Result<(), SideError> {
    let need: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if need != have as u64 {
        return Err(SideError::SpansBucketsMismatch { need, have });
    }
    Ok(())
}

fn check_bounds(bounds: &[f64], spans: &[Span], buckets: usize) -> Result<(), SideError> {
    let mut previous = f64::NEG_INFINITY;
    for (i, current) in bounds.iter().copied().enumerate() {
        if current.is_nan() {
            return Err(SideError::NanBound);
        }
        if i > 0 && current <= previous {
            return Err(SideError::BoundsOutOfOrder { previous, current });
        }
        previous = current;
    }
    if previous == f64::INFINITY {
        return Err(SideError::InfiniteBound);
    }
    if let Some((i, span)) = spans.iter().enumerate().find(|(_, s)| s.offset < 0) {
        return Err(SideError::NegativeOffset { number: i + 1, offset: span.offset });
    }
    check_length(spans, buckets)?;
    let needed = spans.iter().map(|s| u64::from(s.length) + u64::from(s.offset.unsigned_abs())).sum();
    if (bounds.len() as u64 + 1) < needed {
        return Err(SideError::TooFewBounds { bounds: bounds.len(), needed });
    }
    Ok(())
}

/// Sum of the buckets that deltas describe; wraps as upstream's does.
fn sum_deltas(deltas: &[i64]) -> Result<u64, SideError> {
    let (mut count, mut sum) = (0_i64, 0_u64);
    for (i, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        if count < 0 {
            return Err(SideError::NegativeBucket { number: i + 1, count: count.to_string() });
        }
        sum = sum.wrapping_add(count as u64);
    }
    Ok(sum)
}

fn check_counts(counts: &[f64]) -> Result<(), SideError> {
    match counts.iter().enumerate().find(|(_, c)| **c < 0.0) {
        Some((i, count)) => Err(SideError::NegativeBucket { number: i + 1, count: count.to_string() }),
        None => Ok(()),
    }
}

/// True for a schema that can be stored.
fn is_exponential(schema: i32) -> bool {
    (SCHEMA_MIN..=SCHEMA_MAX).contains(&schema)
}

impl Histogram {
    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), ValidateError> {
        let mut negative = 0;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            check_bounds(&self.custom_values, &self.positive_spans, self.positive_buckets.len())
                .map_err(ValidateError::Custom)?;
            check_custom(
                self.zero_count != 0,
                self.zero_threshold,
                &self.negative_spans,
                self.negative_buckets.len(),
            )?;
        } else if is_exponential(self.schema) {
            check_spans(&self.positive_spans, self.positive_buckets.len())
                .map_err(ValidateError::Positive)?;
            check_spans(&self.negative_spans, self.negative_buckets.len())
                .map_err(ValidateError::Negative)?;
            negative = sum_deltas(&self.negative_buckets).map_err(ValidateError::Negative)?;
            if !self.custom_values.is_empty() {
                return Err(ValidateError::BoundsWithExponentialSchema);
            }
        } else {
            return Err(ValidateError::Schema(self.schema));
        }
        let positive = sum_deltas(&self.positive_buckets).map_err(ValidateError::Positive)?;
        let buckets = negative.wrapping_add(positive).wrapping_add(self.zero_count);
        let count = self.count;
        // NaN observations are in no bucket.
        if self.sum.is_nan() {
            if buckets > count {
                return Err(ValidateError::CountTooSmall { buckets, count });
            }
        } else if buckets != count {
            return Err(ValidateError::CountMismatch { buckets, count });
        }
        Ok(())
    }
}

impl FloatHistogram {
    /// Checks that the parts fit each other. Counts of floats need not add up exactly, so the sum of buckets
    /// is not compared.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn validate(&self) -> Result<(), ValidateError> {
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            check_bounds(&self.custom_values, &self.positive_spans, self.positive_buckets.len())
                .map_err(ValidateError::Custom)?;
            check_custom(
                self.zero_count != 0.0,
                self.zero_threshold,
                &self.negative_spans,
                self.negative_buckets.len(),
            )?;
        } else if is_exponential(self.schema) {
            check_spans(&self.positive_spans, self.positive_buckets.len())
                .map_err(ValidateError::Positive)?;
            check_spans(&self.negative_spans, self.negative_buckets.len())
                .map_err(ValidateError::Negative)?;
            check_counts(&self.negative_buckets).map_err(ValidateError::Negative)?;
            if self.zero_count < 0.0 {
                return Err(ValidateError::NegativeZeroCount(self.zero_count));
            }
            if !self.custom_values.is_empty() {
                return Err(ValidateError::BoundsWithExponentialSchema);
            }
        } else {
            return Err(ValidateError::Schema(self.schema));
        }
        if self.count < 0.0 {
            return Err(ValidateError::NegativeCount(self.count));
        }
        check_counts(&self.positive_buckets).map_err(ValidateError::Positive)
    }
}

fn check_custom(
    has_zero_count: bool,
    zero_threshold: f64,
    negative_spans: &[Span],
    negative_buckets: usize,
) -> Result<(), ValidateError> {
    if has_zero_count {
        return Err(ValidateError::CustomZeroCount);
    }
    if zero_threshold != 0.0 {
        return Err(ValidateError::CustomZeroThreshold);
    }
    if !negative_spans.is_empty() {
        return Err(ValidateError::CustomNegativeSpans);
    }
    if negative_buckets > 0 {
        return Err(ValidateError::CustomNegativeBuckets);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    fn good() -> Histogram {
        Histogram {
            count: 12,
            zero_count: 2,
            zero_threshold: 0.001,
            sum: 19.4,
            schema: 1,
            positive_spans: vec![span(0, 2), span(1, 2)],
            positive_buckets: vec![1, 1, -1, 0],
            negative_spans: vec![span(0, 2), span(1, 2)],
            negative_buckets: vec![1, 1, -1, 0],
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            count: 5,
            sum: 1.0,
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![span(0, 2), span(1, 1)],
            positive_buckets: vec![1, 1, 0],
            custom_values: [1.0, 2.0, 5.0].into(),
            ..Histogram::default()
        }
    }

    fn text(change: impl FnOnce(&mut Histogram), base: fn() -> Histogram) -> String {
        let mut h = base();
        change(&mut h);
        h.validate().map_or_else(|e| e.to_string(), |()| "fine".to_string())
    }

    #[test]
    fn integer_texts_are_upstreams() {
        assert_eq!(text(|_| {}, good), "fine");
        assert_eq!(text(|_| {}, custom), "fine");
        assert_eq!(text(|h| (h.sum, h.count) = (f64::NAN, 13), good), "fine");
        let mismatch = "11 observations found in buckets, but the Count field is 12: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)";
        assert_eq!(text(|h| h.zero_count = 1, good), mismatch);
        assert!(text(|h| (h.sum, h.count) = (f64::NAN, 3), good).contains("at least the number"));
        assert_eq!(
            text(|h| h.positive_spans[1].offset = -1, good),
            "positive side: span number 2 with offset -1: histogram has a span whose offset is negative"
        );
        assert_eq!(
            text(|h| h.negative_spans[1].length = 3, good),
            "negative side: spans need 5 buckets, have 4 buckets: histogram spans specify different number of buckets than provided"
        );
        assert_eq!(
            text(|h| h.negative_buckets[2] = -5, good),
            "negative side: bucket number 3 has observation count of -3: histogram has a bucket whose observation count is negative"
        );
        assert!(text(|h| h.schema = 9, good).ends_with("or -53 for custom buckets, got schema 9"));
        assert!(text(|h| h.custom_values = [1.0].into(), good).contains("must not have custom bounds"));
        assert_eq!(
            text(|h| h.custom_values = [2.0, 1.0, 5.0].into(), custom),
            "custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds must be in strictly increasing order"
        );
        assert!(text(|h| h.custom_values = [1.0, f64::INFINITY].into(), custom).contains("last +Inf bound"));
        assert!(text(|h| h.custom_values = [f64::NAN].into(), custom).contains("must not be NaN"));
        assert!(text(|h| h.custom_values = [1.0, 2.0].into(), custom).contains("only 2 custom bounds"));
        assert_eq!(text(|h| h.zero_count = 1, custom), "custom buckets: must have zero count of 0");
        assert_eq!(text(|h| h.zero_threshold = 1.0, custom), "custom buckets: must have zero threshold of 0");
        assert_eq!(
            text(|h| h.negative_spans = vec![span(0, 0)], custom),
            "custom buckets: must not have negative spans"
        );
    }

    #[test]
    fn float_counts_need_not_add_up_but_must_not_be_negative() {
        let mut h = good().to_float();
        h.count = 1.0;
        assert_eq!(h.validate(), Ok(()));
        h.count = -1.0;
        assert_eq!(
            h.validate().unwrap_err().to_string(),
            "observation count is  -1: histogram's observation count is negative"
        );
        h.zero_count = -2.0;
        assert!(
            h.validate().unwrap_err().to_string().starts_with("zero bucket has observation count of -2:")
        );
        h = custom().to_float();
        h.positive_buckets[1] = -0.5;
        assert!(
            h.validate().unwrap_err().to_string().contains("bucket number 2 has observation count of -0.5")
        );
    }
}
