//! Remote write 1.0: all or nothing. The first sample that the store refuses fails the request and nothing
//! of it is stored; series with invalid labels are left out and counted.

use std::cell::Cell;

use model::Labels;
use storage::{AppendError, Appender, SeriesRef};

use super::batch::Refused;
use super::{
    Answer, Failure, Receiver, Scratch, Verdict, WriteResponse, refusal_text, too_far_ahead, verdict,
};
use crate::cache::RefCache;
use crate::v1::{self, DecodedV1};
use crate::{histogram, validate};

/// What one request carries along.
struct Run<'r> {
    body: &'r [u8],
    cache: &'r RefCache,
    near: &'r Cell<u32>,
    app: Box<dyn Appender + 'r>,
    latest_ms: i64,
    invalid: u64,
    /// First refusal by a limit: the request goes on, but the sender is told.
    limited: Option<(u16, String)>,
    empty: Labels,
}

/// A series that the cache has.
#[derive(Clone, Copy)]
struct Known {
    key: u128,
    series: SeriesRef,
    /// In the young generation.
    fresh: bool,
}

impl Known {
    #[inline]
    fn find(labels: &[u8], cache: &RefCache, near: &Cell<u32>) -> Option<Known> {
        let key = cache.hasher().hash(labels);
        cache.peek(key, near).map(|(series, fresh)| Known { key, series, fresh })
    }
}

impl Receiver {
    pub(super) fn write_v1(&self, body: &[u8], scratch: &mut Scratch) -> Answer {
        let (cache, near) = (self.cache.read(), Cell::new(0));
        let mut run = Run {
            body,
            cache: &cache,
            near: &near,
            app: self.store.appender(),
            latest_ms: self.latest_ms(),
            invalid: 0,
            limited: None,
            empty: Labels::empty(),
        };
        let mut series = std::mem::take(&mut scratch.v1);
        scratch.batch.clear();
        let result = series
            .for_each(
                body,
                |labels| Known::find(labels, &cache, &near),
                |s, known| run.series(s, known, scratch),
            )
            .and_then(|()| run.flush(scratch));
        scratch.v1 = series;
        if run.invalid > 0 {
            self.metrics.invalid_labels.add(run.invalid as f64);
            tracing::warn!(series = run.invalid, "remote write: series with invalid labels left out");
        }
        let Run { app, limited, .. } = run;
        if let Err(f) = result {
            app.rollback();
            // References learned from series that the rolled-back transaction made stay valid in the store.
            return WriteResponse::refused(f.status, f.text).into();
        }
        let logged = match app.commit_soon() {
            Ok(done) => done.logged,
            Err(e) => return WriteResponse::refused(500, e.to_string()).into(),
        };
        let response = match limited {
            Some((status, text)) => WriteResponse::refused(status, text),
            None => WriteResponse { status: 204, error: String::new(), written: None },
        };
        Answer { response, logged }
    }
}

