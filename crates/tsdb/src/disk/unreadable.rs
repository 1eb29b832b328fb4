//! Reading around bad sectors: what a device cannot give costs itself, not the file that it is in.
//!
//! Rejected: an error of its own kind for what cannot be read. All that a checksum finds is left out, told, and cut
//! out by upkeep already, and a sector's bytes that are gone are no other damage.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Disk, DiskError, DiskResult, ReadFile};

/// What goes bad at once: a sector of today's disks, and a page of the kernel's cache. The kernel may give up
/// more than that at a time; then all of it is named.
const SECTOR_BYTES: u64 = 4096;
/// In place of what cannot be read. No type of a record's fragment, and no checksum holds over it; zeros would
/// be taken for room that was never used.
const FILLER: u8 = 0xff;
/// A sector that failed is tried again so often: cables and controllers fail for a moment.
const TRIES_AGAIN: u32 = 2;
const PAUSE: Duration = Duration::from_millis(5);
/// Of all second tries of one call, so that a device that is dead costs 40 ms a call (5 s for a segment of
/// 128 MiB, read 1 MiB at a time) and 8 reads beside its 256, not minutes.
const TRIES_AGAIN_MAX: u32 = 8;

/// Fills `buf` from `offset`. Sectors that the device cannot read are filled with a byte that no format of ours
/// has; their ranges, in bytes of the file, for callers who check what they read.
///
/// # Errors
/// All others; the file ends before.
pub(crate) fn read_around(file: &dyn ReadFile, buf: &mut [u8], offset: u64) -> DiskResult<Vec<Range<u64>>> {
    match file.read_exact_at(buf, offset) {
        Err(e) if e.is_unreadable() => {}
        other => return other.map(|()| Vec::new()),
    }
    read_sectors(file, buf, offset, &BTreeSet::new())
}

/// As [`read_around`], sector by sector; those of `known` (numbers) are not tried.
fn read_sectors(
    file: &dyn ReadFile,
    buf: &mut [u8],
    offset: u64,
    known: &BTreeSet<u64>,
) -> DiskResult<Vec<Range<u64>>> {
    let mut bad: Vec<Range<u64>> = Vec::new();
    let mut left = TRIES_AGAIN_MAX;
    let (mut at, end) = (offset, offset + buf.len() as u64);
    while at < end {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let part = &mut buf[(at - offset) as usize..(next - offset) as usize];
        let mut read = match known.contains(&(at / SECTOR_BYTES)) {
            true => Err(unreadable(file)),
            false => file.read_exact_at(part, at),
        };
        for _ in 0..TRIES_AGAIN {
            let again = left > 0 && !known.contains(&(at / SECTOR_BYTES));
            if !again || !read.as_ref().is_err_and(DiskError::is_unreadable) {
                break;
            }
            left -= 1;
            std::thread::sleep(PAUSE);
            read = file.read_exact_at(part, at);
        }
        match read {
            Ok(()) => {}
            Err(e) if e.is_unreadable() => {
                part.fill(FILLER);
                match bad.last_mut() {
                    Some(last) if last.end == at => last.end = next,
                    _ => bad.push(at..next),
                }
            }
            Err(e) => return Err(e),
        }
        at = next;
    }
    Ok(bad)
}

/// As [`super::read_all`], around what cannot be read.
///
/// # Errors
/// As [`super::read_all`], but for what cannot be read.
pub(crate) fn read_all_around(disk: &dyn Disk, path: &Path, limit: u64) -> DiskResult<Vec<u8>> {
    match super::read_all(disk, path, limit) {
        Err(e) if e.is_unreadable() => {}
        other => return other,
    }
    let file = disk.open_read(path)?;
    // Bounded above: that it is not too long was found out before it was read.
    let mut bytes = vec![0; file.len()?.min(limit) as usize];
    let bad = read_around(&*file, &mut bytes, 0)?;
    tracing::error!(path = %path.display(), ranges = ?bad, "the disk cannot read parts of a file");
    Ok(bytes)
}

