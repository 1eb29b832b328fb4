//! What waits for one shard: the thread that reads the log fills it and waits where it is full, the shard's task
//! takes batches.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::batch::Item;

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    closed: bool,
}

/// One shard's queue.
#[derive(Debug)]
pub(crate) struct ShardQueue {
    state: Mutex<State>,
    /// Wakes the reader.
    room: Condvar,
    /// Wakes the shard.
    full: Notify,
    capacity: usize,
    batch: usize,
}

impl ShardQueue {
    /// A queue of `capacity` items, a batch at least.
    pub(crate) fn new(capacity: usize, batch: usize) -> Self {
        let batch = batch.max(1);
        ShardQueue {
            state: Mutex::default(),
            room: Condvar::new(),
            full: Notify::new(),
            capacity: capacity.max(batch),
            batch,
        }
    }

    /// Takes items from the front of `items` as far as there is room, after waiting up to `patience` for some.
    pub(crate) fn push(&self, items: &mut VecDeque<Item>, patience: Duration) {
        let mut state = self.state.lock();
        if state.items.len() >= self.capacity {
            self.room.wait_for(&mut state, patience);
        }
        let room = self.capacity.saturating_sub(state.items.len()).min(items.len());
        state.items.extend(items.drain(..room));
        if state.items.len() >= self.batch {
            self.full.notify_one();
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.full.notify_one();
    }

    /// The next batch: a whole one, or what is there after `deadline`. False at the end.
    pub(crate) async fn next(&self, batch: &mut Vec<Item>, deadline: Duration) -> bool {
        batch.clear();
        let mut until = Instant::now() + deadline;
        loop {
            {
                let mut state = self.state.lock();
                let due = state.closed || Instant::now() >= until;
                if state.items.len() >= self.batch || (due && !state.items.is_empty()) {
                    let n = self.batch.min(state.items.len());
                    batch.extend(state.items.drain(..n));
                    self.room.notify_one();
                    return true;
                }
                if state.closed {
                    return false;
                }
                if due {
                    until = Instant::now() + deadline;
                }
            }
            tokio::select! {
                () = self.full.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::batch::tests::item;

    fn items(n: usize) -> VecDeque<Item> {
        (0..n).map(|i| item("a", i as i64, 0.0)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn whole_batches_at_once_the_rest_after_the_deadline() {
        let queue = ShardQueue::new(10, 4);
        let mut all = items(13);
        queue.push(&mut all, Duration::ZERO);
        assert_eq!(all.len(), 3);
        let (mut batch, began) = (Vec::new(), Instant::now());
        for _ in 0..2 {
            assert!(queue.next(&mut batch, Duration::from_secs(5)).await);
            assert_eq!((batch.len(), began.elapsed()), (4, Duration::ZERO));
        }
        assert!(queue.next(&mut batch, Duration::from_secs(5)).await);
        assert_eq!((batch.len(), began.elapsed()), (2, Duration::from_secs(5)));
        queue.push(&mut all, Duration::ZERO);
        queue.close();
        assert!(queue.next(&mut batch, Duration::from_secs(5)).await);
        assert_eq!(batch.iter().map(|i| i.t_ms).collect::<Vec<_>>(), [10, 11, 12]);
        assert!(!queue.next(&mut batch, Duration::from_secs(5)).await);
        assert_eq!(began.elapsed(), Duration::from_secs(5));
    }
}
