//! Whether memory has room for a new target. Targets that run are never ended for it: it is the new ones that
//! wait, as new series do in the store, and the pool that has them says so (`waiting`).
//!
//! Memory is measured, not estimated, as a target's cost is its page's. A target that was started and not scraped
//! yet has not taken its part so far: it counts with [`TARGET_BYTES`] until then, so that a flood is taken in step
//! by step, and not at once before the first look shows anything of it.
//!
//! Rejected: one mark for everybody. A server whose series fill memory would start without its targets, and a job
//! of three targets would wait behind a job of a hundred thousand. So each pool has an even share of a part of the
//! memory for which nothing is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::{MemoryProbe, MemoryUse};

/// What a target takes that brings nothing: 2 KiB are its labels and its task, 4 KiB the five series about itself,
/// the rest its connection and log records on their way.
const TARGET_BYTES: u64 = 8 << 10;
/// Share of the budget, in percent, from which on targets wait: five below that of new series, so that a flood of
/// targets leaves others room for theirs.
const MARK_PERCENT: u64 = 80;
/// Part of the budget that is shared out evenly between pools: an eighth, at 512 MiB 6,500 targets.
const SHARED_PART: u64 = 8;
/// Targets for which one look at the memory is enough: together half a megabyte.
const LOOK_EVERY: u32 = 64;
/// And it is not older than this.
const LOOK_AGE_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Looked {
    at: Instant,
    memory: MemoryUse,
    /// Questions that may be answered without another look.
    left: u32,
}

/// Memory for targets.
#[derive(Debug)]
pub(crate) struct Room {
    probe: Option<MemoryProbe>,
    pools: AtomicU64,
    unscraped: AtomicU64,
    looked: Mutex<Looked>,
}

/// The part of a target that was not scraped yet.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.unscraped.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pool counts for the even shares while this lives.
#[derive(Debug)]
pub(crate) struct PoolCounted(Arc<Room>);

impl Drop for PoolCounted {
    fn drop(&mut self) {
        self.0.pools.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    pub(crate) fn new(probe: Option<MemoryProbe>) -> Arc<Self> {
        Arc::new(Room {
            probe,
            pools: AtomicU64::new(0),
            unscraped: AtomicU64::new(0),
            looked: Mutex::new(Looked { at: Instant::now(), memory: MemoryUse::default(), left: 0 }),
        })
    }

    pub(crate) fn count_pool(self: &Arc<Self>) -> PoolCounted {
        self.pools.fetch_add(1, Ordering::Relaxed);
        PoolCounted(Arc::clone(self))
    }

    /// A place for a target of a pool that has so many, or why there is none, in words for who runs the server.
    pub(crate) fn place(self: &Arc<Self>, of_pool: usize) -> Result<Place, String> {
        let Some(memory) = self.look() else { return Ok(self.place_of_another()) };
        let MemoryUse { used_bytes, budget_bytes } = memory;
        let pools = self.pools.load(Ordering::Relaxed).max(1);
        // At least one each: what jobs themselves take is more.
        let share = (budget_bytes / SHARED_PART / TARGET_BYTES / pools).max(1);
        let mark = budget_bytes / 100 * MARK_PERCENT;
        let soon = self.unscraped.load(Ordering::Relaxed).saturating_add(1).saturating_mul(TARGET_BYTES);
        if (of_pool as u64) < share || used_bytes.saturating_add(soon) <= mark {
            return Ok(self.place_of_another());
        }
        Err(format!(
            "not scraped for lack of memory: {} MiB are used, and targets just started will take {} MiB, of {} MiB \
             from which on no more are started ({MARK_PERCENT} % of the budget of {} MiB). It starts by itself \
             when there is room. Give the server more memory, or drop targets with relabel_configs",
            used_bytes >> 20,
            (soon - TARGET_BYTES) >> 20,
            mark >> 20,
            budget_bytes >> 20,
        ))
    }

    /// A place that another target of the pool leaves: pods that replace pods wait for nothing.
    pub(crate) fn place_of_another(self: &Arc<Self>) -> Place {
        self.unscraped.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    fn look(&self) -> Option<MemoryUse> {
        let probe = self.probe.as_ref()?;
        let mut looked = self.looked.lock();
        if looked.left == 0 || looked.at.elapsed() > LOOK_AGE_MAX {
            *looked = Looked { at: Instant::now(), memory: (probe.0)(), left: LOOK_EVERY };
        }
        looked.left -= 1;
        Some(looked.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_wait_at_the_mark_and_a_small_pool_does_not() {
        let used = Arc::new(AtomicU64::new(0));
        let probe = {
            let used = Arc::clone(&used);
            MemoryProbe(Arc::new(move || MemoryUse {
                used_bytes: used.load(Ordering::Relaxed),
                budget_bytes: 100 << 20,
            }))
        };
        let room = Room::new(Some(probe));
        let pools = [room.count_pool(), room.count_pool()];
        // Not scraped yet, they count: 80 MiB at 8 KiB.
        let take = || {
            let mut places = Vec::new();
            let why = loop {
                match room.place(10_000 + places.len()) {
                    Ok(place) => places.push(place),
                    Err(why) => break why,
                }
                assert!(places.len() < 100_000);
            };
            (places, why)
        };
        let (places, why) = take();
        assert!((10_200..=10_240).contains(&places.len()), "{}", places.len());
        assert!(why.contains("0 MiB are used") && why.contains("budget of 100 MiB"), "{why}");
        // Scraped, it is the measured memory that counts.
        drop(places);
        used.store(79 << 20, Ordering::Relaxed);
        let (places, _) = take();
        assert!(places.len() <= 128 + LOOK_EVERY as usize, "{}", places.len());
        drop(places);
        used.store(95 << 20, Ordering::Relaxed);
        let (places, why) = take();
        assert!(places.len() <= LOOK_EVERY as usize, "{}", places.len());
        assert!(why.contains("95 MiB"), "{why}");
        // An eighth of 100 MiB are 1,600 targets, between two pools 800.
        assert!(room.place(799).is_ok() && room.place(800).is_err());
        drop(pools);
        assert!(room.place(800).is_ok(), "the only pool has them all");
        assert!(Room::new(None).place(usize::MAX).is_ok());
    }
}
