//! The series table: 256 consecutive numbers a page, one lock a page. A scrape's series were made one
//! behind the other, so a commit takes one lock for a run of them and walks memory in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::floats::{Floats, Run};
use super::image::Asleep;
use super::isolation::Snapshot;
use super::ooo::Late;
use super::open::Blocks;
use super::series::Slot;

pub(super) const PAGE_SERIES: u64 = 256;

/// A page's content. Slots lie in order of their numbers; a bitmap says which numbers are there, so that a
/// page of which few are left is small.
#[derive(Debug, Default)]
pub(crate) struct PageInner {
    pub(super) present: [u64; 4],
    pub(super) slots: Vec<Slot>,
    pub(super) pairs: Vec<u32>,
    /// Bytes of open chunks.
    pub(super) blocks: Blocks,
    /// Commits that someone may not see yet.
    pub(super) recent: Vec<Recent>,
    /// Late samples, by place of the series in the page.
    pub(super) late: BTreeMap<u8, Late>,
    /// What all of this but `present` is still to be made of. [`Page::lock`] does it.
    pub(super) asleep: Option<Box<Asleep>>,
}

/// A commit put samples at this time into these series of the page.
#[derive(Debug)]
pub(super) struct Recent {
    commit: u64,
    t: i64,
    series: [u64; 4],
}

impl Recent {
    fn has(&self, series: u64) -> bool {
        let (word, mask) = bit(series);
        self.series.get(word).is_some_and(|w| w & mask != 0)
    }
    #[inline]
    fn set(&mut self, series: u64) {
        let (word, mask) = bit(series);
        if let Some(w) = self.series.get_mut(word) {
            *w |= mask;
        }
    }
}

pub(super) fn bit(series: u64) -> (usize, u64) {
    let at = series % PAGE_SERIES;
    ((at / 64) as usize, 1 << (at % 64))
}

impl PageInner {
    fn position(&self, series: u64) -> (usize, bool) {
        let (word, mask) = bit(series);
        let before: u32 = self.present.iter().take(word).map(|w| w.count_ones()).sum();
        let here = self.present.get(word).copied().unwrap_or_default();
        ((before + (here & (mask - 1)).count_ones()) as usize, here & mask != 0)
    }

    /// The slot of a series.
    #[inline]
    pub(crate) fn get_mut(&mut self, series: u64) -> Option<&mut Slot> {
        self.get_both(series).map(|(slot, _)| slot)
    }

    /// The slot of a series, and where the bytes of open chunks are.
    #[inline]
    pub(crate) fn get_both(&mut self, series: u64) -> Option<(&mut Slot, &mut Blocks)> {
        let at = match self.slots.len() == PAGE_SERIES as usize {
            true => (series % PAGE_SERIES) as usize,
            false => Some(self.position(series)).filter(|(_, present)| *present)?.0,
        };
        self.slots.get_mut(at).map(|slot| (slot, &mut self.blocks))
    }

    /// The slot of a series.
    pub(crate) fn get(&self, series: u64) -> Option<&Slot> {
        let (at, present) = self.position(series);
        if present { self.slots.get(at) } else { None }
    }

    /// Forgets notes of commits below `low`, which all see. Before a run of [`PageInner::note`].
    pub(crate) fn forget_commits(&mut self, low: u64) {
        if !self.recent.is_empty() {
            self.recent.retain(|r| r.commit >= low);
        }
    }

    /// Notes that a commit put a sample into a series. One or two instructions where the note before was of
    /// the same commit and time, as in a scrape.
    #[inline]
    pub(crate) fn note(&mut self, commit: u64, series: u64, t: i64) {
        match self.recent.last_mut() {
            Some(last) if last.commit == commit && last.t == t => last.set(series),
            _ => self.note_apart(commit, series, t),
        }
    }

    #[cold]
    fn note_apart(&mut self, commit: u64, series: u64, t: i64) {
        // The first sample of a series decides: what follows in the same commit is newer.
        let mut own = self.recent.iter_mut().filter(|r| r.commit == commit);
        if own.any(|r| r.has(series)) {
            return;
        }
        let mut fresh = Recent { commit, t, series: [0; 4] };
        if let Some(at) = self.recent.iter().position(|r| r.commit == commit && r.t == t) {
            fresh = self.recent.swap_remove(at);
        }
        fresh.set(series);
        self.recent.push(fresh);
    }

    #[cfg(test)]
    pub(crate) fn recent_commits(&self) -> usize {
        self.recent.len()
    }

