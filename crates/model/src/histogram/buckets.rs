//! Buckets as intervals: bounds from schema and index, and iteration in order.

use super::bounds::MANTISSAS;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// One bucket as an interval with its count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
    /// Index within its side.
    pub index: i32,
}

/// Upper bound of bucket `index` of an exponential schema: 2^(index * 2^-schema), clamped as upstream does
/// so that the last finite bucket ends at the largest float and the one above at infinity.
#[must_use]
pub fn bucket_bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << -schema;
        return match exponent {
            1024 => f64::MAX,
            e if e > 1024 => f64::INFINITY,
            e => 2_f64.powi(e as i32),
        };
    }
    let fraction_index = index & ((1 << schema) - 1);
    let exponent = index >> schema;
    // Schemas above 8 do not come here: histograms are reduced or refused before.
    let stride = 8_i32.saturating_sub(schema).max(0);
    let at = usize::try_from(fraction_index << stride).unwrap_or(0);
    let fraction = MANTISSAS.get(at).copied().unwrap_or(f64::NAN);
    if fraction_index == 0 && exponent == 1024 {
        return f64::MAX;
    }
    scale(fraction, exponent + 1)
}

fn scale(fraction: f64, exponent: i32) -> f64 {
    if exponent > 1024 {
        return f64::INFINITY;
    }
    // Two steps keep the intermediate finite at both ends.
    let half = exponent / 2;
    fraction * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

impl FloatHistogram {
    /// Indices and counts of the buckets of one side.
    pub fn side<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
        let mut index = 0_i32;
        let indices = spans.iter().flat_map(move |span| {
            let start = index + span.offset;
            index = start + span.length as i32;
            start..index
        });
        indices.zip(counts.iter().copied())
    }

    /// True where bucket bounds come from `custom_values`.
    #[must_use]
    pub fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}
