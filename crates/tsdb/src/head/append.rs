//! Transactions on the head. What a transaction holds is checked when it comes, logged with one write when
//! it is committed, and only then put into the series.
//!
//! A scrape's path is `append_batch` and `commit`: no allocation, no hashing, one lock for a run of
//! neighbouring series, two passes over slots that the first pass brought into the cache.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashSet;
use model::{CounterResetHint, Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, MetricMetadata};
use storage::{AppendError, Appender, CommitStats, Logged, Rejected, SeriesRef, StorageError, Underway};

use super::Head;
use super::isolation::Applying;
use super::late::{Bounds, LateWork};
use super::ooo::LateValue;
use super::series::Applied;
use crate::wal::record::{
    self, ExemplarRecord, HistogramRecord, MetadataRecord, SampleRecord, histogram_type,
};
use crate::wal::{OnItsWay, RecordCompressor, Ticket, WalCompression};

/// Buffers kept for the next transaction: scrapes of one server are of like size.
/// Each has a compressor of some 100 KB beside its samples.
const BUFFERS_KEPT: usize = 16;
/// A buffer above this is given back: a page of 50,000 samples needs 32 bytes each and as much again for its
/// records. All of them are 64 MiB at most.
const BUFFER_BYTES_KEPT: usize = 4 << 20;

/// What a transaction collects.
#[derive(Default)]
pub(super) struct Buffers {
    floats: Vec<SampleRecord>,
    histograms: Vec<HistogramRecord>,
    /// Number of floats that came before each histogram.
    floats_before: Vec<usize>,
    exemplars: Vec<ExemplarRecord>,
    exemplar_labels: Vec<(Labels, bool)>,
    metadata: Vec<MetadataRecord>,
    /// Positions of floats and histograms that come late, ascending.
    late: [Vec<u32>; 2],
    log: Vec<u8>,
    ends: Vec<usize>,
    /// Compresses on the caller's core, so that the log's lock is held for framing and the write only.
    compressor: Option<RecordCompressor>,
    compressed: Vec<u8>,
    compressed_ends: Vec<(usize, u8)>,
}

impl Buffers {
    fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
        self.floats_before.clear();
        self.exemplars.clear();
        self.exemplar_labels.clear();
        self.metadata.clear();
        self.late.iter_mut().for_each(Vec::clear);
        self.log.clear();
        self.ends.clear();
        self.compressed.clear();
        self.compressed_ends.clear();
    }

    fn bytes(&self) -> usize {
        self.floats.capacity() * size_of::<SampleRecord>()
            + self.histograms.capacity() * size_of::<HistogramRecord>()
            + self.log.capacity()
            + self.compressed.capacity()
            + self.late.iter().map(|l| l.capacity() * 4).sum::<usize>()
    }

    fn compress(&mut self, kind: WalCompression) {
        let compressor = self.compressor.get_or_insert_with(|| RecordCompressor::new(kind));
        let mut from = 0;
        for end in &self.ends {
            let (data, flag) = compressor.compress(self.log.get(from..*end).unwrap_or_default());
            self.compressed.extend_from_slice(data);
            self.compressed_ends.push((self.compressed.len(), flag));
            from = *end;
        }
    }

    fn record(&mut self, encode: impl FnOnce(&mut Vec<u8>, &[SampleRecord], &[HistogramRecord])) {
        let Buffers { log, floats, histograms, ends, .. } = self;
        encode(log, floats, histograms);
        if ends.last() != Some(&log.len()) && !log.is_empty() {
            ends.push(log.len());
        }
    }

    /// Parts to be logged and applied one behind the other: ranges of floats and of histograms. One part,
    /// unless a series has both kinds, whose order must hold.
    fn parts(&self) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let whole = vec![(0..self.floats.len(), 0..self.histograms.len())];
        if self.histograms.is_empty() || self.floats.is_empty() {
            return whole;
        }
        let both: HashSet<u64> = self.histograms.iter().map(|h| h.series).collect();
        if !self.floats.iter().any(|f| both.contains(&f.series)) {
            return whole;
        }
        let mut parts = Vec::new();
        let (mut float, mut histogram) = (0, 0);
        // Floats of a part come before its histograms; a new part begins where floats follow histograms.
        while histogram < self.histograms.len() {
            let floats_to = self.floats_before.get(histogram).copied().unwrap_or(self.floats.len());
            let same = |n: &&usize| **n == floats_to;
            let run = self.floats_before.get(histogram..).unwrap_or_default().iter().take_while(same).count();
            parts.push((float..floats_to, histogram..histogram + run.max(1)));
            (float, histogram) = (floats_to, histogram + run.max(1));
        }
        parts.push((float..self.floats.len(), histogram..histogram));
        parts
    }
}

