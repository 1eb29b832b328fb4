//! Exemplars in memory: a ring of the newest ones, by series (upstream: `tsdb/exemplar.go`).

use std::collections::VecDeque;

use hashbrown::HashMap;
use model::exemplar::EXEMPLAR_LABEL_CHARS_MAX;
use model::{Exemplar, Labels, Matcher};
use parking_lot::RwLock;
use storage::{AppendError, ExemplarSeries};
use telemetry::{Counter, Gauge, Registry};

#[derive(Default)]
struct Ring {
    max: usize,
    /// Series of each exemplar, in order of arrival: the front one is the next to go.
    order: VecDeque<Labels>,
    by_series: HashMap<Labels, VecDeque<Exemplar>>,
}

impl Ring {
    fn drop_oldest(&mut self) {
        let Some(labels) = self.order.pop_front() else { return };
        if let Some(list) = self.by_series.get_mut(&labels) {
            list.pop_front();
            if list.is_empty() {
                self.by_series.remove(&labels);
            }
        }
    }

    fn check(&self, series: &Labels, e: &Exemplar) -> Result<(), AppendError> {
        if self.max == 0 {
            return Err(AppendError::ExemplarsDisabled);
        }
        let chars: usize = e.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if chars > EXEMPLAR_LABEL_CHARS_MAX {
            return Err(AppendError::ExemplarTooLong);
        }
        let Some(newest) = self.by_series.get(series).and_then(VecDeque::back) else { return Ok(()) };
        let same_value = newest.value.to_bits() == e.value.to_bits();
        // A target without exemplar times shows the same exemplar at each scrape: the scrape's time, filled in,
        // does not make it another one.
        let same_time = newest.timestamp_ms == e.timestamp_ms || !(newest.has_timestamp || e.has_timestamp);
        if same_time && same_value && newest.labels == e.labels {
            return Err(AppendError::DuplicateExemplar);
        }
        // Of equal times the larger value is the newer one, and then the larger label set, so that a
        // histogram's exemplars have one order however they come.
        let key = |x: &Exemplar| (x.timestamp_ms, x.value);
        match key(e).partial_cmp(&key(newest)) {
            Some(std::cmp::Ordering::Less) => Err(AppendError::OutOfOrderExemplar),
            Some(std::cmp::Ordering::Equal) if e.labels.hash() < newest.labels.hash() => {
                Err(AppendError::OutOfOrderExemplar)
            }
            _ => Ok(()),
        }
    }
}

/// The store.
pub(crate) struct Exemplars {
    ring: RwLock<Ring>,
    appended: Counter,
    out_of_order: Counter,
    in_storage: Gauge,
    series: Gauge,
    last_timestamp: Gauge,
    max: Gauge,
}

impl Exemplars {
    /// A store of at most `max` exemplars; 0 switches it off.
    pub(crate) fn new(max: usize, registry: &Registry) -> Self {
        let made = Exemplars {
            ring: RwLock::default(),
            appended: registry
                .counter("prometheus_tsdb_exemplar_exemplars_appended_total", "Total number of appended exemplars."),
            out_of_order: registry.counter(
                "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
                "Total number of out of order exemplar ingestion failed attempts.",
            ),
            in_storage: registry.gauge(
                "prometheus_tsdb_exemplar_exemplars_in_storage",
                "Number of exemplars currently in circular storage.",
            ),
            series: registry.gauge(
                "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
                "Number of series with exemplars currently in circular storage.",
            ),
            last_timestamp: registry.gauge(
                "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
                "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what time range the current exemplar buffer limit allows. This usually means the last timestampfor all exemplars for a typical setup. This is not true though if one of the series timestamp is in future compared to rest series.",
            ),
            max: registry.gauge(
                "prometheus_tsdb_exemplar_max_exemplars",
                "Total number of exemplars the exemplar storage can store, resizeable.",
            ),
        };
        made.resize(max);
        made
    }

    /// Changes the bound; the oldest go first.
    pub(crate) fn resize(&self, max: usize) {
        let mut ring = self.ring.write();
        ring.max = max;
        while ring.order.len() > max {
            ring.drop_oldest();
        }
        self.max.set(max as f64);
        self.gauge(&ring);
    }

    /// Whether an exemplar may come now.
    pub(crate) fn check(&self, series: &Labels, exemplar: &Exemplar) -> Result<(), AppendError> {
        let checked = self.ring.read().check(series, exemplar);
        if checked == Err(AppendError::OutOfOrderExemplar) {
            self.out_of_order.inc();
        }
        checked
    }

