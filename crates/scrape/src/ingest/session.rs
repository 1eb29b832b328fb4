//! One scrape on its way into the store: counting, limits, tracking, staleness.

use std::collections::HashSet;
use std::sync::Arc;

use exposition::{SampleValue, SeriesEvent, Sparse};
use model::histogram::{SCHEMA_MAX, SCHEMA_MIN};
use model::sample::stale_nan;
use model::{Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, is_stale_nan};
use storage::{AppendError, Appender, SeriesRef};

use super::cache::{KeyPlace, TargetCache};
use super::labels::final_labels;
use super::metadata::{Change, is_part_of_family};
use super::page::{EntryId, EntryKind, KeyFormat, NewEntry};
use super::relabel_again::labels_of_key;
use super::{IngestFailure, IngestOptions, IngestReport};

/// Bit beside an entry's number in the columns: it was tracked in the scrape before.
const WAS_TRACKED: EntryId = 1 << 31;
/// One unknown line in so many is offered to a store that refuses new series, and this many refusals make sure
/// that it does: the full way costs 1.5 us, passing over 0.2 us.
const OFFERED_EVERY: u64 = 64;
/// Bit of a key's place: it is in a column of its own. Places in bodies must be below it.
pub(super) const OWN_KEY: u32 = 1 << 31;

/// One scrape.
pub(super) struct Session<'s> {
    pub(super) cache: &'s mut TargetCache,
    pub(super) app: &'s mut dyn Appender,
    pub(super) opts: &'s IngestOptions,
    body: &'s [u8],
    pub(super) t_ms: i64,
    pub(super) report: IngestReport,
    /// Samples that count for `sample_limit`.
    pub(super) limited_samples: u64,
    pub(super) sample_limit_hit: bool,
    bucket_limit_hit: bool,
    /// New series that the store was offered and refused.
    refused_whole: u64,
    /// Lines that were not remembered and could be passed over.
    unknown: u64,
    /// Of these the ones that were, and of those the ones that the store was not told of yet.
    pub(super) passed_over: u64,
    untold: u64,
    max_schema: i32,
    /// Family of the metadata line read last, for the store's own metadata records.
    pub(super) family: Option<u32>,
    pub(super) family_changed: bool,
}

/// What became of one append.
enum Outcome {
    Stored(SeriesRef),
    /// Refused for a reason that is counted, not fatal.
    Refused,
}

impl<'s> Session<'s> {
    pub(super) fn new(
        cache: &'s mut TargetCache,
        app: &'s mut dyn Appender,
        opts: &'s IngestOptions,
        body: &'s [u8],
        t_ms: i64,
    ) -> Self {
        cache.columns.clear();
        Session {
            cache,
            app,
            opts,
            body,
            t_ms,
            report: IngestReport::default(),
            limited_samples: 0,
            sample_limit_hit: false,
            bucket_limit_hit: false,
            refused_whole: 0,
            unknown: 0,
            passed_over: 0,
            untold: 0,
            max_schema: opts.max_schema(),
            family: None,
            family_changed: false,
        }
    }

    /// Ends a body that was read to its end: waiting samples go out, limits are judged, vanished series are
    /// marked.
    pub(super) fn finish(&mut self) -> Result<(), IngestFailure> {
        self.flush()?;
        if self.sample_limit_hit {
            return Err(IngestFailure::SampleLimit);
        }
        if self.bucket_limit_hit {
            return Err(IngestFailure::BucketLimit);
        }
        self.mark_stale()
    }

    /// A sample that counts for the limit. False where it is one too many.
    #[inline]
    pub(super) fn admit(&mut self) -> bool {
        self.limited_samples += 1;
        let over = self.opts.sample_limit > 0 && self.limited_samples > self.opts.sample_limit;
        self.sample_limit_hit |= over;
        !over
    }

