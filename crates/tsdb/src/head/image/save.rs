//! Writing an image while commits go on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::Labels;
use storage::StorageError;

use super::frames::{FRAME_BYTES, FrameWriter, Kind};
use super::{Anchor, End, Position, page};
use crate::disk::create_dir_durable;
use crate::head::Head;
use crate::wal::bytes::{put_uvarint, put_varint};
use crate::wal::record::{self, ExemplarRecord, MetadataRecord, SeriesRecord, TombstoneRecord};

/// Entries of one record.
const ENTRIES_PER_RECORD: usize = 4096;
/// A pause after a part is as long as the part took, but not longer than this: half of a core at most.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Divides the work by pauses, so that an image of seconds leaves the processor to scrapes.
struct Pace {
    on: bool,
    since: Instant,
}

impl Pace {
    fn pause(&mut self) {
        if self.on {
            std::thread::sleep(self.since.elapsed().min(PAUSE_MAX));
            self.since = Instant::now();
        }
    }
}

impl Head {
    /// Whether the log has grown by so much that an image is due.
    pub(crate) fn image_due(&self) -> bool {
        !self.lost_pages() && self.image.is_due(self.log.written())
    }

    /// Writes an image. `paced` takes twice as long. False where it is put off: the log is in trouble.
    ///
    /// # Errors
    /// No room, the device failed: the image before stays.
    pub(crate) fn save_image(&self, paced: bool) -> Result<bool, StorageError> {
        if self.image.log_bytes_min == 0 {
            return Ok(false);
        }
        let began = Instant::now();
        let saved = self.try_save_image(Pace { on: paced, since: began });
        match &saved {
            Ok(true) => self.image.written.inc(),
            Ok(false) => {}
            Err(_) => {
                self.image.failed.inc();
                // Not again before as much more was logged.
                self.image.logged.store(self.log.written(), Ordering::Relaxed);
            }
        }
        self.image.seconds.set(began.elapsed().as_secs_f64());
        saved
    }

    fn try_save_image(&self, mut pace: Pace) -> Result<bool, StorageError> {
        let _nothing_goes = self.gc.lock();
        let logged = self.log.written();
        // What the log had to drop the image would be the only one to have. What is no sample is logged once more:
        // before the position, as an image may be lost.
        let dropped = self.log.status().dropped_records;
        let incomplete = self.image.dropped.load(Ordering::Relaxed) != dropped;
        if incomplete {
            let records = self.image_records();
            self.log.append(Vec::new, records.iter().map(|r| (r.as_slice(), 0)))?;
        }
        let Some(start) = self.log_position() else { return Ok(false) };
        let last = self.index.read().last;
        self.commits.wait();
        // A power cut takes nothing before the position, so that only what is behind it needs a look.
        self.sync()?;
        if self.late.has_unlogged() {
            return Ok(false);
        }
        if self.log.status().dropped_records != dropped {
            return Ok(false);
        }
        if incomplete {
            self.close_open_chunks();
            if self.files.sync_all()?.is_none() {
                return Ok(false);
            }
            self.image.dropped.store(dropped, Ordering::Relaxed);
        }
        let chunks_from = self.files.position();
        if let Some(dir) = self.image.path.parent() {
            create_dir_durable(&*self.disk, dir)?;
        }
        let mut w = FrameWriter::create(&self.disk, &self.image.path, start.segment << 32 | start.offset)?;
        let mut series = 0;
        for table_page in self.table.all() {
            if !w.is_begun() {
                w.begin(Kind::Pages);
            }
            {
                let inner = table_page.lock();
                page::put(w.buf(), table_page.base, &inner, last);
                series += inner.numbers(table_page.base).filter(|n| *n <= last).count() as u64;
            }
            if w.buf().len() >= FRAME_BYTES {
                w.end()?;
                pace.pause();
            }
        }
        if w.is_begun() {
            w.end()?;
        }
        super::index::put(self, &mut w, last, &mut || pace.pause())?;
        for bytes in self.image_records() {
            w.begin(Kind::Record).extend_from_slice(&bytes);
            w.end()?;
        }
        for (series, exemplars) in self.exemplars_of_gone() {
            let out = w.begin(Kind::GoneExemplars);
            for bytes in [series, exemplars] {
                put_uvarint(out, bytes.len() as u64);
                out.extend_from_slice(&bytes);
            }
            w.end()?;
        }
        let expiry: Vec<(u64, i64)> = self.wal_expiry.lock().iter().map(|(s, t)| (*s, *t)).collect();
        let out = w.begin(Kind::Expiry);
        for (series, until) in expiry {
            put_uvarint(out, series);
            put_varint(out, until);
        }
        w.end()?;

        let mut renamed: Vec<(u64, u64)> = self.renamed.lock().iter().map(|(a, b)| (*a, *b)).collect();
        renamed.retain(|(_, series)| self.table.with(*series, |_, _| ()).is_some());
        let out = w.begin(Kind::Renamed);
        for (logged, series) in renamed {
            put_uvarint(out, logged);
            put_uvarint(out, series);
        }
        w.end()?;

        // Maybe while its pages were copied.
        if self.lost_pages() {
            return Ok(false);
        }
        // What the pages have must be where others find it.
        self.log_series()?;
        let Some(files) = self.files.sync_all()? else { return Ok(false) };
        let Some(end) = self.log_position() else { return Ok(false) };
        let Some(anchor) = Anchor::of(&*self.disk, &self.wal_dir, end)? else { return Ok(false) };
        let checkpoint = super::newest_checkpoint(&*self.disk, &self.wal_dir)?;
        let log = match start.segment.checked_sub(1) {
            Some(to) => super::log_files(&*self.disk, &self.wal_dir, to)?,
            None => Vec::new(),
        };
        let log = (log.len() as u64, log.iter().map(|(_, len)| len).sum());
        End { start, anchor, checkpoint, last, series, chunks_from, log, files }.put(w.begin(Kind::End));
        w.end()?;
        let size = w.finish()?;
        self.image.set(logged, size);
        tracing::debug!(series, size, "head image written");
        Ok(true)
    }

