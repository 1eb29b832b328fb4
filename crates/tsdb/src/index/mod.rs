//! The index of a block: which series it has, under which labels, in which chunks (upstream:
//! `tsdb/index`, format page `index.md`).
//!
//! `reader` reads versions 1 and 2 with positioned reads and a sparse table in memory; `writer` writes
//! version 2, `salvage` gets series out of a damaged one, `flip` puts a bit right. `postings` has the set operations on sorted series ids, and `matching` turns matchers into
//! ids over any [`PostingSource`], the head's included.

pub(crate) mod codec;
mod flip;
mod matching;
pub mod postings;
mod reader;
mod salvage;
mod section;
mod symbols;
mod writer;

#[cfg(test)]
mod tests;

pub use matching::{PostingSource, label_values_of, postings_for_matchers};
pub use reader::{IndexReader, SeriesCursor};
pub use salvage::{Salvage, SalvagedSeries};
pub use symbols::SymbolIter;
pub use writer::IndexWriter;

/// First four bytes of an index file.
pub const MAGIC: u32 = 0xBAAA_D700;
const HEADER_BYTES: u64 = 5;
const TOC_BYTES: u64 = 6 * 8 + 4;
/// Series begin at multiples of this in version 2: an id is the offset divided by it.
const SERIES_ALIGN: u64 = 16;
/// Every so many symbols and label values one stays in memory.
const SPARSE_EVERY: usize = 32;

/// Where the sections of an index begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Toc {
    symbols: u64,
    series: u64,
    label_indices: u64,
    label_indices_table: u64,
    postings: u64,
    postings_table: u64,
}
