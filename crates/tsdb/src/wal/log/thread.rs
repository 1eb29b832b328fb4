//! The thread that writes what commits queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::Log;

/// Ends the thread when it goes; commits write themselves from then on.
#[derive(Debug)]
pub(crate) struct LogThread {
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.log.threaded.store(false, Ordering::Release);
        self.log.queue.lock().stop = true;
        self.log.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that died has said so itself.
            let _ = thread.join();
        }
    }
}

impl Log {
    /// Starts the thread that writes what commits queue; one at a time. In strict mode there is none: commits
    /// wait for the disk whatever it does.
    ///
    /// # Errors
    /// No thread to be had: commits go on writing themselves.
    pub(crate) fn spawn_writer(self: &Arc<Self>) -> std::io::Result<LogThread> {
        let mut thread = None;
        if !self.rules.strict {
            self.queue.lock().stop = false;
            let log = Arc::clone(self);
            thread = Some(std::thread::Builder::new().name("tsdb-log".into()).spawn(move || log.run())?);
            self.threaded.store(true, Ordering::Release);
        }
        Ok(LogThread { log: Arc::clone(self), thread })
    }

    fn run(&self) {
        loop {
            {
                let mut queue = self.queue.lock();
                // What is held is written by the next sync that finds the disk well.
                while queue.is_empty() || queue.holding {
                    if queue.stop {
                        return;
                    }
                    queue.idle = true;
                    self.work.wait(&mut queue);
                }
            }
            // A failure is told by the log, and the records are held.
            let _ = self.write_queue(&mut self.state.lock());
        }
    }
}
