//! Bringing the head back from its log: newest checkpoint, then segments, with the complete chunks that
//! `chunks_head` still has. One thread reads, checks and decodes, another puts samples in place.
//!
//! Damage does not stop a replay. Each segment is mended before (what is lost is named), so that whoever
//! opens the folder next, an older Prometheus included, finds a log without faults.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use model::Exemplar;
use storage::{SampleBuf, StorageError};

use super::Head;
use super::doubts::{Doubts, LateInRecord};
use super::floats::Floats;
use super::holes::{Holes, Put, fill_hole, put_float};
use super::image::{Restored, Waker};
use super::late::LateWork;
use super::mapped::{Loaded, MappedChunk, OooChunk};
use super::ooo::LateValue;
use super::series::Slot;
use super::source::Source;
use super::table::PageInner;
use crate::db::ReplayProgress;
use crate::disk::DiskResult;
use crate::tombstones::{Interval, add_interval};
use crate::wal::SegmentReader;
use crate::wal::record::{self, Record, SeriesRecord, TombstoneRecord};

/// Samples that go from the thread that reads to the one that puts them in place at once: a scrape of some
/// hundred would wake it each time.
const BATCH_SAMPLES: usize = 1 << 14;
/// Batches that wait: some 8 MB, or 16 MB with records of 1 MB, the size of a large scrape.
const QUEUE_BATCHES: usize = 16;

/// What the log has, one after the other.
enum Entry {
    Record(Record),
    /// Floats that pages which sleep may take.
    Floats(Floats),
}

/// About how much there is in a record, in samples.
fn entries(entry: &Entry) -> usize {
    let record = match entry {
        Entry::Record(record) => record,
        // Not made to samples: a sixth of the work.
        Entry::Floats(floats) => return floats.len() / 6 + 1,
    };
    match record {
        Record::Samples(all) => all.len(),
        // Labels, spans, buckets: some hundred bytes.
        Record::Series(all) => all.len() * 8,
        Record::Histograms(all) => all.len() * 8,
        Record::Exemplars(all) => all.len() * 8,
        Record::Metadata(all) => all.len() * 8,
        Record::Tombstones(all) => all.len(),
        Record::MmapMarkers(all) => all.len(),
        Record::Unknown(_) => 1,
    }
}

/// References to series that the log has no record of.
#[derive(Default)]
struct Unknown {
    series: HashSet<u64>,
    samples: u64,
    histograms: u64,
    exemplars: u64,
    metadata: u64,
    tombstones: u64,
}

/// What a replay leaves to do.
pub(super) struct Replayed {
    /// Last place of chunks of late samples that were let go, as blocks have them.
    pub(super) late_let_go: u64,
    /// Samples that came in order and cannot be put back so, by series.
    pub(super) missing: Vec<(u64, SampleBuf)>,
    /// The logs have samples of series that they have no record of, or none behind the image.
    pub(super) unknown: bool,
}

struct Replay<'a> {
    head: &'a Head,
    mapped: HashMap<u64, Vec<MappedChunk>>,
    late: HashMap<u64, Vec<OooChunk>>,
    /// Series and places of all chunks of late samples that were found. With the series: a place whose file a
    /// power cut took is used again.
    late_places: HashSet<(u64, u64)>,
    /// Their places.
    late_loaded: HashSet<u64>,
    /// Those of them that the log of late samples speaks of.
    marked: HashSet<u64>,
    /// Numbers in the log of series that have another number here, as their labels came twice.
    renamed: HashMap<u64, u64>,
    unknown: Unknown,
    /// Samples older than the newest of their series, and in none of its chunks.
    holes: Holes,
    doubts: Doubts,
    min: i64,
    max: i64,
    min_valid: i64,
    chunks: i64,
}

