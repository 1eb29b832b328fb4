//! Threads that read the store for people: queries, series, labels, federation, remote reads. They are nicer to the
//! rest of the process: what scrapes, evaluates rules or takes samples runs on other threads, at the usual
//! priority, and gets its core at once whatever is asked.
//!
//! Rejected: one set of threads with a token for each core. Who holds a token while it computes for seconds keeps
//! short queries out, which the system's scheduler does not.

use tokio::runtime::{Builder, Handle, Runtime};

/// Steps of niceness above that of the process. With ten a thread gets a ninth of what one of the usual priority
/// gets, where both want a core; alone it gets all of it.
const NICER: i32 = 10;
/// Least priority that there is.
const NICEST: i32 = 19;

/// The threads.
pub struct Readers(Option<Runtime>);

impl Readers {
    /// Starts none yet: they come with the work and end after ten idle seconds. Where the system refuses a runtime,
    /// the server's own threads do the work.
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().thread_name("reader").on_thread_start(be_nicer).build();
        if let Err(error) = &runtime {
            tracing::warn!(%error, "no threads of their own for queries");
        }
        Readers(runtime.ok())
    }

    /// Where to run work.
    pub fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

/// Does not wait: what still runs is a query that nobody waits for.
impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread; those that it starts inherit it. On Linux priorities belong to threads.
fn be_nicer() {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, now.saturating_add(NICER).min(NICEST));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readers_are_nicer() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let readers = Readers::start();
        let waiting = Builder::new_current_thread().build().unwrap();
        let theirs = waiting.block_on(readers.handle().unwrap().spawn_blocking(move || {
            let helper = std::thread::spawn(nice);
            (nice(), helper.join().unwrap())
        }));
        let want = (before + NICER).min(NICEST);
        assert_eq!(theirs.unwrap(), (want, want));
        assert_eq!(nice(), before);
    }
}