/// A transaction.
pub(crate) struct HeadAppender {
    head: Arc<Head>,
    /// Known from the first sample on, which sets the bounds of an empty head.
    bounds: Option<Bounds>,
    /// Late samples are refused whatever the window is.
    discard_late: bool,
    /// Late samples are taken whatever the window is.
    any_age: bool,
    /// Its new series outrank others where memory is short.
    outranks: bool,
    buffers: Buffers,
    ended: bool,
}

impl HeadAppender {
    pub(crate) fn new(head: Arc<Head>) -> Self {
        head.metrics.appenders.fetch_add(1, Ordering::Relaxed);
        let bounds = head.is_initialized().then(|| Bounds::of(&head));
        let buffers = head.buffers.lock().pop().unwrap_or_default();
        HeadAppender {
            head,
            bounds,
            discard_late: false,
            any_age: false,
            outranks: false,
            buffers,
            ended: false,
        }
    }

    fn bounds(&mut self, t: i64) -> Bounds {
        let (head, any_age) = (&self.head, self.any_age);
        *self.bounds.get_or_insert_with(|| {
            head.init_time(t);
            let bounds = Bounds::of(head);
            if any_age { bounds.of_any_age() } else { bounds }
        })
    }

    /// Whether a sample that cannot come in order may come late: true then.
    #[cold]
    fn late(&self, bounds: Bounds, t: i64, refused: AppendError) -> Result<bool, AppendError> {
        if let Some(delta) = bounds.delta_seconds(t) {
            self.head.metrics.late_delta_seconds.observe(delta);
        }
        bounds.late(t, refused)?;
        if self.discard_late { Err(AppendError::OutOfOrder) } else { Ok(true) }
    }

    fn refused(&self, error: &AppendError, kind: usize) {
        let m = &self.head.metrics;
        match error {
            AppendError::OutOfBounds => m.out_of_bound.get(kind),
            AppendError::OutOfOrder => m.out_of_order.get(kind),
            AppendError::TooOld => m.too_old.get(kind),
            _ => None,
        }
        .inspect(|c| c.inc());
    }

    /// Runs a check under the series' lock, on the series that is known or made by labels. Says whether the
    /// sample comes late.
    fn checked(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        (bounds, t): (Bounds, i64),
        check: impl Fn(&super::series::Slot) -> Result<(), AppendError>,
    ) -> Result<(u64, bool), AppendError> {
        let mark = |slot: &mut super::series::Slot, _: &mut _| {
            let late = match check(slot) {
                Ok(()) => false,
                Err(e) => self.late(bounds, t, e)?,
            };
            slot.pending = true;
            Ok(late)
        };
        if !series.is_none()
            && let Some(done) = self.head.table.with_mut(series.0, mark)
        {
            return done.map(|late| (series.0, late));
        }
        if labels.is_empty() && !series.is_none() {
            return Err(AppendError::UnknownSeries);
        }
        // A series may be collected between the look-up and the mark; then it is made anew.
        for _ in 0..3 {
            let found = self.head.get_or_create(labels, self.outranks)?;
            if let Some(done) = self.head.table.with_mut(found, mark) {
                return done.map(|late| (found, late));
            }
        }
        Err(AppendError::UnknownSeries)
    }

