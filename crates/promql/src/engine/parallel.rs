//! Work spread over cores in blocks. Results come back in the order of the input, whatever the number of
//! threads, so that folding them gives the same bits everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::error::QueryError;

/// Items that one thread takes at a time: enough to make the hand-out cheap (tens of microseconds of
/// work), few enough that cores end together.
const BLOCK: usize = 32;

/// Threads that may help queries, shared by all of an engine: as many as there are cores. Twenty hard queries
/// then are twenty-two busy threads, not forty, and the first one to come still has all cores.
#[derive(Debug)]
pub(crate) struct Helpers(AtomicUsize);

impl Helpers {
    pub(crate) fn new(threads: usize) -> Helpers {
        Helpers(AtomicUsize::new(threads))
    }

    /// Up to `most` of those that are free.
    fn take(&self, most: usize) -> Taken<'_> {
        let mut taken = 0;
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            taken = free.min(most);
            Some(free - taken)
        });
        Taken(self, taken)
    }
}

/// Given back when dropped.
struct Taken<'a>(&'a Helpers, usize);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(self.1, Ordering::Relaxed);
    }
}

/// The threads of one query: its own, and such as help.
#[derive(Debug)]
pub(crate) struct Workers {
    /// At most so many at once.
    pub(crate) most: usize,
    pub(crate) helpers: Arc<Helpers>,
}

impl Workers {
    /// Calls `work` for 0..n. Each thread makes one state (buffers) and keeps it. The error of the lowest
    /// block is returned.
    pub(crate) fn map<T: Send, S>(
        &self,
        n: usize,
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<T, QueryError> + Sync,
    ) -> Result<Vec<T>, QueryError> {
        // A thread for less than a block costs more than it saves.
        let wanted = self.most.min(n / BLOCK);
        let helpers = self.helpers.take(wanted.saturating_sub(1));
        map(n, helpers.1 + 1, state, work)
    }
}

fn map<T: Send, S>(
    n: usize,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T, QueryError> + Sync,
) -> Result<Vec<T>, QueryError> {
    let blocks = n.div_ceil(BLOCK);
    let threads = threads.min(blocks);
    if threads <= 1 {
        let mut s = state();
        return (0..n).map(|i| work(&mut s, i)).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Vec<T>, QueryError>>>> =
        Mutex::new((0..blocks).map(|_| None).collect());
    std::thread::scope(|scope| {
        let run = || {
            let mut s = state();
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    return;
                }
                let items = block * BLOCK..n.min((block + 1) * BLOCK);
                let result: Result<Vec<T>, QueryError> = items.map(|i| work(&mut s, i)).collect();
                if result.is_err() {
                    next.store(blocks, Ordering::Relaxed);
                }
                done.lock()[block] = Some(result);
            }
        };
        for _ in 1..threads {
            // Where the system has no more threads, those there are do it all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let mut all = Vec::with_capacity(n);
    // A block that nobody took is behind one that failed, whose error has gone out already.
    for items in done.into_inner().into_iter().flatten() {
        all.extend(items?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_finds_errors() {
        let squares = map(1000, 4, || (), |(), i| Ok(i * i)).unwrap();
        assert!(squares.iter().enumerate().all(|(i, s)| *s == i * i) && squares.len() == 1000);
        let failed =
            map(1000, 4, || (), |(), i| if i == 700 { super::super::error::execution("x") } else { Ok(i) });
        assert!(failed.is_err());
    }
}
