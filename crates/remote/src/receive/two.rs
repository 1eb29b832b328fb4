//! Remote write 2.0: what is good is stored, what is not is listed in the answer (400), and the numbers of
//! what was stored are in headers. Where the store itself fails, nothing is stored and the sender comes
//! again.

use std::cell::Cell;

use model::{Labels, MetricType};
use storage::{AppendError, Appender, SeriesRef};

use super::batch::Refused;
use super::{
    Answer, ERRORS_LISTED_MAX, Failure, Receiver, Scratch, Verdict, WriteResponse, WriteStats, refusal_text,
    too_far_ahead, verdict,
};
use crate::cache::RefCache;
use crate::v2::DecodedV2;
use crate::validate::{self, Refused as Invalid};
use crate::{WireError, histogram};

struct Run<'r> {
    receiver: &'r Receiver,
    body: &'r [u8],
    cache: &'r RefCache,
    near: &'r Cell<u32>,
    app: Box<dyn Appender + 'r>,
    latest_ms: i64,
    stats: WriteStats,
    invalid: u64,
    without_metadata: u64,
    errors: Vec<String>,
    errors_unlisted: usize,
    /// Status that limits ask for; 0 where none was met.
    limited: u16,
    /// A second decoder, for rows of a batch that the store refused: the first one is in use then.
    again: Option<Box<DecodedV2>>,
    empty: Labels,
}

/// The labels of a series: known to the cache, or decoded.
enum Known {
    Cached(SeriesRef),
    Decoded(Labels),
}

impl Receiver {
    pub(super) fn write_v2(&self, body: &[u8], scratch: &mut Scratch) -> Answer {
        let (cache, near) = (self.cache.read(), Cell::new(0));
        let mut run = Run {
            receiver: self,
            body,
            cache: &cache,
            near: &near,
            app: self.store.appender(),
            latest_ms: self.latest_ms(),
            stats: WriteStats::default(),
            invalid: 0,
            without_metadata: 0,
            errors: Vec::new(),
            errors_unlisted: 0,
            limited: 0,
            again: None,
            empty: Labels::empty(),
        };
        let mut series = std::mem::take(&mut scratch.v2);
        scratch.batch.clear();
        let result = series
            .for_each(body, cache.hasher(), |s, range| run.series(s, range, scratch))
            .and_then(|()| run.flush(Some(&series), scratch));
        scratch.v2 = series;
        self.metrics.invalid_labels.add(run.invalid as f64);
        let Run { app, stats, mut errors, errors_unlisted, without_metadata, limited, .. } = run;
        let none = Some(WriteStats::default());
        if let Err(f) = result {
            app.rollback();
            return WriteResponse { status: f.status, error: f.text, written: none }.into();
        }
        let logged = match app.commit_soon() {
            Ok(done) => done.logged,
            Err(e) => return WriteResponse { status: 500, error: e.to_string(), written: none }.into(),
        };
        self.metrics.without_metadata.add(without_metadata as f64);
        if errors.is_empty() {
            let response = WriteResponse { status: 204, error: String::new(), written: Some(stats) };
            return Answer { response, logged };
        }
        if errors_unlisted > 0 {
            errors.push(format!("{errors_unlisted} more errors"));
        }
        let error = errors.join("\n");
        Answer { response: WriteResponse { status: limited.max(400), error, written: Some(stats) }, logged }
    }
}

