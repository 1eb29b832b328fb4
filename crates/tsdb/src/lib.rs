//! Prometheus's storage: head, write-ahead log, blocks, compaction, in Prometheus's on-disk format.
//!
//! Map: `disk` is the only door to the file system; `chunkenc` encodes samples; `chunks`, `index` and
//! `block` are the files of a block; `compact` plans and merges blocks.

pub mod disk;