impl Head {
    /// Brings back what the log has.
    pub(super) fn replay(
        &self,
        source: Source,
        (late, late_gone_to): (Source, u64),
        loaded: Loaded,
        (restored, waker): (Restored, &Waker),
        (progress, threads): (&ReplayProgress, bool),
        in_doubt: bool,
    ) -> Result<Replayed, StorageError> {
        let began = Instant::now();
        let numbers = || source.files.iter().map(|(n, _, _)| *n);
        progress.begin(numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
        // Numbers of chunks whose series record a power cut took must not be given to others.
        if let Some(highest) = loaded.chunks.keys().chain(loaded.late.keys()).max() {
            self.index.write().reserve_series(*highest);
        }
        let mut replay = Replay {
            head: self,
            mapped: loaded.chunks,
            late_places: loaded
                .late
                .iter()
                .flat_map(|(series, all)| all.iter().map(|c| (*series, c.place())))
                .collect(),
            late_loaded: loaded.late.values().flatten().map(OooChunk::place).collect(),
            late: loaded.late,
            marked: HashSet::new(),
            renamed: HashMap::new(),
            unknown: Unknown::default(),
            holes: Holes::new(),
            doubts: Doubts::new(in_doubt),
            min: i64::MAX,
            max: i64::MIN,
            min_valid: self.min_valid.load(Ordering::Acquire),
            chunks: 0,
        };
        let series = restored.tally.series;
        if series > 0 {
            replay.restore(restored);
        }
        let files = &source.files;
        let sleepers = series > 0 && !in_doubt;
        if threads {
            let (send, receive) = sync_channel::<Vec<(u64, Entry)>>(QUEUE_BATCHES);
            std::thread::scope(|scope| -> Result<(), StorageError> {
                let reader = scope.spawn(move || {
                    let (mut batch, mut samples) = (Vec::new(), 0);
                    self.read_records(files, sleepers, |n, entry| {
                        samples += entries(&entry);
                        batch.push((n, entry));
                        if samples < BATCH_SAMPLES {
                            return true;
                        }
                        samples = 0;
                        send.send(std::mem::take(&mut batch)).is_ok()
                    })?;
                    // Who receives no more says so itself.
                    let _ = send.send(batch);
                    DiskResult::Ok(())
                });
                for (number, decoded) in receive.into_iter().flatten() {
                    progress.reached(number);
                    replay.take_entry(decoded);
                }
                match reader.join() {
                    Ok(done) => Ok(done?),
                    Err(_) => Err(StorageError::Other("the thread that reads the log died".to_string())),
                }
            })?;
        } else {
            self.read_records(files, sleepers, |number, decoded| {
                progress.reached(number);
                replay.take_entry(decoded);
                true
            })?;
        }
        self.read_records(&late.files, false, |_, decoded| {
            if let Entry::Record(record) = decoded {
                replay.take_late(record);
            }
            true
        })?;
        let late_let_go = replay.forget_cut_late(late_gone_to);
        replay.fill_holes(waker);
        let missing = std::mem::take(&mut replay.doubts).missing(self);
        let unknown = !replay.unknown.series.is_empty();
        replay.finish();
        let files = source.files.len();
        let (bytes, seconds) = (source.bytes, began.elapsed().as_secs_f64());
        tracing::info!(files, bytes, series_from_image = series, seconds, "WAL replay completed");
        Ok(Replayed { late_let_go, missing, unknown })
    }
}

impl Head {
    /// Reads and decodes the files one after the other, until `each` says false; floats as [`Floats`] for
    /// sleepers.
    fn read_records(
        &self,
        files: &[(u64, PathBuf, u64)],
        sleepers: bool,
        mut each: impl FnMut(u64, Entry) -> bool,
    ) -> DiskResult<()> {
        for (number, path, offset) in files {
            let mut segment = SegmentReader::open_at(&*self.disk, path, *offset)?;
            while let Some(bytes) = segment.next_record()? {
                let floats = if sleepers { Floats::read(bytes) } else { Ok(None) };
                let decoded = floats.and_then(|floats| match floats {
                    Some(floats) => Ok(Entry::Floats(floats)),
                    None => record::decode(bytes).map(Entry::Record),
                });
                match decoded {
                    Ok(decoded) => {
                        if !each(*number, decoded) {
                            return Ok(());
                        }
                    }
                    Err(e) => tracing::warn!(error = %e, segment = %path.display(), "log record left out"),
                }
            }
        }
        Ok(())
    }
}

/// Times of the samples of a chunk on disk, ascending.
fn chunk_times(head: &Head, chunk: &MappedChunk) -> Option<Vec<i64>> {
    let (mut bytes, mut samples) = (Vec::new(), SampleBuf::default());
    head.files.read(chunk, &mut bytes).ok().filter(|there| *there)?;
    crate::chunkenc::decode(chunk.encoding()?, &bytes, i64::MIN, i64::MAX, &mut samples).ok()?;
    Some(samples.times)
}

impl Replay<'_> {
    /// Goes on from an image.
    fn restore(&mut self, restored: Restored) {
        let (head, tally) = (self.head, restored.tally);
        self.chunks += tally.chunks;
        (self.min, self.max) = tally.times;
        head.metrics.series_created.add(tally.series as f64);
        head.metrics.stale.fetch_add(tally.stale, Ordering::Relaxed);
        if tally.late_times.0 <= tally.late_times.1 {
            head.late.widen(tally.late_times.0, tally.late_times.1);
            for page in head.table.all() {
                if page.sleeps_through(i64::MIN) {
                    continue;
                }
                for (series, late) in page.lock().late_series(page.base) {
                    self.late_places.extend(late.mapped.iter().map(|c| (series, c.place())));
                    self.late_loaded.extend(late.mapped.iter().map(OooChunk::place));
                }
            }
        }
        head.wal_expiry.lock().extend(restored.expiry);
        self.renamed.extend(restored.renamed);
        for (labels, exemplar) in restored.exemplars {
            let _ = head.exemplars.add(&labels, exemplar);
        }
        for bytes in restored.records {
            match record::decode(&bytes) {
                Ok(record) => self.take(record),
                Err(e) => tracing::error!(error = %e, "record of the head image left out"),
            }
        }
        if tally.times.0 < self.min_valid {
            // Blocks have it. What is open must go before the log goes on, or it would be written once more.
            for page in head.table.all() {
                if page.sleeps_through(self.min_valid) {
                    continue;
                }
                let PageInner { slots, blocks, .. } = &mut *page.lock();
                for slot in slots {
                    self.chunks -= i64::from(slot.truncate(self.min_valid, blocks));
                }
            }
        }
        // Chunks that were completed since the image was begun.
        let known = |series: &u64| head.table.with(*series, |_, _| ()).is_some();
        let fresh: Vec<u64> = self.mapped.keys().copied().filter(known).collect();
        for number in fresh {
            let mut chunks = self.mapped.remove(&number).unwrap_or_default();
            head.table.with_mut(number, |slot, blocks| {
                let before = i64::from(slot.chunk_count());
                chunks.retain(|c| !slot.mapped.contains(c));
                if let Some((_, first, _)) = slot.open_chunk() {
                    if chunks.iter().any(|c| c.min_time == first) {
                        // This one, before it was complete.
                        slot.drop_open(blocks);
                    } else if chunks.iter().any(|c| c.max_time() >= first) {
                        // It was complete before these, and is lost.
                        slot.close_open(number, &mut head.sink(blocks));
                    }
                }
                slot.add_mapped(&chunks);
                self.chunks += i64::from(slot.chunk_count()) - before;
                self.min = self.min.min(slot.min_time().unwrap_or(i64::MAX));
                self.max = self.max.max(slot.max_time().unwrap_or(i64::MIN));
            });
        }
        let fresh: Vec<u64> = self.late.keys().copied().filter(known).collect();
        for number in fresh {
            let mut chunks = self.late.remove(&number).unwrap_or_default();
            let Some(page) = head.table.page(number) else { continue };
            let mut inner = page.lock();
            let Some(own) = inner.late_mut(number) else { continue };
            chunks.retain(|c| !own.mapped.contains(c));
            self.chunks += chunks.len() as i64;
            chunks.iter().for_each(|c| head.late.widen(c.min_time, c.max_time));
            own.mapped.extend(chunks);
        }
    }

