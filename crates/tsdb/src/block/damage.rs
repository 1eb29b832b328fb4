//! Damage found in an open block: kept beside it, so that it is named once, skipped afterwards, and mended by
//! the next upkeep.

use parking_lot::Mutex;
use storage::StorageError;

/// Places that are remembered; the rest is counted.
const PLACES_MAX: usize = 20;

/// What is known to be damaged in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDamage {
    /// Chunks and series entries.
    pub count: u64,
    /// Oldest time that may be missing.
    pub mint_ms: i64,
    /// Newest time that may be missing.
    pub maxt_ms: i64,
    /// The first ones in words: file, offset, what is wrong.
    pub places: Vec<String>,
}

/// The record of one block.
#[derive(Debug, Default)]
pub(super) struct DamageRecord(Mutex<BlockDamage>);

impl DamageRecord {
    /// Takes note. False for the first damage of this block: whoever met it should fail, so that nobody
    /// takes an answer with a hole for a whole one; later answers say so in a warning.
    pub(super) fn note(&self, mint_ms: i64, maxt_ms: i64, error: &StorageError) -> bool {
        let mut damage = self.0.lock();
        let known = damage.count > 0;
        let text = error.to_string();
        if damage.places.contains(&text) {
            return known;
        }
        damage.count += 1;
        if known {
            damage.mint_ms = damage.mint_ms.min(mint_ms);
            damage.maxt_ms = damage.maxt_ms.max(maxt_ms);
        } else {
            (damage.mint_ms, damage.maxt_ms) = (mint_ms, maxt_ms);
        }
        if damage.places.len() < PLACES_MAX {
            tracing::error!(mint_ms, maxt_ms, error = %text, "damage in a block; the rest of it is used");
            damage.places.push(text);
        }
        known
    }

    pub(super) fn get(&self) -> Option<BlockDamage> {
        let damage = self.0.lock();
        (damage.count > 0).then(|| damage.clone())
    }
}
