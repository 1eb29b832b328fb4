//! A store in memory, for tests of those who read and write through the seam. It keeps to the same
//! contracts and errors as the real one (out of order, duplicate, exemplars), without any limit.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{Exemplar, HistogramValue, Labels, Matcher, MetricMetadata};
use parking_lot::RwLock;

use crate::{
    AppendError, Appendable, Appender, CommitStats, ExemplarQueryable, ExemplarSeries, LabelHints, Querier,
    QueryContext, Queryable, RawChunk, Rejected, SampleBuf, SelectHints, Series, SeriesRef, SeriesSet,
    StorageError,
};

#[derive(Clone)]
enum Datum {
    Float(f64),
    Histogram(HistogramValue),
}

impl Datum {
    fn same(&self, other: &Datum) -> bool {
        match (self, other) {
            (Datum::Float(a), Datum::Float(b)) => a.to_bits() == b.to_bits(),
            (Datum::Histogram(a), Datum::Histogram(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Clone)]
struct Sample {
    t_ms: i64,
    start_ms: i64,
    datum: Datum,
}

#[derive(Default)]
struct Data {
    samples: Vec<Sample>,
    exemplars: Vec<Exemplar>,
    metadata: Option<MetricMetadata>,
}

struct MemorySeries {
    labels: Labels,
    data: RwLock<Data>,
}

impl Series for MemorySeries {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<(), StorageError> {
        for s in self.data.read().samples.iter().filter(|s| (mint_ms..=maxt_ms).contains(&s.t_ms)) {
            match &s.datum {
                Datum::Float(v) => out.push(s.t_ms, *v),
                Datum::Histogram(h) => out.push_histogram(s.t_ms, h.clone()),
            }
            out.set_last_start(s.start_ms);
        }
        Ok(())
    }

    fn chunks(&self, _mint_ms: i64, _maxt_ms: i64) -> Result<Vec<RawChunk>, StorageError> {
        Err(StorageError::Other("the memory store keeps no encoded chunks".to_string()))
    }
}

#[derive(Default)]
struct State {
    by_labels: HashMap<Labels, SeriesRef>,
    series: Vec<Arc<MemorySeries>>,
    series_max: Option<usize>,
    /// Refused series: offered ones, and such as were only counted.
    refused: (u64, u64),
}

impl State {
    fn get(&self, series: SeriesRef) -> Option<&Arc<MemorySeries>> {
        self.series.get(usize::try_from(series.0.checked_sub(1)?).ok()?)
    }
}

/// The store. Cheap to clone; clones share the data.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<RwLock<State>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Adds float samples of one series, for setting a test up.
    ///
    /// # Errors
    /// As [`Appender::append`] and [`Appender::commit`].
    pub fn load(&self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), StorageError> {
        let mut app = self.appender();
        for (t, v) in samples {
            app.append(SeriesRef::NONE, labels, 0, *t, *v).map_err(|e| StorageError::Other(e.to_string()))?;
        }
        app.commit().map(|_| ())
    }

    /// Metadata last recorded for a series.
    #[must_use]
    pub fn metadata(&self, labels: &Labels) -> Option<MetricMetadata> {
        let state = self.0.read();
        let series = state.get(*state.by_labels.get(labels)?)?;
        series.data.read().metadata.clone()
    }

    /// Refuses new series from this number on, as a store that is short of memory does; `None` takes all.
    pub fn set_series_max(&self, max: Option<usize>) {
        self.0.write().series_max = max;
    }

    /// New series that were offered and refused, and those that their caller only counted.
    #[must_use]
    pub fn refused(&self) -> (u64, u64) {
        self.0.read().refused
    }

    fn matching(&self, matchers: &[Matcher]) -> Vec<Arc<MemorySeries>> {
        let passes = |s: &&Arc<MemorySeries>| {
            matchers.iter().all(|m| m.matches(s.labels.find(m.name()).unwrap_or("")))
        };
        self.0.read().series.iter().filter(passes).map(Arc::clone).collect()
    }
}

impl Appendable for MemoryStore {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(MemoryAppender {
            store: self,
            pending: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
        })
    }
}

struct MemoryAppender<'a> {
    store: &'a MemoryStore,
    pending: Vec<(SeriesRef, Sample)>,
    exemplars: Vec<(SeriesRef, Exemplar)>,
    metadata: Vec<(SeriesRef, MetricMetadata)>,
}