    /// Exemplars of series that are in memory no more, with these, as records of a log.
    fn exemplars_of_gone(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut series, mut exemplars) = (Vec::new(), Vec::new());
        for (labels, e) in self.exemplars.all() {
            if self.find(&labels).is_some() {
                continue;
            }
            // Within its frame.
            let number = (series.len() % ENTRIES_PER_RECORD) as u64;
            series.push(SeriesRecord { series: number, labels });
            exemplars.push(ExemplarRecord {
                series: number,
                t_ms: e.timestamp_ms,
                value: e.value,
                labels: e.labels,
            });
        }
        let parts = series.chunks(ENTRIES_PER_RECORD).zip(exemplars.chunks(ENTRIES_PER_RECORD));
        let encode = |(series, exemplars): (&[SeriesRecord], &[ExemplarRecord])| {
            let mut both = (Vec::new(), Vec::new());
            record::encode_series(&mut both.0, series);
            record::encode_exemplars(&mut both.1, exemplars);
            both
        };
        parts.map(encode).collect()
    }

    fn find(&self, labels: &Labels) -> Option<u64> {
        self.index.read().find(labels.hash(), labels, &|s, out| self.pairs_of(s, out))
    }

    fn log_position(&self) -> Option<Position> {
        self.log.position().map(|(segment, offset)| Position { segment, offset })
    }

    /// Metadata, tombstones and exemplars as records of a log.
    pub(in crate::head) fn image_records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let metadata: Vec<MetadataRecord> = self
            .metadata
            .lock()
            .iter()
            .map(|(series, m)| MetadataRecord { series: *series, metadata: m.clone() })
            .collect();
        for part in metadata.chunks(ENTRIES_PER_RECORD) {
            let mut bytes = Vec::new();
            record::encode_metadata(&mut bytes, part);
            records.push(bytes);
        }
        let mut stones = Vec::new();
        for (series, ranges) in self.tombstones.read().iter() {
            let stone = |i: &crate::tombstones::Interval| TombstoneRecord {
                series: *series,
                mint_ms: i.mint_ms,
                maxt_ms: i.maxt_ms,
            };
            stones.extend(ranges.iter().map(stone));
        }
        for part in stones.chunks(ENTRIES_PER_RECORD) {
            let mut bytes = Vec::new();
            record::encode_tombstones(&mut bytes, part);
            records.push(bytes);
        }
        let mut exemplars = Vec::new();
        for (labels, e) in self.exemplars.all() {
            let Some(series) = self.find(&labels) else { continue };
            exemplars.push(ExemplarRecord { series, t_ms: e.timestamp_ms, value: e.value, labels: e.labels });
        }
        for part in exemplars.chunks(ENTRIES_PER_RECORD) {
            let mut bytes = Vec::new();
            record::encode_exemplars(&mut bytes, part);
            records.push(bytes);
        }
        records
    }
}
