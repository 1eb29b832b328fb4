//! A block: a directory named by a ULID that holds the samples of a time range and never changes, but for
//! its tombstones and `meta.json` (upstream: `tsdb/block.go`).
//!
//! `meta` is the description, `folder` finds and removes block directories, `reader` opens one and answers
//! queries, `writer` makes one.

mod backfill;
mod damage;
mod folder;
mod meta;
mod querier;
mod reader;
mod repair;
mod salvage;
mod samples;
mod series;
mod transfer;
mod writer;

#[cfg(test)]
mod tests;

pub use backfill::Backfill;
pub use damage::BlockDamage;
pub use folder::{clean_leftovers, list_blocks, quarantine_block, remove_block};
pub use meta::{
    BlockDesc, BlockMeta, BlockStats, Compaction, HINT_OUT_OF_ORDER, HINT_SELECTED_SERIES, HINT_STALE_SERIES,
};
pub use querier::BlockQuerier;
pub use reader::{Block, BlockSeriesIter, StoredSeries};
pub use repair::repair_block;
pub(crate) use repair::{is_damage, is_missing};
pub use salvage::{SalvagedBlock, salvage_block};
pub(crate) use samples::retain_samples;
pub use samples::{restore_order, sort_by_time};
pub use series::BlockSeries;
pub use transfer::{BlockSource, transfer_block};
pub use writer::{BlockWriter, write_block};

/// Name of the description within a block.
pub const META_FILE: &str = "meta.json";
/// Name of the index within a block.
pub const INDEX_FILE: &str = "index";
/// Name of the folder of segment files within a block.
pub const CHUNKS_DIR: &str = "chunks";
/// Suffix of a directory that is being written.
pub const CREATION_SUFFIX: &str = ".tmp-for-creation";
/// Suffix of a directory that is being removed.
pub const DELETION_SUFFIX: &str = ".tmp-for-deletion";
