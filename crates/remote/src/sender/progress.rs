//! Up to where the log is delivered: shards finish records in any order, and only what lies before the oldest
//! one that is still out counts.

use std::collections::VecDeque;

use parking_lot::Mutex;
use storage::LogPosition;

use super::batch::Item;

#[derive(Debug, Default)]
struct State {
    /// Number of the first entry.
    first: u64,
    /// Where each record ends, and how much of it is out. Each has something out but the last, so that there
    /// are never more than there is room for items in the queues.
    out: VecDeque<(LogPosition, u32)>,
    delivered: LogPosition,
}

/// What is out.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

impl Progress {
    /// Begins at a position.
    pub(crate) fn begin(&self, at: LogPosition) {
        self.0.lock().delivered = at;
    }

    /// A record is read that ends here; `items` of it go out. Gives its number, which items carry.
    pub(crate) fn read(&self, end: LogPosition, items: u32) -> u64 {
        let mut state = self.0.lock();
        if items > 0 {
            state.out.push_back((end, items));
        } else if let Some(last) = state.out.back_mut() {
            // Nothing of it goes out: it is delivered when the one before is.
            last.0 = end;
        } else {
            state.delivered = end;
        }
        state.first + state.out.len().saturating_sub(1) as u64
    }

    /// These items are stored, or given up for good.
    pub(crate) fn done(&self, items: &[Item]) {
        let mut state = self.0.lock();
        for run in items.chunk_by(|a, b| a.record == b.record) {
            let Some(first) = run.first() else { continue };
            let at = first.record.checked_sub(state.first).and_then(|at| usize::try_from(at).ok());
            if let Some(entry) = at.and_then(|at| state.out.get_mut(at)) {
                entry.1 = entry.1.saturating_sub(run.len() as u32);
            }
        }
        while let Some((end, 0)) = state.out.front().copied() {
            state.delivered = end;
            state.out.pop_front();
            state.first += 1;
        }
    }

    /// The number that the next record with items gets.
    pub(crate) fn next(&self) -> u64 {
        let state = self.0.lock();
        state.first + state.out.len() as u64
    }

    /// All before it is delivered.
    pub(crate) fn delivered(&self) -> LogPosition {
        self.0.lock().delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::batch::tests::item;
    use proptest::prelude::*;

    fn at(offset: u64) -> LogPosition {
        LogPosition { offset, ..LogPosition::default() }
    }

    proptest! {
        #[test]
        fn nothing_undelivered_lies_before_the_position(
            records in proptest::collection::vec(0_u32..4, 1..40),
            order in proptest::collection::vec(any::<u32>(), 160),
        ) {
            let progress = Progress::default();
            progress.begin(at(0));
            let mut out: Vec<(u64, Item)> = Vec::new();
            for (n, items) in records.iter().enumerate() {
                let end = n as u64 + 1;
                let record = progress.read(at(end), *items);
                out.extend((0..*items).map(|_| (end, Item { record, ..item("a", 1, 1.0) })));
            }
            let mut picks = order.iter();
            loop {
                let first_out = out.iter().map(|(end, _)| *end).min();
                let delivered = progress.delivered().offset;
                match first_out {
                    // Exact: up to the record before the first that is out.
                    Some(first) => prop_assert_eq!(delivered, first - 1),
                    None => {
                        prop_assert_eq!(delivered, records.len() as u64);
                        break;
                    }
                }
                let pick = *picks.next().unwrap_or(&0) as usize % out.len();
                let (_, item) = out.swap_remove(pick);
                progress.done(&[item]);
            }
        }
    }
}
