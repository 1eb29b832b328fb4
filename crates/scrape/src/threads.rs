//! Threads that scrape and do nothing else: a query or a reload that keeps the server's other threads busy
//! delays no scrape. Each has a runtime of its own, so that a target's timer, socket and ingestion meet on
//! one thread; on a shared runtime they wander, and each hand-over wakes a sleeping thread (5 context
//! switches a scrape against 2.6, a tenth of its CPU).

use std::future::Future;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// More are of no use: one core scrapes a million samples a second.
pub(crate) const THREADS_MAX: usize = 64;

/// Threads that end with this value.
#[derive(Debug)]
pub(crate) struct Threads {
    handles: Vec<Handle>,
    stop: CancellationToken,
}

impl Threads {
    /// Starts `n` threads, fewer where the system has no more to give. Without any, tasks run where they
    /// are spawned.
    pub(crate) fn start(n: usize) -> Self {
        let stop = CancellationToken::new();
        let mut handles = Vec::new();
        for _ in 0..n.min(THREADS_MAX) {
            match start_one(stop.clone()) {
                Ok(handle) => handles.push(handle),
                Err(err) => {
                    tracing::warn!(%err, threads = handles.len(), "no more threads for scraping");
                    break;
                }
            }
        }
        Threads { handles, stop }
    }

    /// Runs a task on the thread that `key` belongs to.
    pub(crate) fn spawn(&self, key: u64, task: impl Future<Output = ()> + Send + 'static) {
        let at = key.checked_rem(self.handles.len() as u64).unwrap_or(0);
        match self.handles.get(at as usize) {
            Some(handle) => drop(handle.spawn(task)),
            None => drop(tokio::spawn(task)),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn start_one(stop: CancellationToken) -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().thread_name("scrape-large").build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(stop.cancelled());
    std::thread::Builder::new().name("scrape".to_string()).spawn(run)?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_has_its_thread() {
        for (n, name) in [(0, None), (2, Some("scrape"))] {
            let threads = Threads::start(n);
            let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
            for key in [4, 4, 5] {
                let send = send.clone();
                threads.spawn(key, async move {
                    let thread = std::thread::current();
                    let _ = send.send((thread.id(), thread.name().map(str::to_string)));
                });
            }
            let ran =
                [receive.recv().await.unwrap(), receive.recv().await.unwrap(), receive.recv().await.unwrap()];
            let distinct: std::collections::HashSet<_> = ran.iter().map(|r| r.0).collect();
            assert_eq!(distinct.len(), n.max(1));
            if let Some(name) = name {
                assert!(ran.iter().all(|r| r.1.as_deref() == Some(name)));
            }
        }
    }
}
