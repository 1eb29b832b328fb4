//! A data folder out of an archive: tar, plain or packed by gzip or zstd, read once from its begin to its end.
//!
//! Only files of blocks and of both logs are taken, under the names that they have to have: what stands before those
//! (`./`, `prometheus/`, `var/lib/…`) is cut off, so no name in an archive says where something is written. An archive
//! cannot be read from its middle, so a kill has it unpacked anew; what was unpacked whole stays until the end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use storage::CancelToken;
use tar::EntryType;
use tsdb::disk::{Disk, WriteMode, read_all, write_atomic};

use crate::error::MigrateError;

/// Says that all is there, and of which archive.
const DONE_FILE: &str = "unpacked";
const DONE_BYTES_MAX: u64 = 256;
/// Written at once, and looked at room between.
const PIECE_BYTES: usize = 1 << 20;
/// Blocks of 180 days have 2,160 times five files; a log some hundred.
const FILES_MAX: u64 = 1_000_000;
/// Has to stay free: a running server must not stand still for an archive that is larger than it looks.
const SPARE_BYTES: u64 = 512 << 20;
/// zstd's own default limit of a window, 128 MiB; `--long=31` would take 2 GiB.
const WINDOW_LOG_MAX: u32 = 27;

fn no(path: &Path, why: impl Into<String>) -> MigrateError {
    MigrateError::Offline { path: path.to_path_buf(), why: why.into() }
}

fn open(path: &Path) -> Result<Box<dyn Read>, MigrateError> {
    let unreadable = |e: std::io::Error| no(path, format!("{e}; let the server's user read it"));
    let mut magic = Vec::new();
    File::open(path).and_then(|f| f.take(262).read_to_end(&mut magic)).map_err(unreadable)?;
    let file = BufReader::with_capacity(PIECE_BYTES, File::open(path).map_err(unreadable)?);
    match &*magic {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(file).map_err(unreadable)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(unreadable)?;
            Ok(Box::new(decoder))
        }
        all if all.get(257..262) == Some(b"ustar") => Ok(Box::new(file)),
        _ => Err(no(path, "it is no archive: tar is taken, plain, .gz or .zst, or a folder")),
    }
}

/// Whether it is an archive.
pub(super) fn check(path: &Path) -> Result<(), MigrateError> {
    open(path).map(|_| ())
}

/// Unpacks it into `to`, unless that was done before.
pub(super) fn unpack(
    disk: &dyn Disk,
    path: &Path,
    to: &Path,
    (cancel, unpacked): (&CancelToken, &AtomicU64),
) -> Result<(), MigrateError> {
    let done = to.join(DONE_FILE);
    let mark = mark(path)?;
    match read_all(disk, &done, DONE_BYTES_MAX) {
        Ok(bytes) if bytes == mark.as_bytes() => return Ok(()),
        Err(e) if !e.is_not_found() => return Err(e.into()),
        _ => {}
    }
    disk.remove_dir_all(to)?;
    disk.create_dir_all(to)?;
    let mut archive = tar::Archive::new(Ended { inner: open(path)?, last: Vec::new() });
    let broken = |e: std::io::Error| no(path, format!("{e}: it is cut off or damaged; bring it again"));
    let (mut files, mut prefix, mut dirs) = (0, None, std::collections::BTreeSet::new());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        if name.components().any(|c| c == Component::ParentDir) {
            return Err(no(
                path,
                format!("it has the name {}, which leads out of it: refused", name.display()),
            ));
        }
        let Some((before, wanted)) = place_of(&name) else { continue };
        match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {}
            EntryType::Link => {
                let why = "is a link to another file of it; pack without the folder snapshots (tar --exclude=snapshots)";
                return Err(no(path, format!("{} {why}", name.display())));
            }
            kind => return Err(no(path, format!("{} is no file but {kind:?}: refused", name.display()))),
        }
        if *prefix.get_or_insert_with(|| before.clone()) != before {
            return Err(no(
                path,
                format!(
                    "it has several data folders, of which {} is one; pack one, without its snapshots (tar --exclude=snapshots)",
                    before.display()
                ),
            ));
        }
        files += 1;
        if files > FILES_MAX {
            return Err(no(path, format!("it has more than {FILES_MAX} files")));
        }
        let place = to.join(&wanted);
        if let Some(dir) = place.parent()
            && dirs.insert(dir.to_path_buf())
        {
            disk.create_dir_all(dir)?;
        }
        // Twice the same name: the later one counts, as tar does it.
        let mut out = disk.open_write(&place, WriteMode::Truncate)?;
        let (mut buf, mut left) = (vec![0; PIECE_BYTES], entry.size());
        loop {
            let n = entry.read(&mut buf).map_err(broken)?;
            if n == 0 {
                break;
            }
            if cancel.is_cancelled() {
                return Err(MigrateError::Stopped);
            }
            let free = disk.free_bytes(to)?;
            if free < SPARE_BYTES {
                let _ = disk.remove_dir_all(to);
                return Err(no(
                    path,
                    format!(
                        "{free} bytes are free in {} while it is unpacked; it needs room for all of it twice",
                        to.display()
                    ),
                ));
            }
            left = left.saturating_sub(n as u64);
            out.append(buf.get(..n).unwrap_or_default())?;
            unpacked.fetch_add(n as u64, Ordering::Relaxed);
        }
        if left > 0 {
            return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        out.sync()?;
    }
    // To the end, where gzip and zstd have their checksums.
    let mut rest = archive.into_inner();
    let mut buf = vec![0; PIECE_BYTES];
    while !cancel.is_cancelled() && rest.read(&mut buf).map_err(broken)? > 0 {}
    if cancel.is_cancelled() {
        return Err(MigrateError::Stopped);
    }
    if rest.last.is_empty() || rest.last.iter().any(|b| *b != 0) {
        return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    if prefix.is_none() {
        return Err(no(path, "it has neither blocks nor a log of a Prometheus"));
    }
    for dir in &dirs {
        disk.sync_dir(dir)?;
    }
    disk.sync_dir(to)?;
    Ok(write_atomic(disk, &done, mark.as_bytes())?)
}