impl Run<'_> {
    fn bad(&mut self, text: String) {
        if self.errors.len() < ERRORS_LISTED_MAX {
            self.errors.push(text);
        } else {
            self.errors_unlisted += 1;
        }
    }

    #[inline]
    fn series(
        &mut self,
        s: &mut DecodedV2,
        range: (usize, usize),
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let o = &self.receiver.options;
        // With type and unit as labels the set is not the one of the request, so the cache does not help.
        let label_key = if o.type_and_unit_labels { None } else { s.label_key(self.cache.hasher()) };
        let known = label_key.and_then(|k| Some((k, self.cache.peek(k, self.near)?)));
        if let (Some((k, (series, fresh))), [t], [v]) = (known, &s.times[..], &s.values[..])
            && s.exemplars.is_empty()
            && s.histograms.is_empty()
            && !o.append_metadata
            && !(o.start_zero_ingestion && s.starts != [0])
            && s.metadata_in_bounds()
            && *t <= self.latest_ms
        {
            if !fresh {
                scratch.learned.push((k, series));
            }
            let (t, v) = (*t, *v);
            if scratch.batch.must_flush(t) {
                self.flush(Some(s), scratch)?;
            }
            scratch.batch.push(series, t, v, range, k);
            return Ok(());
        }
        self.flush(Some(s), scratch)?;
        self.whole(s, label_key, known.map(|(_, (r, _))| r), scratch)
    }

    /// Decodes and checks the labels of a series that the cache does not know; `None` where the series is
    /// refused.
    fn labels(&mut self, s: &DecodedV2) -> Option<Labels> {
        let samples = (s.times.len() + s.histograms.len()) as u64;
        let mut pairs = Vec::with_capacity(16);
        if let Err(text) = s.pairs(self.body, &mut pairs) {
            self.invalid += samples;
            self.bad(text);
            return None;
        }
        let metadata = match s.metadata(self.body) {
            Ok(m) => m,
            Err(text) => {
                self.bad(text);
                return None;
            }
        };
        let mut labels = match validate::labels(&mut pairs) {
            Ok(labels) => labels,
            Err(reason) => {
                self.invalid += samples;
                self.bad(match reason {
                    Invalid::Invalid(set) => format!("invalid metric name or labels, got {set}"),
                    Invalid::Duplicate(set, name) => {
                        format!("invalid labels for series, labels {set}, duplicated label {name}")
                    }
                });
                return None;
            }
        };
        if self.receiver.options.type_and_unit_labels
            && (metadata.kind != MetricType::Unknown || !metadata.unit.is_empty())
        {
            let mut b = labels.to_builder();
            let kind = if metadata.kind == MetricType::Unknown { "" } else { metadata.kind.as_str() };
            b.set("__type__", kind).set("__unit__", &metadata.unit);
            labels = b.build();
        }
        Some(labels)
    }

    fn whole(
        &mut self,
        s: &DecodedV2,
        label_key: Option<u128>,
        cached: Option<SeriesRef>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let known = match cached {
            Some(series) if s.metadata_in_bounds() => Known::Cached(series),
            _ => match self.labels(s) {
                Some(labels) => Known::Decoded(labels),
                None => return Ok(()),
            },
        };
        let (mut series, mut labels) = match known {
            Known::Cached(series) => (series, None),
            Known::Decoded(labels) => (SeriesRef::NONE, Some(labels)),
        };
        if s.times.is_empty() && s.histograms.is_empty() {
            let set = self.text(s);
            self.bad(format!("TimeSeries must contain at least one sample or histogram for series {set}"));
            return Ok(());
        }
        let before = self.stats.samples + self.stats.histograms;
        let zero = self.receiver.options.start_zero_ingestion;
        for ((t, v), start) in s.times.iter().zip(&s.values).zip(&s.starts) {
            if zero && *start != 0 && *t != 0 {
                // Refused starts are the rule: they were stored by an earlier request.
                let _ = self.append(s, &mut labels, &mut series, *t, |app, l, r| {
                    app.append_start_zero(r, l, *t, *start, None)
                });
            }
            match self.append(s, &mut labels, &mut series, *t, |app, l, r| app.append(r, l, 0, *t, *v)) {
                Ok(()) => self.stats.samples += 1,
                Err(e) => self.refuse(s, &e)?,
            }
        }
        for range in &s.histograms {
            let h = histogram::decode(self.body, *range)?;
            if zero && h.start_ms != 0 && h.t_ms != 0 {
                let _ = self.append(s, &mut labels, &mut series, h.t_ms, |app, l, r| {
                    app.append_start_zero(r, l, h.t_ms, h.start_ms, Some(&h.value))
                });
            }
            let appended = self.append(s, &mut labels, &mut series, h.t_ms, |app, l, r| {
                app.append_histogram(r, l, 0, h.t_ms, &h.value)
            });
            match appended {
                Ok(()) => self.stats.histograms += 1,
                Err(e) => self.refuse(s, &e)?,
            }
        }
        self.exemplars(s, series)?;
        if self.receiver.options.append_metadata && !series.is_none() {
            let updated = s.metadata(self.body).is_ok_and(|m| self.app.update_metadata(series, &m).is_ok());
            if !updated {
                self.without_metadata += self.stats.samples + self.stats.histograms - before;
            }
        }
        if let Some(k) = label_key
            && !series.is_none()
            && cached != Some(series)
        {
            scratch.learned.push((k, series));
        }
        Ok(())
    }

    fn exemplars(&mut self, s: &DecodedV2, series: SeriesRef) -> Result<(), WireError> {
        for range in &s.exemplars {
            let exemplar = match s.exemplar(self.body, *range)? {
                Ok(e) => e,
                Err(why) => {
                    let set = self.text(s);
                    self.bad(format!("parsing exemplar for series {set}: {why}"));
                    continue;
                }
            };
            if exemplar.timestamp_ms > self.latest_ms {
                continue;
            }
            match self.app.append_exemplar(series, &exemplar) {
                Ok(()) => self.stats.exemplars += 1,
                Err(AppendError::OutOfOrderExemplar) => {
                    let set = self.text(s);
                    self.bad(format!("{} for series {set}", AppendError::OutOfOrderExemplar));
                }
                Err(e) => tracing::debug!(error = %e, "remote write: exemplar not stored"),
            }
        }
        Ok(())
    }

    /// Appends with the reference, and again with labels where the store has forgotten it.
    fn append(
        &mut self,
        s: &DecodedV2,
        labels: &mut Option<Labels>,
        series: &mut SeriesRef,
        t_ms: i64,
        mut call: impl FnMut(&mut dyn Appender, &Labels, SeriesRef) -> Result<SeriesRef, AppendError>,
    ) -> Result<(), Ahead> {
        if t_ms > self.latest_ms {
            return Err(Ahead::Future);
        }
        let mut result = call(self.app.as_mut(), labels.as_ref().unwrap_or(&self.empty), *series);
        if matches!(result, Err(AppendError::UnknownSeries)) && labels.is_none() {
            *labels = self.labels(s);
            if let Some(labels) = labels {
                result = call(self.app.as_mut(), labels, SeriesRef::NONE);
            }
        }
        *series = result.map_err(Ahead::Store)?;
        Ok(())
    }

    /// Lists the error of a sample, or fails the request.
    fn refuse(&mut self, s: &DecodedV2, e: &Ahead) -> Result<(), Failure> {
        let text = match e {
            Ahead::Future => too_far_ahead(),
            Ahead::Store(e) => match verdict(e) {
                Verdict::BadSample => refusal_text(e),
                Verdict::Limited(status) => {
                    self.limited = self.limited.max(status);
                    e.to_string()
                }
                Verdict::Retry(status) => return Err(Failure { status, text: e.to_string() }),
            },
        };
        let set = self.text(s);
        self.bad(format!("{text} for series {set}"));
        Ok(())
    }

    fn text(&self, s: &DecodedV2) -> String {
        let mut pairs = Vec::new();
        match s.pairs(self.body, &mut pairs) {
            Ok(()) => {
                pairs.sort_unstable();
                validate::display(&pairs)
            }
            Err(e) => e,
        }
    }

    /// Hands the batch over. `symbols` is the decoder that holds the request's symbols.
    fn flush(&mut self, symbols: Option<&DecodedV2>, scratch: &mut Scratch) -> Result<(), Failure> {
        self.stats.samples += scratch.batch.flush(self.app.as_mut());
        if scratch.batch.refused.is_empty() {
            return Ok(());
        }
        let refused = std::mem::take(&mut scratch.batch.refused);
        let mut again = self.again.take().unwrap_or_default();
        if let Some(symbols) = symbols {
            again.share_symbols(symbols);
        }
        for r in &refused {
            again.read(self.body, r.source)?;
            self.retry(&again, r, scratch)?;
        }
        self.again = Some(again);
        scratch.batch.refused = refused;
        scratch.batch.refused.clear();
        Ok(())
    }

    fn retry(&mut self, s: &DecodedV2, r: &Refused, scratch: &mut Scratch) -> Result<(), Failure> {
        if r.error != AppendError::UnknownSeries {
            return self.refuse(s, &Ahead::Store(r.error.clone()));
        }
        scratch.forgotten.push(r.key);
        let Some(labels) = self.labels(s) else { return Ok(()) };
        match self.app.append(SeriesRef::NONE, &labels, 0, r.t_ms, r.value) {
            Ok(series) => {
                self.stats.samples += 1;
                scratch.learned.push((r.key, series));
                Ok(())
            }
            Err(e) => self.refuse(s, &Ahead::Store(e)),
        }
    }
}

/// Why a sample was not appended.
enum Ahead {
    /// Too far ahead of the clock.
    Future,
    /// The store's reason.
    Store(AppendError),
}
