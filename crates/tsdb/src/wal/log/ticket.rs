//! Waiting for a commit's records to be written: on a thread, as a future, or by looking now and then.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::queue::Queue;
use super::{Log, PATIENCE};

/// A commit whose records are on their way.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Ticket {
    commit: u64,
    since: Instant,
}

impl Ticket {
    pub(super) fn of(commit: u64) -> Self {
        Ticket { commit, since: Instant::now() }
    }

    /// Whether its records are written, by what [`Log::written_through`] gave.
    pub(crate) fn is_written(&self, through: u64) -> bool {
        self.commit <= through
    }

    /// Whether the log has had its time: [`Log::wait`] will not wait any more.
    pub(crate) fn is_overdue(&self) -> bool {
        self.since.elapsed() >= PATIENCE
    }
}

/// A commit on its way, for who tells the sender when it is written.
#[derive(Debug)]
pub(crate) struct OnItsWay {
    log: Arc<Log>,
    ticket: Ticket,
}

impl OnItsWay {
    pub(crate) fn new(log: Arc<Log>, ticket: Ticket) -> Self {
        OnItsWay { log, ticket }
    }
}

impl Future for OnItsWay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.log.queue.lock();
        if queue.is_settled(self.ticket.commit) {
            return Poll::Ready(());
        }
        queue.wake_with(self.ticket.commit, context.waker());
        Poll::Pending
    }
}

impl storage::Logged for OnItsWay {
    fn wait(&self) {
        self.log.wait(&self.ticket);
    }
}

impl Log {
    /// Number up to which commits are with the system; above all numbers where the disk does not take them
    /// and they are held.
    pub(crate) fn written_through(&self) -> u64 {
        self.queue.lock().settled_through()
    }

    /// Waits until a commit's records are with the system, or are held.
    pub(crate) fn wait(&self, ticket: &Ticket) {
        let mut queue = self.queue.lock();
        let until = ticket.since + PATIENCE;
        while !queue.is_settled(ticket.commit) {
            if self.done.wait_until(&mut queue, until).timed_out() {
                drop(queue);
                return match self.state.try_lock() {
                    // Nobody is at it: the thread that writes gets no processor, and the disk is well.
                    Some(mut state) => drop(self.write_queue(&mut state)),
                    None => {
                        let mut queue = self.queue.lock();
                        if !queue.is_settled(ticket.commit) {
                            self.hangs(&mut queue);
                        }
                    }
                };
            }
        }
    }

    /// Tells who waits what is written, or that nobody is to wait.
    pub(super) fn tell(&self, queue: &mut Queue) {
        self.done.notify_all();
        queue.wake();
    }
}
