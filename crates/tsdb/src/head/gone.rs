//! What of the head's files is not to come back with a start, noted in a small file of our own.
//!
//! A start takes from `wal`, `wbl` and `chunks_head` what no block has. Two things it cannot see there. Late
//! samples that are in blocks leave their log at once, but their chunks lie in `chunks_head` until a whole
//! file is old; what is deleted from those blocks would be back. And where all samples of a block are
//! deleted there is no block, and nothing says that the log has been through that time: log and chunks
//! would bring the samples back, while the ranges that hide them are gone.
//!
//! Rejected: a block of deleted samples in its place, whose end would be the head's begin for ever after
//! someone deleted samples from the future. Without the file a start does what Prometheus does.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use storage::StorageError;

use super::Head;
use crate::disk::{Disk, DiskResult, read_all_around, write_atomic};
use crate::wal::bytes::{put_u64, seal, sealed};
use crate::wal::record::TombstoneRecord;

/// Name of the file, in the data folder.
const FILE_NAME: &str = "gone.godwit";
const MAGIC: &[u8; 8] = b"gwgone01";
/// Ranges that are kept: each is a block that was deleted whole while the log still had it, which a
/// few block ranges of log can have at most.
const RANGES_MAX: usize = 64;
/// Magic number, place, count, ranges, checksum.
const FILE_BYTES_MAX: u64 = 8 + 8 + 8 + 16 * RANGES_MAX as u64 + 4;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Chunks of late samples up to this place are in blocks; `None` where nobody knows.
    pub(super) late_place: Option<u64>,
    /// Ranges of samples that came in order and that no block has since they were deleted: first time, end.
    pub(super) ranges: Vec<(i64, i64)>,
}

impl Gone {
    /// Reads the file. Where it is damaged nothing is held back for chunks of late samples.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> DiskResult<Self> {
        let path = folder.join(FILE_NAME);
        // What the disk cannot read is damaged: it is no reason not to start.
        match read_all_around(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => Ok(decode(&bytes).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "file is damaged and made anew; deleted samples may come back");
                Gone { late_place: Some(0), ranges: Vec::new() }
            })),
            Err(e) if e.is_not_found() => Ok(Gone::default()),
            Err(e) => Err(e),
        }
    }

    /// Adds a range; gives how many of the oldest went for it.
    fn add(&mut self, mint: i64, end: i64) -> usize {
        self.ranges.push((mint, end));
        let over = self.ranges.len().saturating_sub(RANGES_MAX);
        self.ranges.drain(..over);
        over
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // No chunk is at the last place of all.
        put_u64(&mut bytes, self.late_place.unwrap_or(u64::MAX));
        put_u64(&mut bytes, self.ranges.len() as u64);
        for (mint, end) in &self.ranges {
            put_u64(&mut bytes, *mint as u64);
            put_u64(&mut bytes, *end as u64);
        }
        seal(&mut bytes);
        bytes
    }
}

fn decode(bytes: &[u8]) -> Option<Gone> {
    let mut b = sealed(bytes, MAGIC)?;
    let place = b.u64().ok()?;
    let count = usize::try_from(b.u64().ok()?).ok().filter(|n| *n <= RANGES_MAX)?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        ranges.push((b.u64().ok()? as i64, b.u64().ok()? as i64));
    }
    Some(Gone { late_place: Some(place).filter(|p| *p != u64::MAX), ranges })
}

/// The file of a running head.
#[derive(Debug)]
pub(super) struct GoneFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the file says.
    gone: Gone,
    /// So many ranges, from the first one on, are in the log as well, once it is durable.
    logged: usize,
}

impl GoneFile {
    pub(super) fn new(folder: &Path, gone: Gone) -> Self {
        GoneFile { path: folder.join(FILE_NAME), state: Mutex::new(State { gone, logged: 0 }) }
    }

    /// Durable when this returns.
    fn write(&self, disk: &dyn Disk, state: &mut State, gone: Gone) -> DiskResult<()> {
        if gone != state.gone {
            write_atomic(disk, &self.path, &gone.encode())?;
            state.gone = gone;
        }
        Ok(())
    }
}

/// As [`Head::note_gone`], for a start whose head is not open yet.
///
/// # Errors
/// The disk refused it.
pub(crate) fn note_gone_before_start(
    disk: &dyn Disk,
    folder: &Path,
    mint: i64,
    end: i64,
) -> Result<(), StorageError> {
    let mut gone = Gone::read(disk, folder)?;
    gone.add(mint, end);
    Ok(write_atomic(disk, &folder.join(FILE_NAME), &gone.encode())?)
}

