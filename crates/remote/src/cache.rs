//! From a label set as it stands in a request to the store's reference, so that a steady sender's series
//! cost one hash over their bytes and one look-up, and nothing is decoded.
//!
//! The key is a 128-bit hash with a seed of this process; the bytes themselves are not kept (they would be
//! 10 times the entry). Two of a million series share a hash with a chance of 2^-89. A sender that finds a
//! collision on purpose gains what it has anyway: it may write any series.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use storage::SeriesRef;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Entries of one generation: 2 x 2^20 entries of 32 bytes and a load of at most 7/8 are 75 MiB at most,
/// used only when two million series are really sent.
pub(crate) const GENERATION_ENTRIES_MAX: usize = 1 << 20;

/// Passes a hash through: keys are hashes already.
#[derive(Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Only u128 keys are hashed; this is for completeness.
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }
    fn write_u128(&mut self, v: u128) {
        self.0 = v as u64;
    }
}

type Map = HashMap<u128, SeriesRef, BuildHasherDefault<PassThrough>>;

/// The cache. Two generations: when the young one is full, the old one is forgotten and the young one
/// becomes old, so that what is used stays and eviction costs nothing per entry.
pub(crate) struct RefCache {
    young: Map,
    old: Map,
    seed: u64,
    generation_max: usize,
}

impl RefCache {
    pub(crate) fn new(generation_max: usize) -> Self {
        use std::hash::BuildHasher;
        // The standard library's keys are the only source of randomness needed here.
        let seed = std::collections::hash_map::RandomState::new().hash_one(0_u64);
        RefCache { young: Map::default(), old: Map::default(), seed, generation_max }
    }

    #[inline]
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The series of a key, and whether it is in the young generation; an old one is to be inserted again by
    /// the caller, when it holds the cache alone.
    #[inline]
    pub(crate) fn peek(&self, key: u128) -> Option<(SeriesRef, bool)> {
        match self.young.get(&key) {
            Some(found) => Some((*found, true)),
            None => self.old.get(&key).map(|found| (*found, false)),
        }
    }

    pub(crate) fn insert(&mut self, key: u128, series: SeriesRef) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, series);
    }

    pub(crate) fn remove(&mut self, key: u128) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// Key of a run of bytes.
#[inline]
pub(crate) fn key(bytes: &[u8], seed: u64) -> u128 {
    xxh3_128_with_seed(bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let mut c = RefCache::new(100);
        let keys: Vec<u128> = (0..1000_u64).map(|i| key(&i.to_le_bytes(), c.seed())).collect();
        for (i, k) in keys.iter().enumerate() {
            c.insert(*k, SeriesRef(i as u64 + 1));
            let (found, fresh) = c.peek(keys[0]).expect("used all the time");
            if !fresh {
                c.insert(keys[0], found);
            }
            assert!(c.len() <= 200);
        }
        assert_eq!(c.peek(keys[1]), None);
        assert_eq!(c.peek(keys[999]), Some((SeriesRef(1000), true)));
        c.remove(keys[999]);
        assert_eq!(c.peek(keys[999]), None);
    }
}
