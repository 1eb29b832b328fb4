//! Bytes that requests may hold: of each, of all together, and of the process as the system counts it.
//!
//! What a request says that it takes is not all that it costs: buffers have gaps, what was given back is kept for a
//! while by the allocator, and series, scrapes and rules live in the same process. So whoever has taken
//! some mebibytes looks at what is resident, too. Rejected: counted bytes alone, with a share so small that four requests
//! fit whatever else there is (three quarters of the memory would never be used); a look at each charge (some
//! microseconds, thousands of times a query).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{MemoryProbe, StorageError};

/// A request looks at what is resident each time that it has taken 4 MiB more; below, it is too small to matter, and
/// never refused for the greed of others. Twenty queries at once are 80 MiB, less than the fifth of half a
/// gibibyte that no budget has.
const LOOK_BYTES_BITS: u32 = 22;
/// Bytes that were promised within the last one or two of these may not be resident yet: the system gives pages
/// as they are written to, at more than 1 GB/s.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// A mark older than this says nothing about now.
const MARK_AGE_MAX: Duration = Duration::from_secs(1);

/// Looks after the memory of the process. Shared by all budgets that are to refuse where it runs short.
#[derive(Debug)]
pub struct MemoryGuard {
    probe: MemoryProbe,
    /// Bytes that all pools with this guard have promised.
    promised: AtomicU64,
    marks: Mutex<[Mark; 2]>,
}

/// What was resident and promised at a time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    resident: u64,
    promised: u64,
}

impl MemoryGuard {
    /// A guard that asks `probe`.
    #[must_use]
    pub fn new(probe: MemoryProbe) -> Arc<Self> {
        let mark = Mark { at: Instant::now(), resident: (probe.0)().used_bytes, promised: 0 };
        Arc::new(MemoryGuard { probe, promised: AtomicU64::new(0), marks: Mutex::new([mark; 2]) })
    }

    /// Whether there is room for `bytes` that were promised just now.
    fn look(&self, bytes: u64) -> Result<(), StorageError> {
        let now = (self.probe.0)();
        let promised = self.promised.load(Ordering::Relaxed);
        let fresh =
            Mark { at: Instant::now(), resident: now.used_bytes, promised: promised.saturating_sub(bytes) };
        let mut marks = self.marks.lock();
        if marks[1].at.elapsed() >= MARK_EVERY {
            *marks = [if marks[1].at.elapsed() < MARK_AGE_MAX { marks[1] } else { fresh }, fresh];
        }
        let coming = marks[0].resident.saturating_add(promised).saturating_sub(marks[0].promised);
        drop(marks);
        let used_bytes = coming.max(now.used_bytes.saturating_add(bytes));
        if used_bytes > now.budget_bytes {
            return Err(StorageError::MemoryShort { used_bytes, budget_bytes: now.budget_bytes });
        }
        Ok(())
    }
}

/// Bytes that one query may hold, and that all queries together may.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    peak: AtomicU64,
    /// All that was ever taken.
    taken: AtomicU64,
    limit: u64,
    pool: Option<Arc<Budget>>,
    guard: Option<Arc<MemoryGuard>>,
}

impl Budget {
    /// A budget of `limit` bytes, taken out of `pool` as well where one is given, and under its guard.
    #[must_use]
    pub fn new(limit: u64, pool: Option<Arc<Budget>>) -> Arc<Self> {
        let guard = pool.as_ref().and_then(|pool| pool.guard.clone());
        Self::with(limit, pool, guard)
    }

    /// A pool of `limit` bytes; what is taken from it through budgets of requests is refused where memory runs
    /// short.
    #[must_use]
    pub fn guarded(limit: u64, guard: Arc<MemoryGuard>) -> Arc<Self> {
        Self::with(limit, None, Some(guard))
    }

