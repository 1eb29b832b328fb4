//! Which file system a path is on, by name: some keep no promises.

use std::path::Path;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What of the file system is mounted.
    pub root: String,
    /// Where.
    pub point: String,
    /// As the kernel calls it: `ext4`, `nfs4`.
    pub fs_type: String,
}

impl Mount {
    /// The one that a path lies on: the last in `mountinfo` whose mount point is the longest prefix. `None` where that
    /// cannot be said.
    #[must_use]
    pub fn of(path: &Path) -> Option<Mount> {
        let path = path.canonicalize().ok()?;
        let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let parse = |line: &str| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let point = left.get(4)?.replace("\\040", " ");
            let fs_type = right.split(' ').next()?.to_string();
            let root = (*left.get(3)?).to_string();
            path.starts_with(&point).then_some(Mount { root, point, fs_type })
        };
        text.lines().filter_map(parse).max_by_key(|m| m.point.len())
    }

    /// Whether it is on another machine: locks and fsync depend on that one.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        ["nfs", "nfs4", "cifs", "smb3", "9p", "glusterfs"].contains(&self.fs_type.as_str())
    }
}
