//! Why a query failed, in kinds that the API maps to `errorType` and a status.

use storage::StorageError;

use crate::parse::{ParseError, ParseFault};

/// Why a query failed. `Display` is upstream's text.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The expression is malformed: `bad_data`.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A parameter makes no sense (step, type of the expression in a range query): `bad_data`.
    #[error("{0}")]
    BadData(String),
    /// The evaluation cannot go on (matching, duplicate series, label names): `execution`.
    #[error("{0}")]
    Execution(String),
    /// Deadline passed: `timeout`.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// Client gone, server stopping: `canceled`.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// More samples than `--query.max-samples`: `execution`.
    #[error("query processing would load too many samples into memory in {0}")]
    TooManySamples(&'static str),
    /// The byte budget is used up: `execution`.
    #[error("{0}")]
    MemoryLimit(StorageError),
    /// The store failed: `internal` (`unavailable` for [`StorageError::NotReady`]).
    #[error("{0}")]
    Storage(StorageError),
}

impl QueryError {
    /// The API's `errorType`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            QueryError::Parse(_) | QueryError::BadData(_) => "bad_data",
            QueryError::Execution(_) | QueryError::TooManySamples(_) | QueryError::MemoryLimit(_) => {
                "execution"
            }
            QueryError::Timeout(_) => "timeout",
            QueryError::Canceled(_) => "canceled",
            QueryError::Storage(StorageError::NotReady) => "unavailable",
            QueryError::Storage(_) => "internal",
        }
    }
}

/// Where in the work a stop was noticed, as upstream names it.
pub(crate) const IN_EXECUTION: &str = "query execution";
/// While waiting for a slot.
pub(crate) const IN_QUEUE: &str = "query queue";

impl From<StorageError> for QueryError {
    fn from(e: StorageError) -> Self {
        match e {
            StorageError::Cancelled => QueryError::Canceled(IN_EXECUTION),
            StorageError::Timeout => QueryError::Timeout(IN_EXECUTION),
            StorageError::MemoryLimit { .. } | StorageError::MemoryShort { .. } => QueryError::MemoryLimit(e),
            other => QueryError::Storage(other),
        }
    }
}

impl From<ParseFault> for QueryError {
    fn from(e: ParseFault) -> Self {
        match e {
            ParseFault::Parse(e) => QueryError::Parse(e),
            ParseFault::Memory(e) => e.into(),
        }
    }
}

pub(crate) fn execution<T>(text: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError::Execution(text.into()))
}
