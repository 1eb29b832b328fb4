//! Deleted time ranges of a block's series, beside its data until the next rewrite (upstream:
//! `tsdb/tombstones`, format page `tombstones.md`): magic, version, then per range series id, first and
//! last time; the CRC32C at the end is over the ranges only.

use std::collections::BTreeMap;
use std::path::Path;

use storage::{SampleBuf, StorageError};

use crate::disk::{Disk, read_all, write_atomic};
use crate::index::codec::{Decoder, corrupt, put_uvarint, put_varint};

/// Name of the file within a block.
pub const FILE_NAME: &str = "tombstones";
const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
/// Largest file that is read: 256 MiB hold some 20 million ranges.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A closed range of deleted times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// First deleted time.
    pub mint_ms: i64,
    /// Last deleted time.
    pub maxt_ms: i64,
}

impl Interval {
    /// Whether a time is in it.
    #[must_use]
    pub fn contains(self, t_ms: i64) -> bool {
        (self.mint_ms..=self.maxt_ms).contains(&t_ms)
    }
}

/// Adds a range to a sorted list without overlaps; ranges that touch become one.
pub fn add_interval(list: &mut Vec<Interval>, new: Interval) {
    // Saturating: a range to the end of time touches nothing behind it.
    let first = list.partition_point(|i| i.maxt_ms.saturating_add(1) < new.mint_ms);
    let behind = list.partition_point(|i| i.mint_ms <= new.maxt_ms.saturating_add(1));
    let joined = list
        .get(first..behind)
        .unwrap_or_default()
        .iter()
        .fold(new, |a, b| Interval { mint_ms: a.mint_ms.min(b.mint_ms), maxt_ms: a.maxt_ms.max(b.maxt_ms) });
    list.splice(first..behind.max(first), [joined]);
}

/// Whether one of the ranges covers all of [mint_ms, maxt_ms].
#[must_use]
pub fn covers(list: &[Interval], mint_ms: i64, maxt_ms: i64) -> bool {
    list.iter().any(|i| i.mint_ms <= mint_ms && i.maxt_ms >= maxt_ms)
}

/// Whether one of the ranges has a time within [mint_ms, maxt_ms].
#[must_use]
pub fn touches(list: &[Interval], mint_ms: i64, maxt_ms: i64) -> bool {
    list.iter().any(|i| i.mint_ms <= maxt_ms && i.maxt_ms >= mint_ms)
}

/// Removes deleted samples from `out`, from index `from` on.
pub fn apply(list: &[Interval], out: &mut SampleBuf, from: usize) {
    if list.is_empty() {
        return;
    }
    crate::block::retain_samples(out, from, |t| !list.iter().any(|i| i.contains(t)));
}

/// The deleted ranges of all series of a block, by series id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<u64, Vec<Interval>>,
}

impl Tombstones {
    /// From the first deleted time of any series to the last; `None` where nothing is deleted.
    #[must_use]
    pub fn bounds(&self) -> Option<Interval> {
        let first = self.by_series.values().filter_map(|list| list.first()).map(|i| i.mint_ms).min()?;
        let last = self.by_series.values().filter_map(|list| list.last()).map(|i| i.maxt_ms).max()?;
        Some(Interval { mint_ms: first, maxt_ms: last })
    }

    /// Reads a block's file; an absent file has no ranges.
    ///
    /// # Errors
    /// Another kind of file, a wrong sum, a cut entry.
    pub fn read(disk: &dyn Disk, block_dir: &Path) -> Result<Self, StorageError> {
        let path = block_dir.join(FILE_NAME);
        let bytes = match read_all(disk, &path, FILE_BYTES_MAX) {
            Err(e) if e.is_not_found() => return Ok(Tombstones::default()),
            other => other?,
        };
        Tombstones::decode(&bytes)
            .ok_or_else(|| corrupt(&path, 0, "tombstones are cut or their checksum is wrong"))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let mut d = Decoder::new(content);
        let known = d.be32()? == MAGIC && d.byte()? == VERSION;
        if !known || crc32c::crc32c(content.get(5..)?) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut all = Tombstones::default();
        while d.len() > 0 {
            let series = d.uvarint()?;
            all.add(series, Interval { mint_ms: d.varint()?, maxt_ms: d.varint()? });
        }
        Some(all)
    }

    /// Writes a block's file, replacing it as a whole.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn write(&self, disk: &dyn Disk, block_dir: &Path) -> Result<u64, StorageError> {
        let mut bytes = MAGIC.to_be_bytes().to_vec();
        bytes.push(VERSION);
        for (series, list) in &self.by_series {
            for interval in list {
                put_uvarint(&mut bytes, *series);
                put_varint(&mut bytes, interval.mint_ms);
                put_varint(&mut bytes, interval.maxt_ms);
            }
        }
        let crc = crc32c::crc32c(&bytes[5..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
        write_atomic(disk, &block_dir.join(FILE_NAME), &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Deletes a range of a series.
    pub fn add(&mut self, series: u64, interval: Interval) {
        add_interval(self.by_series.entry(series).or_default(), interval);
    }
    /// Deleted ranges of a series, sorted.
    #[must_use]
    pub fn of(&self, series: u64) -> &[Interval] {
        self.by_series.get(&series).map_or(&[], |l| l)
    }
    /// Number of ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_series.values().map(Vec::len).sum()
    }
    /// True where nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_join_like_sets(ranges in prop::collection::vec((0_i64..60, 0_i64..10), 0..20)) {
            let (mut list, mut set) = (Vec::new(), std::collections::BTreeSet::new());
            for (start, len) in ranges {
                add_interval(&mut list, Interval { mint_ms: start, maxt_ms: start + len });
                set.extend(start..=start + len);
            }
            prop_assert!(list.windows(2).all(|w| w[0].maxt_ms + 1 < w[1].mint_ms));
            let covered: Vec<i64> = list.iter().flat_map(|i| i.mint_ms..=i.maxt_ms).collect();
            prop_assert_eq!(covered, set.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>) {
            let _ = Tombstones::decode(&bytes);
        }
    }

    #[test]
    fn file_round_trips_and_extremes_do_not_overflow() {
        let disk = MemDisk::new();
        let dir = Path::new("b");
        disk.create_dir_all(dir).unwrap();
        assert_eq!(Tombstones::read(&disk, dir).unwrap(), Tombstones::default());
        let mut t = Tombstones::default();
        t.add(16, Interval { mint_ms: i64::MIN, maxt_ms: -5 });
        t.add(16, Interval { mint_ms: 7, maxt_ms: i64::MAX });
        t.add(16, Interval { mint_ms: i64::MAX, maxt_ms: i64::MAX });
        t.add(1, Interval { mint_ms: 1, maxt_ms: 2 });
        t.write(&disk, dir).unwrap();
        assert_eq!(Tombstones::read(&disk, dir).unwrap(), t);
        assert_eq!((t.len(), t.of(16).len(), t.of(2).len()), (3, 2, 0));
        let path = dir.join(FILE_NAME);
        let mut file = disk.open_write(&path, crate::disk::WriteMode::Append).unwrap();
        file.write_at(&[0xff], 8).unwrap();
        assert!(matches!(Tombstones::read(&disk, dir), Err(StorageError::Corrupt { .. })));
    }
}
