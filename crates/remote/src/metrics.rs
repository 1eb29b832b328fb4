//! Upstream's metrics of the receiver.

use telemetry::{Counter, Registry};

pub(crate) struct Metrics {
    pub(crate) invalid_labels: Counter,
    pub(crate) without_metadata: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Metrics {
            invalid_labels: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
            ),
            without_metadata: registry.counter(
                "prometheus_api_remote_write_without_metadata_appended_samples_total",
                "The total number of received remote write samples (and histogram samples) which were ingested without corresponding metadata.",
            ),
        }
    }
}