    /// Time from which on a reader must not see a series; `i64::MAX` where it sees all.
    pub(crate) fn hidden_from(&self, series: u64, snapshot: &Snapshot) -> i64 {
        let hidden = self.recent.iter().filter(|r| r.has(series) && !snapshot.sees(r.commit));
        hidden.map(|r| r.t).min().unwrap_or(i64::MAX)
    }

    /// Late samples of a series.
    pub(crate) fn late(&self, series: u64) -> Option<&Late> {
        if self.late.is_empty() { None } else { self.late.get(&((series % PAGE_SERIES) as u8)) }
    }

    /// Late samples of a series that is here, to be added to.
    pub(crate) fn late_mut(&mut self, series: u64) -> Option<&mut Late> {
        self.get(series)?;
        Some(self.late.entry((series % PAGE_SERIES) as u8).or_default())
    }

    /// Series with late samples, ascending, given the page's first.
    pub(crate) fn late_series(&mut self, base: u64) -> impl Iterator<Item = (u64, &mut Late)> {
        self.late.iter_mut().map(move |(at, late)| (base + u64::from(*at), late))
    }

    /// Gives back what series without late samples hold.
    pub(crate) fn forget_empty_late(&mut self) {
        self.late.retain(|_, late| !late.is_empty());
    }

    /// First and last time of a series, late samples included but for chunks up to the place `in_blocks`.
    pub(crate) fn times(&self, series: u64, slot: &Slot, in_blocks: u64) -> Option<(i64, i64)> {
        let own = slot.min_time().zip(slot.max_time());
        let late = self.late(series).and_then(|late| late.range(in_blocks));
        own.into_iter().chain(late).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Label pairs of a slot of this page.
    pub(crate) fn pairs(&self, slot: &Slot) -> &[u32] {
        let from = slot.labels_at as usize;
        self.pairs.get(from..from + usize::from(slot.labels_len)).unwrap_or_default()
    }

    fn insert(&mut self, series: u64, pairs: &[u32]) {
        let (at, present) = self.position(series);
        if present {
            return;
        }
        let (labels_at, labels_len) = (self.pairs.len() as u32, pairs.len() as u16);
        let slot = Slot { labels_at, labels_len, pending: true, ..Slot::default() };
        if self.slots.capacity() == self.slots.len() {
            self.slots
                .reserve_exact((self.slots.len() / 2).max(8).min(PAGE_SERIES as usize - self.slots.len()));
        }
        self.pairs.extend_from_slice(pairs);
        self.slots.insert(at.min(self.slots.len()), slot);
        let (word, mask) = bit(series);
        if let Some(w) = self.present.get_mut(word) {
            *w |= mask;
        }
        if self.slots.len() == PAGE_SERIES as usize {
            self.pairs.shrink_to_fit();
        }
    }

    /// Numbers of the series here, ascending, given the page's first.
    pub(crate) fn numbers(&self, base: u64) -> impl Iterator<Item = u64> + use<> {
        let present = self.present;
        (0..PAGE_SERIES)
            .filter(move |n| {
                let (word, mask) = bit(*n);
                present.get(word).is_some_and(|w| w & mask != 0)
            })
            .map(move |n| base + n)
    }

    fn remove(&mut self, series: u64) {
        let (at, present) = self.position(series);
        if !present || at >= self.slots.len() {
            return;
        }
        self.slots.remove(at).drop_open(&mut self.blocks);
        self.late.remove(&((series % PAGE_SERIES) as u8));
        let (word, mask) = bit(series);
        if let Some(w) = self.present.get_mut(word) {
            *w &= !mask;
        }
    }

    /// Gives back what removed series held.
    fn compact(&mut self) {
        let mut pairs = Vec::new();
        for slot in &mut self.slots {
            let from = slot.labels_at as usize;
            slot.labels_at = pairs.len() as u32;
            pairs.extend_from_slice(
                self.pairs.get(from..from + usize::from(slot.labels_len)).unwrap_or_default(),
            );
        }
        pairs.shrink_to_fit();
        self.pairs = pairs;
        self.slots.shrink_to_fit();
    }

    /// Bytes, for statistics.
    pub(crate) fn memory(&self) -> usize {
        let spare = (self.slots.capacity() - self.slots.len()) * size_of::<Slot>();
        let slots: usize = self.slots.iter().map(Slot::memory).sum();
        let recent = self.recent.capacity() * size_of::<Recent>();
        let asleep = self.asleep.as_ref().map_or(0, |a| a.memory());
        asleep + slots + spare + self.pairs.capacity() * 4 + self.blocks.memory() + recent + size_of::<Self>()
    }
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// First number.
    pub(crate) base: u64,
    inner: Mutex<PageInner>,
}

impl Page {
    /// A page with content.
    pub(super) fn new(base: u64, inner: PageInner) -> Self {
        Page { base, inner: Mutex::new(inner) }
    }
    /// Locks it. A page that a start left asleep wakes.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, PageInner> {
        let mut inner = self.inner.lock();
        if inner.asleep.is_some() {
            self.wake(&mut inner);
        }
        inner
    }

