//! The data folder: does it exist, who owns it, can this user write there, on what kind of file system does
//! it lie, and is there room.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tsdb::disk::Mount;

use super::report::Report;

/// Below this much room (or 5 %, whichever is less) a server is close to standing still.
const ROOM_BYTES_LOW: u64 = 1 << 30;

pub(super) fn examine(data: &Path, report: &mut Report) {
    let existing = nearest_existing(data);
    if existing != data {
        let what =
            format!("{} does not exist yet; the server makes it in {}", data.display(), existing.display());
        report.ok("data folder", what);
    } else if !data.is_dir() {
        let remedy = "name a folder with --storage.tsdb.path";
        report.bad("data folder", format!("{} is not a folder", data.display()), remedy);
        return;
    }
    ownership(&existing, report);
    if existing == data {
        strangers(data, report);
        lock(data, report);
    }
    file_system(&existing, report);
    room(&existing, report);
}

fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if absolute.exists() && path.exists() {
        return path.to_path_buf();
    }
    absolute.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

fn ownership(folder: &Path, report: &mut Report) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (owner, group, mode) = match folder.metadata() {
        Ok(m) => (m.uid(), m.gid(), m.mode() & 0o7777),
        Err(e) => {
            let remedy = "give this user the right to enter the folders above it";
            report.bad("owner", format!("{}: {e}", folder.display()), remedy);
            return;
        }
    };
    let who = format!("{} is {owner}:{group} mode {mode:03o}, this user is {uid}:{gid}", folder.display());
    match try_write(folder) {
        Ok(()) => report.ok("owner", format!("{who}; it can write there")),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::ROFS.raw_os_error()) => {
            report.bad(
                "owner",
                format!("{who}; the file system is read-only"),
                "mount it read-write, or name another folder with --storage.tsdb.path",
            );
        }
        Err(e) if e.kind() == std::io::ErrorKind::StorageFull => {
            report.bad(
                "owner",
                format!("{who}; the disk is full"),
                "free some room; see the check of room below",
            );
        }
        Err(e) => {
            let remedy = format!(
                "run `chown -R {uid}:{gid} {}` as root; in Kubernetes set securityContext runAsUser: {owner}, or fsGroup: {gid} with fsGroupChangePolicy: OnRootMismatch",
                folder.display()
            );
            report.bad("owner", format!("{who}; it cannot write there: {e}"), remedy);
        }
    }
}

fn try_write(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".godwit-doctor-{}", std::process::id()));
    let file = File::options().write(true).create_new(true).open(&probe)?;
    let synced = file.sync_all();
    std::fs::remove_file(&probe)?;
    synced
}

/// Files of other owners inside: what a copy as root leaves behind, and what a server then fails on.
fn strangers(data: &Path, report: &mut Report) {
    let uid = rustix::process::geteuid();
    let owner = data.metadata().map_or(0, |m| m.uid());
    // Three levels hold all there is: blocks, their files and chunks, log segments.
    let mut foreign = Vec::new();
    let mut left = vec![(data.to_path_buf(), 0)];
    while let Some((folder, depth)) = left.pop() {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()) {
            if uid.is_root() {
                // Everything is open to root; it is about the server that runs as the folder's owner.
                if path.symlink_metadata().is_ok_and(|m| m.uid() != owner) {
                    foreign.push(path.clone());
                }
            } else {
                let unreadable = rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_err();
                let unwritable =
                    path.is_dir() && rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_err();
                if unreadable || unwritable {
                    foreign.push(path.clone());
                }
            }
            if depth < 2 && path.is_dir() {
                left.push((path, depth + 1));
            }
        }
    }
    foreign.sort();
    if uid.is_root() {
        if let Some(first) = foreign.first() {
            let what = format!(
                "{} files or folders inside are not of the folder's owner {owner}, first {}",
                foreign.len(),
                first.display()
            );
            let remedy = format!("if the server runs as that user: `chown -R {owner} {}`", data.display());
            report.warn("files inside", what, remedy);
        }
        return;
    }
    if let Some(first) = foreign.first() {
        let what = format!(
            "{} files or folders inside are closed to this user, first {}",
            foreign.len(),
            first.display()
        );
        let gid = rustix::process::getegid().as_raw();
        report.bad(
            "files inside",
            what,
            format!("run `chown -R {}:{gid} {}` as root", uid.as_raw(), data.display()),
        );
    }
}

fn lock(data: &Path, report: &mut Report) {
    let path = data.join("lock");
    let Ok(file) = File::open(&path) else { return };
    let operation = rustix::fs::FlockOperation::NonBlockingLockShared;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => report.ok("lock", "no other process holds the folder".to_string()),
        Err(_) => {
            let what = "another process holds the folder: a server is running on it";
            report.warn("lock", what, "stop it before starting another; two writers would destroy the data");
        }
    }
}

fn file_system(folder: &Path, report: &mut Report) {
    let Some(mount) = Mount::of(folder) else { return };
    let at = format!("{} on {}", mount.fs_type, mount.point);
    let subject = "file system";
    match mount.fs_type.as_str() {
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "glusterfs" => report.warn(
            subject,
            format!("{at}: a network file system. Locks and fsync depend on the server, a network cut stops writes, and Prometheus itself does not support it"),
            "use a local disk or a block volume; where it must be NFS: v4.1, mount option hard, and one server only on the folder",
        ),
        _ if mount.fs_type.starts_with("fuse") => report.warn(
            subject,
            format!("{at}: a file system in user space; whether fsync reaches a disk depends on it"),
            "use a local disk or a block volume",
        ),
        "overlay" | "aufs" => report.warn(
            subject,
            format!("{at}: the container's own layer; the data is gone with the container"),
            "mount a volume at the data folder (in Kubernetes a PersistentVolumeClaim)",
        ),
        _ if mount.root.contains("kubernetes.io~empty-dir") => report.warn(
            subject,
            format!("{at}: an emptyDir; the data is gone with the pod"),
            "use a PersistentVolumeClaim (volumeClaimTemplates of the StatefulSet, or spec.storage of the Prometheus resource)",
        ),
        "tmpfs" | "ramfs" => report.warn(
            subject,
            format!("{at}: memory; the data is gone with the machine and counts as its memory"),
            "name a folder on a disk with --storage.tsdb.path",
        ),
        _ => report.ok(subject, at),
    }
}

fn room(folder: &Path, report: &mut Report) {
    let Ok(stat) = rustix::fs::statvfs(folder) else { return };
    let (free, size) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let what = format!("{} of {} free", human(free), human(size));
    if free < ROOM_BYTES_LOW.min(size / 20) {
        let remedy = "free some room, enlarge the volume, or lower --storage.tsdb.retention.size (blocks are deleted oldest first)";
        report.bad("room", what, remedy);
    } else {
        report.ok("room", what);
    }
    if stat.f_files > 0 && stat.f_favail < 1000 {
        let what = format!("only {} inodes free", stat.f_favail);
        report.bad("room", what, "delete small files, or use a file system with more inodes");
    }
}

fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}
