//! What commits hand to the log, and copies of what is written and not synced yet.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Copies of what is written and not synced. A second of a million samples is 3 MB; this is a disk that
/// hangs for 20 seconds at that rate. What is beyond is in the file, but lost where its fsync fails.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// How a record's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As encoded; compressed when it is written.
    Plain,
    /// To be stored as they are, with this flag.
    Stored(u8),
}

/// A record on its way to the disk.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) data: Box<[u8]>,
    pub(super) form: Form,
    /// Must not be dropped for want of memory: later samples need it.
    pub(super) keep: bool,
    /// Number of its commit.
    pub(super) commit: u64,
}

/// Records of a commit: that of its new series, where it has some, and those that the caller compressed.
pub(super) fn records<'a>(
    commit: u64,
    series: Vec<u8>,
    compressed: impl Iterator<Item = (&'a [u8], u8)>,
) -> impl Iterator<Item = Record> {
    let series = Some(series).filter(|s| !s.is_empty());
    let series = series.map(|s| Record { data: s.into(), form: Form::Plain, keep: true, commit });
    let stored = move |(data, flag): (&[u8], u8)| Record {
        data: data.into(),
        form: Form::Stored(flag),
        keep: false,
        commit,
    };
    series.into_iter().chain(compressed.map(stored))
}

/// Records that the disk has not taken, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    pub(super) bytes: u64,
    /// Commits that came.
    pub(super) commits: u64,
    /// All commits up to this one are with the system.
    pub(super) written: u64,
    /// The disk refuses or hangs: nobody waits for it.
    pub(super) holding: bool,
    /// Dropped for want of budget since the trouble began.
    pub(super) dropped: u64,
    /// The thread that writes waits for work.
    pub(super) idle: bool,
    /// The thread that writes is to end.
    pub(super) stop: bool,
    /// Tasks that wait for commits, at most one a commit.
    wakers: Vec<(u64, Waker)>,
    /// When the first commit came that no sync covers, and the first of those that the sync under way (or
    /// the next one, where it failed) covers.
    pub(super) waiting_since: Option<Instant>,
    pub(super) syncing_since: Option<Instant>,
}

impl Queue {
    /// A sync begins: it covers all that came.
    pub(super) fn sync_begins(&mut self) {
        let waiting = self.waiting_since.take();
        self.syncing_since = self.syncing_since.or(waiting);
    }

    /// How long the oldest commit has waited for its sync.
    pub(super) fn behind(&self) -> Duration {
        self.syncing_since.or(self.waiting_since).map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.data.len() as u64;
        self.records.push_back(record);
    }

    /// Puts records before all others.
    pub(super) fn push_front(&mut self, records: impl DoubleEndedIterator<Item = Record>) {
        for record in records.rev() {
            self.bytes += record.data.len() as u64;
            self.records.push_front(record);
        }
    }

    /// Commits up to this one are written or held.
    pub(super) fn settled_through(&self) -> u64 {
        if self.holding { u64::MAX } else { self.written }
    }

    pub(super) fn is_settled(&self, commit: u64) -> bool {
        commit <= self.settled_through()
    }

    /// Wakes a task when a commit is settled.
    pub(super) fn wake_with(&mut self, commit: u64, waker: &Waker) {
        match self.wakers.iter_mut().find(|(of, _)| *of == commit) {
            Some((_, kept)) => kept.clone_from(waker),
            None => self.wakers.push((commit, waker.clone())),
        }
    }

    /// Wakes the tasks whose commits are settled.
    pub(super) fn wake(&mut self) {
        let through = self.settled_through();
        self.wakers.extract_if(.., |(commit, _)| *commit <= through).for_each(|(_, waker)| waker.wake());
    }

    /// The oldest records, at most `n`.
    pub(super) fn take(&mut self, n: usize, out: &mut Vec<Record>) {
        out.extend(self.records.drain(..n.min(self.records.len())));
        self.bytes -= out.iter().map(|r| r.data.len() as u64).sum::<u64>();
    }

    /// Takes note that all is written but for what is here.
    pub(super) fn note_written(&mut self) {
        self.written = self.records.front().map_or(self.commits, |r| r.commit.saturating_sub(1));
    }

    /// Drops the records of commits up to this one.
    pub(super) fn forget(&mut self, upto: u64) {
        self.records.retain(|r| r.commit > upto);
        self.bytes = self.records.iter().map(|r| r.data.len() as u64).sum();
    }

    /// Lets the oldest go that may go, until `budget` is kept. Gives how many.
    pub(super) fn shrink(&mut self, budget: u64) -> u64 {
        if self.bytes <= budget {
            return 0;
        }
        let before = self.records.len();
        // A quarter more than needed, so that the walk is not repeated with each commit.
        let goal = budget - budget / 4;
        let mut bytes = self.bytes;
        self.records.retain(|r| {
            let keep = r.keep || bytes <= goal;
            if !keep {
                bytes -= r.data.len() as u64;
            }
            keep
        });
        self.bytes = bytes;
        let gone = (before - self.records.len()) as u64;
        self.dropped += gone;
        gone
    }
}

/// Copies of records that are written and not synced.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    pub(super) records: Vec<Record>,
    bytes: u64,
    /// Bytes that were left out as there was no room here.
    pub(super) left_out: u64,
}

impl Unsynced {
    pub(super) fn push(&mut self, record: Record) {
        let size = record.data.len() as u64;
        if self.bytes + size > UNSYNCED_BYTES_MAX {
            self.left_out += size;
            return;
        }
        self.bytes += size;
        self.records.push(record);
    }

    /// Drops copies of the records of commits up to this one.
    pub(super) fn forget(&mut self, upto: u64) {
        self.records.retain(|r| r.commit > upto);
        self.bytes = self.records.iter().map(|r| r.data.len() as u64).sum();
    }

    /// Puts records back before those that came since.
    pub(super) fn restore(&mut self, mut before: Unsynced) {
        if before.records.is_empty() && before.left_out == 0 {
            return;
        }
        before.left_out += self.left_out;
        self.records.drain(..).for_each(|r| before.push(r));
        *self = before;
    }
}