    #[cold]
    fn wake(&self, inner: &mut PageInner) {
        if let Some(asleep) = inner.asleep.take() {
            asleep.wake(self.base, inner);
        }
    }

    /// Leaves floats of the log to a page that sleeps and has all their series; false where it does not.
    pub(super) fn leave(&self, floats: &Floats, run: &Run) -> bool {
        let mut inner = self.inner.lock();
        let known = inner.present.iter().zip(run.series).all(|(there, wanted)| wanted & !there == 0);
        match &mut inner.asleep {
            Some(asleep) if known => {
                asleep.add(floats.part(run));
                true
            }
            _ => false,
        }
    }

    /// Whether it sleeps, and has nothing that goes with samples before `mint`.
    pub(super) fn sleeps_through(&self, mint: i64) -> bool {
        self.inner.lock().asleep.as_ref().is_some_and(|a| a.stays(mint))
    }

    /// Whether a series' number belongs here.
    #[inline]
    pub(crate) fn holds(&self, series: u64) -> bool {
        series / PAGE_SERIES == self.base / PAGE_SERIES
    }
}

/// All pages. By number in a hash table rather than an array: numbers come from a log, and an array would
/// be as long as the highest one says. Looked up once a run of series, not once a sample.
#[derive(Debug, Default)]
pub(crate) struct SeriesTable {
    pages: RwLock<HashMap<u64, Arc<Page>>>,
}

impl FromIterator<Page> for SeriesTable {
    fn from_iter<I: IntoIterator<Item = Page>>(all: I) -> Self {
        let pages = all.into_iter().map(|p| (p.base / PAGE_SERIES, Arc::new(p))).collect();
        SeriesTable { pages: RwLock::new(pages) }
    }
}

impl SeriesTable {
    /// The page of a series, if it has one.
    #[inline]
    pub(crate) fn page(&self, series: u64) -> Option<Arc<Page>> {
        self.pages.read().get(&(series / PAGE_SERIES)).map(Arc::clone)
    }

    /// Makes the slot of a new series.
    pub(crate) fn insert(&self, series: u64, pairs: &[u32]) {
        let page = match self.page(series) {
            Some(page) => page,
            None => {
                let base = series / PAGE_SERIES * PAGE_SERIES;
                let make = || Arc::new(Page { base, inner: Mutex::default() });
                Arc::clone(self.pages.write().entry(series / PAGE_SERIES).or_insert_with(make))
            }
        };
        page.lock().insert(series, pairs);
    }

    /// Calls `f` with a series' page content and slot.
    pub(crate) fn with<T>(&self, series: u64, f: impl FnOnce(&PageInner, &Slot) -> T) -> Option<T> {
        let page = self.page(series)?;
        let inner = page.lock();
        inner.get(series).map(|slot| f(&inner, slot))
    }

    /// Calls `f` with a series' slot, and where the bytes of open chunks are.
    pub(crate) fn with_mut<T>(&self, series: u64, f: impl FnOnce(&mut Slot, &mut Blocks) -> T) -> Option<T> {
        let page = self.page(series)?;
        page.lock().get_both(series).map(|(slot, blocks)| f(slot, blocks))
    }

    /// All pages, in order of numbers.
    pub(crate) fn all(&self) -> Vec<Arc<Page>> {
        let mut all: Vec<Arc<Page>> = self.pages.read().values().map(Arc::clone).collect();
        all.sort_by_key(|p| p.base);
        all
    }

    /// Takes series out, whose numbers are ascending.
    pub(crate) fn remove(&self, series: &[u64]) {
        for run in series.chunk_by(|a, b| a / PAGE_SERIES == b / PAGE_SERIES) {
            let Some(page) = run.first().and_then(|s| self.page(*s)) else { continue };
            let mut inner = page.lock();
            run.iter().for_each(|s| inner.remove(*s));
            inner.compact();
            if inner.slots.is_empty() {
                drop(inner);
                self.pages.write().remove(&(page.base / PAGE_SERIES));
            }
        }
    }
}
