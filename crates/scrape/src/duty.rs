//! Whether this server scrapes: not while it only follows another one, whose targets these are. From the moment at
//! which it takes over, each target goes on at the place in time that it had there.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

/// No time: nothing is scraped.
const HELD: i64 = i64::MAX;

/// Shared by all loops. They look before each scrape, which costs one load.
pub(crate) struct Duty {
    from_ms: AtomicI64,
    changed: Notify,
    /// Of the places in time, see [`crate::offset::seed`].
    seed: AtomicU64,
    /// Whose places in time are kept; this host's where `None`.
    host: ArcSwapOption<String>,
}

impl Duty {
    pub(crate) fn new(held: bool, host: Option<String>) -> Self {
        Duty {
            from_ms: AtomicI64::new(if held { HELD } else { i64::MIN }),
            changed: Notify::new(),
            seed: AtomicU64::new(0),
            host: ArcSwapOption::new(host.map(Into::into)),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.from_ms.load(Ordering::Acquire) == HELD
    }

    pub(crate) fn hold(&self) {
        self.from_ms.store(HELD, Ordering::Release);
    }

    pub(crate) fn take(&self, from_ms: i64) {
        self.from_ms.store(from_ms.min(HELD - 1), Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.load(Ordering::Acquire)
    }

    pub(crate) fn set_seed(&self, seed: u64) {
        self.seed.store(seed, Ordering::Release);
    }

    pub(crate) fn host(&self) -> Option<String> {
        self.host.load().as_deref().cloned()
    }

    pub(crate) fn set_host(&self, host: Option<String>) {
        self.host.store(host.map(Into::into));
    }

    /// Waits until targets are to be scraped; gives from when on, in milliseconds.
    pub(crate) async fn begins(&self) -> i64 {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that a change between the two is seen.
            changed.as_mut().enable();
            match self.from_ms.load(Ordering::Acquire) {
                HELD => changed.await,
                from_ms => return from_ms,
            }
        }
    }
}
