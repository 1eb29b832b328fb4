//! What a read carries along: its byte budget and the way to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::{Budget, StorageError};

/// A flag that many hold and one sets.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks everyone who holds it to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// Whether someone asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Carried by every read.
#[derive(Clone, Debug)]
pub struct QueryContext {
    /// Byte budget.
    pub budget: Arc<Budget>,
    /// Set when the client went away or the server stops.
    pub cancel: CancelToken,
    /// When the query times out.
    pub deadline: Option<Instant>,
}

impl QueryContext {
    /// Without limits, for tools and tests.
    #[must_use]
    pub fn unlimited() -> Self {
        QueryContext { budget: Budget::new(u64::MAX, None), cancel: CancelToken::default(), deadline: None }
    }

    /// To be called in every loop that may run long.
    ///
    /// # Errors
    /// [`StorageError::Cancelled`] or [`StorageError::Timeout`].
    pub fn check(&self) -> Result<(), StorageError> {
        if self.cancel.is_cancelled() {
            return Err(StorageError::Cancelled);
        }
        match self.deadline {
            Some(at) if Instant::now() >= at => Err(StorageError::Timeout),
            _ => Ok(()),
        }
    }
}