    fn take_entry(&mut self, entry: Entry) {
        let floats = match entry {
            Entry::Record(record) => return self.take(record),
            Entry::Floats(floats) => floats,
        };
        for run in &floats.runs {
            // What a page gets that sleeps is what it would have got: nothing under other numbers, nothing that
            // is left out.
            let plain = self.renamed.is_empty() && run.times.0 >= self.min_valid;
            if plain && self.head.table.page(run.first).is_some_and(|page| page.leave(&floats, run)) {
                self.min = self.min.min(run.times.0);
                self.max = self.max.max(run.times.1);
                continue;
            }
            self.take(Record::Samples(floats.part(run).samples().collect()));
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Series(all) => all.into_iter().for_each(|s| self.series(s)),
            Record::Samples(mut all) => {
                all.retain(|s| s.t_ms >= self.min_valid);
                let mut late = LateInRecord::default();
                let mut rest = all.as_slice();
                while let Some(first) = rest.first() {
                    let number = self.number(first.series, first.t_ms);
                    let Some(page) = self.head.table.page(number) else {
                        self.unknown.series.insert(first.series);
                        self.unknown.samples += 1;
                        rest = &rest[1..];
                        continue;
                    };
                    let mut inner = page.lock();
                    while let Some((s, tail)) = rest.split_first() {
                        let number = self.number(s.series, s.t_ms);
                        if !page.holds(number) {
                            break;
                        }
                        rest = tail;
                        let Some((slot, blocks)) = inner.get_both(number) else {
                            self.unknown.series.insert(s.series);
                            self.unknown.samples += 1;
                            continue;
                        };
                        let at = all.len() - rest.len() - 1;
                        let mut late = || late.has(at, all.iter().map(|s| (s.series, s.t_ms)));
                        match put_float(slot, number, s.t_ms, s.value, &mut self.head.sink(blocks)) {
                            Put::Done(done, stale) => self.note(done, s.t_ms, stale),
                            Put::Between if late() => {}
                            Put::Between => self.holes.entry(number).or_default().push(s.t_ms, s.value),
                            Put::Known => {
                                if let Some(samples) = self.doubts.of(number, slot, s.t_ms)
                                    && !late()
                                {
                                    samples.push(s.t_ms, s.value);
                                }
                            }
                        }
                    }
                }
            }
            Record::Histograms(all) => {
                let (min_valid, mut in_record) = (self.min_valid, LateInRecord::default());
                for (at, h) in all.iter().enumerate().filter(|(_, h)| h.t_ms >= min_valid) {
                    let mut late = || in_record.has(at, all.iter().map(|h| (h.series, h.t_ms)));
                    let number = self.number(h.series, h.t_ms);
                    let head = self.head;
                    let Replay { holes, doubts, .. } = self;
                    let done = head.table.with_mut(number, |slot, blocks| {
                        if slot.max_time().is_some_and(|last| h.t_ms <= last) {
                            if !slot.covers(h.t_ms) {
                                if !late() {
                                    holes.entry(number).or_default().push_histogram(h.t_ms, h.value.clone());
                                }
                            } else if let Some(samples) = doubts.of(number, slot, h.t_ms)
                                && !late()
                            {
                                samples.push_histogram(h.t_ms, h.value.clone());
                            }
                            return (super::series::Applied::default(), 0);
                        }
                        let was_stale = slot.stale;
                        let done = slot.append_histogram(number, h.t_ms, &h.value, &mut head.sink(blocks));
                        (done, i64::from(slot.stale) - i64::from(was_stale))
                    });
                    match done {
                        Some((done, stale)) => self.note(done, h.t_ms, stale),
                        None => {
                            self.unknown.series.insert(h.series);
                            self.unknown.histograms += 1;
                        }
                    }
                }
            }
            Record::Tombstones(all) => all.into_iter().for_each(|t| self.tombstone(t)),
            Record::Exemplars(all) => {
                let min_valid = self.min_valid;
                for e in all.into_iter().filter(|e| e.t_ms >= min_valid) {
                    let number = self.number(e.series, e.t_ms);
                    let Some(labels) = self.head.labels_of(number) else {
                        self.unknown.series.insert(e.series);
                        self.unknown.exemplars += 1;
                        continue;
                    };
                    let exemplar = Exemplar {
                        labels: e.labels,
                        value: e.value,
                        timestamp_ms: e.t_ms,
                        has_timestamp: true,
                    };
                    self.head.exemplars.restore(&labels, exemplar);
                }
            }
            Record::Metadata(all) => {
                for m in all {
                    let number = self.renamed.get(&m.series).copied().unwrap_or(m.series);
                    if self.head.table.with(number, |_, _| ()).is_none() {
                        self.unknown.series.insert(m.series);
                        self.unknown.metadata += 1;
                        continue;
                    }
                    self.head.metadata.lock().insert(number, m.metadata);
                }
            }
            Record::MmapMarkers(_) | Record::Unknown(_) => {}
        }
    }