    /// How many came in, those of the replay included.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.get() as u64
    }

    /// Takes an exemplar, the oldest one going where the ring is full.
    pub(crate) fn add(&self, series: &Labels, exemplar: Exemplar) -> Result<(), AppendError> {
        let mut ring = self.ring.write();
        ring.check(series, &exemplar)?;
        if ring.order.len() >= ring.max {
            ring.drop_oldest();
        }
        ring.order.push_back(series.clone());
        ring.by_series.entry(series.clone()).or_default().push_back(exemplar);
        self.appended.inc();
        self.gauge(&ring);
        Ok(())
    }

    /// Takes one from the log, at its place: where the log dropped some, and what memory had of them was logged
    /// once more, they stand behind newer ones.
    pub(crate) fn restore(&self, series: &Labels, exemplar: Exemplar) {
        let mut ring = self.ring.write();
        if ring.check(series, &exemplar) != Err(AppendError::OutOfOrderExemplar) {
            drop(ring);
            // Off, or there already: nothing to tell anyone about.
            let _ = self.add(series, exemplar);
            return;
        }
        if ring.order.len() >= ring.max {
            // It would be the next to go.
            return;
        }
        let Some(list) = ring.by_series.get_mut(series) else { return };
        let same = |e: &Exemplar| {
            e.timestamp_ms == exemplar.timestamp_ms
                && e.value.to_bits() == exemplar.value.to_bits()
                && e.labels == exemplar.labels
        };
        if list.iter().any(same) {
            return;
        }
        let before = |e: &Exemplar| {
            e.timestamp_ms.cmp(&exemplar.timestamp_ms).then(e.value.total_cmp(&exemplar.value)).is_le()
        };
        let at = list.partition_point(before);
        list.insert(at, exemplar);
        ring.order.push_back(series.clone());
        self.appended.inc();
        self.gauge(&ring);
    }

    fn gauge(&self, ring: &Ring) {
        self.in_storage.set(ring.order.len() as f64);
        self.series.set(ring.by_series.len() as f64);
        let oldest = ring.order.front().and_then(|l| ring.by_series.get(l)).and_then(VecDeque::front);
        self.last_timestamp.set(oldest.map_or(0.0, |e| e.timestamp_ms as f64 / 1000.0));
    }

    /// All exemplars with the labels of their series, in the order in which they came.
    pub(crate) fn all(&self) -> Vec<(Labels, Exemplar)> {
        let ring = self.ring.read();
        let mut next: HashMap<&Labels, usize> = HashMap::new();
        let mut all = Vec::with_capacity(ring.order.len());
        for labels in &ring.order {
            let at = next.entry(labels).or_default();
            if let Some(e) = ring.by_series.get(labels).and_then(|list| list.get(*at)) {
                all.push((labels.clone(), e.clone()));
            }
            *at += 1;
        }
        all
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ring.read().order.len()
    }

    /// Exemplars of matching series within a time range, sorted by labels.
    pub(crate) fn select(&self, start: i64, end: i64, matchers: &[Vec<Matcher>]) -> Vec<ExemplarSeries> {
        let ring = self.ring.read();
        let passes =
            |labels: &Labels| matchers.iter().any(|set| set.iter().all(|m| m.matches(labels.get(m.name()))));
        let mut found = Vec::new();
        for (labels, list) in ring.by_series.iter().filter(|(labels, _)| passes(labels)) {
            let within = |e: &&Exemplar| (start..=end).contains(&e.timestamp_ms);
            let exemplars: Vec<Exemplar> = list.iter().filter(within).cloned().collect();
            if !exemplars.is_empty() {
                found.push(ExemplarSeries { labels: labels.clone(), exemplars });
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(t: i64, v: f64, id: &str) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", id)]),
            value: v,
            timestamp_ms: t,
            has_timestamp: true,
        }
    }

    #[test]
    fn a_ring_by_series() {
        let registry = Registry::new();
        let store = Exemplars::new(3, &registry);
        let (a, b) = (Labels::from_pairs([("s", "a")]), Labels::from_pairs([("s", "b")]));
        store.add(&a, exemplar(1, 1.0, "x")).unwrap();
        assert_eq!(store.add(&a, exemplar(1, 1.0, "x")), Err(AppendError::DuplicateExemplar));
        assert_eq!(store.check(&a, &exemplar(0, 1.0, "x")), Err(AppendError::OutOfOrderExemplar));
        let untimed = |t| Exemplar { has_timestamp: false, ..exemplar(t, 5.0, "u") };
        let c = Labels::from_pairs([("s", "c")]);
        let other = Exemplars::new(3, &registry);
        other.add(&c, untimed(1)).unwrap();
        assert_eq!(other.add(&c, untimed(2)), Err(AppendError::DuplicateExemplar));
        let long = "é".repeat(121);
        assert_eq!(store.check(&a, &exemplar(9, 1.0, &long)), Err(AppendError::ExemplarTooLong));
        assert_eq!(store.check(&a, &exemplar(9, 1.0, &long[2..])), Ok(()));
        store.add(&b, exemplar(2, 2.0, "y")).unwrap();
        store.add(&a, exemplar(3, 3.0, "z")).unwrap();
        store.add(&b, exemplar(4, 4.0, "w")).unwrap();
        let all = vec![vec![Matcher::equal("s", "a")], vec![Matcher::equal("s", "b")]];
        let found = store.select(0, 9, &all);
        let times: Vec<Vec<i64>> =
            found.iter().map(|s| s.exemplars.iter().map(|e| e.timestamp_ms).collect()).collect();
        assert_eq!(times, [vec![3], vec![2, 4]]);
        assert_eq!(store.select(4, 9, &all).len(), 1);
        store.resize(1);
        assert_eq!((store.len(), store.select(0, 9, &all).len()), (1, 1));
        store.resize(0);
        assert_eq!(store.add(&a, exemplar(9, 1.0, "x")), Err(AppendError::ExemplarsDisabled));
    }
}
