//! Lets at most so many queries run at once; the others wait in turn.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use storage::CancelToken;

use super::error::{IN_QUEUE, QueryError};

/// How long a waiting query sleeps before it looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(50);

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    running: Mutex<usize>,
    freed: Condvar,
}

/// A place inside; leaves when dropped.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    /// `limit` 0 lets everybody in.
    pub(crate) fn new(limit: usize) -> Gate {
        Gate { limit, running: Mutex::new(0), freed: Condvar::new() }
    }

    pub(crate) fn enter(
        &self,
        cancel: &CancelToken,
        deadline: Option<Instant>,
    ) -> Result<Pass<'_>, QueryError> {
        let mut running = self.running.lock();
        while self.limit > 0 && *running >= self.limit {
            if cancel.is_cancelled() {
                return Err(QueryError::Canceled(IN_QUEUE));
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Err(QueryError::Timeout(IN_QUEUE));
            }
            self.freed.wait_for(&mut running, POLL);
        }
        *running += 1;
        Ok(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.freed.notify_one();
    }
}