    fn add_histogram(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        value: HistogramValue,
    ) -> Result<u64, AppendError> {
        let bounds = self.bounds(t_ms);
        let check = |s: &super::series::Slot| s.check_histogram(t_ms, &value, bounds.min_valid);
        let (series, late) = self.checked(series, labels, (bounds, t_ms), check)?;
        if late {
            self.buffers.late[1].push(self.buffers.histograms.len() as u32);
        }
        self.buffers.floats_before.push(self.buffers.floats.len());
        self.buffers.histograms.push(HistogramRecord { series, start_ms: 0, t_ms, value });
        Ok(series)
    }

    /// Begins to write the transaction to the log; `None` where there is nothing to write.
    fn log(&mut self) -> Result<Option<Ticket>, StorageError> {
        let parts = self.buffers.parts();
        let b = &mut self.buffers;
        if !b.metadata.is_empty() {
            let metadata = std::mem::take(&mut b.metadata);
            b.record(|out, _, _| record::encode_metadata(out, &metadata));
            b.metadata = metadata;
        }
        // Late ones are in their own log: here a replay could take them for such as came in order.
        let late = std::mem::take(&mut b.late);
        let in_order = |kind: usize, at: usize| {
            late.get(kind).is_none_or(|all| all.binary_search(&(at as u32)).is_err())
        };
        for (floats, histograms) in &parts {
            b.record(|out, all, _| {
                let part = all.get(floats.clone()).unwrap_or_default();
                if late[0].is_empty() {
                    return record::encode_samples(out, part);
                }
                let mut at = floats.start..;
                let kept = part.iter().filter(|_| at.next().is_some_and(|at| in_order(0, at)));
                record::encode_samples(out, &kept.copied().collect::<Vec<_>>());
            });
            for kind in [
                record::RecordType::Histograms,
                record::RecordType::CustomHistograms,
                record::RecordType::FloatHistograms,
                record::RecordType::CustomFloatHistograms,
            ] {
                b.record(|out, _, all| {
                    let of_kind = || {
                        let part = all.get(histograms.clone()).unwrap_or_default();
                        let of_kind = part.iter().enumerate().filter(|(_, h)| histogram_type(h) == kind);
                        of_kind.filter(|(i, _)| in_order(1, histograms.start + i)).map(|(_, h)| h)
                    };
                    if of_kind().next().is_some() {
                        record::encode_histograms(out, kind, of_kind());
                    }
                });
            }
        }
        b.late = late;
        if !b.exemplars.is_empty() {
            let exemplars = std::mem::take(&mut b.exemplars);
            b.record(|out, _, _| record::encode_exemplars(out, &exemplars));
            b.exemplars = exemplars;
        }

        let head = &self.head;
        b.compress(head.compression);
        if b.ends.is_empty() && head.unlogged.lock().is_empty() {
            return Ok(None);
        }
        // The last ones stand for all: a turn that comes a commit late costs nothing but room.
        let newest = b.floats.last().map(|s| s.t_ms).max(b.histograms.last().map(|h| h.t_ms));
        if let Some(newest) = newest {
            head.turn_log(newest);
        }
        let starts = std::iter::once(0).chain(b.compressed_ends.iter().map(|(end, _)| *end));
        let rest = starts
            .zip(&b.compressed_ends)
            .map(|(from, (end, flag))| (b.compressed.get(from..*end).unwrap_or_default(), *flag));
        let ticket = head.begin_log(rest)?;
        head.metrics.wal_page_flushes.inc();
        Ok(Some(ticket))
    }

