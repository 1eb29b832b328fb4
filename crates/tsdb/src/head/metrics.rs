//! The head's figures, under upstream's names (`tsdb/head.go`, `tsdb/wlog/wlog.go`).

use std::sync::atomic::{AtomicBool, AtomicI64};

use telemetry::{Counter, Registry, Summary};

/// Quantile-less summaries, as upstream's.
const NO_QUANTILES: &[f64] = &[];

/// Figures that are counted on the way; others are read from the head when gathered.
pub(crate) struct HeadMetrics {
    pub(crate) series_created: Counter,
    pub(crate) series_removed: Counter,
    pub(crate) chunks_created: Counter,
    pub(crate) chunks_removed: Counter,
    pub(crate) floats: Counter,
    pub(crate) histograms: Counter,
    pub(crate) out_of_bound: [Counter; 2],
    pub(crate) out_of_order: [Counter; 2],
    pub(crate) too_old: [Counter; 2],
    pub(crate) late_appended: [Counter; 2],
    pub(crate) late_delta_seconds: telemetry::Histogram,
    pub(crate) gc_seconds: Summary,
    pub(crate) truncations: Counter,
    pub(crate) truncations_failed: Counter,
    pub(crate) checkpoints: Counter,
    pub(crate) checkpoints_failed: Counter,
    pub(crate) checkpoint_deletions: Counter,
    pub(crate) checkpoint_deletions_failed: Counter,
    pub(crate) wal_truncate_seconds: Summary,
    pub(crate) wal_corruptions: Counter,
    pub(crate) wal_fsync_seconds: Summary,
    pub(crate) wal_page_flushes: Counter,
    pub(crate) unknown_refs: telemetry::CounterVec,
    pub(crate) mmap_corruptions: Counter,
    pub(crate) chunks: AtomicI64,
    pub(crate) stale: AtomicI64,
    pub(crate) appenders: AtomicI64,
    /// Series are gone from memory that only the logs have.
    pub(crate) lost_pages: AtomicBool,
}

impl HeadMetrics {
    pub(crate) fn new(r: &Registry) -> Self {
        let by_type = |name: &str, help: &str| {
            let family = r.counter_vec(name, help, &["type"]);
            [family.with(&["float"]), family.with(&["histogram"])]
        };
        let appended = r.counter_vec(
            "prometheus_tsdb_head_samples_appended_total",
            "Total number of appended samples.",
            &["type"],
        );
        HeadMetrics {
            series_created: r.counter(
                "prometheus_tsdb_head_series_created_total",
                "Total number of series created in the head",
            ),
            series_removed: r.counter(
                "prometheus_tsdb_head_series_removed_total",
                "Total number of series removed in the head",
            ),
            chunks_created: r.counter(
                "prometheus_tsdb_head_chunks_created_total",
                "Total number of chunks created in the head",
            ),
            chunks_removed: r.counter(
                "prometheus_tsdb_head_chunks_removed_total",
                "Total number of chunks removed in the head",
            ),
            floats: appended.with(&["float"]),
            histograms: appended.with(&["histogram"]),
            out_of_bound: by_type(
                "prometheus_tsdb_out_of_bound_samples_total",
                "Total number of out of bound samples ingestion failed attempts with out of order support disabled.",
            ),
            out_of_order: by_type(
                "prometheus_tsdb_out_of_order_samples_total",
                "Total number of out of order samples ingestion failed attempts due to out of order being disabled.",
            ),
            too_old: by_type(
                "prometheus_tsdb_too_old_samples_total",
                "Total number of out of order samples ingestion failed attempts with out of support enabled, but sample outside of time window.",
            ),
            late_appended: by_type(
                "prometheus_tsdb_head_out_of_order_samples_appended_total",
                "Total number of appended out of order samples.",
            ),
            late_delta_seconds: r.histogram(
                "prometheus_tsdb_sample_ooo_delta",
                "Delta in seconds by which a sample is considered out of order (reported regardless of OOO time window and whether sample is accepted or not).",
                // Ten minutes to twelve hours.
                &[600.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0],
            ),
            gc_seconds: r.summary(
                "prometheus_tsdb_head_gc_duration_seconds",
                "Runtime of garbage collection in the head block.",
                NO_QUANTILES,
            ),
            truncations: r.counter(
                "prometheus_tsdb_head_truncations_total",
                "Total number of head truncations attempted.",
            ),
            truncations_failed: r.counter(
                "prometheus_tsdb_head_truncations_failed_total",
                "Total number of head truncations that failed.",
            ),
            checkpoints: r.counter(
                "prometheus_tsdb_checkpoint_creations_total",
                "Total number of checkpoint creations attempted.",
            ),
            checkpoints_failed: r.counter(
                "prometheus_tsdb_checkpoint_creations_failed_total",
                "Total number of checkpoint creations that failed.",
            ),
            checkpoint_deletions: r.counter(
                "prometheus_tsdb_checkpoint_deletions_total",
                "Total number of checkpoint deletions attempted.",
            ),
            checkpoint_deletions_failed: r.counter(
                "prometheus_tsdb_checkpoint_deletions_failed_total",
                "Total number of checkpoint deletions that failed.",
            ),
            wal_truncate_seconds: r.summary(
                "prometheus_tsdb_wal_truncate_duration_seconds",
                "Duration of WAL truncation.",
                NO_QUANTILES,
            ),
            wal_corruptions: r
                .counter("prometheus_tsdb_wal_corruptions_total", "Total number of WAL corruptions."),
            wal_fsync_seconds: r.summary(
                "prometheus_tsdb_wal_fsync_duration_seconds",
                "Duration of write log fsync.",
                &[0.5, 0.9, 0.99],
            ),
            wal_page_flushes: r
                .counter("prometheus_tsdb_wal_page_flushes_total", "Total number of page flushes."),
            unknown_refs: r.counter_vec(
                "prometheus_tsdb_wal_replay_unknown_refs_total",
                "Total number of unknown series references encountered during WAL replay.",
                &["type"],
            ),
            mmap_corruptions: r.counter(
                "prometheus_tsdb_mmap_chunk_corruptions_total",
                "Total number of memory-mapped chunk corruptions.",
            ),
            chunks: AtomicI64::new(0),
            stale: AtomicI64::new(0),
            appenders: AtomicI64::new(0),
            lost_pages: AtomicBool::new(false),
        }
    }
}
