//! Native histograms: exponential buckets (schemas -4 to 8) and custom bounds (schema -53).
//!
//! Two kinds: [`Histogram`] counts in integers, with bucket deltas as in the exposition and the chunks;
//! [`FloatHistogram`] counts in floats, absolute, as queries work on. Follows upstream's
//! `model/histogram`. Arithmetic on float histograms is in [`ops`], checks are in [`validate`].

mod bounds;
mod buckets;
pub mod ops;
pub mod validate;

pub use buckets::{Bucket, bucket_bound};

use std::sync::Arc;

use crate::sample::is_stale_nan;

/// Schema number that says: bounds are in `custom_values` ("NHCB").
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// Lowest exponential schema.
pub const SCHEMA_MIN: i32 = -4;
/// Highest exponential schema.
pub const SCHEMA_MAX: i32 = 8;

/// What is known about a counter reset before this sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CounterResetHint {
    /// Nothing: compare with the sample before.
    #[default]
    Unknown = 0,
    /// A reset happened.
    Reset = 1,
    /// No reset happened.
    NotReset = 2,
    /// Gauge histogram: resets mean nothing.
    Gauge = 3,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Gap to the span before, or index of the first bucket for the first span.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// Integer native histogram. `positive_buckets` and `negative_buckets` are deltas: the first absolute,
/// each other against its predecessor. A stale marker is a histogram whose `sum` is the stale NaN.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Counter reset information.
    pub reset_hint: CounterResetHint,
    /// Bucket schema.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// All observations.
    pub count: u64,
    /// Sum of observations.
    pub sum: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Deltas of the positive buckets.
    pub positive_buckets: Vec<i64>,
    /// Deltas of the negative buckets.
    pub negative_buckets: Vec<i64>,
    /// Upper bounds for the custom schema, strictly increasing, shared and never changed; else empty.
    pub custom_values: Arc<[f64]>,
}

/// Float native histogram, buckets absolute. Same fields as [`Histogram`].
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    /// Counter reset information.
    pub reset_hint: CounterResetHint,
    /// Bucket schema.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of observations.
    pub sum: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Counts of the positive buckets.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds for the custom schema; else empty.
    pub custom_values: Arc<[f64]>,
}

/// Either kind, shared: histograms are large, and samples travel through several hands.
#[derive(Clone, Debug)]
pub enum HistogramValue {
    /// Integer counts.
    Int(Arc<Histogram>),
    /// Float counts.
    Float(Arc<FloatHistogram>),
}

impl HistogramValue {
    /// The float form, converted where needed.
    #[must_use]
    pub fn to_float(&self) -> Arc<FloatHistogram> {
        match self {
            HistogramValue::Int(h) => Arc::new(h.to_float()),
            HistogramValue::Float(h) => Arc::clone(h),
        }
    }
    /// True for a stale marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            HistogramValue::Int(h) => is_stale_nan(h.sum),
            HistogramValue::Float(h) => is_stale_nan(h.sum),
        }
    }
}

impl PartialEq for HistogramValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (HistogramValue::Int(a), HistogramValue::Int(b)) => a == b,
            (HistogramValue::Float(a), HistogramValue::Float(b)) => a == b,
            _ => false,
        }
    }
}

impl Histogram {
    /// True for the custom schema.
    #[must_use]
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Absolute float counts from the deltas.
    #[must_use]
    pub fn to_float(&self) -> FloatHistogram {
        let absolute = |deltas: &[i64]| {
            let mut sum = 0_i64;
            let step = |d: &i64| {
                sum = sum.wrapping_add(*d);
                sum as f64
            };
            deltas.iter().map(step).collect()
        };
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: absolute(&self.positive_buckets),
            negative_buckets: absolute(&self.negative_buckets),
            custom_values: Arc::clone(&self.custom_values),
        }
    }
}

impl FloatHistogram {
    /// True for the custom schema.
    #[must_use]
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}

fn same_float(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn same_floats(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same_float(*x, *y))
}

/// Field by field, floats by their bits (so that NaN equals itself); the reset hint does not count.
impl PartialEq for Histogram {
    fn eq(&self, o: &Self) -> bool {
        self.schema == o.schema
            && self.count == o.count
            && self.zero_count == o.zero_count
            && same_float(self.zero_threshold, o.zero_threshold)
            && same_float(self.sum, o.sum)
            && self.positive_spans == o.positive_spans
            && self.negative_spans == o.negative_spans
            && self.positive_buckets == o.positive_buckets
            && self.negative_buckets == o.negative_buckets
            && same_floats(&self.custom_values, &o.custom_values)
    }
}

/// As for [`Histogram`].
impl PartialEq for FloatHistogram {
    fn eq(&self, o: &Self) -> bool {
        self.schema == o.schema
            && same_float(self.count, o.count)
            && same_float(self.zero_count, o.zero_count)
            && same_float(self.zero_threshold, o.zero_threshold)
            && same_float(self.sum, o.sum)
            && self.positive_spans == o.positive_spans
            && self.negative_spans == o.negative_spans
            && same_floats(&self.positive_buckets, &o.positive_buckets)
            && same_floats(&self.negative_buckets, &o.negative_buckets)
            && same_floats(&self.custom_values, &o.custom_values)
    }
}