    /// Puts the samples into their series, while the log is being written; they are seen once it is.
    fn apply(&mut self, work: &mut LateWork, logged: Option<Ticket>, wait: bool) -> CommitStats {
        let head = Arc::clone(&self.head);
        let mut tally = Tally::default();
        let fenced = head.applying.read();
        let applying = head.isolation.begin(&head.log);
        // A block may have been begun since: what it covers is closed.
        let mut bounds = self.bounds.unwrap_or_else(|| Bounds::of(&head));
        bounds.min_valid = bounds.min_valid.max(head.min_valid.load(Ordering::Acquire));
        let context = Apply { head: &head, commit: &applying, bounds };
        for (floats, histograms) in self.buffers.parts() {
            let first = floats.start;
            let floats = self.buffers.floats.get(floats).unwrap_or_default();
            apply_floats(&context, floats, (first, &self.buffers.late[0]), &mut tally, work);
            let first = histograms.start;
            let part = self.buffers.histograms.get(histograms).unwrap_or_default();
            for (i, h) in part.iter().enumerate() {
                let Some(page) = head.table.page(h.series) else { continue };
                let mut inner = page.lock();
                inner.forget_commits(applying.low);
                let Some((slot, blocks)) = inner.get_both(h.series) else { continue };
                slot.pending = false;
                if let Err(e) = slot.check_histogram(h.t_ms, &h.value, bounds.min_valid) {
                    if let Err(e) = bounds.late(h.t_ms, e) {
                        tally.refuse(1, &e);
                        continue;
                    }
                    let logged = self.buffers.late[1].binary_search(&((first + i) as u32)).is_ok();
                    let value = LateValue::Histogram(h.value.clone());
                    work.insert(&head, &mut inner, h.series, h.t_ms, value, logged);
                    continue;
                }
                let was_stale = slot.stale;
                let done = slot.append_histogram(h.series, h.t_ms, &h.value, &mut head.sink(blocks));
                tally.note(done, h.t_ms, 1, was_stale, slot.stale);
                if done.in_order {
                    inner.note(applying.commit, h.series, h.t_ms);
                }
            }
        }
        let m = &head.metrics;
        let exemplars = std::mem::take(&mut self.buffers.exemplars);
        for (e, (labels, has_timestamp)) in exemplars.into_iter().zip(self.buffers.exemplar_labels.drain(..))
        {
            let exemplar = Exemplar { labels: e.labels, value: e.value, timestamp_ms: e.t_ms, has_timestamp };
            // Doubled or overtaken since it was checked: as with samples, the first one stays.
            let _ = head.exemplars.add(&labels, exemplar);
        }
        if !self.buffers.metadata.is_empty() {
            let mut known = head.metadata.lock();
            for m in self.buffers.metadata.drain(..) {
                known.insert(m.series, m.metadata);
            }
        }
        if tally.max > i64::MIN {
            head.widen(tally.min, tally.max);
        }
        drop(fenced);
        // From when it is written on readers see it.
        match logged {
            Some(ticket) if !wait => applying.seen_with(ticket),
            logged => {
                logged.iter().for_each(|ticket| head.log.wait(ticket));
                drop(applying);
            }
        }
        for (kind, counter) in [&m.floats, &m.histograms].into_iter().enumerate() {
            let late = work.stored.get(kind).copied().unwrap_or_default();
            counter.add((tally.stored.get(kind).copied().unwrap_or_default() + late) as f64);
        }
        for (counter, n) in m.late_appended.iter().zip(work.stored) {
            counter.add(n as f64);
        }
        for (counter, n) in m.out_of_order.iter().zip(tally.refused) {
            counter.add(n as f64);
        }
        for (counter, n) in m.too_old.iter().zip(tally.too_old) {
            counter.add(n as f64);
        }
        tally.chunks += work.chunks;
        m.chunks_created.add(tally.chunks as f64);
        m.chunks.fetch_add(tally.chunks as i64, Ordering::Relaxed);
        m.stale.fetch_add(tally.stale, Ordering::Relaxed);
        CommitStats {
            samples: tally.stored.iter().chain(&work.stored).sum(),
            refused: tally.refused.iter().chain(&tally.too_old).sum(),
        }
    }

