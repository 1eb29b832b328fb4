//! How far the log is known to be durable, noted beside it.
//!
//! After a failed fsync the system serves what it could not write from its cache, and every later fsync
//! succeeds without it. The process that met the failure knows (`log` writes all that anew); the next one,
//! if this one is killed before it could, does not: its fsync of what it inherits would cover nothing. So
//! each sync notes how far the log is durable, after it succeeded; the next process writes what lies behind
//! the note once more, byte for byte in place, and only then relies on its fsync. The note outlives a kill
//! with the cache that it is about, and after a power cut all that can be read is durable, so it needs no
//! fsync of its own: one write of 44 bytes a sync.
//!
//! Rejected: noting the failure when it happens, which is when a disk does not take notes; writing all of
//! the log anew at each start, which costs its size in memory bandwidth after each kill.
//!
//! The file, `synced.godwit`, is ours alone; Prometheus passes over names in its log's folder that are not
//! numbers. It may be deleted while no process runs: then an fsync is trusted as Prometheus trusts it.

use std::path::{Path, PathBuf};

use super::bytes::{put_u64, seal, sealed};
use crate::disk::{Disk, DiskResult, WriteFile, WriteMode};

/// Name of the file.
pub const FILE_NAME: &str = "synced.godwit";
const MAGIC: &[u8; 8] = b"gwsynced";
/// Two places that are written in turn, a sector each: a write that fails half-way spoils one.
const PLACE_BYTES: u64 = 512;
/// Magic number, counter, segment, offset, whether inherited files are settled, checksum.
const NOTE_BYTES: usize = 8 + 4 * 8 + 4;

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Segments before this one are durable.
    pub(super) segment: u64,
    /// This one up to here.
    pub(super) offset: u64,
    /// What the process found when it started is durable.
    pub(super) settled: bool,
}

/// Nothing is known to be durable.
pub(super) const NOTHING: Known = Known { segment: 0, offset: 0, settled: false };

/// The note of one log.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    counter: u64,
    known: Known,
    begun: bool,
}

impl Note {
    /// Reads the note of an earlier process; `None` where there is none that can be relied on.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> (Self, Option<Known>) {
        let path = dir.join(FILE_NAME);
        let bytes = match crate::disk::read_all(disk, &path, 2 * PLACE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => Vec::new(),
            // It is there and cannot be read: the careful way.
            Err(_) => {
                return (Note { path, file: None, counter: 0, known: NOTHING, begun: false }, Some(NOTHING));
            }
        };
        let places = [bytes.get(..NOTE_BYTES), bytes.get(PLACE_BYTES as usize..)];
        let newest = places.into_iter().flatten().filter_map(decode).max_by_key(|(counter, _)| *counter);
        let (counter, known) = newest.map_or((0, None), |(counter, known)| (counter, Some(known)));
        (Note { path, file: None, counter, known: known.unwrap_or(NOTHING), begun: false }, known)
    }

    /// Before the first fsync: a process that comes after this one must not trust its own, unless this one
    /// says that all went well.
    ///
    /// # Errors
    /// The note cannot be written: then nothing must be synced.
    pub(super) fn begin(&mut self, disk: &dyn Disk) -> DiskResult<()> {
        if !self.begun {
            self.write(disk, Known { settled: false, ..self.known })?;
            self.begun = true;
        }
        Ok(())
    }

    /// After a sync of all there was: the log is durable up to here.
    pub(super) fn reached(&mut self, disk: &dyn Disk, segment: u64, offset: u64) {
        let known = Known { segment, offset, settled: true };
        if known != self.known {
            // The older one is true still, and only makes the next start write more.
            let _ = self.write(disk, known);
        }
    }

    fn write(&mut self, disk: &dyn Disk, known: Known) -> DiskResult<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(disk.open_write(&self.path, WriteMode::Append)?),
        };
        let counter = self.counter + 1;
        let mut bytes = MAGIC.to_vec();
        for part in [counter, known.segment, known.offset, u64::from(known.settled)] {
            put_u64(&mut bytes, part);
        }
        seal(&mut bytes);
        file.write_at(&bytes, counter % 2 * PLACE_BYTES)?;
        (self.counter, self.known) = (counter, known);
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> Option<(u64, Known)> {
    let mut b = sealed(bytes.get(..NOTE_BYTES)?, MAGIC)?;
    let (counter, segment, offset) = (b.u64().ok()?, b.u64().ok()?, b.u64().ok()?);
    Some((counter, Known { segment, offset, settled: b.u64().ok()? != 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn the_newest_whole_note_counts() {
        let disk = MemDisk::new();
        let dir = Path::new("/wal");
        disk.create_dir_all(dir).unwrap();
        let (mut note, known) = Note::read(&disk, dir);
        assert_eq!(known, None);
        note.begin(&disk).unwrap();
        assert_eq!(Note::read(&disk, dir).1, Some(NOTHING));
        for n in 1..5 {
            note.reached(&disk, n, n * 10);
            let known = Known { segment: n, offset: n * 10, settled: true };
            assert_eq!(Note::read(&disk, dir).1, Some(known));
        }
        // Another process keeps what is known, but for what it inherits.
        let (mut next, _) = Note::read(&disk, dir);
        next.begin(&disk).unwrap();
        assert_eq!(Note::read(&disk, dir).1, Some(Known { segment: 4, offset: 40, settled: false }));
        // The newest is spoiled: the one before.
        let at = next.counter % 2 * PLACE_BYTES;
        let mut file = disk.open_write(&dir.join(FILE_NAME), WriteMode::Append).unwrap();
        file.write_at(&[0xff], at + 20).unwrap();
        assert_eq!(Note::read(&disk, dir).1, Some(Known { segment: 4, offset: 40, settled: true }));
        file.write_at(&[0xff], PLACE_BYTES - at).unwrap();
        assert_eq!(Note::read(&disk, dir).1, None);
    }
}
