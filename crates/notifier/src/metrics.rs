//! Figures under upstream's names (`notifier/metric.go`).

use telemetry::{CounterVec, GaugeVec, HistogramVec, Registry, SummaryVec};

const LABELS: &[&str] = &["alertmanager"];
const QUANTILES: &[f64] = &[0.5, 0.9, 0.99];

/// By URL of the Alertmanager.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) latency: SummaryVec,
    pub(crate) latency_histogram: HistogramVec,
    pub(crate) errors: CounterVec,
    pub(crate) sent: CounterVec,
    pub(crate) dropped: CounterVec,
    pub(crate) queue_length: GaugeVec,
}

impl Metrics {
    pub(crate) fn new(
        r: &Registry,
        capacity: usize,
        discovered: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        r.gauge("prometheus_notifications_queue_capacity", "The capacity of the alert notifications queue.")
            .set(capacity as f64);
        r.gauge_fn(
            "prometheus_notifications_alertmanagers_discovered",
            "The number of alertmanagers discovered and active.",
            discovered,
        );
        Metrics {
            latency: r.summary_vec(
                "prometheus_notifications_latency_seconds",
                "Latency quantiles for sending alert notifications.",
                QUANTILES,
                LABELS,
            ),
            latency_histogram: r.histogram_vec(
                "prometheus_notifications_latency_histogram_seconds",
                "Latency histogram for sending alert notifications.",
                &[0.01, 0.1, 1.0, 10.0],
                LABELS,
            ),
            errors: r.counter_vec(
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
                LABELS,
            ),
            sent: r.counter_vec(
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
                LABELS,
            ),
            dropped: r.counter_vec(
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
                LABELS,
            ),
            queue_length: r.gauge_vec(
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
                LABELS,
            ),
        }
    }

    /// Shows an Alertmanager with zeros.
    pub(crate) fn begin(&self, url: &str) {
        for counter in [&self.errors, &self.sent, &self.dropped] {
            let _ = counter.with(&[url]);
        }
        self.queue_length.with(&[url]).set(0.0);
    }

    /// Forgets one that is gone.
    pub(crate) fn end(&self, url: &str) {
        for counter in [&self.errors, &self.sent, &self.dropped] {
            counter.remove(&[url]);
        }
        self.queue_length.remove(&[url]);
        self.latency.remove(&[url]);
        self.latency_histogram.remove(&[url]);
    }
}
