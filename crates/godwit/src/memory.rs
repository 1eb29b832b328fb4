//! How much memory this process may use, and how it is shared out.

/// Bytes that the control group (version 2, then 1) or the machine allows.
#[must_use]
pub fn limit_bytes() -> u64 {
    let group = group_limit_bytes().unwrap_or(u64::MAX);
    group.min(machine_bytes()).max(1)
}

/// Limit of the control group; `None` where there is none.
#[must_use]
pub fn group_limit_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit =
        read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    // Version 1 says "no limit" with a number near 2^63.
    limit.filter(|n| *n < 1 << 60)
}

/// Where neither can be read, what the smallest machines of today have.
const MACHINE_BYTES_UNKNOWN: u64 = 1 << 30;

fn machine_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.split_ascii_whitespace().next()?.parse::<u64>().ok());
    total.map_or(MACHINE_BYTES_UNKNOWN, |kib| kib * 1024)
}

/// Shares of the budget. They do not add up to one: series and caches have no fixed share, and not all
/// are used up at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Everything.
    pub budget_bytes: u64,
    /// All queries together: half.
    pub queries_bytes: u64,
    /// One query: a quarter.
    pub query_bytes: u64,
    /// Bodies of remote write: a sixteenth, 32 MiB to 512 MiB.
    pub write_bodies_bytes: u64,
}

/// Shares of a budget; 0 stands for 80 % of the limit.
#[must_use]
pub fn shares(budget_bytes: u64) -> Shares {
    let budget_bytes = if budget_bytes == 0 { limit_bytes() / 5 * 4 } else { budget_bytes };
    Shares {
        budget_bytes,
        queries_bytes: budget_bytes / 2,
        query_bytes: budget_bytes / 4,
        write_bodies_bytes: (budget_bytes / 16).clamp(32 << 20, 512 << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory_and_shares_follow_the_budget() {
        assert!(limit_bytes() > 64 << 20);
        assert_eq!(shares(0).budget_bytes, limit_bytes() / 5 * 4);
        let s = shares(4 << 30);
        assert_eq!((s.queries_bytes, s.query_bytes, s.write_bodies_bytes), (2 << 30, 1 << 30, 256 << 20));
        assert_eq!(shares(64 << 20).write_bodies_bytes, 32 << 20);
    }
}
