//! The memory of a page: which lines it had, in page order, in flat arrays.
//!
//! A line is remembered by length and 128-bit hash of its key, not by its text: the text of a series is
//! 100 to 200 bytes, and all targets' texts together were the largest part of a server's memory and out of
//! every cache when the next scrape came. Two keys of one page are taken for the same with a probability of
//! n²/2^129, which for a target of a million lines is 10^-27; nobody can aim at it.
//!
//! A page that looks like the last one is walked through sequential memory. The hash table holds only entry
//! numbers and is asked where a line is not the expected one.

use hashbrown::HashTable;
use model::{KeyHasher, MetricType};
use storage::SeriesRef;

/// Index of an entry. The highest bit is free for callers.
pub(super) type EntryId = u32;
/// Most entries of one target: what 31 bits can number; at 100 bytes a line that is a 200 GB page.
const ENTRIES_MAX: usize = 1 << 31;
/// The byte that follows a series in a usual line.
const BEHIND: u8 = b' ';

/// Hash of a key, in halves: a 16-byte alignment would make an entry larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash(u64, u64);

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EntryKind {
    /// A series of floats.
    Float,
    /// A series whose last sample was an integer histogram.
    IntHistogram,
    /// A series whose last sample was a float histogram.
    FloatHistogram,
    /// A line that relabeling drops.
    Dropped,
    /// Consecutive metadata lines.
    Block,
    /// Forgotten; waits for the next rebuild.
    Dead,
}

/// Syntax of a key, to read labels out of it once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum KeyFormat {
    Text,
    OpenMetrics,
    Protobuf,
    Other,
}

/// One known line. 48 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    hash: KeyHash,
    key_bytes: u32,
    /// The store's reference; for blocks, range of family ids: start in the upper half, number below.
    pub(super) series: SeriesRef,
    /// Scrape in which the line was last read.
    pub(super) seen: u32,
    /// Scrape in which a sample was last accepted that counts for staleness.
    pub(super) tracked: u32,
    /// Place in the order of the last page.
    place: u32,
    pub(super) kind: EntryKind,
    pub(super) key_format: KeyFormat,
    /// TYPE in force behind this line.
    pub(super) metric_type: MetricType,
}

/// Entries and their order.
#[derive(Debug)]
pub(super) struct Page {
    entries: Vec<Entry>,
    table: HashTable<EntryId>,
    hasher: KeyHasher,
    order: Vec<EntryId>,
    /// Order of the page being read, from the first difference on; before that, it equals `order`.
    next_order: Vec<EntryId>,
    diverged: bool,
    cursor: usize,
    /// Family ids of blocks.
    block_families: Vec<u32>,
    dead: usize,
    loose: bool,
}

impl Default for Page {
    fn default() -> Self {
        Page {
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: KeyHasher::default(),
            order: Vec::new(),
            next_order: Vec::new(),
            diverged: false,
            cursor: 0,
            block_families: Vec::new(),
            dead: 0,
            loose: false,
        }
    }
}

#[inline]
fn hash_of(key: &[u8], hasher: KeyHasher) -> KeyHash {
    let hash = hasher.hash(key);
    KeyHash(hash as u64, (hash >> 64) as u64)
}

impl Entry {
    #[inline]
    fn is(&self, key: &[u8], hash: KeyHash) -> bool {
        self.hash == hash && self.key_bytes as usize == key.len()
    }
}

