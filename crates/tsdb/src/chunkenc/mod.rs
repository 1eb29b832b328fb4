//! Chunks: some hundred samples of one series in a few bytes each (upstream: `tsdb/chunkenc`).
//!
//! `bits` and `varbit` are the alphabet; `xor` and `xor2` hold floats; `histogram` holds both kinds of
//! native histograms with or without start timestamps. Writers give the bytes that upstream gives for the
//! same samples; readers take any bytes and answer with samples or a [`ChunkError`].

mod bits;
mod cell;
mod histogram;
mod kind;
mod layout;
mod spans;
mod st;
mod tight;
mod varbit;
mod xor;
mod xor2;

#[cfg(test)]
mod tests;

use storage::{ChunkEncoding, SampleBuf};

pub use bits::ChunkBuf;
pub use histogram::{Appended, HistogramChunkAppender, MAX_BUCKETS};
pub use kind::{FloatKind, HistogramKind, IntKind};
pub use layout::ResetHeader;
pub(crate) use tight::TightXor;
pub use xor::{XOR_SAMPLE_BYTES_MAX, XorAppender, XorState};
pub use xor2::Xor2Appender;

/// Writes integer histograms.
pub type HistogramAppender = HistogramChunkAppender<IntKind>;
/// Writes float histograms.
pub type FloatHistogramAppender = HistogramChunkAppender<FloatKind>;

/// Samples that a chunk should hold, and the head cuts it at.
pub const SAMPLES_PER_CHUNK: usize = 120;
/// Bytes at which a chunk is cut, whatever it holds.
pub const CHUNK_BYTES_MAX: usize = 1024;
/// Largest number of samples that a chunk's header can say.
pub const SAMPLES_MAX: u16 = u16::MAX;

/// Why a chunk was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Shorter than its header.
    #[error("chunk of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// The bits end before the samples do.
    #[error("chunk ends within sample {0}")]
    Truncated(u16),
    /// A number that no writer writes.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Histogram schema outside the known ones.
    #[error(
        "histogram has an unknown schema, which must be between -9 and 52 for exponential buckets, or -53 for \
         custom buckets, got schema {0}"
    )]
    UnknownSchema(i64),
    /// The chunk holds as many samples as its header can say: cut a new one.
    #[error("chunk is full")]
    Full,
    /// The chunk holds another kind of samples than asked for.
    #[error("encoding {0:?} is not of the kind asked for")]
    WrongKind(ChunkEncoding),
}

type Result<T> = std::result::Result<T, ChunkError>;

/// Number of samples that a chunk says it has.
///
/// # Errors
/// Shorter than its header.
pub fn sample_count(encoding: ChunkEncoding, data: &[u8]) -> Result<u16> {
    let Some([high, low]) = data.first_chunk::<2>() else {
        return Err(ChunkError::TooShort(data.len()));
    };
    let n = u16::from_be_bytes([*high, *low]);
    Ok(match encoding {
        ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt => n & st::SAMPLES_MAX,
        _ => n,
    })
}

/// Appends a chunk's samples within [mint_ms, maxt_ms] to `out`. About 1-3 ns a float.
///
/// # Errors
/// Malformed bytes; samples before the fault are in `out` then.
pub fn decode(
    encoding: ChunkEncoding,
    data: &[u8],
    mint_ms: i64,
    maxt_ms: i64,
    out: &mut SampleBuf,
) -> Result<()> {
    match encoding {
        ChunkEncoding::Xor => xor::decode(data, mint_ms, maxt_ms, out),
        ChunkEncoding::Xor2 => xor2::decode(data, mint_ms, maxt_ms, out),
        ChunkEncoding::Histogram => histogram::decode::<IntKind>(data, false, mint_ms, maxt_ms, out),
        ChunkEncoding::HistogramSt => histogram::decode::<IntKind>(data, true, mint_ms, maxt_ms, out),
        ChunkEncoding::FloatHistogram => histogram::decode::<FloatKind>(data, false, mint_ms, maxt_ms, out),
        ChunkEncoding::FloatHistogramSt => histogram::decode::<FloatKind>(data, true, mint_ms, maxt_ms, out),
    }
}

/// Appends all samples of a chunk.
///
/// # Errors
/// As [`decode`].
pub fn decode_all(encoding: ChunkEncoding, data: &[u8], out: &mut SampleBuf) -> Result<()> {
    decode(encoding, data, i64::MIN, i64::MAX, out)
}

/// What a histogram chunk's header says about a counter reset at its start; `Unknown` for float chunks.
#[must_use]
pub fn reset_header(encoding: ChunkEncoding, data: &[u8]) -> ResetHeader {
    let at = match encoding {
        ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram => 2,
        ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt => 0,
        ChunkEncoding::Xor | ChunkEncoding::Xor2 => return ResetHeader::Unknown,
    };
    ResetHeader::from_byte(data.get(at).copied().unwrap_or_default())
}
