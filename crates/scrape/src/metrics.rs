//! The manager's own metrics, by upstream's names (`scrape/metrics.go`).

use exposition::{Family, Metric, MetricData};
use model::{Labels, MetricType};
use telemetry::{Counter, CounterVec, GaugeVec, Histogram, HistogramVec, Registry, SummaryVec};

use crate::target::TargetsByPool;

const QUANTILES: &[f64] = &[0.01, 0.05, 0.5, 0.9, 0.99];
const INTERVAL_BUCKETS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

pub(crate) struct Metrics {
    pub(crate) pools: Counter,
    pub(crate) pools_failed: Counter,
    pub(crate) pool_reloads: Counter,
    pub(crate) pool_reloads_failed: Counter,
    pub(crate) reload_length: SummaryVec,
    pub(crate) pool_syncs: CounterVec,
    pub(crate) pool_exceeded_target_limit: Counter,
    pub(crate) pool_target_limit: GaugeVec,
    pub(crate) pool_targets: GaugeVec,
    pub(crate) targets_waiting: GaugeVec,
    pub(crate) sync_length: SummaryVec,
    pub(crate) sync_length_histogram: HistogramVec,
    pub(crate) sync_failed: CounterVec,
    pub(crate) exceeded_body_size: Counter,
    pub(crate) cache_flush_forced: Counter,
    pub(crate) interval_length: SummaryVec,
    pub(crate) interval_length_histogram: HistogramVec,
    pub(crate) exceeded_sample_limit: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) out_of_order: Counter,
    pub(crate) out_of_bounds: Counter,
    pub(crate) exemplar_out_of_order: Counter,
    pub(crate) exceeded_label_limits: Counter,
    pub(crate) exceeded_bucket_limit: Counter,
    pub(crate) scrape_duration: Histogram,
    pub(crate) series_refused: CounterVec,
}

impl Metrics {
    pub(crate) fn new(r: &Registry) -> Self {
        Metrics {
            pools: r.counter(
                "prometheus_target_scrape_pools_total",
                "Total number of scrape pool creation attempts.",
            ),
            pools_failed: r.counter(
                "prometheus_target_scrape_pools_failed_total",
                "Total number of scrape pool creations that failed.",
            ),
            pool_reloads: r.counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Total number of scrape pool reloads.",
            ),
            pool_reloads_failed: r.counter(
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Total number of failed scrape pool reloads.",
            ),
            reload_length: r.summary_vec(
                "prometheus_target_reload_length_seconds",
                "Actual interval to reload the scrape pool with a given configuration.",
                QUANTILES,
                &["interval"],
            ),
            pool_syncs: r.counter_vec(
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                &["scrape_job"],
            ),
            pool_exceeded_target_limit: r.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            ),
            pool_target_limit: r.gauge_vec(
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                &["scrape_job"],
            ),
            pool_targets: r.gauge_vec(
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                &["scrape_job"],
            ),
            targets_waiting: r.gauge_vec(
                "godwit_target_scrape_pool_targets_refused",
                "Targets of this scrape pool that are not scraped for lack of memory. They start when there is room.",
                &["scrape_job"],
            ),
            sync_length: r.summary_vec(
                "prometheus_target_sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                QUANTILES,
                &["scrape_job"],
            ),
            sync_length_histogram: r.histogram_vec(
                "prometheus_target_sync_length_histogram_seconds",
                "Actual interval to sync the scrape pool.",
                INTERVAL_BUCKETS,
                &["scrape_job"],
            ),
            sync_failed: r.counter_vec(
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                &["scrape_job"],
            ),
            exceeded_body_size: r.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit",
            ),
            cache_flush_forced: r.counter(
                "prometheus_target_scrapes_cache_flush_forced_total",
                "How many times a scrape cache was flushed due to getting big while scrapes are failing.",
            ),
            interval_length: r.summary_vec(
                "prometheus_target_interval_length_seconds",
                "Actual intervals between scrapes.",
                QUANTILES,
                &["interval"],
            ),
            interval_length_histogram: r.histogram_vec(
                "prometheus_target_interval_length_histogram_seconds",
                "Actual intervals between scrapes.",
                INTERVAL_BUCKETS,
                &["interval"],
            ),
            exceeded_sample_limit: r.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            ),
            duplicates: r.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            ),
            out_of_order: r.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            ),
            out_of_bounds: r.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            ),
            exemplar_out_of_order: r.counter(
                "prometheus_target_scrapes_exemplar_out_of_order_total",
                "Total number of exemplar rejected due to not being out of the expected order.",
            ),
            exceeded_label_limits: r.counter(
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Total number of times scrape pools hit the label limits, during sync or config reload.",
            ),
            exceeded_bucket_limit: r.counter(
                "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                "Total number of scrapes that hit the native histogram bucket limit and were rejected.",
            ),
            series_refused: r.counter_vec(
                "godwit_target_scrape_pool_series_refused_total",
                "New series that the store refused for a limit, each as often as a scrape brought it.",
                &["scrape_job"],
            ),
            scrape_duration: r.histogram(
                "prometheus_target_scrape_duration_seconds",
                "Total duration of the scrape from start to commit completion in seconds.",
                &[],
            ),
        }
    }

    /// Forgets a job's metrics.
    pub(crate) fn forget(&self, job: &str) {
        let job = [job];
        self.pool_syncs.remove(&job);
        self.pool_target_limit.remove(&job);
        self.pool_targets.remove(&job);
        self.targets_waiting.remove(&job);
        self.sync_length.remove(&job);
        self.sync_length_histogram.remove(&job);
        self.sync_failed.remove(&job);
        self.series_refused.remove(&job);
    }
}

/// Registers the sizes of the metadata caches, which are read when gathered.
pub(crate) fn register_metadata(r: &Registry, targets: impl Fn() -> TargetsByPool + Send + Sync + 'static) {
    r.families_fn(move || {
        let family = |name: &str, help: &str, metrics| Family {
            name: name.to_string(),
            help: help.to_string(),
            kind: MetricType::Gauge,
            metrics,
            ..Family::default()
        };
        let (mut entries, mut bytes) = (Vec::new(), Vec::new());
        for (job, targets) in targets() {
            let sizes = targets.iter().map(|t| t.metadata_size());
            let (n, size) = sizes.fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
            let metric = |v: usize| Metric {
                labels: Labels::from_pairs([("scrape_job", &job)]),
                data: MetricData::Number(v as f64),
                ..Metric::default()
            };
            entries.push(metric(n));
            bytes.push(metric(size));
        }
        vec![
            family(
                "prometheus_target_metadata_cache_entries",
                "Total number of metric metadata entries in the cache",
                entries,
            ),
            family(
                "prometheus_target_metadata_cache_bytes",
                "The number of bytes that are currently used for storing metric metadata in the cache",
                bytes,
            ),
        ]
    });
}
