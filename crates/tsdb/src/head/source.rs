//! Which files of the log a start reads, mended: what is damaged is cut out, so that whoever opens the folder
//! next finds a log without faults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::StorageError;

use super::metrics::HeadMetrics;
use crate::disk::{Disk, WriteMode};
use crate::wal::{SegmentReader, checkpoint, checkpoint_path, checkpoints, mend, segment_path, segments};

/// Files to replay, mended.
#[derive(Default)]
pub(super) struct Source {
    /// Segment number as shown, path, and offset of the first record.
    pub(super) files: Vec<(u64, PathBuf, u64)>,
    /// Bytes of all that.
    pub(super) bytes: u64,
    /// Parts of it are lost.
    damaged: bool,
}

impl Source {
    /// Lists the files, mends them, and removes what crashes left behind.
    pub(super) fn prepare(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        metrics: &HeadMetrics,
    ) -> Result<Self, StorageError> {
        checkpoint::remove_unfinished(&**disk, dir)?;
        let newest = checkpoints(&**disk, dir)?.last().copied();
        let mut files = Vec::new();
        if let Some(n) = newest {
            let folder = checkpoint_path(dir, n);
            files.extend(segments(&**disk, &folder)?.into_iter().map(|s| (n, segment_path(&folder, s), 0)));
        }
        let newer = segments(&**disk, dir)?.into_iter().filter(|s| newest.is_none_or(|n| *s > n));
        files.extend(newer.map(|s| (s, segment_path(dir, s), 0)));
        let mut damaged = false;
        for (_, path, _) in &files {
            let losses = match mend::mend_segment(disk, path) {
                Ok(losses) => losses,
                // The replay leaves out what is damaged as well; it is mended by a start with more room.
                Err(e) if e.is_full() => {
                    tracing::warn!(error = %e, "log damaged, and no room to mend it; the rest of it is used");
                    damaged = true;
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            for loss in losses {
                damaged = true;
                metrics.wal_corruptions.inc();
                tracing::warn!(%loss, "log damaged; the rest of it is used");
            }
        }
        let mut bytes = 0;
        for (_, path, _) in &files {
            bytes += disk.size(path)?;
        }
        Ok(Source { files, bytes, damaged })
    }

    /// The log from a position on; `None` where it is damaged there: what an image has might then be nowhere
    /// else. A torn tail is cut off, as by [`Source::prepare`].
    pub(super) fn prepare_rest(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        start: super::image::Position,
    ) -> Result<Option<Self>, StorageError> {
        checkpoint::remove_unfinished(&**disk, dir)?;
        if checkpoints(&**disk, dir)?.last().is_some_and(|n| *n >= start.segment) {
            return Ok(None);
        }
        let mut rest = Source::default();
        for segment in segments(&**disk, dir)?.into_iter().filter(|s| *s >= start.segment) {
            let path = segment_path(dir, segment);
            let offset = if segment == start.segment { start.offset } else { 0 };
            let mut reader = SegmentReader::open_at(&**disk, &path, offset)?;
            reader.check()?;
            if reader.losses().len() > usize::from(reader.is_torn()) {
                return Ok(None);
            }
            if reader.is_torn() {
                let mut file = disk.open_write(&path, WriteMode::Append)?;
                file.set_len(reader.good_end())?;
                file.sync()?;
            }
            rest.bytes += reader.good_end() - offset;
            rest.files.push((segment, path, offset));
        }
        Ok(Some(rest))
    }

    /// As [`Source::prepare`], of the log of late samples, which may not be there.
    pub(super) fn prepare_late(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        metrics: &HeadMetrics,
    ) -> Result<Self, StorageError> {
        if !disk.exists(dir)? {
            return Ok(Source { damaged: true, ..Source::default() });
        }
        Source::prepare(disk, dir, metrics)
    }

    /// Whether there is no file.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Of the log of late samples: chunks up to which place are in blocks where it does not speak of them.
    /// `noted` is what [`super::gone`] knows; without it a log that is whole has all that is not in blocks.
    pub(super) fn gone_to(&self, noted: Option<u64>) -> u64 {
        let whole = !self.damaged && !self.is_empty();
        noted.unwrap_or(if whole { u64::MAX } else { 0 })
    }
}