    /// Notes that a series has a sample that staleness goes by.
    #[inline]
    pub(super) fn track(&mut self, id: EntryId) {
        let now = self.cache.iteration;
        let Some(entry) = self.cache.page.entry_mut(id) else { return };
        if entry.tracked == now {
            return;
        }
        self.cache.carried += usize::from(entry.tracked == now.wrapping_sub(1));
        self.cache.tracked_now += 1;
        entry.tracked = now;
    }

    /// Puts a float of the scrape's own time beside the others of known series.
    #[inline]
    pub(super) fn push(&mut self, id: EntryId, value: f64, key: KeyPlace) {
        let now = self.cache.iteration;
        let Some(entry) = self.cache.page.entry_mut(id) else { return };
        let before = entry.tracked == now.wrapping_sub(1);
        if entry.tracked != now {
            self.cache.carried += usize::from(before);
            self.cache.tracked_now += 1;
            entry.tracked = now;
        }
        let columns = &mut self.cache.columns;
        columns.series.push(entry.series);
        columns.values.push(value);
        columns.entries.push(id | if before { WAS_TRACKED } else { 0 });
        columns.keys.push(key);
    }

    /// Keeps a key that may not lie in the body.
    fn keep_key(&mut self, key: &[u8]) -> Option<KeyPlace> {
        let own = &mut self.cache.columns.own_keys;
        let at = u32::try_from(own.len()).ok().filter(|at| at & OWN_KEY == 0)?;
        let bytes = u32::try_from(key.len()).ok()?;
        own.extend_from_slice(key);
        Some(KeyPlace { at: at | OWN_KEY, bytes })
    }

    /// Hands the waiting samples to the store.
    pub(super) fn flush(&mut self) -> Result<(), IngestFailure> {
        if self.cache.columns.series.is_empty() {
            return Ok(());
        }
        let mut columns = std::mem::take(&mut self.cache.columns);
        self.app.append_batch(self.t_ms, &columns.series, &columns.values, &mut columns.rejected);
        let mut done = Ok(());
        for refused in std::mem::take(&mut columns.rejected) {
            let (Some(tagged), Some(value)) =
                (columns.entries.get(refused.index).copied(), columns.values.get(refused.index).copied())
            else {
                continue;
            };
            let id = tagged & !WAS_TRACKED;
            let mut error = Some(refused.error);
            if error == Some(AppendError::UnknownSeries) {
                // The series left the store's memory: found again, or made anew, by its labels.
                let place = columns.keys.get(refused.index).copied();
                let text = |p: KeyPlace| {
                    let from = (p.at & !OWN_KEY) as usize;
                    let source = if p.at & OWN_KEY == 0 { self.body } else { &columns.own_keys };
                    source.get(from..from + p.bytes as usize)
                };
                let Some(key) = place.and_then(text) else { continue };
                let Some(labels) = labels_of_key(self.cache, id, key, self.opts) else { continue };
                match self.app.append(SeriesRef::NONE, &labels, 0, self.t_ms, value) {
                    Ok(series) => {
                        if let Some(entry) = self.cache.page.entry_mut(id) {
                            entry.series = series;
                        }
                        error = None;
                    }
                    Err(e) => error = Some(e),
                }
            }
            if let Some(error) = error {
                self.untrack(id, tagged & WAS_TRACKED != 0);
                if let Err(failure) = self.count(error) {
                    done = Err(failure);
                    break;
                }
            }
        }
        columns.clear();
        self.cache.columns = columns;
        done
    }

    fn untrack(&mut self, id: EntryId, before: bool) {
        let now = self.cache.iteration;
        let Some(entry) = self.cache.page.entry_mut(id) else { return };
        if entry.tracked == now {
            entry.tracked = now.wrapping_sub(if before { 1 } else { 2 });
            self.cache.tracked_now = self.cache.tracked_now.saturating_sub(1);
            self.cache.carried = self.cache.carried.saturating_sub(usize::from(before));
        }
    }