impl MemoryAppender<'_> {
    fn resolve(&self, series: SeriesRef, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut state = self.store.0.write();
        if state.get(series).is_some() {
            return Ok(series);
        }
        if labels.is_empty() {
            return Err(match series.is_none() {
                true => AppendError::InvalidLabels("empty labelset".to_string()),
                false => AppendError::UnknownSeries,
            });
        }
        if let Some(found) = state.by_labels.get(labels) {
            return Ok(*found);
        }
        if state.series_max.is_some_and(|max| state.series.len() >= max) {
            state.refused.0 += 1;
            return Err(AppendError::SeriesLimit("the test's limit".into()));
        }
        state.series.push(Arc::new(MemorySeries { labels: labels.clone(), data: RwLock::default() }));
        let made = SeriesRef(state.series.len() as u64);
        state.by_labels.insert(labels.clone(), made);
        Ok(made)
    }

    fn add(&mut self, series: SeriesRef, labels: &Labels, sample: Sample) -> Result<SeriesRef, AppendError> {
        let series = self.resolve(series, labels)?;
        let state = self.store.0.read();
        if let Some(data) = state.get(series).map(|s| s.data.read()) {
            check(data.samples.last(), &sample)?;
        }
        drop(state);
        self.pending.push((series, sample));
        Ok(series)
    }
}

fn check(newest: Option<&Sample>, sample: &Sample) -> Result<(), AppendError> {
    match newest {
        Some(n) if n.t_ms > sample.t_ms => Err(AppendError::OutOfOrder),
        Some(n) if n.t_ms == sample.t_ms && !n.datum.same(&sample.datum) => Err(AppendError::Duplicate),
        _ => Ok(()),
    }
}

impl Appender for MemoryAppender<'_> {
    fn append(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        start_ms: i64,
        t_ms: i64,
        value: f64,
    ) -> Result<SeriesRef, AppendError> {
        self.add(series, labels, Sample { t_ms, start_ms, datum: Datum::Float(value) })
    }

    fn append_batch(
        &mut self,
        t_ms: i64,
        series: &[SeriesRef],
        values: &[f64],
        rejected: &mut Vec<Rejected>,
    ) {
        let none = Labels::empty();
        for (index, (series, value)) in series.iter().zip(values).enumerate() {
            let sample = Sample { t_ms, start_ms: 0, datum: Datum::Float(*value) };
            let result = if series.is_none() {
                Err(AppendError::UnknownSeries)
            } else {
                self.add(*series, &none, sample).map(|_| ())
            };
            if let Err(error) = result {
                rejected.push(Rejected { index, error });
            }
        }
    }

    fn append_histogram(
        &mut self,
        series: SeriesRef,
        labels: &Labels,
        start_ms: i64,
        t_ms: i64,
        value: &HistogramValue,
    ) -> Result<SeriesRef, AppendError> {
        self.add(series, labels, Sample { t_ms, start_ms, datum: Datum::Histogram(value.clone()) })
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
        let series = self.resolve(series, labels)?;
        let newest =
            self.store.0.read().get(series).and_then(|s| s.data.read().samples.last().map(|s| s.t_ms));
        if newest.is_some_and(|t| t >= start_ms) {
            return Err(AppendError::OutOfOrder);
        }
        let datum = match histogram {
            None => Datum::Float(0.0),
            Some(HistogramValue::Int(_)) => Datum::Histogram(HistogramValue::Int(Arc::default())),
            Some(HistogramValue::Float(_)) => Datum::Histogram(HistogramValue::Float(Arc::default())),
        };
        self.add(series, labels, Sample { t_ms: start_ms, start_ms: 0, datum })
    }

    fn append_exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar) -> Result<(), AppendError> {
        let state = self.store.0.read();
        let data = state.get(series).ok_or(AppendError::UnknownSeries)?.data.read();
        match data.exemplars.last() {
            Some(e) if e == exemplar => return Err(AppendError::DuplicateExemplar),
            Some(e) if e.timestamp_ms > exemplar.timestamp_ms => return Err(AppendError::OutOfOrderExemplar),
            _ => {}
        }
        self.exemplars.push((series, exemplar.clone()));
        Ok(())
    }

    fn update_metadata(&mut self, series: SeriesRef, metadata: &MetricMetadata) -> Result<(), AppendError> {
        self.store.0.read().get(series).ok_or(AppendError::UnknownSeries)?;
        self.metadata.push((series, metadata.clone()));
        Ok(())
    }

    fn count_refused(&mut self, _labels: &Labels, n: u64) {
        self.store.0.write().refused.1 += n;
    }

    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        let mut stats = CommitStats::default();
        let state = self.store.0.write();
        for (series, sample) in self.pending {
            let Some(mut data) = state.get(series).map(|s| s.data.write()) else { continue };
            match check(data.samples.last(), &sample) {
                Err(_) => stats.refused += 1,
                Ok(()) if data.samples.last().is_some_and(|n| n.t_ms == sample.t_ms) => {}
                Ok(()) => {
                    data.samples.push(sample);
                    stats.samples += 1;
                }
            }
        }
        for (series, exemplar) in self.exemplars {
            if let Some(s) = state.get(series) {
                s.data.write().exemplars.push(exemplar);
            }
        }
        for (series, metadata) in self.metadata {
            if let Some(s) = state.get(series) {
                s.data.write().metadata = Some(metadata);
            }
        }
        Ok(stats)
    }

    fn rollback(self: Box<Self>) {}
}

