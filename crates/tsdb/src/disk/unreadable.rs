//! Reading around bad sectors: what a device cannot give costs itself, not the file that it is in.

use std::ops::Range;
use std::path::Path;

use super::{Disk, DiskResult, ReadFile};

/// What goes bad at once: a sector of today's disks, and a page of the kernel's cache. The kernel may give up
/// more than that at a time; then all of it is named.
const SECTOR_BYTES: u64 = 4096;
/// In place of what cannot be read. No type of a record's fragment, and no checksum holds over it; zeros would
/// be taken for room that was never used.
const FILLER: u8 = 0xff;

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
    let mut bad: Vec<Range<u64>> = Vec::new();
    let (mut at, end) = (offset, offset + buf.len() as u64);
    while at < end {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let part = &mut buf[(at - offset) as usize..(next - offset) as usize];
        match file.read_exact_at(part, at) {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::DiskError;

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
}
