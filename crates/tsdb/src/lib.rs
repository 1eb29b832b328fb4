//! Prometheus's storage: head, write-ahead log, blocks, compaction, in Prometheus's on-disk format.
//!
//! Map: `disk` is the only door to the file system; `chunkenc` encodes samples; `chunks`, `index` and
//! `block` are the files of a block; `compact` plans and merges blocks; `wal` is the log, `head` the newest
//! hours in memory, `db` all of them under one roof.

pub mod block;
pub mod chunkenc;
pub mod chunks;
pub mod compact;
pub mod db;
pub mod disk;
mod exemplars;
mod head;
pub mod index;
pub mod tombstones;
pub mod wal;

pub use chunkenc::SAMPLES_PER_CHUNK;
pub use db::{
    Clocks, CopiedBlock, Db, DbOptions, How, IMAGE_LOG_BYTES, ReadOnlyDb, ReplayProgress, Retention,
    StaleRules, WalCompression,
};
pub use head::{HeadChunksFile, SeriesLimits, examine_head_chunks};
