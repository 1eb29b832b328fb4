//! What a seed is about. Generations of plans: a seed that failed under one is replayed under it, so a
//! generator that grows does not change what older seeds do.

/// How plans are made of seeds, and which steps there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Scrapes, writes, upkeep, crashes, full disks, failing calls, flipped bits. Frozen.
    First,
    /// And late samples, deletes, snapshots, exemplars, retention, clocks that jump, slow disks, files that
    /// are cut, zeroed or gone. Frozen.
    Second,
    /// And images of the head, and series that leave memory early when they ended. Frozen.
    Third,
    /// And blocks that are imported while it runs, and series with a retention of their own. Frozen.
    Fourth,
    /// And starts with strict mode on after it was off, and off after it was on. To be frozen when there is a
    /// sixth.
    Fifth,
}

/// Which faults a seed may have, and what is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) generation: Generation,
    pub(super) steps: u64,
    pub(super) crashes: bool,
    /// Spells of a full disk.
    pub(super) full: bool,
    /// Spells of calls that fail now and then.
    pub(super) errors: bool,
    pub(super) strict: bool,
    /// Strict mode goes on and off from one start to the next.
    pub(super) mode_changes: bool,
    /// Files are damaged.
    pub(super) damage: bool,
    /// Memory for records that the disk refuses is small.
    pub(super) tight: bool,
    /// Samples come out of order.
    pub(super) late: bool,
    /// Series are deleted, blocks written anew without them.
    pub(super) deletes: bool,
    pub(super) snapshots: bool,
    pub(super) exemplars: bool,
    /// Blocks go by age.
    pub(super) retention_ms: i64,
    /// Blocks go by size.
    pub(super) retention_bytes: u64,
    /// The clock jumps by an hour or a day, to and fro.
    pub(super) jumps: bool,
    /// Images of the head are written.
    pub(super) images: bool,
    /// Series that ended leave memory early.
    pub(super) evict: bool,
    /// Spells of a disk that takes seconds for an fsync.
    pub(super) slow: bool,
    /// Some series are kept for this time only.
    pub(super) keep_ms: i64,
    /// Blocks come from elsewhere.
    pub(super) imports: bool,
}

impl Plan {
    /// Crashes in most, other troubles in some, all together in others.
    pub(super) fn of(generation: Generation, seed: u64) -> Self {
        let full = seed % 4 == 1 || seed % 16 == 3;
        let errors = seed % 4 == 2 || seed % 16 == 3;
        let first = Plan {
            generation,
            steps: 60 + seed % 7 * 40,
            crashes: !seed.is_multiple_of(8),
            full,
            errors,
            strict: seed % 5 == 4,
            mode_changes: false,
            damage: seed.is_multiple_of(4),
            tight: (full || errors) && seed % 3 == 2,
            late: false,
            deletes: false,
            snapshots: false,
            exemplars: false,
            retention_ms: 0,
            retention_bytes: 0,
            jumps: false,
            slow: false,
            evict: false,
            keep_ms: 0,
            imports: false,
            images: std::env::var_os("GODWIT_SIM_IMAGES").is_some() && !seed.is_multiple_of(3),
        };
        if generation == Generation::First {
            return first;
        }
        // By other remainders, so that all pairs come up.
        let kind = seed / 16;
        let third = matches!(generation, Generation::Third | Generation::Fourth | Generation::Fifth);
        let fourth = matches!(generation, Generation::Fourth | Generation::Fifth);
        Plan {
            mode_changes: generation == Generation::Fifth && seed % 5 > 2,
            images: first.images || third && !seed.is_multiple_of(3),
            evict: third && !(seed / 2).is_multiple_of(3),
            keep_ms: if fourth && kind % 3 < 2 { 600_000 } else { 0 },
            // Not beside blocks that go by size: one that goes as it comes nobody has seen.
            imports: fourth && kind % 4 != 3 && kind % 7 != 5,
            late: !kind.is_multiple_of(3),
            deletes: kind % 4 == 1 || kind % 4 == 2,
            snapshots: kind % 5 < 2,
            exemplars: kind.is_multiple_of(2),
            retention_ms: if kind % 7 == 3 { 3_000_000 } else { 0 },
            retention_bytes: if kind % 7 == 5 { 60_000 } else { 0 },
            jumps: kind % 6 == 4,
            slow: kind % 3 == 1,
            ..first
        }
    }
}
