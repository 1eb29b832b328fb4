//! What goes wrong at the seam. Texts are upstream's where scripts and people read them.

use std::sync::Arc;

/// Why one sample was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The reference is not (or no longer) known; append with labels.
    #[error("unknown series")]
    UnknownSeries,
    /// Older than the series' newest sample.
    #[error("out of order sample")]
    OutOfOrder,
    /// Older than the store takes at all.
    #[error("out of bounds")]
    OutOfBounds,
    /// Out-of-order ingestion is on, but this is older than its window.
    #[error("too old sample")]
    TooOld,
    /// Same time, other value.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Created timestamp not before the sample.
    #[error("start timestamp is newer or the same as sample's timestamp, ignoring")]
    StartNotBefore,
    /// Histogram that contradicts itself; the text says how.
    #[error("invalid histogram: {0}")]
    InvalidHistogram(String),
    /// Label set without a label, or with a doubled or invalid name; the text says which.
    #[error("invalid labels: {0}")]
    InvalidLabels(String),
    /// Exemplar older than the newest of its series.
    #[error("out of order exemplar")]
    OutOfOrderExemplar,
    /// Exemplar seen before.
    #[error("duplicate exemplar")]
    DuplicateExemplar,
    /// Exemplar's labels too long.
    #[error("label length for exemplar exceeds maximum of 128 UTF-8 characters")]
    ExemplarTooLong,
    /// Exemplar storage is off.
    #[error("exemplar storage is disabled or max exemplars is less than or equal to 0")]
    ExemplarsDisabled,
    /// A limit refuses new series; existing ones go on. Shared, as a flood of new series brings as many of it.
    #[error("series limit reached: {0}")]
    SeriesLimit(Arc<str>),
    /// The store cannot take samples now; the text says why.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
}

/// Why a read or a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Still replaying, or shutting down.
    #[error("TSDB not ready")]
    NotReady,
    /// The query's or all queries' byte budget is used up.
    #[error(
        "query needs more memory than its limit of {limit_bytes} bytes; narrow the selector or the time range"
    )]
    MemoryLimit {
        /// The budget that was hit.
        limit_bytes: u64,
    },
    /// What the process holds, and what it is about to, nears what it may.
    #[error(
        "the server is short of memory: {} MiB of {} MiB are used or promised; ask for less, or again later",
        .used_bytes >> 20, .budget_bytes >> 20
    )]
    MemoryShort {
        /// Resident, and promised to requests.
        used_bytes: u64,
        /// What it aims to stay below.
        budget_bytes: u64,
    },
    /// Client gone or server stopping.
    #[error("query was canceled")]
    Cancelled,
    /// Deadline passed.
    #[error("query timed out")]
    Timeout,
    /// Data on disk that does not add up.
    #[error("corrupt data in {place}: {what}")]
    Corrupt {
        /// File and offset.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// Operation and path.
        what: String,
        /// Cause.
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}
