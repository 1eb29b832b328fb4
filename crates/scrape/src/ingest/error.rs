//! Why a body was refused. The texts reach `lastError` of the targets page, so they are upstream's.

use exposition::ParseError;
use storage::AppendError;

use super::IngestReport;

/// A refused body. The caller rolls the transaction back, opens another and calls
/// [`super::TargetCache::write_stale`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct IngestError {
    /// What was counted before.
    pub report: IngestReport,
    /// Why.
    pub failure: IngestFailure,
}

/// Reasons to refuse a whole body.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IngestFailure {
    /// Syntax.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Relabeling removed the name.
    #[error("missing metric name (__name__ label)")]
    NameMissing,
    /// Name or label name against the validation scheme.
    #[error("invalid metric name or label names: {0}")]
    InvalidNames(String),
    /// The same label twice.
    #[error("label name {0:?} is not unique: invalid sample")]
    DuplicateLabel(String),
    /// `label_limit` or its kin: for `prometheus_target_scrape_pool_exceeded_label_limits_total`.
    #[error("{0}")]
    LabelLimit(String),
    /// `sample_limit`: for `prometheus_target_scrapes_exceeded_sample_limit_total`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// `native_histogram_bucket_limit`: for
    /// `prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total`.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// The store's refusal of a sample that is not the sample's own fault of time.
    #[error(transparent)]
    Append(#[from] AppendError),
}
