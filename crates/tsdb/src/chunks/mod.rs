//! Segment files that hold a block's chunks (upstream: `tsdb/chunks`, format page `chunks.md`).
//!
//! A file `chunks/000001` begins with 8 bytes (magic, version, padding); each chunk is its length as
//! uvarint, its encoding, its bytes, and the CRC32C of encoding and bytes. A [`ChunkRef`] names file and
//! offset.

mod reader;
mod writer;

use storage::ChunkEncoding;

pub use reader::ChunkReader;
pub use writer::{ChunkWriter, SEGMENT_BYTES};

/// First four bytes of a segment file.
pub const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
const HEADER_BYTES: u64 = 8;
/// Bytes that the length field takes at most.
const LENGTH_BYTES_MAX: usize = 5;
const CRC_BYTES: usize = 4;

/// Where a chunk is: segment number (from 0) in the upper half, offset in the file in the lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// From segment number and offset.
    #[must_use]
    pub fn new(segment: u32, offset: u32) -> Self {
        ChunkRef(u64::from(segment) << 32 | u64::from(offset))
    }
    /// Segment number, one less than the file's name.
    #[must_use]
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Offset in the file.
    #[must_use]
    pub fn offset(self) -> u32 {
        self.0 as u32
    }
}

/// A chunk as the index lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// Time of its first sample.
    pub mint_ms: i64,
    /// Time of its last sample.
    pub maxt_ms: i64,
    /// Where it is.
    pub chunk: ChunkRef,
}

impl ChunkMeta {
    /// Whether it has a time within [mint_ms, maxt_ms].
    #[must_use]
    pub fn overlaps(&self, mint_ms: i64, maxt_ms: i64) -> bool {
        self.mint_ms <= maxt_ms && self.maxt_ms >= mint_ms
    }
}

/// A chunk in a read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkData<'a> {
    /// How `data` is encoded.
    pub encoding: ChunkEncoding,
    /// The bytes.
    pub data: &'a [u8],
}