    /// Logs the transaction and puts it in place; `wait` for the log to be written.
    fn put(mut self: Box<Self>, wait: bool) -> Result<Underway, StorageError> {
        if self.head.stopped.load(Ordering::Acquire) {
            return Err(StorageError::NotReady);
        }
        let head = Arc::clone(&self.head);
        let _under_way = head.commits.enter();
        head.strict_note.before_commit(&*head.disk, &head.wal_dir)?;
        let mut logged = self.log()?;
        let log = match self.buffers.late.iter().all(Vec::is_empty) {
            true => None,
            false => {
                // The log of late samples must not speak of series that this one does not know.
                if let Some(ticket) = logged.take() {
                    head.log.wait(&ticket);
                }
                let b = &self.buffers;
                let at = |i: &u32| *i as usize;
                let floats: Vec<SampleRecord> =
                    b.late[0].iter().filter_map(|i| b.floats.get(at(i)).copied()).collect();
                let histograms: Vec<HistogramRecord> =
                    b.late[1].iter().filter_map(|i| b.histograms.get(at(i)).cloned()).collect();
                Some(head.log_late(&floats, &histograms)?)
            }
        };
        let mut work = LateWork::default();
        let unseen = logged.clone().filter(|_| !wait);
        let stats = self.apply(&mut work, logged, wait);
        self.end();
        head.finish_late(log, work)?;
        let logged = unseen
            .map(|ticket| -> Box<dyn Logged> { Box::new(OnItsWay::new(Arc::clone(&head.log), ticket)) });
        Ok(Underway { stats, logged })
    }

    /// Lets go of the series that this transaction marked.
    fn unmark(&mut self) {
        let series = self.buffers.floats.iter().map(|f| f.series);
        for s in series.chain(self.buffers.histograms.iter().map(|h| h.series)) {
            self.head.table.with_mut(s, |slot, _| slot.pending = false);
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.head.metrics.appenders.fetch_sub(1, Ordering::Relaxed);
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.clear();
        if buffers.bytes() <= BUFFER_BYTES_KEPT {
            let mut kept = self.head.buffers.lock();
            if kept.len() < BUFFERS_KEPT {
                kept.push(buffers);
            }
        }
    }
}

#[derive(Debug)]
struct Tally {
    stored: [u64; 2],
    refused: [u64; 2],
    too_old: [u64; 2],
    chunks: u64,
    stale: i64,
    min: i64,
    max: i64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            stored: [0; 2],
            refused: [0; 2],
            too_old: [0; 2],
            chunks: 0,
            stale: 0,
            min: i64::MAX,
            max: i64::MIN,
        }
    }
}

impl Tally {
    #[cold]
    fn refuse(&mut self, kind: usize, error: &AppendError) {
        let counts = if *error == AppendError::TooOld { &mut self.too_old } else { &mut self.refused };
        if let Some(n) = counts.get_mut(kind) {
            *n += 1;
        }
    }

    #[inline]
    fn note(&mut self, done: Applied, t: i64, kind: usize, was_stale: bool, is_stale: bool) {
        self.chunks += u64::from(done.chunks);
        if done.in_order {
            if let Some(n) = self.stored.get_mut(kind) {
                *n += 1;
            }
            self.stale += i64::from(is_stale) - i64::from(was_stale);
            self.min = self.min.min(t);
            self.max = self.max.max(t);
        }
    }
}

/// What samples are put in place with.
struct Apply<'a> {
    head: &'a Head,
    commit: &'a Applying<'a>,
    bounds: Bounds,
}