/// Keeps the last block: zeros end a tar, and its reader takes any end for the end.
struct Ended {
    inner: Box<dyn Read>,
    last: Vec<u8>,
}

/// A tar is made of them.
const BLOCK_BYTES: usize = 512;

impl Read for Ended {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        let got = buf.get(..n).unwrap_or_default();
        self.last.extend_from_slice(got.get(n.saturating_sub(BLOCK_BYTES)..).unwrap_or_default());
        let more = self.last.len().saturating_sub(BLOCK_BYTES);
        self.last.drain(..more);
        Ok(n)
    }
}

/// Tells an archive from another one that came in its place.
fn mark(path: &Path) -> Result<String, MigrateError> {
    let meta = std::fs::metadata(path).map_err(|e| no(path, e.to_string()))?;
    let modified = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(format!("{} {}", meta.len(), modified.map_or(0, |d| d.as_nanos())))
}

/// What stands before the data folder's own names, and the name in it, of files that are wanted.
fn place_of(name: &Path) -> Option<(PathBuf, PathBuf)> {
    let parts: Vec<&str> = name
        .components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(OsStr::to_str(part).unwrap_or("")),
            _ => None,
        })
        .collect();
    let is_block = |part: &str| ulid::Ulid::from_string(part).is_ok();
    let at = parts.iter().position(|p| is_block(p) || *p == "wal" || *p == "wbl")?;
    let (before, own) = parts.split_at(at);
    // Second copies.
    if before.iter().any(|p| ["godwit-pin", "godwit-incoming", "godwit-unpacked", "damaged"].contains(p)) {
        return None;
    }
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let wanted = match own {
        [block, "meta.json" | "index" | "tombstones"] => is_block(block),
        [block, "chunks", segment] => is_block(block) && number(segment),
        ["wal" | "wbl", segment] => number(segment),
        ["wal" | "wbl", checkpoint, segment] => {
            checkpoint.strip_prefix("checkpoint.").is_some_and(number) && number(segment)
        }
        _ => false,
    };
    wanted.then(|| (before.iter().collect(), own.iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_data_folder_are_found_behind_any_prefix_and_no_others() {
        let found =
            |name: &str| place_of(Path::new(name)).map(|(a, b)| format!("{}|{}", a.display(), b.display()));
        let block = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        for prefix in ["", "./", "prometheus/", "/var/lib/prometheus/"] {
            for own in ["meta.json", "index", "chunks/000001", "tombstones"] {
                let bare = prefix.trim_start_matches("./").trim_matches('/');
                let name = format!("{prefix}{block}/{own}");
                assert_eq!(found(&name), Some(format!("{bare}|{block}/{own}")));
            }
        }
        assert_eq!(found("d/wal/00000001").as_deref(), Some("d|wal/00000001"));
        assert_eq!(
            found("d/wal/checkpoint.00000007/00000000").as_deref(),
            Some("d|wal/checkpoint.00000007/00000000")
        );
        for other in [
            "d/lock",
            "d/chunks_head/000001",
            "d/wal/x",
            "d/wal/checkpoint.1.tmp/0",
            "d/queries.active",
            "etc/passwd",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        assert_eq!(found(&format!("{block}/chunks/../../x")), None);
    }
}
