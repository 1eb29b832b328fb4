//! The sender of remote write (upstream: `storage/remote/queue_manager.go`, `write.go`, `client.go`).
//!
//! `manager` keeps destinations as configured; a `destination` is a thread that follows the store's log and
//! queues what it finds for shards, each a task that sends batch by batch. `series` has the labels as they are
//! sent, `progress` knows up to where the log is delivered, which is kept in the data folder: a start goes on
//! there. The pure parts are `batch` (the messages), `scale` (how many shards) and `retry` (when to try again).

mod batch;
mod client;
mod destination;
mod manager;
mod metadata;
mod metrics;
mod progress;
mod queue;
mod retry;
mod scale;
mod series;
mod shard;

pub use manager::{MetadataSource, Sender, SenderError, SenderOptions};
