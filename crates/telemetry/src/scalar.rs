//! Counters and gauges: one atomic word each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exposition::{Metric, MetricData};
use model::Labels;
use parking_lot::RwLock;

/// A number that only grows. Cheap to clone; clones share the value.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }
    /// Adds `v`; negative and NaN are ignored, as a counter must not fall.
    pub fn add(&self, v: f64) {
        if v > 0.0 {
            add(&self.0, v);
        }
    }
    /// Value now.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A number that goes up and down. Cheap to clone; clones share the value.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, v: f64) {
        self.0.store(v.to_bits(), Ordering::Relaxed);
    }
    /// Adds, `v` may be negative.
    pub fn add(&self, v: f64) {
        add(&self.0, v);
    }
    /// Value now.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

fn add(cell: &AtomicU64, v: f64) {
    // The closure never refuses, so the update cannot fail.
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
        Some((f64::from_bits(bits) + v).to_bits())
    });
}

/// A family of metrics told apart by labels.
#[derive(Clone, Debug)]
pub(crate) struct Vector<T> {
    names: &'static [&'static str],
    children: Arc<RwLock<BTreeMap<Vec<String>, T>>>,
}

impl<T: Clone> Vector<T> {
    pub(crate) fn new(names: &'static [&'static str]) -> Self {
        Vector { names, children: Arc::default() }
    }

    pub(crate) fn with(&self, values: &[&str], make: impl FnOnce() -> T) -> T {
        debug_assert_eq!(values.len(), self.names.len());
        let key: Vec<String> = values.iter().map(ToString::to_string).collect();
        if let Some(found) = self.children.read().get(&key) {
            return found.clone();
        }
        self.children.write().entry(key).or_insert_with(make).clone()
    }

    pub(crate) fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(ToString::to_string).collect();
        self.children.write().remove(&key);
    }

    pub(crate) fn collect(&self, data: impl Fn(&T) -> MetricData) -> Vec<Metric> {
        let children = self.children.read();
        let metric = |(values, child): (&Vec<String>, &T)| Metric {
            labels: Labels::from_pairs(self.names.iter().zip(values)),
            data: data(child),
            ..Metric::default()
        };
        children.iter().map(metric).collect()
    }
}

/// Counters by labels.
#[derive(Clone, Debug)]
pub struct CounterVec(pub(crate) Vector<Counter>);

impl CounterVec {
    /// The counter of these label values, made on first use. Hold on to it in hot paths.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        self.0.with(values, Counter::default)
    }
    /// Forgets a label set that is gone.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

/// Gauges by labels.
#[derive(Clone, Debug)]
pub struct GaugeVec(pub(crate) Vector<Gauge>);

impl GaugeVec {
    /// The gauge of these label values, made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        self.0.with(values, Gauge::default)
    }
    /// Forgets a label set that is gone.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}