    /// A record of the log of late samples.
    fn take_late(&mut self, record: Record) {
        let value = LateValue::Float;
        match record {
            Record::Samples(all) => {
                all.into_iter().for_each(|s| self.late_sample(s.series, s.t_ms, value(s.value)));
            }
            Record::Histograms(all) => {
                all.into_iter()
                    .for_each(|h| self.late_sample(h.series, h.t_ms, LateValue::Histogram(h.value)));
            }
            Record::MmapMarkers(all) => {
                // Of a chunk that is not there any more, its samples are in the log still.
                for m in all {
                    // An image has them by the number here, a file by that in the log.
                    let number = self.renamed.get(&m.series).copied().unwrap_or(m.series);
                    if ![m.series, number].iter().any(|s| self.late_places.contains(&(*s, m.chunk))) {
                        continue;
                    }
                    self.marked.insert(m.chunk);
                    let Some(page) = self.head.table.page(number) else { continue };
                    let mut inner = page.lock();
                    let Some(late) = inner.late_mut(number) else { continue };
                    // By what is in it: a place whose file a power cut took may have another chunk of the
                    // series since, and the marker is of the old one.
                    let chunk = late.mapped.iter().find(|c| c.place() == m.chunk).map(|c| c.chunk);
                    let times = chunk.and_then(|c| chunk_times(self.head, &c)).unwrap_or_default();
                    if late.drop_contained(&times) {
                        self.chunks -= 1;
                    }
                }
            }
            _ => {}
        }
    }

