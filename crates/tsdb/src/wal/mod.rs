//! The write-ahead log, in Prometheus's format: what is acknowledged is here first.
//!
//! `segment` names files and framing, `record` the contents, `writer` and `reader` go between them, `tail`
//! follows a log that is being written,
//! `checkpoint` is the condensed form of segments that are no longer needed in full, and `mend` makes a
//! damaged segment whole again.

pub(crate) mod bytes;
pub mod checkpoint;
mod durable;
mod histogram;
mod log;
pub mod mend;
mod reader;
pub mod record;
mod segment;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::db::WalCompression;
pub use durable::FILE_NAME as SYNCED_FILE;
pub use log::{Log, LogRules, LogStatus};
pub(crate) use log::{LogThread, OnItsWay, Ticket};
pub use reader::{SegmentReader, WalLoss};
pub(crate) use segment::PAGE_BYTES;
pub use segment::{checkpoint_path, checkpoints, segment_path, segments};
pub(crate) use tail::{Place, Tail};
pub use writer::{RecordCompressor, SyncWork, WalWriter};

/// Segment size of checkpoints: upstream's default, whatever the log's own is.
fn writer_segment_bytes() -> u64 {
    crate::db::WAL_SEGMENT_BYTES_DEFAULT
}
