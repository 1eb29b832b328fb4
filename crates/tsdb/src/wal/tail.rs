//! Following a log that is being written, for remote write (upstream: `tsdb/wlog/watcher.go`, `live_reader.go`).
//!
//! The log says how far it is written, so that a record that is half there is never looked at; upstream's reader
//! finds out by trying. Whoever begins in the middle is told of the series that stand before first.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use storage::{LogEvent, LogWants};

use super::record::{self, Record, RecordType};
use super::{Log, SegmentReader, checkpoint_path, checkpoints, segment_path, segments};
use crate::disk::{Disk, DiskResult};

/// A file that was there when the folder was listed may be gone when it is opened, as the log was cut meanwhile.
/// That takes minutes to happen again.
const LISTINGS_MAX: usize = 5;

/// A place in one log: segment and offset.
pub(crate) type Place = (u64, u64);

/// A part of the log that only series are taken from.
#[derive(Debug)]
struct Before {
    path: PathBuf,
    /// What its series are said to stand in.
    segment: u64,
    until: u64,
}

/// Reads one log as it grows.
#[derive(Debug)]
pub(crate) struct Tail {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    log: Arc<Log>,
    wants: LogWants,
    /// The log of late samples has no series of its own.
    has_series: bool,
    place: Place,
    reader: Option<SegmentReader>,
    /// What is read for its series before the place.
    before: VecDeque<Before>,
    reading: Option<(SegmentReader, u64)>,
    /// The newest checkpoint that was told of.
    condensed: Option<u64>,
    listings: usize,
}

fn is_series(kind: u8) -> bool {
    kind == RecordType::Series as u8 || kind == RecordType::Metadata as u8
}