impl Queryable for MemoryStore {
    fn querier(&self, mint_ms: i64, maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError> {
        Ok(Box::new(MemoryQuerier { store: self.clone(), mint_ms, maxt_ms }))
    }
}

struct MemoryQuerier {
    store: MemoryStore,
    mint_ms: i64,
    maxt_ms: i64,
}

impl MemoryQuerier {
    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = Arc<MemorySeries>> {
        let range = self.mint_ms..=self.maxt_ms;
        let has_data =
            move |s: &Arc<MemorySeries>| s.data.read().samples.iter().any(|s| range.contains(&s.t_ms));
        self.store.matching(matchers).into_iter().filter(has_data)
    }
}

impl Querier for MemoryQuerier {
    fn select(
        &self,
        ctx: &QueryContext,
        _sorted: bool,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<SeriesSet, StorageError> {
        ctx.check()?;
        let mut found: Vec<Arc<MemorySeries>> = self.matching(matchers).collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if hints.limit > 0 {
            found.truncate(hints.limit);
        }
        let series = found.into_iter().map(|s| s as Arc<dyn Series>).collect();
        Ok(SeriesSet { series, warnings: Vec::new() })
    }

    fn label_values(
        &self,
        ctx: &QueryContext,
        name: &str,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        ctx.check()?;
        let values: BTreeSet<String> =
            self.matching(matchers).filter_map(|s| s.labels.find(name).map(str::to_string)).collect();
        Ok(limited(values, hints))
    }

    fn label_names(
        &self,
        ctx: &QueryContext,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        ctx.check()?;
        let mut names = BTreeSet::new();
        for series in self.matching(matchers) {
            names.extend(series.labels.iter().map(|(name, _)| name.to_string()));
        }
        Ok(limited(names, hints))
    }
}

fn limited(all: BTreeSet<String>, hints: LabelHints) -> Vec<String> {
    let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
    all.into_iter().take(limit).collect()
}

impl ExemplarQueryable for MemoryStore {
    fn select_exemplars(
        &self,
        ctx: &QueryContext,
        start_ms: i64,
        end_ms: i64,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<ExemplarSeries>, StorageError> {
        ctx.check()?;
        let mut found = Vec::new();
        for series in self.matching(&[]) {
            let passes = |m: &Matcher| m.matches(series.labels.find(m.name()).unwrap_or(""));
            if !matchers.iter().any(|set| set.iter().all(passes)) {
                continue;
            }
            let within = |e: &&Exemplar| (start_ms..=end_ms).contains(&e.timestamp_ms);
            let exemplars: Vec<Exemplar> =
                series.data.read().exemplars.iter().filter(within).cloned().collect();
            if !exemplars.is_empty() {
                found.push(ExemplarSeries { labels: series.labels.clone(), exemplars });
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_seen_and_errors_are_upstreams() {
        let store = MemoryStore::new();
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "x")]);
        store.load(&labels, &[(10, 1.0), (20, 2.0)]).unwrap();
        let mut app = store.appender();
        let series = app.append(SeriesRef::NONE, &labels, 0, 30, 3.0).unwrap();
        assert_eq!(app.append(series, &labels, 0, 5, 3.0), Err(AppendError::OutOfOrder));
        assert_eq!(app.append(series, &labels, 0, 20, 9.0), Err(AppendError::Duplicate));
        let mut rejected = Vec::new();
        app.append_batch(40, &[series, SeriesRef(99), SeriesRef::NONE], &[4.0, 5.0, 6.0], &mut rejected);
        assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(app.commit().unwrap(), CommitStats { samples: 2, refused: 0 });

        let querier = store.querier(15, 100).unwrap();
        let ctx = QueryContext::unlimited();
        let found =
            querier.select(&ctx, true, &SelectHints::default(), &[Matcher::equal("job", "x")]).unwrap();
        let mut out = SampleBuf::default();
        found.series[0].read(15, 100, &mut out).unwrap();
        assert_eq!((out.times, out.values), (vec![20, 30, 40], vec![2.0, 3.0, 4.0]));
        assert_eq!(querier.label_values(&ctx, "job", LabelHints::default(), &[]).unwrap(), ["x"]);
        assert_eq!(querier.label_names(&ctx, LabelHints { limit: 1 }, &[]).unwrap(), ["__name__"]);
        assert!(
            store.querier(50, 60).unwrap().label_names(&ctx, LabelHints::default(), &[]).unwrap().is_empty()
        );
    }

    #[test]
    fn a_dropped_transaction_leaves_no_sample() {
        let store = MemoryStore::new();
        let labels = Labels::from_pairs([("a", "b")]);
        store.appender().append(SeriesRef::NONE, &labels, 0, 30, 3.0).unwrap();
        let ctx = QueryContext::unlimited();
        let all = store.querier(i64::MIN, i64::MAX).unwrap();
        assert!(all.select(&ctx, true, &SelectHints::default(), &[]).unwrap().series.is_empty());
    }
}