    /// Counts what is the sample's own fault; gives back what fails the scrape.
    fn count(&mut self, error: AppendError) -> Result<(), IngestFailure> {
        match error {
            AppendError::OutOfOrder => self.report.out_of_order += 1,
            AppendError::Duplicate => self.report.duplicates += 1,
            // Upstream fails the scrape for samples behind the out-of-order window; the other samples are
            // not to blame for them.
            AppendError::OutOfBounds | AppendError::TooOld => self.report.out_of_bounds += 1,
            AppendError::SeriesLimit(reason) => {
                self.report.series_refused += 1;
                self.refused_whole += 1;
                if self.cache.refused_for.as_ref() != Some(&reason) {
                    self.cache.refused_for = Some(reason);
                }
            }
            other => return Err(IngestFailure::Append(other)),
        }
        Ok(())
    }

    /// Passes over a line that is not remembered, where the store refuses new series and is known to have none
    /// of this target's that are not remembered. A page of a million new series then costs its reading and a
    /// look-up a line, and no memory; one line in [`OFFERED_EVERY`] is offered, to see whether that still holds.
    fn pass_over(&mut self) -> bool {
        let sure = self.cache.survey > 0 && self.refused_whole >= OFFERED_EVERY;
        // Rules may drop the line, which only they can tell.
        if !sure || !self.opts.metric_relabel.is_empty() {
            return false;
        }
        self.unknown += 1;
        if self.unknown.is_multiple_of(OFFERED_EVERY) {
            return false;
        }
        self.report.post_relabel += 1;
        if self.admit() {
            self.report.series_refused += 1;
            self.passed_over += 1;
            self.untold += 1;
        }
        true
    }

    /// A metadata line.
    pub(super) fn metadata(&mut self, family: &str, change: Change<'_>) -> u32 {
        let (id, changed) = self.cache.metadata.apply(family, change);
        let index = id as usize;
        if self.cache.families.len() <= index {
            self.cache.families.resize_with(index + 1, Default::default);
        }
        let now = self.cache.iteration;
        if let Some(times) = self.cache.families.get_mut(index) {
            times.seen = now;
            if changed {
                times.changed = now;
            }
            self.family_changed = times.changed == now;
        }
        self.family = Some(id);
        id
    }

    /// Notes that families of a block were read once more, unchanged.
    pub(super) fn families_seen(&mut self, block: SeriesRef) {
        let now = self.cache.iteration;
        for id in self.cache.page.families_of(block) {
            if let Some(times) = self.cache.families.get_mut(*id as usize) {
                times.seen = now;
            }
            self.family = Some(*id);
        }
        self.family_changed = false;
    }