fn unreadable(file: &dyn ReadFile) -> DiskError {
    DiskError::new("read", file.path(), std::io::Error::from_raw_os_error(EIO))
}

/// `EIO` of Linux.
const EIO: i32 = 5;
/// Bad sectors of a file that are read around: a few scratches, 256 KiB.
const BAD_SECTORS_MAX: u64 = 64;
/// Sectors that are looked at when the first bad one is met.
const PROBES: u64 = 8;

/// A file all of whose parts have checksums, read around its bad sectors: what is in them is damaged for the
/// caller, and the rest is there. Not where that is more than [`BAD_SECTORS_MAX`] or half of the file, or of
/// [`PROBES`] all over it: then the device failed, which may be well again tomorrow, and reads fail.
#[derive(Debug)]
struct Around {
    file: Arc<dyn ReadFile>,
    /// Numbers of bad sectors: not tried again, as a disk may take seconds for each.
    bad: Mutex<BTreeSet<u64>>,
    any: AtomicBool,
}

/// Opens such a file.
///
/// # Errors
/// As [`Disk::open_read`].
pub(crate) fn open_around(disk: &dyn Disk, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
    let file = disk.open_read(path)?;
    Ok(Arc::new(Around { file, bad: Mutex::default(), any: AtomicBool::new(false) }))
}

impl Around {
    /// Whether one more bad sector is taken.
    fn takes_more(&self, bad: &BTreeSet<u64>) -> DiskResult<bool> {
        let sectors = self.file.len()?.div_ceil(SECTOR_BYTES);
        if bad.len() as u64 >= BAD_SECTORS_MAX.min(sectors / 2) {
            return Ok(false);
        }
        let fails = |probe: &u64| {
            let at = probe * sectors / PROBES * SECTOR_BYTES;
            self.file.read_at(&mut [0], at).is_err_and(|e| e.is_unreadable())
        };
        Ok(!bad.is_empty() || (0..PROBES).filter(fails).count() as u64 <= PROBES / 2)
    }
}

