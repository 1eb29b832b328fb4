//! Histograms with fixed buckets, and summaries with quantiles over a sliding window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exposition::MetricData;
use parking_lot::Mutex;

use crate::scalar::Vector;

/// `count` bucket bounds from `start`, each `factor` times the one before.
#[must_use]
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |b| Some(b * factor)).take(count).collect()
}

#[derive(Debug, Default)]
struct HistogramState {
    counts: Vec<u64>,
    count: u64,
    sum: f64,
}

/// A classic histogram.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    state: Arc<Mutex<HistogramState>>,
}

impl Histogram {
    pub(crate) fn new(bounds: Arc<[f64]>) -> Self {
        let state = HistogramState { counts: vec![0; bounds.len()], ..HistogramState::default() };
        Histogram { bounds, state: Arc::new(Mutex::new(state)) }
    }

    /// Records an observation.
    pub fn observe(&self, v: f64) {
        let bucket = self.bounds.partition_point(|b| *b < v);
        let mut state = self.state.lock();
        if let Some(count) = state.counts.get_mut(bucket) {
            *count += 1;
        }
        state.count += 1;
        state.sum += v;
    }

    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.lock().count
    }

    pub(crate) fn data(&self) -> MetricData {
        let state = self.state.lock();
        let mut total = 0;
        let cumulate = |(bound, count): (&f64, &u64)| {
            total += count;
            (*bound, total)
        };
        let buckets = self.bounds.iter().zip(&state.counts).map(cumulate).collect();
        MetricData::Histogram { count: state.count, sum: state.sum, buckets }
    }
}

/// Observations kept for quantiles: 5 windows of 2 minutes, 512 each, 8 bytes: 20 KiB a summary at most.
const WINDOWS: usize = 5;
const WINDOW_AGE: Duration = Duration::from_secs(120);
const WINDOW_SAMPLES_MAX: usize = 512;

#[derive(Debug)]
struct Window {
    began: Instant,
    seen: u64,
    values: Vec<f64>,
}

#[derive(Debug, Default)]
struct SummaryState {
    count: u64,
    sum: f64,
    windows: VecDeque<Window>,
}

/// A summary: count, sum, and quantiles over the last ten minutes (NaN where nothing was observed), as the
/// Go client gives by default. Quantiles come from a bounded sample of each window: exact below 512
/// observations in two minutes, within some percent above.
#[derive(Clone, Debug)]
pub struct Summary {
    quantiles: &'static [f64],
    state: Arc<Mutex<SummaryState>>,
}

impl Summary {
    pub(crate) fn new(quantiles: &'static [f64]) -> Self {
        Summary { quantiles, state: Arc::default() }
    }

    /// Records an observation.
    pub fn observe(&self, v: f64) {
        self.observe_at(v, Instant::now());
    }

    fn observe_at(&self, v: f64, now: Instant) {
        let mut state = self.state.lock();
        state.count += 1;
        state.sum += v;
        if self.quantiles.is_empty() {
            return;
        }
        state.expire(now);
        if state.windows.back().is_none_or(|w| now.duration_since(w.began) >= WINDOW_AGE) {
            state.windows.push_back(Window { began: now, seen: 0, values: Vec::new() });
        }
        if let Some(window) = state.windows.back_mut() {
            window.seen += 1;
            if window.values.len() < WINDOW_SAMPLES_MAX {
                window.values.push(v);
            } else {
                // Reservoir sampling with a hash of the count as the random number.
                let at = window.seen.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) % window.seen;
                if let Some(slot) = window.values.get_mut(at as usize) {
                    *slot = v;
                }
            }
        }
    }

    pub(crate) fn data(&self) -> MetricData {
        let mut state = self.state.lock();
        state.expire(Instant::now());
        let mut all: Vec<f64> = state.windows.iter().flat_map(|w| w.values.iter().copied()).collect();
        all.sort_by(f64::total_cmp);
        let at = |q: &f64| {
            let rank = (q * all.len() as f64).ceil() as usize;
            (*q, all.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN))
        };
        let quantiles = self.quantiles.iter().map(at).collect();
        MetricData::Summary { count: state.count, sum: state.sum, quantiles }
    }
}

impl SummaryState {
    fn expire(&mut self, now: Instant) {
        while self.windows.front().is_some_and(|w| now.duration_since(w.began) >= WINDOW_AGE * WINDOWS as u32)
        {
            self.windows.pop_front();
        }
    }
}

/// Histograms by labels.
#[derive(Clone, Debug)]
pub struct HistogramVec {
    pub(crate) children: Vector<Histogram>,
    pub(crate) bounds: Arc<[f64]>,
}

impl HistogramVec {
    /// The histogram of these label values, made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        self.children.with(values, || Histogram::new(Arc::clone(&self.bounds)))
    }
    /// Forgets a label set that is gone.
    pub fn remove(&self, values: &[&str]) {
        self.children.remove(values);
    }
}

/// Summaries by labels.
#[derive(Clone, Debug)]
pub struct SummaryVec {
    pub(crate) children: Vector<Summary>,
    pub(crate) quantiles: &'static [f64],
}

impl SummaryVec {
    /// The summary of these label values, made on first use.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Summary {
        self.children.with(values, || Summary::new(self.quantiles))
    }
    /// Forgets a label set that is gone.
    pub fn remove(&self, values: &[&str]) {
        self.children.remove(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_on_few_and_close_on_many() {
        let s = Summary::new(&[0.5, 0.99]);
        let MetricData::Summary { quantiles, .. } = s.data() else { unreachable!() };
        assert!(quantiles.iter().all(|(_, v)| v.is_nan()));
        (1..=100).for_each(|v| s.observe(f64::from(v)));
        let MetricData::Summary { count, sum, quantiles } = s.data() else { unreachable!() };
        assert_eq!((count, sum, quantiles), (100, 5050.0, vec![(0.5, 50.0), (0.99, 99.0)]));
        (0..100_000).for_each(|v| s.observe(f64::from(v % 1000)));
        let MetricData::Summary { quantiles, .. } = s.data() else { unreachable!() };
        assert!((quantiles[0].1 - 500.0).abs() < 100.0, "{quantiles:?}");
    }

    #[test]
    fn windows_expire() {
        let s = Summary::new(&[0.5]);
        let start = Instant::now();
        s.observe_at(1.0, start);
        s.observe_at(9.0, start + Duration::from_secs(601));
        assert_eq!(s.state.lock().windows.len(), 1);
    }

    #[test]
    fn buckets_are_cumulative_and_upper_inclusive() {
        let h = Histogram::new(Arc::from([1.0, 2.0]));
        [0.5, 1.0, 1.5, 3.0].iter().for_each(|v| h.observe(*v));
        let MetricData::Histogram { count, sum, buckets } = h.data() else { unreachable!() };
        assert_eq!((count, sum, buckets), (4, 6.0, vec![(1.0, 2), (2.0, 3)]));
    }
}
