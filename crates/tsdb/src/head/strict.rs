//! That the log may hold commits that failed: noted beside it from the first commit in strict mode on.
//!
//! What such a commit leaves in the log makes a replay look for samples behind newer ones (`doubts`), which
//! costs memory for nothing where no commit fails. So the usual mode does it only where the log was written in
//! strict mode before. The note is durable before the first commit of strict mode is acknowledged. A start in
//! the usual mode writes into it what the newest sample was then: when the head begins behind that, the note
//! goes.
//!
//! Rejected: noting a failed commit when it happens, which is when a disk does not take notes; looking always,
//! which is 16 bytes for each sample that the log and complete chunks both have.
//!
//! The file, `wal/strict.godwit`, is ours alone.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, DiskResult, write_atomic};
use crate::wal::bytes::{put_u64, seal, sealed};

const FILE_NAME: &str = "strict.godwit";
const MAGIC: &[u8; 8] = b"gwstrict";
/// Magic number, time, checksum.
const NOTE_BYTES: u64 = 8 + 8 + 4;
/// The log is being written in strict mode.
const OPEN: i64 = i64::MAX;

/// The note of one log.
#[derive(Debug)]
pub(super) struct StrictNote {
    strict: bool,
    /// Newest sample, in milliseconds, that a log written in strict mode may have.
    found: Option<i64>,
    /// This process has written it.
    written: AtomicBool,
}

impl StrictNote {
    /// Reads the note in a log's folder.
    pub(super) fn read(disk: &dyn Disk, dir: &Path, strict: bool) -> Self {
        let found = match crate::disk::read_all(disk, &dir.join(FILE_NAME), NOTE_BYTES) {
            Ok(bytes) => Some(decode(&bytes).unwrap_or(OPEN)),
            Err(e) if e.is_not_found() => None,
            // It is there and cannot be read: the careful way.
            Err(_) => Some(OPEN),
        };
        StrictNote { strict, found, written: AtomicBool::new(false) }
    }

    /// Whether a log whose samples begin at `min_valid` may hold such commits.
    pub(super) fn in_doubt(&self, min_valid: i64) -> bool {
        self.strict || self.found.is_some_and(|until| until >= min_valid)
    }

    /// Before a commit: nothing is acknowledged in strict mode without the note.
    ///
    /// # Errors
    /// It cannot be written; the commit must fail, and the next one tries again.
    pub(super) fn before_commit(&self, disk: &dyn Disk, dir: &Path) -> DiskResult<()> {
        if self.strict && !self.written.load(Ordering::Acquire) {
            write(disk, dir, OPEN)?;
            self.written.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// After the replay, with its bounds. A failure leaves a note that makes a start more careful than it need
    /// be.
    pub(super) fn after_replay(&self, disk: &dyn Disk, dir: &Path, min_valid: i64, newest: i64) {
        if self.strict {
            return;
        }
        let done = match self.found {
            Some(OPEN) => write(disk, dir, newest),
            Some(until) if until < min_valid => disk.remove_file(&dir.join(FILE_NAME)),
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "note of strict mode stays as it is");
        }
    }
}

fn write(disk: &dyn Disk, dir: &Path, until: i64) -> DiskResult<()> {
    let mut bytes = MAGIC.to_vec();
    put_u64(&mut bytes, until as u64);
    seal(&mut bytes);
    write_atomic(disk, &dir.join(FILE_NAME), &bytes)
}

fn decode(bytes: &[u8]) -> Option<i64> {
    sealed(bytes, MAGIC)?.u64().ok().map(|until| until as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, WriteMode};

    #[test]
    fn strict_mode_is_remembered_until_its_samples_are_gone() {
        let disk = MemDisk::new();
        let dir = Path::new("/wal");
        disk.create_dir_all(dir).unwrap();
        let read = |strict| StrictNote::read(&disk, dir, strict);
        assert!(!read(false).in_doubt(i64::MIN));
        read(false).before_commit(&disk, dir).unwrap();
        assert!(!read(false).in_doubt(i64::MIN), "the usual mode leaves no note");
        read(true).before_commit(&disk, dir).unwrap();
        assert!(read(false).in_doubt(1_000_000));
        read(false).after_replay(&disk, dir, 0, 500);
        assert!(read(false).in_doubt(500) && !read(false).in_doubt(501));
        // Spoiled, it says nothing, and all may be in doubt.
        let mut file = disk.open_write(&dir.join(FILE_NAME), WriteMode::Append).unwrap();
        file.write_at(&[0xff], 10).unwrap();
        assert!(read(false).in_doubt(501));
        read(false).after_replay(&disk, dir, 0, 500);
        read(false).after_replay(&disk, dir, 501, 900);
        assert!(!disk.exists(&dir.join(FILE_NAME)).unwrap());
    }
}