    fn late_sample(&mut self, series: u64, t_ms: i64, value: LateValue) {
        let number = self.late_number(series);
        let mut work = LateWork::default();
        match self.head.table.page(number) {
            Some(page) if page.lock().get(number).is_some() => {
                work.insert(self.head, &mut page.lock(), number, t_ms, value, true);
                self.chunks += work.chunks as i64;
            }
            _ => {
                self.unknown.series.insert(series);
                self.unknown.samples += 1;
            }
        }
    }

    /// As [`Replay::number`], of the log of late samples, which goes when it will: the record stays for this
    /// life.
    fn late_number(&mut self, series: u64) -> u64 {
        let Some(number) = self.renamed.get(&series) else { return series };
        self.head.wal_expiry.lock().insert(series, i64::MAX);
        *number
    }

    /// The number here of a series of the log. What a renamed series has in the log keeps its record there.
    fn number(&self, series: u64, t: i64) -> u64 {
        if self.renamed.is_empty() {
            return series;
        }
        match self.renamed.get(&series) {
            None => series,
            Some(number) => {
                let mut expiry = self.head.wal_expiry.lock();
                let until = expiry.entry(series).or_insert(t);
                *until = (*until).max(t);
                *number
            }
        }
    }

    fn note(&mut self, done: super::series::Applied, t: i64, stale: i64) {
        self.chunks += i64::from(done.chunks);
        if done.in_order {
            self.head.metrics.stale.fetch_add(stale, Ordering::Relaxed);
            self.min = self.min.min(t);
            self.max = self.max.max(t);
        }
    }

