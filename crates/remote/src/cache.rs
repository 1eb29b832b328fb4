//! From a label set as it stands in a request to the store's reference, so that a steady sender's series
//! cost one hash over their bytes and one look-up, and nothing is decoded.
//!
//! The key is a 128-bit hash with a secret of this process; the bytes themselves are not kept (they would be
//! 10 times the entry). Two of a million series share a hash with a chance of 2^-89. A sender that finds a
//! collision on purpose gains what it has anyway: it may write any series.

use std::cell::Cell;

use hashbrown::HashTable;
use model::KeyHasher;
use storage::SeriesRef;

/// Entries of one generation: 2 x 2^20 entries of 32 bytes, and 5 bytes each for finding them at a load of at
/// least 7/16, are 87 MiB at most, used only when two million series are really sent.
pub(crate) const GENERATION_ENTRIES_MAX: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Entry {
    key: u128,
    /// None where it was removed.
    series: SeriesRef,
}

/// Entries in the order in which they came, and where each is.
#[derive(Default)]
struct Generation {
    entries: Vec<Entry>,
    places: HashTable<u32>,
}

/// Keys are hashes already.
fn hash(key: u128) -> u64 {
    key as u64
}

impl Generation {
    fn key_at(&self, place: u32) -> Option<u128> {
        self.entries.get(place as usize).map(|e| e.key)
    }

    fn place(&self, key: u128) -> Option<u32> {
        self.places.find(hash(key), |p| self.key_at(*p) == Some(key)).copied()
    }

    #[inline]
    fn find(&self, key: u128, near: &Cell<u32>) -> Option<SeriesRef> {
        let next = near.get();
        if let Some(entry) = self.entries.get(next as usize)
            && entry.key == key
            && !entry.series.is_none()
        {
            near.set(next + 1);
            return Some(entry.series);
        }
        let place = self.place(key)?;
        near.set(place + 1);
        self.entries.get(place as usize).map(|e| e.series)
    }

    fn insert(&mut self, key: u128, series: SeriesRef) {
        if let Some(place) = self.place(key) {
            if let Some(entry) = self.entries.get_mut(place as usize) {
                entry.series = series;
            }
            return;
        }
        let place = self.entries.len() as u32;
        self.entries.push(Entry { key, series });
        let Generation { entries, places } = self;
        let hash_at = |p: &u32| entries.get(*p as usize).map_or(0, |e| hash(e.key));
        places.insert_unique(hash(key), place, hash_at);
    }

    fn remove(&mut self, key: u128) {
        let Generation { entries, places } = self;
        let same = |p: &u32| entries.get(*p as usize).is_some_and(|e| e.key == key);
        let Ok(found) = places.find_entry(hash(key), same) else { return };
        let (place, _) = found.remove();
        if let Some(entry) = entries.get_mut(place as usize) {
            entry.series = SeriesRef::NONE;
        }
    }
}

/// The cache. Two generations: when the young one is full, the old one is forgotten and the young one
/// becomes old, so that what is used stays and eviction costs nothing per entry.
pub(crate) struct RefCache {
    young: Generation,
    old: Generation,
    hasher: KeyHasher,
    generation_max: usize,
}

impl RefCache {
    pub(crate) fn new(generation_max: usize) -> Self {
        let generation_max = generation_max.min(GENERATION_ENTRIES_MAX);
        RefCache {
            young: Generation::default(),
            old: Generation::default(),
            hasher: KeyHasher::default(),
            generation_max,
        }
    }

    #[inline]
    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// The series of a key, and whether it is in the young generation; an old one is to be inserted again by
    /// the caller, when it holds the cache alone. `near` is where the caller's last one was: senders repeat
    /// their series in one order, so the next is mostly the one behind it, which is in the processor's cache
    /// already, where a look-up by hash is not (a sixth of a request's cost).
    #[inline]
    pub(crate) fn peek(&self, key: u128, near: &Cell<u32>) -> Option<(SeriesRef, bool)> {
        match self.young.find(key, near) {
            Some(found) => Some((found, true)),
            None => self.old.find(key, &Cell::new(0)).map(|found| (found, false)),
        }
    }

    pub(crate) fn insert(&mut self, key: u128, series: SeriesRef) {
        // Places of removed entries are not used again; they go with their generation.
        if self.young.entries.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(key);
        self.young.insert(key, series);
    }

    pub(crate) fn remove(&mut self, key: u128) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.places.len() + self.old.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let (mut c, near) = (RefCache::new(100), Cell::new(0));
        let keys: Vec<u128> = (0..1000_u64).map(|i| c.hasher().hash(&i.to_le_bytes())).collect();
        for (i, k) in keys.iter().enumerate() {
            c.insert(*k, SeriesRef(i as u64 + 1));
            let (found, fresh) = c.peek(keys[0], &near).expect("used all the time");
            if !fresh {
                c.insert(keys[0], found);
            }
            assert!(c.len() <= 200);
        }
        assert_eq!(c.peek(keys[1], &near), None);
        assert_eq!(c.peek(keys[999], &near), Some((SeriesRef(1000), true)));
        c.remove(keys[999]);
        assert_eq!(c.peek(keys[999], &near), None);
    }

    #[test]
    fn any_order_and_any_hint_give_the_same() {
        let (mut c, near) = (RefCache::new(100), Cell::new(0));
        let keys: Vec<u128> = (0..80_u64).map(|i| c.hasher().hash(&i.to_le_bytes())).collect();
        for (i, k) in keys.iter().enumerate() {
            c.insert(*k, SeriesRef(i as u64 + 1));
        }
        c.remove(keys[7]);
        c.insert(keys[9], SeriesRef(1009));
        let want = |i: usize| match i {
            7 => None,
            9 => Some((SeriesRef(1009), true)),
            _ => Some((SeriesRef(i as u64 + 1), true)),
        };
        for hint in [0, 7, 9, 50, 79, 80, u32::MAX - 1] {
            near.set(hint);
            for step in [1, 79, 13] {
                (0..80).map(|n| n * step % 80).for_each(|i| assert_eq!(c.peek(keys[i], &near), want(i)));
            }
        }
        c.insert(keys[7], SeriesRef(1007));
        assert_eq!((c.peek(keys[7], &near), c.len()), (Some((SeriesRef(1007), true)), 80));
    }
}
