//! What status pages ask of a store.

use std::sync::Arc;

use model::Matcher;

use crate::{QueryContext, StorageError};

/// One row of a cardinality table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardinalityEntry {
    /// Metric, label or pair.
    pub name: String,
    /// Series, values or bytes.
    pub value: u64,
}

/// Figures of the head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadStatus {
    /// Active series.
    pub series: u64,
    /// Distinct label pairs.
    pub label_pairs: u64,
    /// Chunks.
    pub chunks: u64,
    /// Oldest time; `i64::MAX` where empty.
    pub mint_ms: i64,
    /// Newest time; `i64::MIN` where empty.
    pub maxt_ms: i64,
}

/// Answer of `/api/v1/status/tsdb`.
#[derive(Clone, Debug, Default)]
pub struct TsdbStatus {
    /// The head's figures.
    pub head: HeadStatus,
    /// Series by metric name.
    pub series_by_metric: Vec<CardinalityEntry>,
    /// Values by label name.
    pub values_by_label: Vec<CardinalityEntry>,
    /// Bytes by label name.
    pub memory_by_label: Vec<CardinalityEntry>,
    /// Series by `label=value`.
    pub series_by_pair: Vec<CardinalityEntry>,
}

/// A job that brings new series, over the last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSeriesSource {
    /// Value of the label `job`.
    pub job: String,
    /// Metric with most of them.
    pub metric: String,
    /// Label that has most values which no other series has; "" where they combine known values.
    pub label: String,
    /// Series taken in.
    pub created: u64,
    /// Series refused, each as often as it was offered.
    pub refused: u64,
}

/// Whether new series are taken, and who brings them.
#[derive(Clone, Debug, Default)]
pub struct NewSeriesStatus {
    /// Why they are refused at this moment; `None` while they are taken.
    pub refused_for: Option<Arc<str>>,
    /// Memory of the process at the last look, in bytes; 0 where it is not watched.
    pub memory_bytes: u64,
    /// Memory from which on new series are refused.
    pub watermark_bytes: u64,
    /// Series in memory.
    pub series: u64,
    /// Series refused since the start.
    pub refused: u64,
    /// Who brings most, at most ten.
    pub sources: Vec<NewSeriesSource>,
}

/// New series of one job within a minute from which on it is told: what no deployment of a usual job brings.
const SURGE_SERIES: u64 = 50_000;

impl NewSeriesStatus {
    /// The job that brought a quarter of all series within the last minute, where memory still has room for it.
    /// A server that has nothing but this job is being filled, which is nobody's fault.
    #[must_use]
    pub fn surge(&self) -> Option<&NewSeriesSource> {
        let first = self.sources.first()?;
        let others = self.series.saturating_sub(first.created);
        let large = first.created >= SURGE_SERIES && first.created >= self.series / 4;
        (large && others >= SURGE_SERIES / 50).then_some(first)
    }
}

/// One block on disk.
#[derive(Clone, Debug, Default)]
pub struct BlockStatus {
    /// The block's `meta.json`, as it is on disk.
    pub meta_json: String,
    /// Bytes on disk.
    pub size_bytes: u64,
}

/// Status and administration of a local store, for the API.
pub trait StatusSource: Send + Sync {
    /// Cardinality tables of at most `limit` rows.
    ///
    /// # Errors
    /// Not ready.
    fn tsdb_status(&self, ctx: &QueryContext, limit: usize) -> Result<TsdbStatus, StorageError>;
    /// Whether new series are taken, and who brings them. Cheap enough to be asked each second.
    fn new_series(&self) -> NewSeriesStatus {
        NewSeriesStatus::default()
    }
    /// Blocks, oldest first.
    ///
    /// # Errors
    /// Not ready.
    fn blocks(&self) -> Result<Vec<BlockStatus>, StorageError>;
    /// Replay progress: first, last and current segment.
    fn replay_progress(&self) -> (u64, u64, u64);
    /// Oldest time stored, in milliseconds.
    ///
    /// # Errors
    /// Not ready.
    fn start_time_ms(&self) -> Result<i64, StorageError>;
    /// Deletes samples within [mint_ms, maxt_ms] of series that match; on disk when it returns. May take as
    /// long as a compaction that is under way.
    ///
    /// # Errors
    /// Not ready, cancelled, no room: some blocks may be done then.
    fn delete_series(
        &self,
        ctx: &QueryContext,
        mint_ms: i64,
        maxt_ms: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError>;
    /// Rewrites blocks without what was deleted. Takes as long as reading and writing them.
    ///
    /// # Errors
    /// Not ready, corrupt data, no room: some blocks may be done then.
    fn clean_tombstones(&self) -> Result<(), StorageError>;
    /// Copies all blocks, and the newest samples where `with_head`, into a new folder below `snapshots` in
    /// the data folder, and returns that folder's name.
    ///
    /// # Errors
    /// Not ready, no room, a file system without hard links.
    fn snapshot(&self, with_head: bool) -> Result<String, StorageError>;
    /// Takes in the data of another data folder on this machine; without one, only looks for blocks that came
    /// or went in its own. Takes as long as reading all of it.
    ///
    /// # Errors
    /// Not ready, no such folder, damaged blocks, no room: whole blocks that came before stay.
    fn import(&self, _folder: Option<&std::path::Path>) -> Result<Vec<ImportedBlock>, StorageError> {
        Err(StorageError::Other("this store takes no folders in".to_string()))
    }
}

/// A block that came from another folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedBlock {
    /// Its name.
    pub ulid: String,
    /// First time in milliseconds.
    pub mint_ms: i64,
    /// Behind the last time.
    pub maxt_ms: i64,
    /// Samples.
    pub samples: u64,
    /// What became of it, in words.
    pub how: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surge_is_large_and_beside_others() {
        let surge = |series: u64, created: u64| {
            let sources = vec![NewSeriesSource { created, ..NewSeriesSource::default() }];
            NewSeriesStatus { series, sources, ..NewSeriesStatus::default() }.surge().is_some()
        };
        assert!(surge(100_000, 50_000) && surge(200_000, 50_000));
        assert!(!surge(100_000, 49_999) && !surge(1_000_000, 100_000));
        assert!(!surge(500_000, 500_000) && surge(501_000, 500_000));
        assert!(NewSeriesStatus::default().surge().is_none());
    }
}
