//! Reading a log that another process writes (upstream: `tsdb/wlog/live_reader.go`).
//!
//! Nobody tells how far it is written. What does not read as a record at the end of the newest segment is on its way:
//! it is read again when there is more. Once a segment has a successor nothing is written to it, so what does not read
//! then is damage, or what a crash left, and costs only itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tsdb::disk::{Disk, DiskResult};
use tsdb::wal::record::{self, Record};
use tsdb::wal::{SegmentReader, WalLoss, checkpoint_path, checkpoints, segment_path, segments};

use crate::error::MigrateError;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Bytes in it.
    pub offset: u64,
}

/// Reads the records of one log.
#[derive(Debug)]
pub struct Follower {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    place: Place,
    /// Whether `place` is one that the log has had: else it begins with the first segment there is.
    begun: bool,
    /// And whether the segment was complete when it was opened: it reads as far as the file was long then.
    reader: Option<(SegmentReader, bool)>,
    /// Files that stand before the place, and until where: read for their series.
    before: VecDeque<(PathBuf, u64)>,
    reading: Option<SegmentReader>,
    losses: Vec<WalLoss>,
}

impl Follower {
    /// Reads the log in `dir` from `from` on, or from its checkpoint on. Series that stand before come first.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn new(disk: &Arc<dyn Disk>, dir: PathBuf, from: Option<Place>) -> DiskResult<Self> {
        let mut before = VecDeque::new();
        if let Some(n) = checkpoints(&**disk, &dir)?.last() {
            let folder = checkpoint_path(&dir, *n);
            before.extend(
                segments(&**disk, &folder)?.into_iter().map(|s| (segment_path(&folder, s), u64::MAX)),
            );
        }
        // A checkpoint has samples too: a log that is read from its begin is read with them.
        let with_samples = from.is_none();
        if let Some(from) = from {
            for segment in segments(&**disk, &dir)?.into_iter().filter(|s| *s <= from.segment) {
                let until = if segment == from.segment { from.offset } else { u64::MAX };
                before.push_back((segment_path(&dir, segment), until));
            }
        }
        Ok(Follower {
            disk: Arc::clone(disk),
            place: from.unwrap_or_default(),
            begun: !with_samples,
            dir,
            reader: None,
            before,
            reading: None,
            losses: Vec::new(),
        })
    }

    /// Behind the last record that was given.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where a later run may begin: `None` until the checkpoint was read, which is read again then.
    #[must_use]
    pub fn noted(&self) -> Option<Place> {
        self.begun.then_some(self.place)
    }

    /// What could not be read of segments that are complete.
    #[must_use]
    pub fn losses(&self) -> &[WalLoss] {
        &self.losses
    }

    /// The next record; `None` where all that is written was read, for now.
    ///
    /// # Errors
    /// The device failed; [`MigrateError::UnknownRecord`].
    pub fn next_record(&mut self) -> Result<Option<Record>, MigrateError> {
        if let Some(record) = self.next_before()? {
            return Ok(Some(record));
        }
        loop {
            if !self.begun {
                // Segments up to the checkpoint's number are in it.
                let condensed = checkpoints(&*self.disk, &self.dir)?.last().copied();
                let all = segments(&*self.disk, &self.dir)?;
                let Some(first) = all.into_iter().find(|s| condensed.is_none_or(|n| *s > n)) else {
                    return Ok(None);
                };
                self.place = Place { segment: first, offset: 0 };
                self.begun = true;
            }
            // Asked before the file is read to its end: what it has then is all that it will have.
            let complete = self.disk.exists(&segment_path(&self.dir, self.place.segment + 1))?;
            let (mut reader, _) = match self.reader.take() {
                Some(kept) if kept.1 == complete => kept,
                _ => {
                    let path = segment_path(&self.dir, self.place.segment);
                    match SegmentReader::open_at(&*self.disk, &path, self.place.offset) {
                        Ok(reader) => (reader, complete),
                        Err(e) if e.is_not_found() && !complete => return Ok(None),
                        Err(e) => return Err(e.into()),
                    }
                }
            };
            let record = reader.next_record()?.map(decode);
            let failed = !reader.losses().is_empty();
            if failed && !complete {
                // On its way: once more from the last whole record.
                return Ok(None);
            }
            match record {
                Some(record) => {
                    let at = self.place.offset;
                    self.place.offset = reader.good_end();
                    self.reader = Some((reader, complete));
                    let record = record?;
                    if let Record::Unknown(kind) = record {
                        let Place { segment, .. } = self.place;
                        return Err(MigrateError::UnknownRecord { kind, segment, offset: at });
                    }
                    return Ok(Some(record));
                }
                None if complete => {
                    self.losses.extend_from_slice(reader.losses());
                    self.place = Place { segment: self.place.segment + 1, offset: 0 };
                }
                // A reader that has been at the end does not look again.
                None => return Ok(None),
            }
        }
    }

    fn next_before(&mut self) -> Result<Option<Record>, MigrateError> {
        loop {
            let Some(reader) = &mut self.reading else {
                let Some((path, until)) = self.before.pop_front() else { return Ok(None) };
                let mut reader = SegmentReader::open(&*self.disk, &path)?;
                reader.reach(until)?;
                self.reading = Some(reader);
                continue;
            };
            let Some(bytes) = reader.next_record()? else {
                self.losses.extend_from_slice(reader.losses());
                self.reading = None;
                continue;
            };
            let record = decode(bytes)?;
            // Without a place the checkpoint is a part of the log; else only its series are wanted.
            if !self.begun || matches!(record, Record::Series(_)) {
                return Ok(Some(record));
            }
        }
    }
}

/// A record that does not decode though its checksum holds is of a kind or form that a newer version writes.
fn decode(bytes: &[u8]) -> Result<Record, MigrateError> {
    let kind = bytes.first().copied().unwrap_or_default();
    Ok(record::decode(bytes).unwrap_or(Record::Unknown(kind)))
}