fn apply_floats(
    apply: &Apply<'_>,
    floats: &[SampleRecord],
    // Position of the first one in the transaction, and positions there of those that are logged as late.
    (first, logged): (usize, &[u32]),
    tally: &mut Tally,
    work: &mut LateWork,
) {
    let Apply { head, commit, bounds } = apply;
    let mut rest = floats;
    while let Some(f) = rest.first() {
        let Some(page) = head.table.page(f.series) else {
            rest = &rest[1..];
            continue;
        };
        let mut inner = page.lock();
        inner.forget_commits(commit.low);
        while let Some((f, tail)) = rest.split_first().filter(|(f, _)| page.holds(f.series)) {
            rest = tail;
            let Some((slot, blocks)) = inner.get_both(f.series) else { continue };
            slot.pending = false;
            if let Err(e) = slot.check_float(f.t_ms, f.value, bounds.min_valid) {
                // A staleness marker of a histogram's series may repeat its time, as any duplicate may.
                if let Err(e) = bounds.late(f.t_ms, e) {
                    tally.refuse(0, &e);
                    continue;
                }
                let position = first + floats.len() - tail.len() - 1;
                let logged = logged.binary_search(&(position as u32)).is_ok();
                work.insert(head, &mut inner, f.series, f.t_ms, LateValue::Float(f.value), logged);
                continue;
            }
            let was_stale = slot.stale;
            let done = slot.append_float(f.series, f.t_ms, f.value, &mut head.sink(blocks));
            let kind = usize::from(slot.is_histogram());
            tally.note(done, f.t_ms, kind, was_stale, slot.stale);
            if done.in_order {
                inner.note(commit.commit, f.series, f.t_ms);
            }
        }
    }
}

impl Appender for HeadAppender {
    fn append(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        _start_ms: i64,
        t_ms: i64,
        value: f64,
    ) -> Result<SeriesRef, AppendError> {
        let bounds = self.bounds(t_ms);
        let checked = if bounds.refuses_early(t_ms) {
            Err(AppendError::OutOfBounds)
        } else {
            self.checked(series, labels, (bounds, t_ms), |s| s.check_float(t_ms, value, bounds.min_valid))
        };
        match checked {
            Ok((series, late)) => {
                if late {
                    self.buffers.late[0].push(self.buffers.floats.len() as u32);
                }
                self.buffers.floats.push(SampleRecord { series, start_ms: 0, t_ms, value });
                Ok(SeriesRef(series))
            }
            Err(e) => {
                self.refused(&e, 0);
                Err(e)
            }
        }
    }

    fn append_batch(
        &mut self,
        t_ms: i64,
        series: &[SeriesRef],
        values: &[f64],
        rejected: &mut Vec<Rejected>,
    ) {
        let bounds = self.bounds(t_ms);
        let min_valid = bounds.min_valid;
        let head = Arc::clone(&self.head);
        self.buffers.floats.reserve(series.len());
        let n = series.len().min(values.len());
        let mut i = 0;
        let mut refuse = |index: usize, error: AppendError, this: &Self| {
            this.refused(&error, 0);
            rejected.push(Rejected { index, error });
        };
        while let Some(first) = series.get(i).filter(|_| i < n) {
            let Some(page) = head.table.page(first.0).filter(|_| !first.is_none()) else {
                refuse(i, AppendError::UnknownSeries, self);
                i += 1;
                continue;
            };
            let mut inner = page.lock();
            while let (Some(s), Some(v)) = (series.get(i), values.get(i)) {
                if !page.holds(s.0) {
                    break;
                }
                match inner.get_mut(s.0) {
                    None => refuse(i, AppendError::UnknownSeries, self),
                    Some(slot) => {
                        let taken = match slot.check_float(t_ms, *v, min_valid) {
                            Ok(()) => Ok(false),
                            Err(e) => self.late(bounds, t_ms, e),
                        };
                        match taken {
                            Ok(late) => {
                                slot.pending = true;
                                if late {
                                    self.buffers.late[0].push(self.buffers.floats.len() as u32);
                                }
                                let sample = SampleRecord { series: s.0, start_ms: 0, t_ms, value: *v };
                                self.buffers.floats.push(sample);
                            }
                            Err(e) => refuse(i, e, self),
                        }
                    }
                }
                i += 1;
            }
        }
    }