    /// A sample that does not take the fast path.
    pub(super) fn series(
        &mut self,
        s: &SeriesEvent<'_>,
        key_format: KeyFormat,
        kind: model::MetricType,
    ) -> Result<(), IngestFailure> {
        self.report.scraped += 1;
        let own_time = s.timestamp_ms.filter(|_| self.opts.honor_timestamps);
        let t_ms = own_time.unwrap_or(self.t_ms);
        let now = self.cache.iteration;
        let found = self.cache.page.find(s.key);
        let mut already = false;
        let mut series = SeriesRef::NONE;
        let mut labels = Labels::empty();
        if let Some(entry) = found.and_then(|id| self.cache.page.entry_mut(id)) {
            already = std::mem::replace(&mut entry.seen, now) == now;
            if entry.kind == EntryKind::Dropped {
                return Ok(());
            }
            series = entry.series;
        } else if self.pass_over() {
            return Ok(());
        } else {
            match final_labels(s.source, self.opts, &mut self.cache.builder)? {
                Some(made) => labels = made,
                None => {
                    let entry = NewEntry { series, kind: EntryKind::Dropped, key_format, metric_type: kind };
                    self.cache.page.insert(s.key, entry, now);
                    return Ok(());
                }
            }
        }
        self.report.post_relabel += 1;
        if already && own_time.is_none() {
            self.report.duplicates += 1;
            return Ok(());
        }
        let batchable = own_time.is_none()
            && s.start_ms == 0
            && s.exemplars.is_empty()
            && key_format != KeyFormat::Other
            && t_ms <= self.opts.max_time_ms
            && !self.opts.append_metadata;
        if let (Some(id), SampleValue::Float(value), true) = (found, s.value, batchable)
            && let Some(place) = self.keep_key(s.key)
        {
            let marker = is_stale_nan(value);
            if marker || self.admit() {
                if let Some(entry) = self.cache.page.entry_mut(id) {
                    entry.kind = EntryKind::Float;
                }
                self.push(id, value, place);
            }
            return Ok(());
        }
        // Order matters between samples of one series: what waits goes first.
        self.flush()?;
        let outcome = self.append_one(found, &mut labels, series, s, t_ms)?;
        let mut stored = found;
        if let Outcome::Stored(series) = outcome {
            let entry_kind = match s.value {
                SampleValue::Float(_) => EntryKind::Float,
                SampleValue::Histogram(HistogramValue::Int(_)) => EntryKind::IntHistogram,
                SampleValue::Histogram(HistogramValue::Float(_)) => EntryKind::FloatHistogram,
            };
            match found.and_then(|id| self.cache.page.entry_mut(id)) {
                Some(entry) => (entry.series, entry.kind) = (series, entry_kind),
                None => {
                    // It takes new ones again.
                    self.cache.survey = if self.passed_over > 0 { 0 } else { self.cache.survey };
                    let entry = NewEntry { series, kind: entry_kind, key_format, metric_type: kind };
                    stored = self.cache.page.insert(s.key, entry, now);
                    if !self.sample_limit_hit && !self.bucket_limit_hit {
                        self.report.series_added += 1;
                    }
                }
            }
            if let Some(id) = stored
                && (own_time.is_none() || self.opts.track_timestamps_staleness)
            {
                self.track(id);
            }
            self.append_exemplars(series, s, t_ms);
            self.append_metadata(series, found, &labels, s);
        }
        Ok(())
    }

    /// Appends a known series' float at a time of its own.
    pub(super) fn append_timed(
        &mut self,
        id: EntryId,
        series: SeriesRef,
        key: &[u8],
        t_ms: i64,
        value: f64,
    ) -> Result<(), IngestFailure> {
        let mut done = self.app.append(series, &Labels::empty(), 0, t_ms, value);
        if matches!(done, Err(AppendError::UnknownSeries | AppendError::InvalidLabels(_))) {
            let Some(labels) = labels_of_key(self.cache, id, key, self.opts) else { return Ok(()) };
            done = self.app.append(SeriesRef::NONE, &labels, 0, t_ms, value);
        }
        match done {
            Ok(series) => {
                if let Some(entry) = self.cache.page.entry_mut(id) {
                    entry.series = series;
                }
                if self.opts.track_timestamps_staleness {
                    self.track(id);
                }
                Ok(())
            }
            Err(e) => self.count(e),
        }
    }