impl Page {
    /// Live entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.dead
    }

    /// Begins a page.
    pub(super) fn begin(&mut self) {
        // The page before was not read to its end: lines may be known that no order has.
        self.loose |= self.diverged;
        self.cursor = 0;
        self.diverged = false;
        self.next_order.clear();
    }

    #[inline]
    pub(super) fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id as usize)
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries.iter().enumerate().map(|(i, e)| (i as EntryId, e))
    }

    /// The expected entry, if `rest` begins with its line; gives the bytes up to the value (for a series) or
    /// behind the block. Goes one on where it does.
    #[inline]
    pub(super) fn expected(&mut self, rest: &[u8]) -> Option<(EntryId, &mut Entry, usize)> {
        let id = *self.order.get(self.cursor)?;
        let entry = self.entries.get_mut(id as usize)?;
        let bytes = entry.key_bytes as usize;
        let is_series = entry.kind != EntryKind::Block;
        if is_series && rest.get(bytes) != Some(&BEHIND) {
            return None;
        }
        if hash_of(rest.get(..bytes)?, self.hasher) != entry.hash {
            return None;
        }
        let bytes = bytes + usize::from(is_series);
        Some((id, entry, bytes))
    }

    /// Confirms that the expected entry was read.
    #[inline]
    pub(super) fn advance(&mut self, id: EntryId) {
        self.cursor += 1;
        if self.diverged {
            self.next_order.push(id);
        }
    }

    /// Looks a key up: the expected line first, then the hash table. Found, the walk goes on behind it.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<EntryId> {
        let hash = hash_of(key, self.hasher);
        let entries = &self.entries;
        let same = |id: EntryId| entries.get(id as usize).is_some_and(|e| e.is(key, hash));
        if let Some(id) = self.order.get(self.cursor).copied()
            && same(id)
        {
            self.advance(id);
            return Some(id);
        }
        let id = *self.table.find(hash.0, |id| same(*id))?;
        self.diverge();
        self.next_order.push(id);
        // Where the line was on the last page, its neighbours are expected next. A line that is new since
        // has no place there.
        let place = self.entries.get(id as usize).map_or(usize::MAX, |e| e.place as usize);
        if self.order.get(place) == Some(&id) {
            self.cursor = place + 1;
        }
        Some(id)
    }

    fn diverge(&mut self) {
        if !self.diverged {
            self.diverged = true;
            self.next_order.clear();
            self.next_order.extend_from_slice(self.order.get(..self.cursor).unwrap_or_default());
        }
    }

    /// Adds a line that [`Page::find`] did not know. `None` where the page is too large to be remembered.
    pub(super) fn insert(&mut self, key: &[u8], entry: NewEntry, iteration: u32) -> Option<EntryId> {
        let key_bytes = u32::try_from(key.len()).ok()?;
        if self.entries.len() >= ENTRIES_MAX {
            return None;
        }
        let id = self.entries.len() as EntryId;
        self.entries.push(Entry {
            hash: hash_of(key, self.hasher),
            key_bytes,
            series: entry.series,
            seen: iteration,
            tracked: iteration.wrapping_sub(2),
            place: u32::MAX,
            kind: entry.kind,
            key_format: entry.key_format,
            metric_type: entry.metric_type,
        });
        self.link(id);
        self.diverge();
        self.next_order.push(id);
        Some(id)
    }

    fn link(&mut self, id: EntryId) {
        let entries = &self.entries;
        let hash_of = |id: &EntryId| entries.get(*id as usize).map_or(0, |e| e.hash.0);
        self.table.insert_unique(hash_of(&id), id, hash_of);
    }

    /// Remembers which families a block names; the result goes into its entry's `series`.
    pub(super) fn block_families(&mut self, ids: &[u32]) -> SeriesRef {
        let start = self.block_families.len() as u64;
        self.block_families.extend_from_slice(ids);
        SeriesRef(start << 32 | ids.len() as u64)
    }

    /// Families of a block.
    pub(super) fn families_of(&self, series: SeriesRef) -> &[u32] {
        let (start, count) = ((series.0 >> 32) as usize, (series.0 & 0xffff_ffff) as usize);
        self.block_families.get(start..start + count).unwrap_or_default()
    }

    /// Ends a page that was read to its end: its order is the one to expect next, and lines that it did not
    /// have are forgotten. Duplicates of a line stay in the order, to be met again.
    pub(super) fn finish(&mut self, iteration: u32) {
        let unchanged = !self.diverged && self.cursor == self.order.len() && !self.loose;
        if unchanged {
            return;
        }
        if self.diverged {
            std::mem::swap(&mut self.order, &mut self.next_order);
            self.next_order.clear();
            self.diverged = false;
            self.number_places();
        } else {
            // Lines missing at the page's end.
            self.order.truncate(self.cursor);
        }
        self.evict(iteration, false);
    }

    fn number_places(&mut self) {
        for (place, id) in self.order.iter().enumerate() {
            if let Some(entry) = self.entries.get_mut(*id as usize) {
                entry.place = place as u32;
            }
        }
    }

    /// Forgets the lines that were not read in this scrape. `anywhere` says that the order may hold such
    /// lines.
    pub(super) fn evict(&mut self, iteration: u32, anywhere: bool) {
        for id in 0..self.entries.len() {
            let Some(entry) = self.entries.get(id) else { break };
            if entry.seen == iteration || entry.kind == EntryKind::Dead {
                continue;
            }
            if let Ok(slot) = self.table.find_entry(entry.hash.0, |other| *other as usize == id) {
                slot.remove();
            }
            if let Some(entry) = self.entries.get_mut(id) {
                entry.kind = EntryKind::Dead;
            }
            self.dead += 1;
        }
        self.loose = false;
        // A rebuild costs as much as a hash look-up of each line; at an eighth dead it is paid for.
        if anywhere || self.dead > 64 + self.entries.len() / 8 {
            self.rebuild();
        }
        self.shrink();
    }

    /// Gives back what growing by doubling reserved: up to half of all.
    fn shrink(&mut self) {
        fn tight<T>(v: &mut Vec<T>) {
            if v.capacity() > v.len() + v.len() / 8 {
                v.shrink_to_fit();
            }
        }
        tight(&mut self.entries);
        tight(&mut self.order);
        tight(&mut self.next_order);
        tight(&mut self.block_families);
        let entries = &self.entries;
        self.table.shrink_to_fit(|id| entries.get(*id as usize).map_or(0, |e| e.hash.0));
    }

    /// Lays entries out in page order, without the dead.
    fn rebuild(&mut self) {
        const MOVED: u32 = u32::MAX;
        let mut new_ids = vec![MOVED; self.entries.len()];
        let mut entries = Vec::with_capacity(self.entries.len() - self.dead);
        let mut block_families = Vec::with_capacity(self.block_families.len());
        let in_order = self.order.iter().copied();
        for id in in_order.chain(0..self.entries.len() as EntryId) {
            let (Some(slot), Some(old)) = (new_ids.get_mut(id as usize), self.entries.get(id as usize))
            else {
                continue;
            };
            if *slot != MOVED || old.kind == EntryKind::Dead {
                continue;
            }
            *slot = entries.len() as u32;
            let mut entry = *old;
            if entry.kind == EntryKind::Block {
                let start = block_families.len() as u64;
                let ids = self.families_of(entry.series);
                block_families.extend_from_slice(ids);
                entry.series = SeriesRef(start << 32 | ids.len() as u64);
            }
            entries.push(entry);
        }
        self.order.retain_mut(|id| match new_ids.get(*id as usize) {
            Some(new) if *new != MOVED => {
                *id = *new;
                true
            }
            _ => false,
        });
        (self.entries, self.block_families, self.dead) = (entries, block_families, 0);
        self.table.clear();
        for id in 0..self.entries.len() as EntryId {
            self.link(id);
        }
        self.number_places();
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + (self.order.capacity() + self.next_order.capacity() + self.block_families.capacity()) * 4
            + self.table.allocation_size()
    }
}

/// What is known of a line when it is first met.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry {
    pub(super) series: SeriesRef,
    pub(super) kind: EntryKind,
    pub(super) key_format: KeyFormat,
    pub(super) metric_type: MetricType,
}