impl Run<'_> {
    #[inline]
    fn series(
        &mut self,
        s: &mut DecodedV1,
        known: Option<Known>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let (label_key, known) = match known {
            Some(Known { key, series, fresh }) => (key, Some((series, fresh))),
            None => {
                let key = self.cache.hasher().hash(s.label_bytes(self.body));
                (key, self.cache.peek(key, self.near))
            }
        };
        // The common case: a known series with one sample and nothing else.
        if let (Some((series, fresh)), [t], [v], Some(source)) =
            (known, &s.times[..], &s.values[..], s.label_range())
            && s.exemplars.is_empty()
            && s.histograms.is_empty()
        {
            if !fresh {
                scratch.learned.push((label_key, series));
            }
            if *t > self.latest_ms {
                return Err(Failure { status: 400, text: too_far_ahead() });
            }
            if scratch.batch.must_flush(*t) {
                self.flush(scratch)?;
            }
            scratch.batch.push(series, *t, *v, source, label_key);
            return Ok(());
        }
        // Samples of this series may be in the batch: keep their order.
        self.flush(scratch)?;
        self.whole(s, label_key, known.map(|(r, _)| r), scratch)
    }

    fn whole(
        &mut self,
        s: &DecodedV1,
        label_key: u128,
        known: Option<SeriesRef>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        let mut labels = None;
        if known.is_none() {
            match self.labels(s.label_bytes(self.body))? {
                Some(found) => labels = Some(found),
                None => return Ok(()),
            }
        }
        let mut series = known.unwrap_or_default();
        for (t, v) in s.times.iter().zip(&s.values) {
            let done = self.append(
                s.label_bytes(self.body),
                &mut labels,
                &mut series,
                |app, l, r| app.append(r, l, 0, *t, *v),
                *t,
            )?;
            if !done {
                return Ok(());
            }
        }
        for range in &s.exemplars {
            let exemplar = v1::exemplar(self.body, *range)?;
            if exemplar.timestamp_ms <= self.latest_ms
                && let Err(e) = self.app.append_exemplar(series, &exemplar)
            {
                tracing::debug!(error = %e, "remote write: exemplar not stored");
            }
        }
        for range in &s.histograms {
            let h = histogram::decode(self.body, *range)?;
            let done = self.append(
                s.label_bytes(self.body),
                &mut labels,
                &mut series,
                |app, l, r| app.append_histogram(r, l, 0, h.t_ms, &h.value),
                h.t_ms,
            )?;
            if !done {
                return Ok(());
            }
        }
        if !series.is_none() && known != Some(series) {
            scratch.learned.push((label_key, series));
        }
        Ok(())
    }

    /// Appends with the reference, and again with labels where the store has forgotten it. False where a
    /// limit refused the series.
    fn append(
        &mut self,
        fields: &[u8],
        labels: &mut Option<Labels>,
        series: &mut SeriesRef,
        mut call: impl FnMut(&mut dyn Appender, &Labels, SeriesRef) -> Result<SeriesRef, AppendError>,
        t_ms: i64,
    ) -> Result<bool, Failure> {
        if t_ms > self.latest_ms {
            return Err(Failure { status: 400, text: too_far_ahead() });
        }
        let mut result = call(self.app.as_mut(), labels.as_ref().unwrap_or(&self.empty), *series);
        if matches!(result, Err(AppendError::UnknownSeries)) && labels.is_none() {
            *labels = self.labels(fields)?;
            let Some(found) = labels else { return Ok(false) };
            result = call(self.app.as_mut(), found, SeriesRef::NONE);
        }
        match result {
            Ok(found) => {
                *series = found;
                Ok(true)
            }
            Err(e) => self.refuse(&e).map(|()| false),
        }
    }

    /// Fails the request, or notes a limit.
    fn refuse(&mut self, e: &AppendError) -> Result<(), Failure> {
        match verdict(e) {
            Verdict::BadSample => Err(Failure { status: 400, text: refusal_text(e) }),
            Verdict::Retry(status) => Err(Failure { status, text: e.to_string() }),
            Verdict::Limited(status) => {
                self.limited.get_or_insert_with(|| (status, e.to_string()));
                Ok(())
            }
        }
    }

    /// Labels of a series; `None` where they are invalid, which is counted.
    fn labels(&mut self, fields: &[u8]) -> Result<Option<Labels>, Failure> {
        let mut pairs = Vec::with_capacity(16);
        v1::pairs(fields, &mut pairs)?;
        match validate::labels(&mut pairs) {
            Ok(labels) => Ok(Some(labels)),
            Err(reason) => {
                self.invalid += 1;
                tracing::debug!(?reason, "remote write: invalid labels");
                Ok(None)
            }
        }
    }

    fn flush(&mut self, scratch: &mut Scratch) -> Result<(), Failure> {
        scratch.batch.flush(self.app.as_mut());
        // Taken out so that the batch can be borrowed; it is empty but for a store that forgot series.
        let refused = std::mem::take(&mut scratch.batch.refused);
        for r in &refused {
            self.retry(r, scratch)?;
        }
        scratch.batch.refused = refused;
        scratch.batch.refused.clear();
        Ok(())
    }

    fn retry(&mut self, r: &Refused, scratch: &mut Scratch) -> Result<(), Failure> {
        if r.error != AppendError::UnknownSeries {
            return self.refuse(&r.error);
        }
        let fields = self.body.get(r.source.0..r.source.1).unwrap_or_default();
        scratch.forgotten.push(r.key);
        let Some(labels) = self.labels(fields)? else { return Ok(()) };
        match self.app.append(SeriesRef::NONE, &labels, 0, r.t_ms, r.value) {
            Ok(series) => scratch.learned.push((r.key, series)),
            Err(e) => self.refuse(&e)?,
        }
        Ok(())
    }
}
