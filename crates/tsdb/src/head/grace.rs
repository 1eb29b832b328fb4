//! Which commits are between the log and the head: whoever wants a position of the log before which all is in
//! place takes the position and waits for those that were under way. Nobody waits for it in turn, as with a
//! lock: a commit costs two additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a waiting one looks: commits take a millisecond, unless the disk hangs.
const LOOK: Duration = Duration::from_millis(1);

/// Commits under way, by the parity of the epoch that they began in.
#[derive(Debug, Default)]
pub(super) struct Grace {
    epoch: AtomicU64,
    under_way: [AtomicU64; 2],
}

/// A commit under way. Ends with the guard.
pub(super) struct UnderWay<'a>(&'a AtomicU64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Grace {
    /// Begins a commit: before it is logged.
    pub(super) fn enter(&self) -> UnderWay<'_> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let [even, odd] = &self.under_way;
            let count = if epoch.is_multiple_of(2) { even } else { odd };
            count.fetch_add(1, Ordering::SeqCst);
            // Else a waiting one may have looked before this one was counted.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return UnderWay(count);
            }
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits for all commits that are under way now; one caller at a time.
    pub(super) fn wait(&self) {
        let before = self.epoch.fetch_add(1, Ordering::SeqCst);
        let [even, odd] = &self.under_way;
        let count = if before.is_multiple_of(2) { even } else { odd };
        while count.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn waits_for_those_before_and_not_for_those_behind() {
        let grace = Grace::default();
        let done = AtomicBool::new(false);
        let first = grace.enter();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                grace.wait();
                done.store(true, Ordering::SeqCst);
            });
            while grace.epoch.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            let second = grace.enter();
            assert!(!done.load(Ordering::SeqCst));
            drop(first);
            while !done.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            drop(second);
        });
    }
}