    fn series(&mut self, record: SeriesRecord) {
        let head = self.head;
        if record.labels.is_empty() || record.series == 0 {
            return;
        }
        let hash = record.labels.hash();
        let mut index = head.index.write();
        index.reserve_series(record.series);
        let found = index.find(hash, &record.labels, &|s, out| head.pairs_of(s, out));
        let number = match found {
            Some(number) => number,
            None => {
                // A number that names another series already (a log put together by hand) gets a new one.
                let free = head.table.with(record.series, |_, _| ()).is_none();
                let Some((number, pairs)) = index.add(hash, &record.labels, free.then_some(record.series))
                else {
                    return;
                };
                head.table.insert(number, &pairs);
                head.metrics.series_created.inc();
                number
            }
        };
        drop(index);
        if number != record.series {
            self.renamed.insert(record.series, number);
        }
        if let Some(late) = self.late.remove(&record.series)
            && let Some(page) = head.table.page(number)
            && let Some(own) = page.lock().late_mut(number)
        {
            self.chunks += late.len() as i64;
            for c in &late {
                head.late.widen(c.min_time, c.max_time);
            }
            own.mapped.extend(late);
            if number != record.series {
                head.wal_expiry.lock().insert(record.series, i64::MAX);
            }
        }
        let mapped = self.mapped.remove(&record.series);
        if let (Some(last), true) = (mapped.as_ref().and_then(|m| m.last()), number != record.series) {
            // Their samples may be nowhere else (a power cut takes the log's end before theirs), and are
            // found by this number.
            self.number(record.series, last.max_time());
        }
        head.table.with_mut(number, |slot, blocks| {
            slot.pending = false;
            let Some(mapped) = mapped else { return };
            let before = i64::from(slot.chunk_count());
            // A series whose labels came twice has chunks under several numbers, with samples from the log
            // before, between and behind them.
            slot.close_open(number, &mut head.sink(blocks));
            slot.add_mapped(&mapped);
            self.chunks += i64::from(slot.chunk_count()) - before;
            self.min = self.min.min(slot.min_time().unwrap_or(i64::MAX));
            self.max = self.max.max(slot.max_time().unwrap_or(i64::MIN));
        });
    }

    fn tombstone(&mut self, t: TombstoneRecord) {
        let number = self.number(t.series, t.maxt_ms);
        self.head.index.write().reserve_series(t.series);
        if t.mint_ms == i64::MIN {
            // The series left memory here, as stale ones do: what follows under these labels is a new one.
            // Upstream has a range to the end of time; in ours what came back already is newer than its end.
            let last = self.head.table.with(number, |_, slot| slot.max_time()).flatten();
            if last.is_none_or(|last| last <= t.maxt_ms) {
                self.forget(number, t.maxt_ms);
                return;
            }
        }
        if t.maxt_ms < self.min_valid {
            return;
        }
        if self.head.table.with(number, |_, _| ()).is_none() {
            self.unknown.series.insert(t.series);
            self.unknown.tombstones += 1;
            return;
        }
        let interval = Interval { mint_ms: t.mint_ms, maxt_ms: t.maxt_ms };
        add_interval(self.head.tombstones.write().entry(number).or_default(), interval);
    }

