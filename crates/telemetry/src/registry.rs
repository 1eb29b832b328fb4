//! The registry: names every metric once and gathers them for `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use exposition::{Family, Metric, MetricData};
use model::MetricType;
use parking_lot::Mutex;

use crate::distribution::{Histogram, HistogramVec, Summary, SummaryVec};
use crate::scalar::{Counter, CounterVec, Gauge, GaugeVec, Vector};

type Collect = Box<dyn Fn() -> Vec<Metric> + Send + Sync>;

struct Entry {
    help: String,
    kind: MetricType,
    collect: Collect,
}

type Extra = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

#[derive(Default)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    extra: Vec<Extra>,
}

/// All metrics of one server. Cheap to clone. Registering a name again replaces what stood there, so that
/// a part that is built anew (after a reload) reports its new figures.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} families)", self.0.lock().entries.len())
    }
}

fn one(data: MetricData) -> Vec<Metric> {
    vec![Metric { data, ..Metric::default() }]
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Registry::default()
    }

    fn add(&self, name: &str, help: &str, kind: MetricType, collect: Collect) {
        let entry = Entry { help: help.to_string(), kind, collect };
        self.0.lock().entries.insert(name.to_string(), entry);
    }

    /// A counter.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let c = Counter::default();
        let read = c.clone();
        self.add(name, help, MetricType::Counter, Box::new(move || one(MetricData::Number(read.get()))));
        c
    }

    /// Counters by labels.
    #[must_use]
    pub fn counter_vec(&self, name: &str, help: &str, labels: &'static [&'static str]) -> CounterVec {
        let v = CounterVec(Vector::new(labels));
        let read = v.clone();
        let collect = move || read.0.collect(|c| MetricData::Number(c.get()));
        self.add(name, help, MetricType::Counter, Box::new(collect));
        v
    }

    /// A counter that is read from elsewhere when gathered.
    pub fn counter_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.add(name, help, MetricType::Counter, Box::new(move || one(MetricData::Number(read()))));
    }

    /// A gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let g = Gauge::default();
        let read = g.clone();
        self.gauge_fn(name, help, move || read.get());
        g
    }

    /// Gauges by labels.
    #[must_use]
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &'static [&'static str]) -> GaugeVec {
        let v = GaugeVec(Vector::new(labels));
        let read = v.clone();
        let collect = move || read.0.collect(|g| MetricData::Number(g.get()));
        self.add(name, help, MetricType::Gauge, Box::new(collect));
        v
    }

    /// A gauge that is read from elsewhere when gathered.
    pub fn gauge_fn(&self, name: &str, help: &str, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.add(name, help, MetricType::Gauge, Box::new(move || one(MetricData::Number(read()))));
    }

    /// A classic histogram with these upper bounds (ascending, without +Inf).
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let h = Histogram::new(Arc::from(bounds));
        let read = h.clone();
        self.add(name, help, MetricType::Histogram, Box::new(move || one(read.data())));
        h
    }

    /// Histograms by labels.
    #[must_use]
    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &'static [&'static str],
    ) -> HistogramVec {
        let v = HistogramVec { children: Vector::new(labels), bounds: Arc::from(bounds) };
        let read = v.clone();
        let collect = move || read.children.collect(Histogram::data);
        self.add(name, help, MetricType::Histogram, Box::new(collect));
        v
    }

    /// A summary with these quantiles.
    #[must_use]
    pub fn summary(&self, name: &str, help: &str, quantiles: &'static [f64]) -> Summary {
        let s = Summary::new(quantiles);
        let read = s.clone();
        self.add(name, help, MetricType::Summary, Box::new(move || one(read.data())));
        s
    }

    /// Summaries by labels.
    #[must_use]
    pub fn summary_vec(
        &self,
        name: &str,
        help: &str,
        quantiles: &'static [f64],
        labels: &'static [&'static str],
    ) -> SummaryVec {
        let v = SummaryVec { children: Vector::new(labels), quantiles };
        let read = v.clone();
        let collect = move || read.children.collect(Summary::data);
        self.add(name, help, MetricType::Summary, Box::new(collect));
        v
    }

    /// Families made when gathered, for figures that come in bulk (process, host).
    pub fn families_fn(&self, read: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        self.0.lock().extra.push(Box::new(read));
    }

    /// Everything, sorted by name.
    #[must_use]
    pub fn gather(&self) -> Vec<Family> {
        let mut all = Vec::new();
        self.each(|family| all.push(family));
        all
    }

    /// Every family in order of names, one made after the other: with thousands of jobs all of them take many
    /// times the memory of the largest.
    pub fn each(&self, mut take: impl FnMut(Family)) {
        let inner = self.0.lock();
        let mut bulk: Vec<Family> = inner.extra.iter().flat_map(|read| read()).collect();
        bulk.sort_by(|a, b| a.name.cmp(&b.name));
        let mut bulk = bulk.into_iter().peekable();
        let mut take = |family: Family| {
            if !family.metrics.is_empty() {
                take(family);
            }
        };
        for (name, entry) in &inner.entries {
            while let Some(before) = bulk.next_if(|f| f.name < *name) {
                take(before);
            }
            take(Family {
                name: name.clone(),
                help: entry.help.clone(),
                unit: String::new(),
                kind: entry.kind,
                metrics: (entry.collect)(),
            });
        }
        bulk.for_each(take);
    }
}
