//! Room and state of mounted file systems.
//!
//! `statfs` on a network mount whose server is gone blocks for ever, so those mounts are asked from a
//! thread of their own with a timeout; a mount that did not answer is reported as such, and not asked
//! again until the thread returns: at most one stuck thread a mount.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;

use crate::files::{Roots, format_error, read, read_optional};
use crate::output::{CollectResult, Output};

const MOUNT_TIMEOUT: Duration = Duration::from_secs(5);
/// More mounts than this are cut: 4,096 x 9 series is what a scrape may reasonably carry.
const MOUNTS_MAX: usize = 4096;

/// Mounts whose `statfs` has not returned.
#[derive(Clone, Default)]
pub(crate) struct MountState {
    stuck: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Mount {
    device: String,
    point: String,
    fs_type: String,
    major: String,
    minor: String,
    read_only: bool,
}

pub(crate) fn collect(roots: &Roots, state: &MountState, out: &mut Output) -> CollectResult {
    // Process 1 sees the host's mounts also from a container with the host's PID space; hidepid hides it.
    let path = roots.proc.join("1/mountinfo");
    let text = match read_optional(&path) {
        Ok(Some(text)) => text,
        _ => read(&roots.proc.join("self/mountinfo"))?,
    };
    let mut seen = BTreeSet::new();
    for line in text.lines().take(MOUNTS_MAX) {
        let mut mount = parse(line).ok_or_else(|| format_error(&path, format!("malformed line {line:?}")))?;
        if is_ignored_point(&mount.point) || IGNORED_TYPES.contains(&mount.fs_type.as_str()) {
            continue;
        }
        if let Some(stripped) = strip_root(&mount.point, &roots.rootfs) {
            mount.point = stripped;
        }
        if seen.insert((mount.device.clone(), mount.point.clone(), mount.fs_type.clone())) {
            write(&mount, ask(&mount, roots, state), out);
        }
    }
    Ok(())
}

fn ask(mount: &Mount, roots: &Roots, state: &MountState) -> Result<rustix::fs::StatFs, String> {
    let path = roots.rootfs.join(mount.point.trim_start_matches('/'));
    let statfs = |path: &Path| rustix::fs::statfs(path).map_err(error_text);
    if !is_remote(&mount.fs_type) {
        return statfs(&path);
    }
    if !state.stuck.lock().insert(path.clone()) {
        return Err("mountpoint timeout".to_string());
    }
    let (sender, receiver) = mpsc::channel();
    let (stuck, asked) = (Arc::clone(&state.stuck), path.clone());
    let thread = std::thread::Builder::new().name("statfs".into()).spawn(move || {
        let _ = sender.send(statfs(&asked));
        stuck.lock().remove(&asked);
    });
    if let Err(e) = thread {
        state.stuck.lock().remove(&path);
        return Err(e.to_string());
    }
    receiver.recv_timeout(MOUNT_TIMEOUT).unwrap_or_else(|_| Err("mountpoint timeout".to_string()))
}

/// The error as node_exporter writes it into `device_error`: Go's table of errors is the C library's with a
/// small first letter, unless the second one is a capital ("RFS specific error").
fn error_text(error: rustix::io::Errno) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    if letters.clone().next().is_some_and(|c| c.is_ascii_uppercase()) {
        return text.to_string();
    }
    first.to_ascii_lowercase().to_string() + letters.as_str()
}

