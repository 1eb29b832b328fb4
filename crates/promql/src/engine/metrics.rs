//! What the engine tells of itself, under upstream's names.

use telemetry::{Counter, Gauge, Registry};

use super::value::QueryStats;

/// Bounds of upstream's duration histogram, seconds.
const BOUNDS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const SLICES: [&str; 4] = ["queue_time", "prepare_time", "inner_eval", "result_sort"];

/// The engine's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) current: Gauge,
    samples: Counter,
    samples_read: Counter,
    durations: Vec<(telemetry::Summary, telemetry::Histogram)>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, concurrency: usize) -> Metrics {
        let current = registry
            .gauge("prometheus_engine_queries", "The current number of queries being executed or waiting.");
        let max = registry
            .gauge("prometheus_engine_queries_concurrent_max", "The max number of concurrent queries.");
        max.set(if concurrency == 0 { -1.0 } else { concurrency as f64 });
        let samples = registry.counter(
            "prometheus_engine_query_samples_total",
            "The total number of samples loaded by all queries (full window per step for range-vector).",
        );
        let samples_read = registry.counter(
            "prometheus_engine_query_samples_read_total",
            "The total number of samples read by all queries (only new points per step for range-vector).",
        );
        let summaries = registry.summary_vec(
            "prometheus_engine_query_duration_seconds",
            "Query timings",
            &QUANTILES,
            &["slice"],
        );
        let histograms = registry.histogram_vec(
            "prometheus_engine_query_duration_histogram_seconds",
            "The duration of various parts of PromQL query execution.",
            &BOUNDS,
            &["slice"],
        );
        let durations = SLICES.iter().map(|s| (summaries.with(&[s]), histograms.with(&[s]))).collect();
        Metrics { current, samples, samples_read, durations }
    }

    pub(crate) fn observe(&self, stats: &QueryStats) {
        self.samples.add(stats.samples_total as f64);
        self.samples_read.add(stats.samples_read as f64);
        let seconds = [stats.queue_seconds, stats.prepare_seconds, stats.eval_seconds, stats.sort_seconds];
        for ((summary, histogram), s) in self.durations.iter().zip(seconds) {
            summary.observe(s);
            histogram.observe(s);
        }
    }
}
