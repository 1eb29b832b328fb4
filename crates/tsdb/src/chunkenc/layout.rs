//! What all histograms of one chunk share, written once at its start: schema, zero threshold, spans, custom
//! bounds (upstream: `chunkenc/histogram_meta.go`).

use std::sync::Arc;

use model::Span;
use model::histogram::CUSTOM_BUCKETS_SCHEMA;

use super::bits::{BitReader, BitWriter, ChunkBuf};
use super::histogram::MAX_BUCKETS;
use super::varbit::{put_int, put_uint, read_int, read_uint};
use super::{ChunkError, Result};

/// What a histogram chunk's header says about a counter reset between the chunk before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHeader {
    /// Not known: compare.
    #[default]
    Unknown = 0,
    /// None.
    NotReset = 0b0100_0000,
    /// One.
    Reset = 0b1000_0000,
    /// Gauge histograms, which have none.
    Gauge = 0b1100_0000,
}

impl ResetHeader {
    /// The header's bits within their byte.
    pub const MASK: u8 = 0b1100_0000;

    /// From the byte that holds the header.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        match byte & Self::MASK {
            0b0100_0000 => ResetHeader::NotReset,
            0b1000_0000 => ResetHeader::Reset,
            0b1100_0000 => ResetHeader::Gauge,
            _ => ResetHeader::Unknown,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive: Vec<Span>,
    pub(super) negative: Vec<Span>,
    pub(super) custom: Arc<[f64]>,
}

/// Lowest and highest schema that upstream reads; those above 8 are brought down to 8.
const SCHEMAS_KNOWN: std::ops::RangeInclusive<i64> = -9..=52;

impl Layout {
    pub(super) fn put<B: ChunkBuf>(&self, w: &mut BitWriter<'_, B>) {
        put_threshold(w, self.zero_threshold);
        put_int(w, i64::from(self.schema));
        for spans in [&self.positive, &self.negative] {
            put_uint(w, spans.len() as u64);
            for span in spans {
                put_uint(w, u64::from(span.length));
                put_int(w, i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            put_uint(w, self.custom.len() as u64);
            for bound in self.custom.iter() {
                put_bound(w, *bound);
            }
        }
    }

    pub(super) fn read(r: &mut BitReader<'_>) -> Result<Layout> {
        let zero_threshold = read_threshold(r)?;
        let schema = read_int(r)?;
        if !SCHEMAS_KNOWN.contains(&schema) && schema != i64::from(CUSTOM_BUCKETS_SCHEMA) {
            return Err(ChunkError::UnknownSchema(schema));
        }
        let schema = schema as i32;
        let positive = read_spans(r)?;
        let negative = read_spans(r)?;
        let custom = if schema == CUSTOM_BUCKETS_SCHEMA { read_bounds(r)? } else { Arc::default() };
        Ok(Layout { schema, zero_threshold, positive, negative, custom })
    }
}

fn read_spans(r: &mut BitReader<'_>) -> Result<Vec<Span>> {
    let count = read_uint(r)?;
    // Two bits a span at least.
    if count > r.bits_left() / 2 {
        return Err(ChunkError::Invalid("number of spans"));
    }
    let mut spans = Vec::with_capacity(count as usize);
    let (mut end, mut buckets) = (0_i64, 0_u64);
    for i in 0..count {
        let length = read_uint(r)?;
        let offset = read_int(r)?;
        let span = Span {
            length: u32::try_from(length).map_err(|_| ChunkError::Invalid("span length"))?,
            offset: i32::try_from(offset).map_err(|_| ChunkError::Invalid("span offset"))?,
        };
        buckets += length;
        // Readers add offsets up in 32 bits.
        end += offset + length as i64;
        if (i > 0 && offset < 0) || i32::try_from(end).is_err() || buckets > MAX_BUCKETS {
            return Err(ChunkError::Invalid("span"));
        }
        spans.push(span);
    }
    Ok(spans)
}

fn read_bounds(r: &mut BitReader<'_>) -> Result<Arc<[f64]>> {
    let count = read_uint(r)?;
    // Five bits a bound at least.
    if count > r.bits_left() / 5 {
        return Err(ChunkError::Invalid("number of custom bounds"));
    }
    (0..count).map(|_| read_bound(r)).collect()
}

/// One byte for 0 and for the powers of two from 2^-243 to 2^10, else nine.
fn put_threshold<B: ChunkBuf>(w: &mut BitWriter<'_, B>, threshold: f64) {
    if threshold == 0.0 {
        return w.write(0, 8);
    }
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let is_power = bits.trailing_zeros() >= 52 && bits >> 63 == 0;
    if is_power && (-243..=10).contains(&exponent) {
        w.write((exponent + 244) as u64, 8);
    } else {
        w.write(255, 8);
        w.write(bits, 64);
    }
}

fn read_threshold(r: &mut BitReader<'_>) -> Result<f64> {
    Ok(match r.read(8)? {
        0 => 0.0,
        255 => f64::from_bits(r.read(64)?),
        n => f64::from_bits((n + 1023 - 244) << 52),
    })
}

/// Multiples of 0.001 from 0 to 33554.430 as an integer above 0, all others as 0 and the float.
fn put_bound<B: ChunkBuf>(w: &mut BitWriter<'_, B>, bound: f64) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round() as u64;
    if !(0.0..=33_554_430.0).contains(&thousandths) || whole as f64 / 1000.0 != bound {
        w.write(0, 1);
        w.write(bound.to_bits(), 64);
    } else {
        put_uint(w, whole + 1);
    }
}

fn read_bound(r: &mut BitReader<'_>) -> Result<f64> {
    Ok(match read_uint(r)? {
        0 => f64::from_bits(r.read(64)?),
        n => (n - 1) as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_bounds_round_trip() {
        let values =
            [0.0, 0.5, 1.0, 2_f64.powi(-128), 2_f64.powi(-243), 2_f64.powi(-244), 1024.0, 2048.0, 0.1, -1.0];
        let sizes = [8, 8, 8, 8, 8, 72, 8, 72, 72, 72];
        for (v, size) in values.into_iter().zip(sizes) {
            let mut bytes = Vec::new();
            let mut w = BitWriter { buf: &mut bytes, free: 0 };
            put_threshold(&mut w, v);
            assert_eq!(bytes.len() * 8, size, "{v}");
            assert_eq!(read_threshold(&mut BitReader::new(&bytes)).unwrap(), v);
        }
        for v in [0.0, 0.001, 0.005, 1.0, 33554.43, 33554.431, -1.0, 0.0001, f64::INFINITY, 1e300] {
            let mut bytes = Vec::new();
            let mut w = BitWriter { buf: &mut bytes, free: 0 };
            put_bound(&mut w, v);
            assert_eq!(read_bound(&mut BitReader::new(&bytes)).unwrap(), v);
        }
    }
}