fn write(mount: &Mount, answer: Result<rustix::fs::StatFs, String>, out: &mut Output) {
    let error = answer.as_ref().err().map_or("", String::as_str);
    let labels = [
        ("device", mount.device.as_str()),
        ("mountpoint", mount.point.as_str()),
        ("fstype", mount.fs_type.as_str()),
        ("device_error", error),
    ];
    let mut gauge = |name: &str, help: &str, value: f64| {
        out.gauge(&format!("node_filesystem_{name}"), help, &labels, value);
    };
    let failed = f64::from(u8::from(answer.is_err()));
    gauge("device_error", "Whether an error occurred while getting statistics for the given device.", failed);
    gauge("readonly", "Filesystem read-only status.", f64::from(u8::from(mount.read_only)));
    let Ok(stat) = &answer else { return };
    let block = stat.f_bsize as f64;
    gauge("size_bytes", "Filesystem size in bytes.", stat.f_blocks as f64 * block);
    gauge("free_bytes", "Filesystem free space in bytes.", stat.f_bfree as f64 * block);
    let help = "Filesystem space available to non-root users in bytes.";
    gauge("avail_bytes", help, stat.f_bavail as f64 * block);
    gauge("files", "Filesystem total file nodes.", stat.f_files as f64);
    gauge("files_free", "Filesystem total free file nodes.", stat.f_ffree as f64);
    gauge("purgeable_bytes", "Filesystem space available including purgeable space (MacOS specific).", 0.0);
    let labels = [
        ("device", mount.device.as_str()),
        ("major", mount.major.as_str()),
        ("minor", mount.minor.as_str()),
        ("mountpoint", mount.point.as_str()),
    ];
    out.gauge("node_filesystem_mount_info", "Filesystem mount information.", &labels, 1.0);
}

/// One line of `mountinfo` (proc_pid_mountinfo(5)).
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let (major, minor) = left.get(2)?.split_once(':')?;
    let read_only = |options: &str| options.split(',').any(|o| o == "ro" || o == "emergency_ro");
    Some(Mount {
        device: right.get(1)?.to_string(),
        point: left.get(4)?.replace("\\040", " ").replace("\\011", "\t"),
        fs_type: right.first()?.to_string(),
        major: major.to_string(),
        minor: minor.to_string(),
        read_only: read_only(left.get(5)?) || right.get(2).is_some_and(|o| read_only(o)),
    })
}

/// Mount points of containers and of the kernel's own file systems, as node_exporter leaves them out.
fn is_ignored_point(point: &str) -> bool {
    let below = |root: &str, itself: bool| {
        point
            .strip_prefix(root)
            .is_some_and(|rest| (itself && rest.is_empty()) || (rest.len() > 1 && rest.starts_with('/')))
    };
    ["/dev", "/proc", "/sys"].iter().any(|root| below(root, true))
        || ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"]
            .iter()
            .any(|r| below(r, false))
}

const IGNORED_TYPES: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
];

fn is_remote(fs_type: &str) -> bool {
    ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "lustre", "glusterfs"].contains(&fs_type)
        || fs_type.starts_with("fuse")
}

/// In a container the host's mounts carry the prefix under which its root is mounted.
fn strip_root(point: &str, rootfs: &Path) -> Option<String> {
    let root = rootfs.to_str().filter(|r| *r != "/")?;
    let rest = point.strip_prefix(root)?;
    Some(if rest.is_empty() { "/".to_string() } else { rest.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mountinfo() {
        let line =
            r"36 35 98:0 /mnt1 /mnt/with\040blank rw,noatime master:1 - ext3 /dev/root ro,errors=continue";
        let mount = parse(line).unwrap();
        assert_eq!((mount.point.as_str(), mount.fs_type.as_str()), ("/mnt/with blank", "ext3"));
        assert_eq!((mount.major.as_str(), mount.minor.as_str(), mount.read_only), ("98", "0", true));
        for bad in ["", "1 2 3", "36 35 98 / / rw - ext4 x rw", "36 35 98:0 / - ext4"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn errors_read_as_those_of_node_exporter() {
        use rustix::io::Errno;
        for (error, text) in [
            (Errno::NOTCONN, "transport endpoint is not connected"),
            (Errno::ACCESS, "permission denied"),
            (Errno::IO, "input/output error"),
            (Errno::STALE, "stale file handle"),
            // EDOTDOT.
            (Errno::from_raw_os_error(73), "RFS specific error"),
        ] {
            assert_eq!(error_text(error), text);
        }
    }

    #[test]
    fn mount_points_left_out() {
        for point in [
            "/dev",
            "/dev/shm",
            "/proc",
            "/sys/fs/cgroup",
            "/var/lib/docker/overlay2/x",
            "/run/credentials/a",
        ] {
            assert!(is_ignored_point(point), "{point}");
        }
        for point in ["/", "/device", "/data", "/var/lib/docker", "/run", "/process/x"] {
            assert!(!is_ignored_point(point), "{point}");
        }
    }
}
