//! What a read carries along: its byte budget and the way to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::StorageError;

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

/// Bytes that one query may hold, and that all queries together may.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    peak: AtomicU64,
    limit: u64,
    pool: Option<Arc<Budget>>,
}

impl Budget {
    /// A budget of `limit` bytes, taken out of `pool` as well where one is given.
    #[must_use]
    pub fn new(limit: u64, pool: Option<Arc<Budget>>) -> Arc<Self> {
        Arc::new(Budget { used: AtomicU64::new(0), peak: AtomicU64::new(0), limit, pool })
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// [`StorageError::MemoryLimit`] where this budget or the pool has not that many left.
    pub fn charge(&self, bytes: u64) -> Result<(), StorageError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(StorageError::MemoryLimit { limit_bytes: self.limit });
        }
        if let Some(Err(e)) = self.pool.as_ref().map(|p| p.charge(bytes)) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(e);
        }
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ok(())
    }

    /// Gives bytes back.
    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(pool) = &self.pool {
            pool.release(bytes);
        }
    }

    /// Bytes held now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    /// Most bytes held at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Gives everything back to the pool.
impl Drop for Budget {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.release(*self.used.get_mut());
        }
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