    fn append_histogram(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        _start_ms: i64,
        t_ms: i64,
        value: &HistogramValue,
    ) -> Result<SeriesRef, AppendError> {
        let valid = match value {
            HistogramValue::Int(h) => h.validate(),
            HistogramValue::Float(h) => h.validate(),
        };
        let done = if self.bounds(t_ms).refuses_early(t_ms) {
            Err(AppendError::OutOfBounds)
        } else {
            valid
                .map_err(|e| AppendError::InvalidHistogram(e.to_string()))
                .and_then(|()| self.add_histogram(series, labels, t_ms, value.clone()))
        };
        done.map(SeriesRef).inspect_err(|e| self.refused(e, 1))
    }

    fn append_start_zero(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        t_ms: i64,
        start_ms: i64,
        histogram: Option<&HistogramValue>,
    ) -> Result<SeriesRef, AppendError> {
        if start_ms >= t_ms {
            return Err(AppendError::StartNotBefore);
        }
        let Some(histogram) = histogram else {
            let bounds = self.bounds(start_ms);
            let check = |s: &super::series::Slot| s.check_float(start_ms, 0.0, bounds.min_valid);
            let (series, late) = self.checked(series, labels, (bounds, start_ms), check)?;
            if late {
                self.buffers.late[0].push(self.buffers.floats.len() as u32);
            }
            self.buffers.floats.push(SampleRecord { series, start_ms: 0, t_ms: start_ms, value: 0.0 });
            return Ok(SeriesRef(series));
        };
        // Layout as the sample's, so that no chunk is cut between the two.
        let zero = match histogram {
            HistogramValue::Int(h) => HistogramValue::Int(Arc::new(Histogram {
                reset_hint: CounterResetHint::Reset,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                custom_values: Arc::clone(&h.custom_values),
                ..Histogram::default()
            })),
            HistogramValue::Float(h) => HistogramValue::Float(Arc::new(FloatHistogram {
                reset_hint: CounterResetHint::Reset,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                custom_values: Arc::clone(&h.custom_values),
                ..FloatHistogram::default()
            })),
        };
        self.add_histogram(series, labels, start_ms, zero).map(SeriesRef)
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError> {
        let labels = self.head.labels_of(series.0).ok_or(AppendError::UnknownSeries)?;
        self.head.exemplars.check(&labels, exemplar)?;
        self.buffers.exemplars.push(ExemplarRecord {
            series: series.0,
            t_ms: exemplar.timestamp_ms,
            value: exemplar.value,
            labels: exemplar.labels.clone(),
        });
        self.buffers.exemplar_labels.push((labels, exemplar.has_timestamp));
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesRef, metadata: &MetricMetadata) -> Result<(), AppendError> {
        self.head.table.with(series.0, |_, _| ()).ok_or(AppendError::UnknownSeries)?;
        if self.head.metadata.lock().get(&series.0) != Some(metadata) {
            self.buffers.metadata.push(MetadataRecord { series: series.0, metadata: metadata.clone() });
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        self.put(true).map(|underway| underway.stats)
    }

    fn commit_soon(self: Box<Self>) -> Result<Underway, StorageError> {
        self.put(false)
    }

    fn discard_out_of_order(&mut self, discard: bool) {
        self.discard_late = discard;
    }

    fn take_any_age(&mut self) -> Result<(), StorageError> {
        self.head.expect_any_age()?;
        self.any_age = true;
        self.bounds = self.bounds.map(Bounds::of_any_age);
        Ok(())
    }

    fn outrank(&mut self, yes: bool) {
        self.outranks = yes;
    }

    fn count_refused(&mut self, labels: &Labels, n: u64) {
        self.head.note_refused(labels, n);
    }

    fn rollback(self: Box<Self>) {}
}

impl Drop for HeadAppender {
    fn drop(&mut self) {
        if !self.ended {
            self.unmark();
            self.end();
        }
    }
}
