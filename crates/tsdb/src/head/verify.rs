//! A start that goes on from an image does not read the log before the image's position. Whoever starts on
//! the folder next may: another server, or ours once the image is gone. So that part is read behind the
//! start's back, a file or more a minute. Damage there is named as by a full replay, and costs nothing: memory
//! has what the log lost. Open chunks are closed, which puts their samples into `chunks_head`, and what is
//! left of the log becomes a checkpoint that begins with the records of all series.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use storage::StorageError;

use super::{Head, image};
use crate::disk::{Disk, DiskResult};
use crate::wal::{PAGE_BYTES, SegmentReader, checkpoints, segment_path};

/// Files of the log that no start has read yet.
#[derive(Debug, Default)]
pub(super) struct Unread {
    files: VecDeque<PathBuf>,
    /// The newest segment of them.
    to: u64,
    /// Some are gone, or shorter than they were.
    missing: bool,
}

impl Unread {
    /// Of a log that goes on from a segment; `expected` is how many files it had before that one, and bytes.
    pub(super) fn new(disk: &dyn Disk, wal: &Path, to: u64, expected: (u64, u64)) -> DiskResult<Self> {
        let before = match to.checked_sub(1) {
            Some(before) => image::log_files(disk, wal, before)?,
            None => Vec::new(),
        };
        let found = (before.len() as u64, before.iter().map(|(_, len)| len).sum());
        let mut files: VecDeque<PathBuf> = before.into_iter().map(|(path, _)| path).collect();
        files.push_back(segment_path(wal, to));
        Ok(Unread { files, to, missing: found != expected })
    }
}

impl Head {
    /// Checks files of the log that the start has not read, until so many bytes were read. Returns those.
    ///
    /// # Errors
    /// The device failed, no room: tried again with the next call.
    pub(crate) fn check_unread_log(&self, bytes: u64) -> Result<u64, StorageError> {
        // Always before the lock of what is unread.
        let _nothing_goes = self.gc.lock();
        self.check_unread(bytes)
    }

    /// Before the log is cut, whose checkpoint would take what is damaged for all there was. The caller has
    /// the lock of the collector.
    /// False where it is damaged and cannot be made whole now: it is not to be cut.
    pub(super) fn check_unread_log_whole(&self) -> Result<bool, StorageError> {
        self.check_unread(u64::MAX)?;
        let unread = self.unread.lock();
        Ok(!unread.missing && unread.files.is_empty())
    }

    fn check_unread(&self, bytes: u64) -> Result<u64, StorageError> {
        let mut read = 0;
        let mut unread = self.unread.lock();
        if unread.missing {
            self.metrics.wal_corruptions.inc();
            tracing::error!(dir = %self.wal_dir.display(), "files of the log are gone or shorter than they were");
            if !self.make_log_whole(unread.to)? {
                return Ok(read);
            }
            unread.missing = false;
            unread.files.clear();
        }
        while let Some(path) = unread.files.front().filter(|_| read < bytes) {
            let damaged = match SegmentReader::open(&*self.disk, path) {
                Ok(mut reader) => {
                    reader.check()?;
                    read += reader.good_end();
                    let len = self.disk.size(path)?;
                    // A page is filled up with zeros; a file that ends within one has no reason to.
                    let zeros = len > reader.good_end() && !len.is_multiple_of(PAGE_BYTES as u64);
                    zeros || !reader.losses().is_empty()
                }
                // It went into a checkpoint meanwhile, which has named what was damaged.
                Err(e) if e.is_not_found() => false,
                Err(e) => return Err(e.into()),
            };
            if damaged {
                tracing::error!(segment = %path.display(), "log damaged; what it lost is written from memory");
                if self.make_log_whole(unread.to)? {
                    unread.files.clear();
                }
                break;
            }
            unread.files.pop_front();
        }
        Ok(read)
    }

    /// Makes all open chunks complete ones.
    pub(super) fn close_open_chunks(&self) {
        for page in self.table.all() {
            let mut inner = page.lock();
            for series in inner.numbers(page.base) {
                if let Some((slot, blocks)) = inner.get_both(series) {
                    slot.close_open(series, &mut self.sink(blocks));
                }
            }
        }
    }

    /// False where the head's chunks cannot be made durable: tried again with the next look. No reason to fail for the
    /// upkeep that asked, as after a failed fsync that lasts until the next start, which reads them back.
    /// The caller has the lock of the collector.
    fn make_log_whole(&self, to: u64) -> Result<bool, StorageError> {
        self.close_open_chunks();
        // Not before the chunks are where a start finds them.
        if self.files.sync_all()?.is_none() {
            tracing::error!(
                "head chunks cannot be made durable: what the log lost is in memory and in their files, and safe from a power cut only after a restart"
            );
            return Ok(false);
        }
        // Deleted ranges, metadata, exemplars: behind the series, which the checkpoint begins with.
        let records = self.image_records();
        self.log.append(Vec::new, records.iter().map(|r| (r.as_slice(), 0)))?;
        self.sync()?;
        let Some(first) = self.wal_segments()?.first().copied() else { return Ok(true) };
        // A newer checkpoint was made since, without the series that were lost: it is replaced as well.
        let newest = checkpoints(&*self.disk, &self.wal_dir)?.last().copied();
        let to = match newest {
            Some(newest) if newest >= to => self.log.next_segment()?.0.saturating_sub(1),
            _ => to,
        };
        self.checkpoint_log(first, to, self.min_valid.load(Ordering::Acquire), true)?;
        Ok(true)
    }
}
