//! `storage`.

use std::time::Duration;

/// `storage`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageConfig {
    /// `Some` after loading.
    pub tsdb: Option<TsdbConfig>,
    /// `None` where not given: then the feature flag's default counts.
    pub exemplars: Option<ExemplarsConfig>,
}

/// `storage.tsdb`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TsdbConfig {
    /// How far behind the newest sample an out-of-order sample may be. 0: none.
    pub out_of_order_time_window: Duration,
    /// 0.0-1.0: share of stale series that starts their compaction. 0: off.
    pub stale_series_compaction_threshold: f64,
    /// "", "xor" or "xor2".
    pub chunk_encoding_floats: String,
    /// `Some` after loading. Fields that are 0 leave the flags' values in force.
    pub retention: Option<RetentionConfig>,
}

/// `storage.tsdb.retention`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetentionConfig {
    /// Age of the oldest sample kept.
    pub time: Duration,
    /// Bytes of all blocks.
    pub size: u64,
    /// 0-100: percent of the disk.
    pub percentage: f64,
}

/// `storage.exemplars`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExemplarsConfig {
    /// Slots of the ring; 0 or less: off.
    pub max_exemplars: i64,
}