impl Tail {
    /// From a place on; from the log's end where there is none, from its begin where the place is behind its end:
    /// then it is another log.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        log: &Arc<Log>,
        (from, has_series): (Option<Place>, bool),
        wants: LogWants,
    ) -> DiskResult<Self> {
        let dir = log.dir().to_path_buf();
        let end = log.end();
        let first = segments(&**disk, &dir)?.first().copied().unwrap_or(end.0);
        let place = match from {
            None => end,
            Some(from) if from > end => (first, 0),
            Some(from) => from,
        };
        let mut tail = Tail {
            disk: Arc::clone(disk),
            dir,
            log: Arc::clone(log),
            wants,
            has_series,
            place,
            reader: None,
            before: VecDeque::new(),
            reading: None,
            condensed: None,
            listings: 0,
        };
        tail.list()?;
        Ok(tail)
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// How far the log can be read now.
    pub(crate) fn end(&self) -> Place {
        self.log.end()
    }

    /// Lists what stands before the place.
    fn list(&mut self) -> DiskResult<()> {
        (self.before, self.reading) = (VecDeque::new(), None);
        if !self.has_series {
            return Ok(());
        }
        self.condensed = checkpoints(&*self.disk, &self.dir)?.last().copied();
        if let Some(n) = self.condensed {
            let folder = checkpoint_path(&self.dir, n);
            for part in segments(&*self.disk, &folder)? {
                let path = segment_path(&folder, part);
                self.before.push_back(Before { path, segment: n, until: u64::MAX });
            }
        }
        for segment in segments(&*self.disk, &self.dir)? {
            if self.condensed.is_some_and(|n| segment <= n) || segment > self.place.0 {
                continue;
            }
            let until = if segment == self.place.0 { self.place.1 } else { u64::MAX };
            self.before.push_back(Before { path: segment_path(&self.dir, segment), segment, until });
        }
        Ok(())
    }

    /// The next event before `until`, or before the log's end now.
    ///
    /// # Errors
    /// The device failed.
    pub(crate) fn next(&mut self, until: Option<Place>) -> DiskResult<Option<LogEvent>> {
        if let Some(event) = self.next_before()? {
            return Ok(Some(event));
        }
        loop {
            let end = until.unwrap_or_else(|| self.log.end());
            let last = self.place.0 >= end.0;
            if last && self.place >= end {
                return Ok(None);
            }
            let limit = if last { end.1 } else { u64::MAX };
            let mut reader = match self.reader.take() {
                Some(reader) => reader,
                None => match self.open(limit) {
                    Ok(reader) => reader,
                    Err(e) if e.is_not_found() => return self.skip(end),
                    Err(e) => return Err(e),
                },
            };
            // What is in the way of the end here is known now; more may be there since the last look.
            let found = match next_record(&mut reader, &mut self.place.1)? {
                None if reader.reach(limit)? => next_record(&mut reader, &mut self.place.1)?,
                found => found,
            };
            match found {
                Some(record) => {
                    self.reader = Some(reader);
                    if let Some(event) = self.event(record, self.place.0) {
                        return Ok(Some(event));
                    }
                }
                None if last => {
                    self.reader = Some(reader);
                    return Ok(None);
                }
                None => {
                    self.place = (self.place.0 + 1, 0);
                    if let Some(event) = self.condensed()? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn open(&self, limit: u64) -> DiskResult<SegmentReader> {
        let path = segment_path(&self.dir, self.place.0);
        let mut reader = SegmentReader::open_at(&*self.disk, &path, self.place.1)?;
        reader.reach(limit)?;
        Ok(reader)
    }

    /// Series that stand before the place.
    fn next_before(&mut self) -> DiskResult<Option<LogEvent>> {
        loop {
            let Some((reader, segment)) = &mut self.reading else {
                let Some(Before { path, segment, until }) = self.before.pop_front() else { return Ok(None) };
                match SegmentReader::open(&*self.disk, &path) {
                    Ok(mut reader) => {
                        reader.reach(until)?;
                        reader.want(is_series);
                        self.reading = Some((reader, segment));
                    }
                    // Cut meanwhile: what it had is in a newer checkpoint.
                    Err(e) if e.is_not_found() && self.listings < LISTINGS_MAX => {
                        self.listings += 1;
                        self.list()?;
                    }
                    Err(e) => return Err(e),
                }
                continue;
            };
            let segment = *segment;
            let record = match reader.next_record()? {
                None => {
                    self.reading = None;
                    continue;
                }
                Some(bytes) if bytes.first().is_none_or(|kind| !is_series(*kind)) => continue,
                Some(bytes) => record::decode(bytes),
            };
            if let Some(event) = self.event(record.unwrap_or(Record::Unknown(0)), segment) {
                return Ok(Some(event));
            }
        }
    }

    fn event(&self, record: Record, segment: u64) -> Option<LogEvent> {
        let wants = self.wants;
        match record {
            Record::Series(all) => Some(LogEvent::Series { all, segment }),
            Record::Samples(all) => Some(LogEvent::Samples(all)),
            Record::Histograms(all) => wants.histograms.then_some(LogEvent::Histograms(all)),
            Record::Exemplars(all) => wants.exemplars.then_some(LogEvent::Exemplars(all)),
            Record::Metadata(all) => wants.metadata.then_some(LogEvent::Metadata(all)),
            Record::Tombstones(_) | Record::MmapMarkers(_) => None,
            Record::Unknown(_) => Some(LogEvent::Undecodable),
        }
    }

    /// Whether a new checkpoint has taken the place of segments that were read.
    fn condensed(&mut self) -> DiskResult<Option<LogEvent>> {
        if !self.has_series {
            return Ok(None);
        }
        let newest = checkpoints(&*self.disk, &self.dir)?.last().copied();
        let Some(through) = newest.filter(|n| Some(*n) > self.condensed && *n < self.place.0) else {
            return Ok(None);
        };
        let folder = checkpoint_path(&self.dir, through);
        let mut living = Vec::new();
        for part in segments(&*self.disk, &folder)? {
            let mut reader = match SegmentReader::open(&*self.disk, &segment_path(&folder, part)) {
                Ok(reader) => reader,
                // An even newer one: the next look finds it.
                Err(e) if e.is_not_found() => return Ok(None),
                Err(e) => return Err(e),
            };
            reader.want(is_series);
            while let Some(bytes) = reader.next_record()? {
                if let Ok(Record::Series(all)) = record::decode(bytes) {
                    living.extend(all.iter().map(|s| s.series));
                }
            }
        }
        living.sort_unstable();
        self.condensed = Some(through);
        Ok(Some(LogEvent::Condensed { through, living }))
    }

    /// The segment is gone: goes on behind what was cut.
    fn skip(&mut self, end: Place) -> DiskResult<Option<LogEvent>> {
        let newest = checkpoints(&*self.disk, &self.dir)?.last().copied().filter(|_| self.has_series);
        let behind = newest.map_or(0, |n| n + 1).max(self.place.0);
        let next = segments(&*self.disk, &self.dir)?.into_iter().find(|s| *s >= behind).unwrap_or(end.0);
        // All that was there of the segment may have been read.
        let segments = next.saturating_sub(self.place.0).max(1);
        self.place = (next.max(self.place.0), 0);
        self.list()?;
        Ok(Some(LogEvent::Skipped { segments }))
    }
}

/// The next record, decoded; where it ends goes to `end`.
fn next_record(reader: &mut SegmentReader, end: &mut u64) -> DiskResult<Option<Record>> {
    let Some(bytes) = reader.next_record()? else { return Ok(None) };
    let record = record::decode(bytes).unwrap_or(Record::Unknown(0));
    *end = reader.good_end();
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;
    use crate::wal::record::{SampleRecord, SeriesRecord, encode_samples, encode_series};
    use crate::wal::{LogRules, WalCompression, checkpoint};
    use model::Labels;
    use std::path::Path;

    const DIR: &str = "/wal";

    fn log(disk: &Arc<dyn Disk>) -> Arc<Log> {
        let rules = LogRules {
            compression: WalCompression::Snappy,
            segment_bytes: 64 << 10,
            strict: false,
            hold_bytes: 1 << 20,
        };
        Arc::new(Log::open(Arc::clone(disk), Path::new(DIR), rules, Vec::new()).unwrap())
    }

    fn labels(n: u64) -> Labels {
        Labels::from_pairs([("__name__", "m".to_string()), ("n", n.to_string())])
    }

    fn series(log: &Log, n: u64) {
        let mut out = Vec::new();
        encode_series(&mut out, &[SeriesRecord { series: n, labels: labels(n) }]);
        log.append(|| out, std::iter::empty()).unwrap();
    }

    /// `n` samples whose values do not compress.
    fn samples(log: &Log, series: u64, t_ms: i64, n: i64) {
        let sample = |i: i64| SampleRecord {
            series,
            start_ms: 0,
            t_ms: t_ms + i,
            value: f64::from_bits(((t_ms + i) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        };
        let mut out = Vec::new();
        encode_samples(&mut out, &(0..n).map(sample).collect::<Vec<_>>());
        log.append(Vec::new, std::iter::once((&out[..], 0))).unwrap();
    }

    fn tail(disk: &Arc<dyn Disk>, log: &Arc<Log>, from: Option<Place>) -> Tail {
        Tail::new(disk, log, (from, true), LogWants::default()).unwrap()
    }

    fn rest(tail: &mut Tail) -> (Vec<u64>, Vec<i64>, Vec<LogEvent>) {
        let (mut known, mut times, mut others) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(event) = tail.next(None).unwrap() {
            match event {
                LogEvent::Series { all, .. } => known.extend(all.iter().map(|s| s.series)),
                LogEvent::Samples(all) => times.extend(all.iter().map(|s| s.t_ms)),
                other => others.push(other),
            }
        }
        (known, times, others)
    }

    #[test]
    fn every_record_once_from_any_place_on() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let log = log(&disk);
        let mut live = tail(&disk, &log, None);
        let (mut places, mut seen) = (vec![live.place()], Vec::new());
        for round in 0..60 {
            if round % 10 == 0 {
                series(&log, round as u64);
            }
            // Records over several pages, and more than one segment.
            samples(&log, 0, round * 1000, 1 + round * 15);
            seen.extend(rest(&mut live).1);
            places.push(live.place());
        }
        let all: Vec<i64> = (0..60).flat_map(|r| (0..=r * 15).map(move |i| r * 1000 + i)).collect();
        assert_eq!(seen, all);
        assert!(live.place().0 > 2, "several segments: {:?}", live.place());
        let mut before = 0;
        for (round, place) in places.iter().enumerate() {
            let (known, times, others) = rest(&mut tail(&disk, &log, Some(*place)));
            assert_eq!(times, all[before..], "from {place:?}");
            assert_eq!(known, [0, 10, 20, 30, 40, 50]);
            assert_eq!(others, []);
            before += 1 + round * 15;
        }
        // A place behind the end is one in another log.
        assert_eq!(rest(&mut tail(&disk, &log, Some((99, 0)))).1, all);
    }

    #[test]
    fn what_was_cut_is_told() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let log = log(&disk);
        series(&log, 1);
        series(&log, 2);
        samples(&log, 1, 0, 10);
        let mut old = tail(&disk, &log, Some((0, 0)));
        let mut live = tail(&disk, &log, None);
        assert_eq!(rest(&mut live).0, [1, 2]);
        log.next_segment().unwrap();
        samples(&log, 2, 100, 10);
        log.next_segment().unwrap();
        samples(&log, 2, 200, 1);
        let keep = |n: u64| n == 2;
        let limits = (1000, 1000);
        let dir = Path::new(DIR);
        checkpoint::write(&disk, dir, 1, WalCompression::Snappy, limits, &keep, (false, &|_| ())).unwrap();
        checkpoint::truncate(&*disk, dir, 1).unwrap();
        // One that has read on learns which series are left once it is behind the cut.
        let (_, times, others) = rest(&mut live);
        assert_eq!(times, [200]);
        assert_eq!(others, [LogEvent::Skipped { segments: 2 }]);
        // One that lags learns what it missed, and what it needs for the rest.
        let (mut known, times, others) = rest(&mut old);
        known.dedup();
        assert_eq!((known, times), (vec![2], vec![200]));
        assert_eq!(others, [LogEvent::Skipped { segments: 2 }]);
        log.next_segment().unwrap();
        series(&log, 3);
        let mut on = tail(&disk, &log, Some((2, 0)));
        assert_eq!(rest(&mut on), (vec![2, 3], vec![200], vec![]));
        let keep = |n: u64| n == 3;
        log.next_segment().unwrap();
        samples(&log, 3, 300, 1);
        checkpoint::write(&disk, dir, 3, WalCompression::Snappy, limits, &keep, (false, &|_| ())).unwrap();
        let (_, times, others) = rest(&mut on);
        assert_eq!((times, others), (vec![300], vec![LogEvent::Condensed { through: 3, living: vec![3] }]));
    }
}
