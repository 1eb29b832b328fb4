//! The head's image: what a start needs of the head, in one file beside Prometheus's own, so that it takes
//! reading this file and the last seconds of the log instead of the whole log.
//!
//! **What it is not.** Nothing relies on it. Prometheus's files are complete without it, it is never the only
//! place of anything, and one that is missing, damaged or does not belong to the log costs the time of a full
//! replay. Prometheus ignores the folder: it looks at its own names only.
//!
//! **What it has.** Pages of series as they are in memory: label pairs as numbers, the open chunk's bytes with
//! the state of its appender, places of complete chunks in `chunks_head`; strings and lists of the index;
//! entries of its hash tables; and as log records metadata, tombstones and exemplars. Late samples that are in
//! no chunk are replayed from their own log, which is short.
//!
//! **How it is read.** All of it, with its checksums. Most pages are left as they are until someone wants one
//! ([`asleep`]), and so are the hash tables.
//!
//! **How it is consistent.** A position P of the log is taken, and commits under way are waited for: what is
//! logged before P is in place then. Pages are copied one after the other, each under its own lock, while
//! commits go on: they may have more than P says. The log is replayed from P on, and samples that a series
//! has already are left out there, as anywhere. Series up to the number N are written, the newest when P was
//! taken; later ones have their records behind P. Nothing is removed from the head meanwhile (the lock of the
//! collector is held). At the end series that are in no log yet are logged, complete chunks are made durable,
//! and the position Q is taken: the image is used only where the log reaches Q and has there what it
//! had, so it never knows more than the log. Nor less: where the log behind P goes on with series that the image
//! does not have, someone else replayed all of it since, and took up numbers of series that had gone.
//!
//! **When it is written.** Whenever the log has grown by half of the image's size, but not below
//! [`crate::db::IMAGE_LOG_BYTES`]. Measured at 207,000 series of 5 s: 21 MB and 31 ms an image, 390 kB of log a
//! second for 55 ms of scraping. At half, one each 27 s: 31 ms of 1,485, 2.1 % of the CPU, however many series there
//! are; at a third 18 s and 3.1 % (3.3 to 4 % measured, where 3 % is aimed at). What a start pays: 10.5 MB of log
//! at most, 1.3 M samples of 8 bytes, in place of 7 MB.
//!
//! An image overwrites the one before the newest: filling the system's fresh pages took as long as all the rest.
//! Frames have the image's number in their checksums, so that a power cut cannot mix two.
//!
//! Rejected: only changed pages (each scrape changes all of them); a part for labels that is kept and one for
//! chunks that is written often (a quarter less to write, and twice the states to get wrong); an fsync (after
//! a power cut an image that did not make it costs a full replay, and the log's own fsync would wait for it
//! each time); memory maps (SIGBUS).

mod asleep;
mod frames;
mod index;
mod load;
mod page;
mod save;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use telemetry::{Counter, Gauge, Registry};

use crate::disk::{Disk, DiskResult};
use crate::wal::bytes::{Bytes, BytesError, put_u64, put_uvarint};
use crate::wal::{checkpoint_path, checkpoints, segment_path, segments};

pub(super) use asleep::{Asleep, Waker};
pub(super) use load::{Restored, load};

/// Folder within the data folder.
const DIR: &str = "godwit_head";
/// The file in it.
const FILE: &str = "image";
/// Bytes before a position by which a log is recognised: some records' checksums.
const ANCHOR_BYTES: u64 = 4096;

/// Where the image of a data folder is.
fn path(data: &Path) -> PathBuf {
    data.join(DIR).join(FILE)
}

/// What a head knows about its images.
pub(super) struct ImageState {
    path: PathBuf,
    /// Log bytes below which none is written; 0: off.
    log_bytes_min: u64,
    /// Bytes that were logged when the newest one began.
    logged: AtomicU64,
    /// Bytes of log from before the start that the newest one does not cover.
    backlog: AtomicU64,
    /// Its size.
    size: AtomicU64,
    /// Records that the log has dropped, whose samples are in chunks on disk since.
    dropped: AtomicU64,
    written: Counter,
    failed: Counter,
    size_bytes: Gauge,
    seconds: Gauge,
}

impl ImageState {
    pub(super) fn new(data: &Path, log_bytes_min: u64, registry: &Registry) -> Self {
        ImageState {
            path: path(data),
            log_bytes_min,
            logged: AtomicU64::new(0),
            backlog: AtomicU64::new(0),
            size: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            written: registry.counter(
                "godwit_tsdb_head_images_total",
                "Images of the head written, from which a start goes on.",
            ),
            failed: registry.counter(
                "godwit_tsdb_head_images_failed_total",
                "Images of the head that could not be written; the next start replays more of the log.",
            ),
            size_bytes: registry
                .gauge("godwit_tsdb_head_image_size_bytes", "Size of the newest image of the head."),
            seconds: registry.gauge(
                "godwit_tsdb_head_image_duration_seconds",
                "Seconds that the newest image of the head took to write, pauses included.",
            ),
        }
    }

    /// Says how a start found things: size of the image, 0 for none, and bytes of the log behind it.
    pub(super) fn begin(&self, size: u64, backlog: u64) {
        self.set(0, size);
        self.backlog.store(backlog, Ordering::Relaxed);
    }

    /// Says that the newest image is of no use any more: the next one is due now.
    pub(super) fn expire(&self) {
        self.backlog.store(u64::MAX, Ordering::Relaxed);
    }

