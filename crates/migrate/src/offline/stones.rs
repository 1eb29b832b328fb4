//! What a log says is deleted, known before its samples are read: so they are left out, and nothing is deleted in the
//! destination, which may have samples of its own in the same series. A living source's log has no end to look at.

use hashbrown::HashMap;
use tsdb::wal::record::Record;

use crate::error::MigrateError;
use crate::follow::Follower;

/// A deleted range, and which of the log's records of deletions has it.
#[derive(Clone, Copy, Debug)]
struct Stone {
    nth: u64,
    mint_ms: i64,
    maxt_ms: i64,
}

/// Deleted ranges by the log's number of the series: 32 bytes each, of which the log itself has more.
#[derive(Debug, Default)]
pub(crate) struct Stones {
    all: HashMap<u64, Vec<Stone>>,
    /// Records of deletions that were passed.
    passed: u64,
}

impl Stones {
    /// Reads a log that is not written any more, from where its samples will be read.
    pub(crate) fn read(mut log: Follower) -> Result<Self, MigrateError> {
        let (mut stones, mut nth) = (Stones::default(), 0);
        while let Some(record) = log.next_record()? {
            let Record::Tombstones(all) = record else { continue };
            for s in all {
                let stone = Stone { nth, mint_ms: s.mint_ms, maxt_ms: s.maxt_ms };
                stones.all.entry(s.series).or_default().push(stone);
            }
            nth += 1;
        }
        Ok(stones)
    }

    /// The next record of deletions is here: what comes behind it is not deleted by it.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// Whether a sample is deleted by what comes later.
    pub(crate) fn covers(&self, series: u64, t_ms: i64) -> bool {
        // No look-up for a log without deletions, as most are.
        !self.all.is_empty()
            && self.all.get(&series).is_some_and(|stones| {
                stones.iter().any(|s| s.nth >= self.passed && t_ms >= s.mint_ms && t_ms <= s.maxt_ms)
            })
    }
}