    /// Appends one sample through limits, with labels where the store asks for them.
    fn append_one(
        &mut self,
        found: Option<EntryId>,
        labels: &mut Labels,
        series: SeriesRef,
        s: &SeriesEvent<'_>,
        t_ms: i64,
    ) -> Result<Outcome, IngestFailure> {
        let histogram = match s.value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(h) => match self.fit(h)? {
                Some(h) => Some(h),
                None => {
                    self.bucket_limit_hit = true;
                    return Ok(Outcome::Refused);
                }
            },
        };
        let float = match s.value {
            SampleValue::Float(v) => v,
            SampleValue::Histogram(_) => 0.0,
        };
        let marker = found.is_some() && histogram.is_none() && is_stale_nan(float);
        if !marker && !self.admit() {
            return Ok(Outcome::Refused);
        }
        if t_ms > self.opts.max_time_ms {
            self.report.out_of_bounds += 1;
            return Ok(Outcome::Refused);
        }
        let mut series = series;
        // Twice at most: with the reference, then with labels.
        for attempt in 0..2 {
            if self.opts.start_zero_ingestion && s.start_ms != 0 {
                // Its refusals are common and of no consequence for the sample.
                let zero = self.app.append_start_zero(series, labels, t_ms, s.start_ms, histogram.as_ref());
                series = zero.unwrap_or(series);
            }
            let start_ms = if self.opts.parse_start_timestamps { s.start_ms } else { 0 };
            let done = match &histogram {
                None => self.app.append(series, labels, start_ms, t_ms, float),
                Some(h) => self.app.append_histogram(series, labels, start_ms, t_ms, h),
            };
            match done {
                Ok(series) => return Ok(Outcome::Stored(series)),
                Err(AppendError::UnknownSeries | AppendError::InvalidLabels(_))
                    if attempt == 0 && found.is_some() && labels.is_empty() =>
                {
                    match final_labels(s.source, self.opts, &mut self.cache.builder)? {
                        Some(made) => *labels = made,
                        None => return Ok(Outcome::Refused),
                    }
                    series = SeriesRef::NONE;
                }
                Err(e) => {
                    let limited = matches!(e, AppendError::SeriesLimit(_));
                    self.count(e)?;
                    if limited && self.untold > 0 {
                        self.app.count_refused(labels, std::mem::take(&mut self.untold));
                    }
                    return Ok(Outcome::Refused);
                }
            }
        }
        Ok(Outcome::Refused)
    }

    /// A histogram within the schema and bucket limits, or `None` where it cannot be made to fit.
    fn fit(&self, h: &HistogramValue) -> Result<Option<HistogramValue>, IngestFailure> {
        let (schema, buckets) = match h {
            HistogramValue::Int(h) => (h.schema, h.bucket_count()),
            HistogramValue::Float(h) => (h.schema, h.bucket_count()),
        };
        let limit = usize::try_from(self.opts.bucket_limit).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
        // Schemas up to 52 are reserved for exponential ones.
        let lower = self.max_schema < SCHEMA_MAX && (-9..=52).contains(&schema) && schema > self.max_schema;
        if !lower && buckets <= limit {
            return Ok(Some(h.clone()));
        }
        if !lower && !(SCHEMA_MIN..=SCHEMA_MAX).contains(&schema) {
            return Ok(None);
        }
        let mut h = h.clone();
        let mut schema = if lower { self.max_schema } else { schema };
        let mut first = lower;
        loop {
            if first || buckets_of(&h) > limit {
                if !first {
                    if schema <= SCHEMA_MIN {
                        return Ok(None);
                    }
                    schema -= 1;
                }
                first = false;
                let reduced = match &mut h {
                    HistogramValue::Int(h) => Arc::make_mut(h).reduce_to(schema),
                    HistogramValue::Float(h) => Arc::make_mut(h).reduce_to(schema),
                };
                if !reduced {
                    let what = "spans and buckets disagree".to_string();
                    return Err(IngestFailure::Append(AppendError::InvalidHistogram(what)));
                }
            } else {
                return Ok(Some(h));
            }
        }
    }

    /// Exemplars of a stored sample; out-of-order ones are counted only if all are.
    fn append_exemplars(&mut self, series: SeriesRef, s: &SeriesEvent<'_>, t_ms: i64) {
        if s.exemplars.is_empty() {
            return;
        }
        let native = matches!(s.value, SampleValue::Histogram(_));
        let timed = |e: &Exemplar| match e.has_timestamp {
            true => Some(e.clone()),
            // Native histograms' exemplars need times of their own: repeated ones could not be told apart.
            false if native => None,
            false => Some(Exemplar { timestamp_ms: t_ms, ..e.clone() }),
        };
        let mut exemplars: Vec<Exemplar> = s.exemplars.iter().filter_map(timed).collect();
        exemplars.sort_by(|a, b| a.timestamp_ms.cmp(&b.timestamp_ms).then(a.value.total_cmp(&b.value)));
        let late =
            |e: &&Exemplar| self.app.append_exemplar(series, e) == Err(AppendError::OutOfOrderExemplar);
        let refused = exemplars.iter().filter(late).count();
        if refused > 0 && refused == exemplars.len() {
            self.report.exemplars_out_of_order += refused as u64;
        }
    }

    /// Metadata of a series that is new or whose family changed.
    fn append_metadata(
        &mut self,
        series: SeriesRef,
        found: Option<EntryId>,
        labels: &Labels,
        s: &SeriesEvent<'_>,
    ) {
        if !self.opts.append_metadata || !(found.is_none() || self.family_changed) {
            return;
        }
        let Some(family) = self.family.and_then(|id| self.cache.metadata.by_id(id)) else { return };
        let made;
        let labels = if labels.is_empty() {
            match final_labels(s.source, self.opts, &mut self.cache.builder) {
                Ok(Some(labels)) => made = labels,
                _ => return,
            }
            &made
        } else {
            labels
        };
        if is_part_of_family(labels.metric_name(), &family.family, family.metadata.kind) {
            // Metadata never fails a scrape.
            let _ = self.app.update_metadata(series, &family.metadata);
        }
    }

    /// Staleness markers for series that were tracked in the scrape before and not in this one.
    pub(super) fn mark_stale(&mut self) -> Result<(), IngestFailure> {
        if self.cache.carried == self.cache.tracked_before {
            return Ok(());
        }
        let now = self.cache.iteration;
        let before = now.wrapping_sub(1);
        let page = &self.cache.page;
        let gone: Vec<(SeriesRef, EntryKind)> =
            page.entries().filter(|(_, e)| e.tracked == before).map(|(_, e)| (e.series, e.kind)).collect();
        // The same series may have come under another spelling of its line.
        let live: HashSet<SeriesRef> =
            page.entries().filter(|(_, e)| e.tracked == now).map(|(_, e)| e.series).collect();
        for (series, kind) in gone {
            if live.contains(&series) || series.is_none() {
                continue;
            }
            let none = Labels::empty();
            // Where the series has newer samples, someone else scrapes it: no marker among those.
            self.app.discard_out_of_order(true);
            let done = match kind {
                EntryKind::IntHistogram => {
                    let h = Histogram { sum: stale_nan(), ..Histogram::default() };
                    self.app.append_histogram(series, &none, 0, self.t_ms, &HistogramValue::Int(Arc::new(h)))
                }
                EntryKind::FloatHistogram => {
                    let h = FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
                    self.app.append_histogram(
                        series,
                        &none,
                        0,
                        self.t_ms,
                        &HistogramValue::Float(Arc::new(h)),
                    )
                }
                _ => self.app.append(series, &none, 0, self.t_ms, stale_nan()),
            };
            self.app.discard_out_of_order(false);
            match done {
                Ok(_) => self.report.stale_markers += 1,
                // Expected where a target went away and came back with another loop, or where the series
                // left the store's memory: then no query sees it any more.
                Err(
                    AppendError::OutOfOrder
                    | AppendError::Duplicate
                    | AppendError::UnknownSeries
                    | AppendError::InvalidLabels(_),
                ) => {}
                Err(e) => return Err(IngestFailure::Append(e)),
            }
        }
        Ok(())
    }
}

fn buckets_of(h: &HistogramValue) -> usize {
    match h {
        HistogramValue::Int(h) => h.bucket_count(),
        HistogramValue::Float(h) => h.bucket_count(),
    }
}
