//! Work spread over cores in blocks. Results come back in the order of the input, whatever the number of
//! threads, so that folding them gives the same bits everywhere.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::error::QueryError;

/// Items that one thread takes at a time: enough to make the hand-out cheap (tens of microseconds of
/// work), few enough that cores end together.
const BLOCK: usize = 32;

/// Calls `work` for 0..n. Each thread makes one state (buffers) and keeps it. The error of the lowest
/// block is returned.
pub(crate) fn map<T: Send, S>(
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
            scope.spawn(run);
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
