//! One value at one time, and the bit pattern that marks a series as gone.

use crate::histogram::HistogramValue;

/// Bits of the staleness marker, a signalling NaN of its own (upstream: `model/value/value.go`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Bits of an ordinary NaN as upstream writes it.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker.
#[must_use]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// True for the staleness marker and no other NaN.
#[must_use]
pub fn is_stale_nan(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// What a sample holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A plain number.
    Float(f64),
    /// A native histogram.
    Histogram(HistogramValue),
}
