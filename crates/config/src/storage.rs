//! `storage`.

use std::time::Duration;

use crate::yaml::record::yaml_record;
use crate::yaml::value::Size;
use crate::yaml::{Decoder, Hooks, Invalid, Node};

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
    /// The next in milliseconds: upstream has it as a key of its own by accident, and prints it.
    pub out_of_order_time_window_ms: i64,
    /// How far behind the newest sample an out-of-order sample may be. 0: none.
    pub out_of_order_time_window: Duration,
    /// 0.0-1.0: share of stale series that starts their compaction. 0: off.
    pub stale_series_compaction_threshold: f64,
    /// Encodings of new chunks.
    pub chunk_encoding: ChunkEncoding,
    /// `Some` after loading. Fields that are 0 leave the flags' values in force.
    pub retention: Option<RetentionConfig>,
}

/// `storage.tsdb.chunk_encoding`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkEncoding {
    /// "", "xor" or "xor2"; "": the feature flag decides.
    pub floats: String,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemplarsConfig {
    /// Slots of the ring; 0 or less: off.
    pub max_exemplars: i64,
}

yaml_record!(StorageConfig, "storage", {
    tsdb: omit,
    exemplars: omit,
});

impl Hooks for StorageConfig {}

yaml_record!(TsdbConfig, "storage.tsdb", {
    out_of_order_time_window_ms = "outofordertimewindow": keep,
    out_of_order_time_window: omit,
    stale_series_compaction_threshold: omit,
    chunk_encoding: omit,
    retention: omit,
});

impl Hooks for TsdbConfig {
    fn begin(&mut self) {
        *self = TsdbConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        self.out_of_order_time_window_ms =
            i64::try_from(self.out_of_order_time_window.as_millis()).unwrap_or(i64::MAX);
        if !matches!(self.chunk_encoding.floats.as_str(), "" | "xor" | "xor2") {
            return Err(Invalid::at(
                "chunk_encoding",
                format!(
                    "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got {:?}",
                    self.chunk_encoding.floats
                ),
            ));
        }
        Ok(())
    }
}

yaml_record!(ChunkEncoding, "storage.tsdb.chunk_encoding", {
    floats: omit,
});

impl Hooks for ChunkEncoding {}

yaml_record!(RetentionConfig, "storage.tsdb.retention", {
    time: omit,
    size: with(Size),
    percentage: omit,
});

impl Hooks for RetentionConfig {
    fn begin(&mut self) {
        *self = RetentionConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        // A negative size is refused by the reader of sizes.
        if self.percentage < 0.0 || self.percentage > 100.0 {
            let text = format!(
                "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {}",
                self.percentage
            );
            return Err(Invalid::at("percentage", text));
        }
        Ok(())
    }
}

yaml_record!(ExemplarsConfig, "storage.exemplars", {
    max_exemplars: omit,
});

impl Hooks for ExemplarsConfig {}
