//! The database's figures, under upstream's names (`tsdb/db.go`, `tsdb/compact.go`).

use telemetry::{Counter, CounterVec, Gauge, Histogram, Registry, exponential_buckets};

/// Figures of blocks and their upkeep.
pub(super) struct DbMetrics {
    pub(super) blocks_loaded: Gauge,
    pub(super) blocks_bytes: Gauge,
    pub(super) reloads: Counter,
    pub(super) reloads_failed: Counter,
    pub(super) triggered: Counter,
    pub(super) compactions: Counter,
    pub(super) failed: Counter,
    pub(super) overlapping: Counter,
    pub(super) seconds: Histogram,
    pub(super) tombstone_cleanup: Histogram,
    pub(super) time_retentions: Counter,
    pub(super) size_retentions: Counter,
    pub(super) limit_bytes: Gauge,
    pub(super) limit_seconds: Gauge,
    pub(super) limit_percentage: Gauge,
    pub(super) damage: CounterVec,
    pub(super) scrubbed: Counter,
    pub(super) stale_triggered: Counter,
    pub(super) stale_failed: Counter,
    pub(super) stale_seconds: Histogram,
    pub(super) keep_rewrites: Counter,
    pub(super) keep_samples: Counter,
}

impl DbMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        // Upstream counts these where it may skip a compaction; here nothing does yet.
        let _ = r.counter(
            "prometheus_tsdb_compactions_skipped_total",
            "Total number of skipped compactions due to disabled auto compaction.",
        );
        DbMetrics {
            keep_rewrites: r.counter(
                "godwit_tsdb_retention_rewrites_total",
                "Blocks written anew because some of their series are beyond a retention of their own.",
            ),
            keep_samples: r.counter(
                "godwit_tsdb_retention_samples_removed_total",
                "Samples that were left out of these.",
            ),
            blocks_loaded: r.gauge("prometheus_tsdb_blocks_loaded", "Number of currently loaded data blocks"),
            blocks_bytes: r.gauge(
                "prometheus_tsdb_storage_blocks_bytes",
                "The number of bytes that are currently used for local storage by all blocks.",
            ),
            reloads: r.counter(
                "prometheus_tsdb_reloads_total",
                "Number of times the database reloaded block data from disk.",
            ),
            reloads_failed: r.counter(
                "prometheus_tsdb_reloads_failures_total",
                "Number of times the database failed to reloadBlocks block data from disk.",
            ),
            triggered: r.counter(
                "prometheus_tsdb_compactions_triggered_total",
                "Total number of triggered compactions for the partition.",
            ),
            compactions: r.counter(
                "prometheus_tsdb_compactions_total",
                "Total number of compactions that were executed for the partition.",
            ),
            failed: r.counter(
                "prometheus_tsdb_compactions_failed_total",
                "Total number of compactions that failed for the partition.",
            ),
            overlapping: r.counter(
                "prometheus_tsdb_vertical_compactions_total",
                "Total number of compactions done on overlapping blocks.",
            ),
            seconds: r.histogram(
                "prometheus_tsdb_compaction_duration_seconds",
                "Duration of compaction runs",
                &exponential_buckets(1.0, 2.0, 14),
            ),
            tombstone_cleanup: r.histogram(
                "prometheus_tsdb_tombstone_cleanup_seconds",
                "The time taken to recompact blocks to remove tombstones.",
                // Upstream's is a native histogram only.
                &[],
            ),
            time_retentions: r.counter(
                "prometheus_tsdb_time_retentions_total",
                "The number of times that blocks were deleted because the maximum time limit was exceeded.",
            ),
            size_retentions: r.counter(
                "prometheus_tsdb_size_retentions_total",
                "The number of times that blocks were deleted because the maximum number of bytes was exceeded.",
            ),
            limit_bytes: r.gauge(
                "prometheus_tsdb_retention_limit_bytes",
                "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
            ),
            limit_seconds: r.gauge(
                "prometheus_tsdb_retention_limit_seconds",
                "How long to retain samples in storage.",
            ),
            damage: r.counter_vec(
                "godwit_tsdb_block_damage_total",
                "Damaged parts of blocks that were cut out or moved aside: chunks and series entries, small files made anew, whole blocks.",
                &["part"],
            ),
            stale_triggered: r.counter(
                "prometheus_tsdb_stale_series_compactions_triggered_total",
                "Total number of triggered stale series compactions.",
            ),
            stale_failed: r.counter(
                "prometheus_tsdb_stale_series_compactions_failed_total",
                "Total number of stale series compactions that failed.",
            ),
            stale_seconds: r.histogram(
                "prometheus_tsdb_stale_series_compaction_duration_seconds",
                "Duration of stale series compaction runs.",
                // Upstream's is a native histogram only.
                &[],
            ),
            scrubbed: r.counter(
                "godwit_tsdb_scrubbed_bytes_total",
                "Bytes of blocks that were read again in the background to find damage.",
            ),
            limit_percentage: r.gauge(
                "prometheus_tsdb_retention_limit_percentage",
                "Max percentage of total storage space to be retained in the tsdb blocks, configured 0 means disabled",
            ),
        }
    }
}