    fn forget(&mut self, number: u64, until: i64) {
        let mut index = self.head.index.write();
        let of = |page: &PageInner, slot: &Slot| {
            (page.pairs(slot).to_vec(), slot.chunk_count(), slot.stale, slot.max_time())
        };
        if let Some((pairs, chunks, stale, last)) = self.head.table.with(number, of) {
            self.head.metrics.stale.fetch_sub(i64::from(stale), Ordering::Relaxed);
            // Its samples are in the log as long as its record.
            let until = if until == i64::MAX { last.unwrap_or(i64::MIN) } else { until };
            self.head.wal_expiry.lock().insert(number, until);
            let hash = index.labels(&pairs).hash();
            index.remove(&[(hash, number, pairs)]);
            self.head.table.remove(&[number]);
            self.chunks -= i64::from(chunks);
        }
    }

    /// Puts samples between chunks that were there before them.
    fn fill_holes(&mut self, waker: &Waker) {
        let head = self.head;
        for (number, found) in waker.take_holes() {
            let all = self.holes.entry(number).or_default();
            found.times.iter().zip(&found.values).for_each(|(t, v)| all.push(*t, *v));
        }
        for (number, samples) in std::mem::take(&mut self.holes) {
            head.table.with_mut(number, |slot, _| {
                self.chunks += fill_hole(slot, number, samples, (&head.rules, &head.files));
                self.min = self.min.min(slot.min_time().unwrap_or(i64::MAX));
            });
        }
    }

    /// Lets go of chunks of late samples up to a place that their log does not speak of: blocks have had them
    /// since, and some of theirs may be deleted there. Gives the last one's place.
    fn forget_cut_late(&mut self, gone_to: u64) -> u64 {
        let mut last = 0;
        for page in self.head.table.all() {
            // Without late samples, as all that sleep.
            if page.sleeps_through(i64::MIN) {
                continue;
            }
            let mut inner = page.lock();
            for (_, late) in inner.late_series(page.base) {
                let before = late.mapped.len();
                late.mapped.retain(|c| {
                    let place = c.place();
                    let kept =
                        place > gone_to || self.marked.contains(&place) || !self.late_loaded.contains(&place);
                    if !kept {
                        last = last.max(place);
                    }
                    kept
                });
                self.chunks -= (before - late.mapped.len()) as i64;
            }
            inner.forget_empty_late();
        }
        last
    }

    fn finish(self) {
        let head = self.head;
        head.metrics.chunks.fetch_add(self.chunks, Ordering::Relaxed);
        if self.max > i64::MIN {
            head.widen(self.min.max(self.min_valid), self.max);
        }
        let u = self.unknown;
        if let Some(highest) = u.series.iter().max() {
            // The log of late samples has no records of series: given to another one, such a number would
            // bring it samples that are not its own.
            head.index.write().reserve_series(*highest);
        }
        let all = [
            ("series", u.series.len() as u64),
            ("samples", u.samples),
            ("histograms", u.histograms),
            ("exemplars", u.exemplars),
            ("metadata", u.metadata),
            ("tombstones", u.tombstones),
        ];
        if all.iter().any(|(_, n)| *n > 0) {
            tracing::warn!(
                series = u.series.len(),
                samples = u.samples,
                histograms = u.histograms,
                exemplars = u.exemplars,
                metadata = u.metadata,
                tombstones = u.tombstones,
                "log has entries of series that it does not have"
            );
            for (kind, n) in all {
                head.metrics.unknown_refs.with(&[kind]).add(n as f64);
            }
        }
        *head.renamed.lock() = self.renamed;
        // Series whose samples are all in blocks are only in the log because it was not cut yet.
        head.collect(self.min_valid, true);
        head.files.flush();
    }
}