    /// Says that an image of this size is there, and what of the log is behind it.
    fn set(&self, logged: u64, size: u64) {
        self.logged.store(logged, Ordering::Relaxed);
        self.backlog.store(0, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        self.size_bytes.set(size as f64);
    }

    /// Bytes of the newest one; 0 where the start found none to go on from and none was written since.
    #[cfg(test)]
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether so much was logged that one is due.
    fn is_due(&self, logged: u64) -> bool {
        let since = logged.saturating_sub(self.logged.load(Ordering::Relaxed));
        let since = since.saturating_add(self.backlog.load(Ordering::Relaxed));
        self.log_bytes_min > 0 && since >= self.log_bytes_min.max(self.size.load(Ordering::Relaxed) / 2)
    }
}

/// Number of the newest checkpoint of a log; `u64::MAX` for none.
fn newest_checkpoint(disk: &dyn Disk, wal: &Path) -> DiskResult<u64> {
    Ok(checkpoints(disk, wal)?.last().copied().unwrap_or(u64::MAX))
}

/// A place in the log: segment and offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The last bytes of a log at some time, by which it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    at: Position,
    sum: u32,
}

impl Anchor {
    /// Of the log up to a position; `None` where nothing is before it.
    fn of(disk: &dyn Disk, dir: &Path, mut at: Position) -> DiskResult<Option<Anchor>> {
        while at.offset == 0 {
            let before = segments(disk, dir)?.into_iter().filter(|s| *s < at.segment).max();
            let Some(segment) = before else { return Ok(None) };
            at = Position { segment, offset: disk.size(&segment_path(dir, segment))? };
        }
        let from = at.offset.saturating_sub(ANCHOR_BYTES);
        let mut bytes = vec![0; (at.offset - from) as usize];
        disk.open_read(&segment_path(dir, at.segment))?.read_exact_at(&mut bytes, from)?;
        Ok(Some(Anchor { at, sum: crc32c::crc32c(&bytes) }))
    }

    /// Whether the log has it.
    fn holds(&self, disk: &dyn Disk, dir: &Path) -> DiskResult<bool> {
        match Anchor::of(disk, dir, self.at) {
            Ok(found) => Ok(found == Some(*self)),
            // Gone, or shorter than that.
            Err(e) if e.is_not_found() || e.source.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// The last frame: what the image belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    /// P: the log is replayed from here on.
    start: Position,
    /// Q: the log must reach this.
    anchor: Anchor,
    /// Newest checkpoint of the log, `u64::MAX` for none: a later one may have left out records of series that
    /// the image has, and what they get under their numbers would be lost with the next full replay.
    checkpoint: u64,
    /// N, and how many series there are.
    last: u64,
    series: u64,
    /// Chunks behind this place (file, offset) were written while the image was.
    chunks_from: (u32, u64),
    /// Files of the log before P's segment, and their bytes in all: the start does not read them.
    log: (u64, u64),
    /// Chunk files and how long they are at least.
    files: Vec<(u32, u64)>,
}

impl End {
    fn put(&self, out: &mut Vec<u8>) {
        for n in [
            self.start.segment,
            self.start.offset,
            self.anchor.at.segment,
            self.anchor.at.offset,
            u64::from(self.anchor.sum),
            self.checkpoint,
            self.last,
            self.series,
            u64::from(self.chunks_from.0),
            self.chunks_from.1,
            self.log.0,
            self.log.1,
        ] {
            put_u64(out, n);
        }
        for (file, len) in &self.files {
            put_uvarint(out, u64::from(*file));
            put_uvarint(out, *len);
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut b = Bytes(bytes);
        let start = Position { segment: b.u64()?, offset: b.u64()? };
        let at = Position { segment: b.u64()?, offset: b.u64()? };
        let anchor = Anchor { at, sum: b.u64()? as u32 };
        let checkpoint = b.u64()?;
        let (last, series) = (b.u64()?, b.u64()?);
        let chunks_from = (b.u64()? as u32, b.u64()?);
        let log = (b.u64()?, b.u64()?);
        let mut files = Vec::new();
        while !b.is_empty() {
            files.push((b.uvarint()? as u32, b.uvarint()?));
        }
        Ok(End { start, anchor, checkpoint, last, series, chunks_from, log, files })
    }
}

/// Removes the image of a folder, whoever it belongs to, and the file that the next one would be written over: an
/// image is not synced, so that a power cut may leave under its name what that file had before, an image of
/// another life. Since a full replay brings back numbers that it does not know, samples of these would be
/// nobody's. Durably, whoever removed them: a power cut must not bring them back beside a log that was mended or
/// replayed since.
pub(super) fn remove(disk: &Arc<dyn Disk>, data: &Path) -> DiskResult<()> {
    let dir = data.join(DIR);
    let found = |done: DiskResult<()>| match done {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    };
    let image = dir.join(FILE);
    for file in [&image, &image.with_extension(frames::TMP), &image.with_extension(frames::SPARE)] {
        found(disk.remove_file(file))?;
    }
    found(disk.sync_dir(&dir))
}

/// Files of a log up to a segment, with their lengths: its newest checkpoint's, then segments.
pub(super) fn log_files(disk: &dyn Disk, wal: &Path, to: u64) -> DiskResult<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let newest = checkpoints(disk, wal)?.last().copied();
    if let Some(n) = newest {
        let folder = checkpoint_path(wal, n);
        files.extend(segments(disk, &folder)?.into_iter().map(|s| segment_path(&folder, s)));
    }
    let newer = |s: &u64| *s <= to && newest.is_none_or(|n| *s > n);
    files.extend(segments(disk, wal)?.into_iter().filter(newer).map(|s| segment_path(wal, s)));
    files.into_iter().map(|f| disk.size(&f).map(|len| (f, len))).collect()
}
