//! Figures under upstream's names. One set serves both managers (of scrapes and of Alertmanagers).

use telemetry::{Counter, CounterVec, GaugeVec, HistogramVec, Registry, Summary, SummaryVec};

const QUANTILES: &[f64] = &[0.5, 0.9, 0.99];

/// All figures of discovery. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) failed_configs: GaugeVec,
    pub(crate) discovered_targets: GaugeVec,
    pub(crate) received_updates: CounterVec,
    pub(crate) delayed_updates: CounterVec,
    pub(crate) sent_updates: CounterVec,
    pub(crate) last_update: GaugeVec,
    pub(crate) refresh_failures: CounterVec,
    pub(crate) refresh_duration: SummaryVec,
    pub(crate) refresh_histogram: HistogramVec,
    pub(crate) file_read_errors: Counter,
    pub(crate) file_scan_duration: Summary,
    pub(crate) file_watcher_errors: Counter,
    pub(crate) file_mtime: GaugeVec,
    pub(crate) http_failures: Counter,
    pub(crate) dns_lookups: Counter,
    pub(crate) dns_failures: Counter,
}

impl Metrics {
    /// Registers everything. Once for a registry.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let manager = &["name"];
        let set = &["name", "config"];
        let mechanism = &["mechanism", "config"];
        Metrics {
            failed_configs: registry.gauge_vec(
                "prometheus_sd_failed_configs",
                "Current number of service discovery configurations that failed to load.",
                manager,
            ),
            discovered_targets: registry.gauge_vec(
                "prometheus_sd_discovered_targets",
                "Current number of discovered targets.",
                set,
            ),
            received_updates: registry.counter_vec(
                "prometheus_sd_received_updates_total",
                "Total number of update events received from the SD providers.",
                manager,
            ),
            delayed_updates: registry.counter_vec(
                "prometheus_sd_updates_delayed_total",
                "Total number of update events that couldn't be sent immediately.",
                manager,
            ),
            sent_updates: registry.counter_vec(
                "prometheus_sd_updates_total",
                "Total number of update events sent to the SD consumers.",
                manager,
            ),
            last_update: registry.gauge_vec(
                "prometheus_sd_last_update_timestamp_seconds",
                "Timestamp of the last update sent to the SD consumers.",
                set,
            ),
            refresh_failures: registry.counter_vec(
                "prometheus_sd_refresh_failures_total",
                "Number of refresh failures for the given SD mechanism.",
                mechanism,
            ),
            refresh_duration: registry.summary_vec(
                "prometheus_sd_refresh_duration_seconds",
                "The duration of a refresh in seconds for the given SD mechanism.",
                QUANTILES,
                mechanism,
            ),
            refresh_histogram: registry.histogram_vec(
                "prometheus_sd_refresh_duration_histogram_seconds",
                "The duration of a refresh for the given SD mechanism.",
                &[0.01, 0.1, 1.0, 10.0],
                &["mechanism"],
            ),
            file_read_errors: registry
                .counter("prometheus_sd_file_read_errors_total", "The number of File-SD read errors."),
            file_scan_duration: registry.summary(
                "prometheus_sd_file_scan_duration_seconds",
                "The duration of the File-SD scan in seconds.",
                QUANTILES,
            ),
            file_watcher_errors: registry.counter(
                "prometheus_sd_file_watcher_errors_total",
                "The number of File-SD errors caused by filesystem watch failures.",
            ),
            file_mtime: registry.gauge_vec(
                "prometheus_sd_file_mtime_seconds",
                "Timestamp (mtime) of files read by FileSD. Timestamp is set at read time.",
                &["filename"],
            ),
            http_failures: registry.counter(
                "prometheus_sd_http_failures_total",
                "Number of HTTP service discovery refresh failures.",
            ),
            dns_lookups: registry.counter("prometheus_sd_dns_lookups_total", "The number of DNS-SD lookups."),
            dns_failures: registry
                .counter("prometheus_sd_dns_lookup_failures_total", "The number of DNS-SD lookup failures."),
        }
    }

    /// Forgets a job's share in a mechanism that is gone.
    pub(crate) fn forget_refresh(&self, mechanism: &str, set: &str) {
        self.refresh_failures.remove(&[mechanism, set]);
        self.refresh_duration.remove(&[mechanism, set]);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
