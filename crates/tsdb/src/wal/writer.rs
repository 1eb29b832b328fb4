//! Writing the log: records are framed into one buffer and handed to the system with one write a batch, so
//! that what was logged survives a kill of the process. A power cut is survived from the next sync on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::WalCompression;
use super::segment::{
    FIRST, FULL, HEADER_BYTES, LAST, MIDDLE, PAGE_BYTES, SNAPPY, ZSTD, segment_path, segments,
};
use crate::disk::{Disk, DiskError, DiskResult, WriteFile, WriteMode};

/// zstd's fastest ordinary level: log records are written once and read at most once or twice.
const ZSTD_LEVEL: i32 = 1;

/// Compresses records; kept from record to record for its tables.
pub struct RecordCompressor {
    kind: WalCompression,
    snappy: snap::raw::Encoder,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl std::fmt::Debug for RecordCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordCompressor({:?})", self.kind)
    }
}

impl RecordCompressor {
    /// A compressor of this kind.
    #[must_use]
    pub fn new(kind: WalCompression) -> Self {
        let zstd = match kind {
            WalCompression::Zstd => zstd::bulk::Compressor::new(ZSTD_LEVEL).ok(),
            _ => None,
        };
        RecordCompressor { kind, snappy: snap::raw::Encoder::new(), zstd, out: Vec::new() }
    }

    /// The bytes to store and their flag: the record itself where compression gains nothing.
    pub(crate) fn compress<'a>(&'a mut self, record: &'a [u8]) -> (&'a [u8], u8) {
        let (size, flag) = match (self.kind, &mut self.zstd) {
            (WalCompression::Snappy, _) => {
                self.out.resize(snap::raw::max_compress_len(record.len()), 0);
                (self.snappy.compress(record, &mut self.out).ok(), SNAPPY)
            }
            (WalCompression::Zstd, Some(zstd)) => {
                self.out.resize(zstd::zstd_safe::compress_bound(record.len()), 0);
                (zstd.compress_to_buffer(record, &mut self.out[..]).ok(), ZSTD)
            }
            _ => (None, 0),
        };
        match size.and_then(|n| self.out.get(..n)) {
            Some(small) if small.len() < record.len() => (small, flag),
            _ => (record, 0),
        }
    }
}

/// The log's writing end. One owner; callers lock around it.
#[derive(Debug)]
pub struct WalWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment: u64,
    file: Box<dyn WriteFile>,
    /// Bytes of the segment that are good; the file may be longer after a failed write.
    good: u64,
    segment_bytes: u64,
    compressor: RecordCompressor,
    buf: Vec<u8>,
    /// Segments that were left and are not synced yet, with their length at the last sync.
    unsynced: Vec<(Box<dyn WriteFile>, u64)>,
    /// Length of the current one that a sync covers which was begun.
    synced: u64,
    /// Something was written since the last sync.
    dirty: bool,
    /// Segments up to this one have durable names: the folder needs no sync for them.
    named: Option<u64>,
    /// A failed write left bytes behind `good` that could not be cut off yet.
    untidy: bool,
    /// Bytes written since the start.
    pub(crate) written: u64,
}

/// What a sync needs, taken out so that it runs without the writer's lock.
#[derive(Debug)]
pub struct SyncWork {
    files: Vec<(Box<dyn WriteFile>, u64)>,
    current: (PathBuf, u64),
    /// The current segment and its length.
    reaches: (u64, u64),
    /// The current segment's name is not durable yet.
    name: bool,
    disk: Arc<dyn Disk>,
}

/// A segment after a failed sync, and how long it was at the last good one: what is behind may have holes.
pub(crate) type Suspect = (PathBuf, u64);

impl SyncWork {
    /// The segment and the offset in it that the log is durable up to when it is done.
    pub(crate) fn reaches(&self) -> (u64, u64) {
        self.reaches
    }

    /// Makes the files durable.
    ///
    /// # Errors
    /// The device failed.
    pub fn run(self) -> DiskResult<()> {
        self.try_run().map_err(|(e, _)| e)
    }