    fn with(limit: u64, pool: Option<Arc<Budget>>, guard: Option<Arc<MemoryGuard>>) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Budget { used: zero(), peak: zero(), taken: zero(), limit, pool, guard })
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// [`StorageError::MemoryLimit`] where this budget or the pool has not that many left,
    /// [`StorageError::MemoryShort`] where the process has not.
    pub fn charge(&self, bytes: u64) -> Result<(), StorageError> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(StorageError::MemoryLimit { limit_bytes: self.limit });
        }
        match (&self.pool, &self.guard) {
            (Some(pool), guard) => {
                if let Err(e) = pool.charge(bytes) {
                    self.used.fetch_sub(bytes, Ordering::Relaxed);
                    return Err(e);
                }
                if let Some(guard) = guard
                    && let Err(e) = self.look(guard, bytes)
                {
                    self.release(bytes);
                    return Err(e);
                }
            }
            (None, Some(guard)) => drop(guard.promised.fetch_add(bytes, Ordering::Relaxed)),
            (None, None) => {}
        }
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ok(())
    }

    fn look(&self, guard: &MemoryGuard, bytes: u64) -> Result<(), StorageError> {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        if before >> LOOK_BYTES_BITS == before.saturating_add(bytes) >> LOOK_BYTES_BITS {
            return Ok(());
        }
        guard.look(bytes)
    }

    /// Gives bytes back.
    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        match (&self.pool, &self.guard) {
            (Some(pool), _) => pool.release(bytes),
            (None, Some(guard)) => drop(guard.promised.fetch_sub(bytes, Ordering::Relaxed)),
            (None, None) => {}
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
        let used = *self.used.get_mut();
        self.release(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryUse;

    const MIB: u64 = 1 << 20;

    fn guard(resident: &Arc<AtomicU64>) -> Arc<MemoryGuard> {
        let resident = Arc::clone(resident);
        let used =
            move || MemoryUse { used_bytes: resident.load(Ordering::Relaxed), budget_bytes: 100 * MIB };
        MemoryGuard::new(MemoryProbe(Arc::new(used)))
    }

    #[test]
    fn what_is_resident_counts_and_small_requests_go_on() {
        let resident = Arc::new(AtomicU64::new(40 * MIB));
        let pool = Budget::guarded(1000 * MIB, guard(&resident));
        let one = Budget::new(1000 * MIB, Some(Arc::clone(&pool)));
        one.charge(50 * MIB).unwrap();
        // Promised, and not resident yet.
        let other = Budget::new(1000 * MIB, Some(Arc::clone(&pool)));
        let error = other.charge(20 * MIB).unwrap_err();
        assert!(matches!(error, StorageError::MemoryShort { .. }), "{error}");
        assert_eq!((other.used(), pool.used()), (0, 50 * MIB));
        other.charge(3 * MIB).unwrap();
        // Something else grows.
        resident.store(99 * MIB, Ordering::Relaxed);
        assert!(one.charge(5 * MIB).is_err());
        let small = Budget::new(1000 * MIB, Some(Arc::clone(&pool)));
        small.charge(3 * MIB).unwrap();
        // What was given back is there for others, at once where it was not used, else with the pages.
        drop((one, other, small));
        resident.store(40 * MIB, Ordering::Relaxed);
        assert_eq!(pool.used(), 0);
        Budget::new(1000 * MIB, Some(pool)).charge(59 * MIB).unwrap();
    }

    #[test]
    fn limits_hold_and_everything_is_given_back() {
        let pool = Budget::new(10, None);
        let one = Budget::new(8, Some(Arc::clone(&pool)));
        assert!(one.charge(9).is_err() && one.charge(8).is_ok() && one.charge(1).is_err());
        let other = Budget::new(8, Some(Arc::clone(&pool)));
        assert!(other.charge(3).is_err());
        one.release(2);
        other.charge(3).unwrap();
        assert_eq!((one.used(), one.peak(), other.used(), pool.used()), (6, 8, 3, 9));
        drop(one);
        assert_eq!(pool.used(), 3);
    }
}
