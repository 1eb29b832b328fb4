//! Helpers of tests, never of the server: fake exposition targets, well-behaved and hostile ones, large fleets,
//! and a way to test what depends on time.
//!
//! The targets speak HTTP/1.1 by hand, since most of what they do no HTTP library lets them do.

mod fleet;
mod hostile;
mod steady;
mod target;

pub use fleet::{Fleet, SERIES_A_POD};
pub use hostile::Hostile;
pub use steady::steady;
pub use target::{Answer, FakeTarget, Recorded};

use std::io::Write as _;

/// Gzip of some bytes.
#[must_use]
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing into a Vec cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}

/// Zstd of some bytes.
#[must_use]
pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap_or_default()
}
