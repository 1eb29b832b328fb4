//! Who writes and who reads at this moment, so that a query sees each commit whole or not at all
//! (upstream: `tsdb/isolation.go`).
//!
//! Upstream keeps a commit's number beside each of the newest samples of each series. Here a page of 256
//! series notes "commit c put samples at time t into these series", one note for a scrape's whole run of
//! series, kept until nobody is left who must not see it. Since a series' samples ascend, what a reader must
//! not see of it is everything from one time on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Head;
use crate::wal::{Log, Ticket};

/// What a reader sees: commits that were complete when it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Commits from this number on came later.
    before: u64,
    /// Commits that were under way: as many as there were threads at it, and those that the log has not
    /// written yet.
    applying: Vec<u64>,
}

impl Snapshot {
    /// Whether a commit is seen.
    pub(super) fn sees(&self, commit: u64) -> bool {
        commit < self.before && !self.applying.contains(&commit)
    }
}

#[derive(Debug)]
struct Reader {
    /// Oldest time it reads.
    mint: i64,
    /// Commits below this number it sees all.
    sees_below: u64,
}

/// A commit that readers do not see yet.
#[derive(Debug)]
struct Unseen {
    commit: u64,
    /// It is in place, and seen when this is written. Nobody waits for that: it is looked at when a commit or
    /// a reader comes.
    logged: Option<Ticket>,
}

#[derive(Debug, Default)]
struct State {
    next_reader: u64,
    readers: BTreeMap<u64, Reader>,
    next_commit: u64,
    applying: Vec<Unseen>,
}

impl State {
    /// Commits below this number are seen by everyone, those who come included.
    fn low(&self) -> u64 {
        let applying = self.applying.iter().map(|u| u.commit).min();
        let readers = self.readers.values().map(|r| r.sees_below).min();
        applying.into_iter().chain(readers).min().unwrap_or(self.next_commit)
    }

    /// Lets readers see what is in place and written.
    fn let_see(&mut self, log: &Log) {
        if self.applying.iter().any(|u| u.logged.is_some()) {
            let written = log.written_through();
            self.applying.retain(|u| u.logged.as_ref().is_none_or(|t| !t.is_written(written)));
        }
    }
}

/// Commits and readers of one head.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    state: Mutex<State>,
}

/// A commit that is being put in place. Ends with the guard.
pub(super) struct Applying<'a> {
    isolation: &'a Isolation,
    /// Its number.
    pub(super) commit: u64,
    /// Notes of commits below this number may be forgotten.
    pub(super) low: u64,
}

impl Applying<'_> {
    /// All is in place; readers see it from when its records are written.
    pub(super) fn seen_with(self, ticket: Ticket) {
        if let Some(unseen) =
            self.isolation.state.lock().applying.iter_mut().find(|u| u.commit == self.commit)
        {
            unseen.logged = Some(ticket);
        }
    }
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        self.isolation.state.lock().applying.retain(|u| u.commit != self.commit || u.logged.is_some());
    }
}

/// A reader's registration: nothing is taken from under it while this lives.
pub(crate) struct ReaderGuard {
    head: Arc<Head>,
    id: u64,
    snapshot: Snapshot,
}

impl ReaderGuard {
    /// What it sees.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.head.isolation.state.lock().readers.remove(&self.id);
    }
}

impl Isolation {
    /// The state, in which readers see what is written by now. What the disk does not take in time is held in
    /// memory by the log, and seen as well.
    fn settled(&self, log: &Log) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.let_see(log);
        let overdue = state.applying.iter().find_map(|u| u.logged.clone().filter(Ticket::is_overdue));
        if let Some(ticket) = overdue {
            // Not for long: its time is up.
            MutexGuard::unlocked(&mut state, || log.wait(&ticket));
            state.let_see(log);
        }
        state
    }

    /// Begins to put a commit in place.
    pub(super) fn begin(&self, log: &Log) -> Applying<'_> {
        let mut state = self.settled(log);
        let commit = state.next_commit;
        state.next_commit += 1;
        state.applying.push(Unseen { commit, logged: None });
        Applying { isolation: self, commit, low: state.low() }
    }

    /// Numbers of the oldest commit that someone may not see, and of the newest one.
    pub(super) fn watermarks(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.low(), state.next_commit)
    }

    /// Number that the next reader will have: those before are known by it.
    pub(super) fn next_reader(&self) -> u64 {
        self.state.lock().next_reader
    }

    /// Whether a reader with a number below `reader` is left.
    pub(super) fn has_readers_below(&self, reader: u64) -> bool {
        self.state.lock().readers.keys().next().is_some_and(|first| *first < reader)
    }
}

impl Head {
    /// Says that someone reads from `mint` on, and what is complete now.
    pub(crate) fn reader(self: &Arc<Self>, mint: i64) -> ReaderGuard {
        let mut state = self.isolation.settled(&self.log);
        let id = state.next_reader;
        state.next_reader += 1;
        let applying = state.applying.iter().map(|u| u.commit).collect();
        let snapshot = Snapshot { before: state.next_commit, applying };
        let sees_below = snapshot.applying.iter().copied().min().unwrap_or(snapshot.before);
        state.readers.insert(id, Reader { mint, sees_below });
        drop(state);
        ReaderGuard { head: Arc::clone(self), id, snapshot }
    }

    /// Whether someone reads what lies before `mint`.
    pub(crate) fn has_readers_before(&self, mint: i64) -> bool {
        self.isolation.state.lock().readers.values().any(|r| r.mint < mint)
    }
}
