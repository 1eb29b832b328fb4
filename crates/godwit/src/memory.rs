//! How much memory this process may use, how much it uses, and how it is shared out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::{MemoryProbe, MemoryUse};

/// Bytes that the control groups (both versions, all that this process is in) or the machine allow.
#[must_use]
pub fn limit_bytes() -> u64 {
    let group = group_limit_bytes().unwrap_or(u64::MAX);
    group.min(machine_bytes()).max(1)
}

/// Smallest limit of the control groups; `None` where there is none.
#[must_use]
pub fn group_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    smallest_limit(Path::new("/sys/fs/cgroup"), &groups)
}

/// Depth of nested groups that is looked at: Kubernetes has five.
const GROUPS_MAX: usize = 32;
/// A number from here on is version 1's way to say "no limit".
const NO_LIMIT: u64 = 1 << 60;

/// The smallest limit of the groups that `/proc/self/cgroup` names, and of those around them. `mounts` is
/// where they are mounted. In a container the names may be those of the host, which are not there: then the
/// mount's own root is this process's group.
fn smallest_limit(mounts: &Path, groups: &str) -> Option<u64> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // `memory.high` is where version 2 begins to hold a process up rather than to end it.
        let (mount, files): (PathBuf, &[&str]) = match controllers {
            "" => (mounts.to_path_buf(), &["memory.max", "memory.high"]),
            c if c.split(',').any(|c| c == "memory") => (mounts.join("memory"), &["memory.limit_in_bytes"]),
            _ => continue,
        };
        let mut group = PathBuf::from(path.trim_start_matches('/'));
        for _ in 0..GROUPS_MAX {
            for file in files {
                let text = std::fs::read_to_string(mount.join(&group).join(file)).unwrap_or_default();
                found.extend(text.trim().parse::<u64>().ok().filter(|n| *n < NO_LIMIT));
            }
            if !group.pop() {
                break;
            }
        }
    }
    found.into_iter().min()
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

/// What the process aims to stay below: the setting, within what it may use; 80 % of that where the setting
/// is 0.
fn budget_bytes(setting: u64, limit: u64) -> u64 {
    if setting == 0 { limit / 5 * 4 } else { setting.min(limit) }
}

/// A limit can be changed while the process runs; it is read anew this often.
const LIMIT_EVERY: Duration = Duration::from_secs(1);

/// Tells how much memory the process uses and may use: what is resident, as that is what the system kills for.
/// The allocator's own figures would leave out what it keeps for later.
#[must_use]
pub fn probe(setting: u64) -> MemoryProbe {
    let budget = Mutex::new((Instant::now(), budget_bytes(setting, limit_bytes())));
    MemoryProbe(Arc::new(move || {
        let mut budget = budget.lock();
        if budget.0.elapsed() >= LIMIT_EVERY {
            *budget = (Instant::now(), budget_bytes(setting, limit_bytes()));
        }
        MemoryUse { used_bytes: resident_bytes(), budget_bytes: budget.1 }
    }))
}

/// Bytes of this process that are in memory. Some microseconds.
#[must_use]
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    pages.saturating_mul(rustix::param::page_size() as u64)
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
    /// Bodies of remote write as they come: a sixteenth, 32 MiB to 512 MiB.
    pub write_bodies_bytes: u64,
    /// What is made of these bodies: a quarter, and at least one of the largest, 32 MiB three times.
    pub writes_bytes: u64,
}

/// Shares of a budget; 0 stands for 80 % of the limit.
#[must_use]
pub fn shares(setting: u64) -> Shares {
    let budget_bytes = budget_bytes(setting, limit_bytes());
    Shares {
        budget_bytes,
        queries_bytes: budget_bytes / 2,
        query_bytes: budget_bytes / 4,
        write_bodies_bytes: (budget_bytes / 16).clamp(32 << 20, 512 << 20),
        writes_bytes: (budget_bytes / 4).max(100 << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory_and_shares_follow_the_budget() {
        assert!(limit_bytes() > 64 << 20);
        assert_eq!(shares(0).budget_bytes, limit_bytes() / 5 * 4);
        let s = shares(64 << 20);
        assert_eq!((s.queries_bytes, s.query_bytes), (32 << 20, 16 << 20));
        assert_eq!(s.write_bodies_bytes, 32 << 20);
        assert_eq!(budget_bytes(4 << 30, 1 << 30), 1 << 30);
        let now = (probe(0).0)();
        assert!(now.used_bytes > 1 << 20 && now.budget_bytes > now.used_bytes, "{now:?}");
    }

    #[test]
    fn the_smallest_of_all_groups_counts() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| smallest_limit(dir.path(), groups);
        assert_eq!(limit("0::/\n"), None);
        // Version 1, nested: "no limit" is a huge number; the group around it may be smaller.
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/a/memory.limit_in_bytes", "1000000\n");
        put("memory/a/b/memory.limit_in_bytes", "2000000\n");
        let v1 = "5:cpu,cpuacct:/a/b\n4:memory:/a/b\n0::/\n";
        assert_eq!(limit(v1), Some(1_000_000));
        assert_eq!(limit("4:memory:/\n"), None);
        // Version 2.
        put("x/memory.max", "max\n");
        put("x/y/memory.max", "5000000\n");
        assert_eq!(limit("0::/x/y\n"), Some(5_000_000));
        put("x/y/memory.high", "4000000\n");
        assert_eq!(limit("0::/x/y\n"), Some(4_000_000));
        assert_eq!(limit("0::/x\n"), None);
        // A container that sees the host's names, but only its own group at the mount's root.
        put("memory.max", "3000000\n");
        assert_eq!(limit("0::/kubepods/pod1/abc\n"), Some(3_000_000));
        assert_eq!(limit("nonsense\n:::\n"), Some(3_000_000));
    }
}