    /// As [`SyncWork::run`]; a failure comes with the segments that were not made durable.
    pub(crate) fn try_run(mut self) -> Result<(), (DiskError, Vec<Suspect>)> {
        self.sync_all().map_err(|e| {
            let mut suspects: Vec<Suspect> =
                self.files.iter().map(|(f, synced)| (f.path().to_path_buf(), *synced)).collect();
            suspects.push(self.current.clone());
            (e, suspects)
        })
    }

    fn sync_all(&mut self) -> DiskResult<()> {
        for (file, _) in &mut self.files {
            file.sync()?;
        }
        // A handle of its own: syncing any handle syncs the file, and the writer goes on meanwhile.
        match self.disk.open_write(&self.current.0, WriteMode::Existing) {
            Ok(mut file) => file.sync()?,
            // Left and deleted meanwhile: a checkpoint has its records.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        match self.current.0.parent() {
            Some(dir) if self.name => self.disk.sync_dir(dir),
            _ => Ok(()),
        }
    }
}

impl WalWriter {
    /// Begins a new segment behind those in `dir`, which is made where absent. What is there must have
    /// been read (and mended) before.
    ///
    /// # Errors
    /// No permission, no room.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        compression: WalCompression,
        segment_bytes: u64,
    ) -> DiskResult<Self> {
        disk.create_dir_all(dir)?;
        let last = segments(&*disk, dir)?.last().copied();
        let below = super::segment::checkpoints(&*disk, dir)?.last().copied();
        let segment = last.max(below).map_or(0, |n| n + 1);
        let file = disk.open_write(&segment_path(dir, segment), WriteMode::CreateNew)?;
        let pages = (segment_bytes / PAGE_BYTES as u64).max(2);
        Ok(WalWriter {
            disk,
            dir: dir.to_path_buf(),
            segment,
            file,
            good: 0,
            segment_bytes: pages * PAGE_BYTES as u64,
            compressor: RecordCompressor::new(compression),
            buf: Vec::new(),
            unsynced: Vec::new(),
            synced: 0,
            // Its name.
            dirty: true,
            named: None,
            untidy: false,
            written: 0,
        })
    }

    /// Folder of the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Number of the segment that is written to.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Bytes in the segment that is written to.
    #[must_use]
    pub fn segment_len(&self) -> u64 {
        self.good
    }

    /// Logs records, all or none as far as the system's write is one; after an error the segment is cut
    /// back to what it was.
    ///
    /// # Errors
    /// No room, device failed, a record larger than a segment.
    pub fn log<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> DiskResult<()> {
        self.buf.clear();
        let none = RecordCompressor::new(WalCompression::None);
        let mut compressor = std::mem::replace(&mut self.compressor, none);
        let result = records.into_iter().try_for_each(|record| {
            let (data, flag) = compressor.compress(record);
            self.push(data, flag)
        });
        self.compressor = compressor;
        result?;
        self.write_out()
    }

    /// As [`WalWriter::log`], of records that the caller compressed: bytes and flag of
    /// [`RecordCompressor`]. Gives the bytes written.
    pub(crate) fn log_compressed<'a>(
        &mut self,
        records: impl IntoIterator<Item = (&'a [u8], u8)>,
    ) -> DiskResult<u64> {
        let before = self.written;
        self.buf.clear();
        records.into_iter().try_for_each(|(data, flag)| self.push(data, flag))?;
        self.write_out()?;
        Ok(self.written - before)
    }

    /// Longest compressed record that a segment of this size can hold.
    pub(crate) fn record_bytes_max(segment_bytes: u64) -> u64 {
        (segment_bytes / PAGE_BYTES as u64).max(2) * (PAGE_BYTES - HEADER_BYTES) as u64
    }

    /// Begins a segment in place of one whose content is not to be relied on: nothing of it is synced any
    /// more. An empty one is used on.
    ///
    /// # Errors
    /// As [`WalWriter::next_segment`].
    pub(crate) fn give_up_segment(&mut self) -> DiskResult<u64> {
        if self.good == 0 {
            return Ok(self.segment);
        }
        let segment = self.next_segment()?;
        self.unsynced.clear();
        Ok(segment)
    }

    fn push(&mut self, data: &[u8], flag: u8) -> DiskResult<()> {
        let at = self.good + self.buf.len() as u64;
        let in_page = (at % PAGE_BYTES as u64) as usize;
        let page_left = if in_page == 0 { 0 } else { PAGE_BYTES - in_page };
        let pages_left = (self.segment_bytes - at.min(self.segment_bytes)) / PAGE_BYTES as u64;
        let room =
            page_left.saturating_sub(HEADER_BYTES) as u64 + pages_left * (PAGE_BYTES - HEADER_BYTES) as u64;
        if data.len() as u64 > room {
            self.write_out()?;
            self.next_segment()?;
            if data.len() as u64 > WalWriter::record_bytes_max(self.segment_bytes) {
                let text = format!("log record of {} bytes does not fit a segment", data.len());
                let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, text);
                return Err(DiskError::new("write", self.file.path(), error));
            }
        }
        self.frame(data, flag);
        Ok(())
    }

    fn frame(&mut self, data: &[u8], flag: u8) {
        let mut rest = data;
        let mut first = true;
        loop {
            let at = ((self.good + self.buf.len() as u64) % PAGE_BYTES as u64) as usize;
            let mut room = PAGE_BYTES - at;
            if room < HEADER_BYTES {
                self.buf.resize(self.buf.len() + room, 0);
                room = PAGE_BYTES;
            }
            let (part, tail) = rest.split_at(rest.len().min(room - HEADER_BYTES));
            let kind = match (first, tail.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, true) => LAST,
                (false, false) => MIDDLE,
            };
            self.buf.push(kind | flag);
            self.buf.extend_from_slice(&(part.len() as u16).to_be_bytes());
            self.buf.extend_from_slice(&crc32c::crc32c(part).to_be_bytes());
            self.buf.extend_from_slice(part);
            (rest, first) = (tail, false);
            if rest.is_empty() {
                break;
            }
        }
        // A page that cannot take another header is closed at once, as upstream does.
        let room = PAGE_BYTES - ((self.good + self.buf.len() as u64) % PAGE_BYTES as u64) as usize;
        if room < HEADER_BYTES {
            self.buf.resize(self.buf.len() + room, 0);
        }
    }

    fn write_out(&mut self) -> DiskResult<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.untidy) {
            self.file.set_len(self.good).inspect_err(|_| self.untidy = true)?;
        }
        match self.file.append(&self.buf) {
            Ok(()) => {
                self.good += self.buf.len() as u64;
                self.written += self.buf.len() as u64;
                self.dirty = true;
                self.buf.clear();
                Ok(())
            }
            Err(e) => {
                self.buf.clear();
                // If this fails too, the next write tries again before it writes.
                self.untidy = self.file.set_len(self.good).is_err();
                // The cut is to be durable too: a power cut must not bring back what was refused.
                self.dirty = true;
                Err(e)
            }
        }
    }

    /// Leaves the segment and begins the next one.
    ///
    /// # Errors
    /// No permission, no room; the old segment stays in use then.
    pub fn next_segment(&mut self) -> DiskResult<u64> {
        let path = segment_path(&self.dir, self.segment + 1);
        let file = self.disk.open_write(&path, WriteMode::CreateNew)?;
        let mut old = std::mem::replace(&mut self.file, file);
        if std::mem::take(&mut self.untidy) {
            // What cannot be cut off now is cut off as a torn tail by the next start.
            let _ = old.set_len(self.good);
        }
        self.unsynced.push((old, self.synced));
        self.synced = 0;
        self.segment += 1;
        self.good = 0;
        self.dirty = true;
        Ok(self.segment)
    }

    /// What has to be synced now, if anything.
    pub fn take_sync_work(&mut self) -> Option<SyncWork> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        // Until the next one begins, this one is taken for done: a failure goes by what it was given.
        let before = std::mem::replace(&mut self.synced, self.good);
        Some(SyncWork {
            files: std::mem::take(&mut self.unsynced),
            current: (self.file.path().to_path_buf(), before),
            reaches: (self.segment, self.good),
            name: self.named != Some(self.segment),
            disk: Arc::clone(&self.disk),
        })
    }

    /// Says that a sync that reached this segment succeeded: a folder that has not changed is not synced again,
    /// which would be a flush of the disk's cache each time.
    pub(crate) fn sync_done(&mut self, segment: u64) {
        self.named = Some(segment);
    }

    /// Says that a sync failed, so that the next one is not left out.
    pub fn sync_failed(&mut self) {
        self.dirty = true;
    }
}