impl Head {
    /// Notes that chunks of late samples up to a place are in blocks.
    pub(super) fn note_late_place(&self, place: u64) -> DiskResult<()> {
        let mut state = self.gone.state.lock();
        let mut gone = state.gone.clone();
        gone.late_place = gone.late_place.max(Some(place));
        self.gone.write(&*self.disk, &mut state, gone)
    }

    /// Notes that samples of [mint, end) that came in order are in no block since they were deleted.
    pub(crate) fn note_gone(&self, mint: i64, end: i64) -> Result<(), StorageError> {
        let mut state = self.gone.state.lock();
        let mut gone = state.gone.clone();
        let over = gone.add(mint, end);
        self.gone.write(&*self.disk, &mut state, gone)?;
        state.logged = state.logged.saturating_sub(over);
        Ok(())
    }

    /// Whether samples of [mint, end) that came in order are deleted.
    pub(crate) fn has_deleted(&self, mint: i64, end: i64) -> bool {
        self.tombstones.read().values().flatten().any(|i| i.mint_ms < end && i.maxt_ms >= mint)
    }

    /// After a replay: hides what it brought back, in the log too, so that a later start does not hide what
    /// comes into these ranges from here on. Ranges that blocks have passed over are kept for a start that
    /// finds those blocks gone.
    pub(super) fn delete_gone(&self) {
        let min_valid = self.min_valid.load(Ordering::Acquire);
        let mut state = self.gone.state.lock();
        let (passed, due): (Vec<_>, Vec<_>) =
            state.gone.ranges.iter().partition(|(_, end)| *end <= min_valid);
        if due.is_empty() {
            return;
        }
        let mut numbers = Vec::new();
        for page in self.table.all() {
            numbers.extend(page.lock().numbers(page.base));
        }
        let mut logged = due.len();
        for (mint, end) in &due {
            let stones: Vec<TombstoneRecord> =
                numbers.iter().filter_map(|n| self.stone(*n, *mint, end.saturating_sub(1))).collect();
            if let Err(error) = self.log_stones(&stones) {
                // The next start does it again.
                tracing::warn!(%error, "deleted samples of the log are hidden, which the log cannot be told");
                logged = 0;
            }
            self.hide(&stones);
        }
        state.logged = logged;
        state.gone.ranges = due.into_iter().chain(passed).collect();
    }

    /// Forgets the ranges that the log has by now. Called when the log is durable.
    pub(super) fn settle_gone(&self) -> DiskResult<()> {
        let mut state = self.gone.state.lock();
        if state.logged == 0 {
            return Ok(());
        }
        let mut gone = state.gone.clone();
        gone.ranges.drain(..state.logged.min(gone.ranges.len()));
        self.gone.write(&*self.disk, &mut state, gone)?;
        state.logged = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, WriteMode};

    #[test]
    fn what_is_noted_is_read_and_damage_is_seen() {
        let disk = MemDisk::new();
        let folder = Path::new("/data");
        disk.create_dir_all(folder).unwrap();
        assert_eq!(Gone::read(&disk, folder).unwrap(), Gone::default());
        let file = GoneFile::new(folder, Gone::default());
        for (place, ranges) in
            [(None, vec![]), (Some(7), vec![(-5, 9)]), (Some(1 << 40), vec![(i64::MIN, 0), (3, i64::MAX)])]
        {
            let gone = Gone { late_place: place, ranges };
            file.write(&disk, &mut file.state.lock(), gone.clone()).unwrap();
            assert_eq!(Gone::read(&disk, folder).unwrap(), gone);
        }
        let path = folder.join(FILE_NAME);
        let good = crate::disk::read_all(&disk, &path, FILE_BYTES_MAX).unwrap();
        let damaged = Gone { late_place: Some(0), ranges: Vec::new() };
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            for bytes in [&bad[..], &good[..at]] {
                disk.open_write(&path, WriteMode::Truncate).unwrap().append(bytes).unwrap();
                assert_eq!(Gone::read(&disk, folder).unwrap(), damaged, "byte {at}");
            }
        }
    }

    #[test]
    fn a_note_that_cannot_be_read_is_no_reason_not_to_start() {
        let disk = crate::disk::FaultDisk::new(1);
        let folder = Path::new("data");
        disk.create_dir_all(folder).unwrap();
        let file = GoneFile::new(folder, Gone::default());
        let gone = Gone { late_place: Some(7), ranges: Vec::new() };
        file.write(&disk, &mut file.state.lock(), gone).unwrap();
        disk.make_unreadable(&folder.join(FILE_NAME), 0..1);
        assert_eq!(Gone::read(&disk, folder).unwrap(), Gone { late_place: Some(0), ranges: Vec::new() });
    }
}