impl ReadFile for Around {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        self.file.read_at(buf, offset)
    }
    fn len(&self) -> DiskResult<u64> {
        self.file.len()
    }
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let sectors = offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
        let known = match self.any.load(Ordering::Acquire) {
            true => self.bad.lock().clone(),
            false => BTreeSet::new(),
        };
        if known.range(sectors).next().is_none() {
            match self.file.read_exact_at(buf, offset) {
                Err(e) if e.is_unreadable() => {}
                other => return other,
            }
        }
        let found = read_sectors(&*self.file, buf, offset, &known)?;
        let mut bad = self.bad.lock();
        for range in found {
            for sector in range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES) {
                if bad.contains(&sector) {
                    continue;
                }
                if !self.takes_more(&bad)? {
                    return Err(unreadable(&*self.file));
                }
                tracing::error!(path = %self.path().display(), offset = sector * SECTOR_BYTES,
                    "the disk cannot read a part of a file; what is in it is taken for damaged");
                bad.insert(sector);
                self.any.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Bytes 0, 1, 2, … of which one sector is bad.
    #[derive(Debug)]
    struct Bad(Range<u64>);

    impl ReadFile for Bad {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
            if self.0.start < offset + buf.len() as u64 && offset < self.0.end {
                let error = std::io::Error::from_raw_os_error(5);
                return Err(DiskError::new("read", PathBuf::from("bad"), error));
            }
            buf.iter_mut().zip(offset..).for_each(|(b, at)| *b = (at % 251) as u8);
            Ok(buf.len())
        }
        fn len(&self) -> DiskResult<u64> {
            Ok(1 << 20)
        }
        fn path(&self) -> &Path {
            Path::new("bad")
        }
    }

    #[test]
    fn a_bad_sector_costs_itself() {
        let file = Bad(8192..12288);
        let mut buf = vec![0; 20_000];
        let bad = read_around(&file, &mut buf, 1000).unwrap();
        assert!(bad.len() == 1 && bad[0] == file.0, "{bad:?}");
        for (byte, at) in buf.iter().zip(1000_u64..) {
            let want = if file.0.contains(&at) { FILLER } else { (at % 251) as u8 };
            assert_eq!(*byte, want, "at {at}");
        }
        assert!(read_around(&file, &mut buf, 12288).unwrap().is_empty());
    }

    /// Fails so many reads, then none.
    #[derive(Debug)]
    struct Shaky(std::sync::atomic::AtomicU32);

    impl ReadFile for Shaky {
        fn read_at(&self, buf: &mut [u8], _: u64) -> DiskResult<usize> {
            use std::sync::atomic::Ordering::Relaxed;
            if self.0.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                let error = std::io::Error::from_raw_os_error(5);
                return Err(DiskError::new("read", PathBuf::from("shaky"), error));
            }
            buf.fill(1);
            Ok(buf.len())
        }
        fn len(&self) -> DiskResult<u64> {
            Ok(1 << 20)
        }
        fn path(&self) -> &Path {
            Path::new("shaky")
        }
    }

    #[test]
    fn a_read_that_fails_for_a_moment_costs_nothing() {
        let mut buf = vec![0; 20_000];
        assert!(read_around(&Shaky(3.into()), &mut buf, 0).unwrap().is_empty());
        assert!(buf.iter().all(|b| *b == 1));
        // Second tries are bounded: the large read, five sectors, and no more than these.
        let dead = Shaky(u32::MAX.into());
        let mut buf = vec![0; 5 * 4096];
        assert_eq!(read_around(&dead, &mut buf, 0).unwrap(), vec![0..5 * 4096]);
        assert_eq!(u32::MAX - dead.0.into_inner(), 1 + 5 + TRIES_AGAIN_MAX);
    }

    #[test]
    fn a_few_bad_sectors_are_read_around_and_a_dead_device_is_not() {
        let disk = crate::disk::FaultDisk::new(1);
        let path = Path::new("file");
        crate::disk::write_atomic(&disk, path, &[7; 6 * 4096]).unwrap();
        let file = open_around(&disk, path).unwrap();
        let read = |at: u64, len: usize| {
            let mut buf = vec![0; len];
            file.read_exact_at(&mut buf, at).map(|()| buf)
        };
        disk.make_unreadable(path, 4096..4097);
        disk.make_unreadable(path, 5 * 4096..6 * 4096);
        let all = read(0, 6 * 4096).unwrap();
        let bad = |sector: usize| all[sector * 4096..(sector + 1) * 4096].iter().all(|b| *b == FILLER);
        assert_eq!((0..6).map(bad).collect::<Vec<_>>(), [false, true, false, false, false, true]);
        assert_eq!(read(0, 4096).unwrap(), [7; 4096]);
        // What is known to be bad is not tried again.
        let calls = disk.counts().calls;
        assert_eq!(read(4100, 10).unwrap(), [FILLER; 10]);
        assert_eq!(disk.counts().calls, calls);
        assert_eq!(
            file.read_exact_at(&mut [0; 4097], 5 * 4096).unwrap_err().source.kind(),
            std::io::ErrorKind::UnexpectedEof
        );
        // Half of the file is the most.
        disk.make_unreadable(path, 0..4096);
        assert_eq!(read(0, 10).unwrap(), [FILLER; 10]);
        disk.make_unreadable(path, 2 * 4096..3 * 4096);
        assert!(read(2 * 4096, 10).unwrap_err().is_unreadable());
        assert_eq!(read(0, 10).unwrap(), [FILLER; 10]);
        assert_eq!(read(3 * 4096, 4096).unwrap(), [7; 4096]);
        // At once where nothing can be read: nobody takes the first sector for the only bad one.
        let file = open_around(&disk, path).unwrap();
        disk.make_unreadable(path, 0..u64::MAX);
        assert!(file.read_exact_at(&mut [0], 0).unwrap_err().is_unreadable());
    }
}
