//! What a scrape's ingestion is told, and what it tells back.

use std::sync::Arc;

use exposition::EscapingScheme;
use model::Labels;
use model::histogram::{SCHEMA_MAX, SCHEMA_MIN};
use model::name::ValidationScheme;
use model::relabel::RelabelConfig;

/// Limits on label sets; 0 means none. Exceeding one fails the whole scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// `label_limit`: labels of a series, name included.
    pub labels_max: u64,
    /// `label_name_length_limit`, bytes.
    pub name_bytes_max: u64,
    /// `label_value_length_limit`, bytes.
    pub value_bytes_max: u64,
}

/// Settings of one target's scrape job that matter once the body is there.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// The target's public labels (`job`, `instance`, …), added to every series.
    pub target_labels: Labels,
    /// `honor_labels`: the exposed label wins over the target's.
    pub honor_labels: bool,
    /// `honor_timestamps`: timestamps in the body are used.
    pub honor_timestamps: bool,
    /// `track_timestamps_staleness`: series with own timestamps get staleness markers too.
    pub track_timestamps_staleness: bool,
    /// `metric_relabel_configs`.
    pub metric_relabel: Arc<[RelabelConfig]>,
    /// `label_limit` and its kin.
    pub label_limits: LabelLimits,
    /// `sample_limit` after relabeling, 0 for none.
    pub sample_limit: u64,
    /// `native_histogram_bucket_limit`, 0 for none.
    pub bucket_limit: u64,
    /// `native_histogram_min_bucket_factor`, 0 for none.
    pub native_histogram_min_bucket_factor: f64,
    /// `scrape_native_histograms`: false parses classic buckets only.
    pub native_histograms: bool,
    /// `always_scrape_classic_histograms`.
    pub always_scrape_classic_histograms: bool,
    /// `convert_classic_histograms_to_nhcb`.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Feature `created-timestamp-zero-ingestion`: a zero sample at the created timestamp.
    pub start_zero_ingestion: bool,
    /// Pass created timestamps to the store (implied by `start_zero_ingestion`).
    pub parse_start_timestamps: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Feature `metadata-wal-records`: hand metadata to the store.
    pub append_metadata: bool,
    /// `metric_name_validation_scheme`.
    pub validation: ValidationScheme,
    /// `metric_name_escaping_scheme`: what the target was asked for; bodies are not changed by it.
    pub escaping: EscapingScheme,
    /// Samples later than this are out of bounds: wall clock + 10 minutes.
    pub max_time_ms: i64,
}

impl IngestOptions {
    /// Whether created timestamps have to be read.
    pub(super) fn wants_start(&self) -> bool {
        self.parse_start_timestamps || self.start_zero_ingestion
    }

    /// Highest schema that the smallest bucket growth factor allows (upstream: `pickSchema`).
    pub(super) fn max_schema(&self) -> i32 {
        let factor = if self.native_histogram_min_bucket_factor <= 1.0 {
            1.00271
        } else {
            self.native_histogram_min_bucket_factor
        };
        let floor = (-factor.log2().log2()).floor();
        floor.clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32
    }
}

impl Default for IngestOptions {
    /// Upstream's defaults, without labels and limits.
    fn default() -> Self {
        IngestOptions {
            target_labels: Labels::empty(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            metric_relabel: Arc::from(Vec::new()),
            label_limits: LabelLimits::default(),
            sample_limit: 0,
            bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            start_zero_ingestion: false,
            parse_start_timestamps: false,
            type_and_unit_labels: false,
            append_metadata: false,
            validation: ValidationScheme::Utf8,
            escaping: EscapingScheme::None,
            max_time_ms: i64::MAX,
        }
    }
}

/// What one scrape brought; also inside an error, counted up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestReport {
    /// `scrape_samples_scraped`: samples in the body.
    pub scraped: u64,
    /// `scrape_samples_post_metric_relabeling`.
    pub post_relabel: u64,
    /// `scrape_series_added`.
    pub series_added: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// For `prometheus_target_scrapes_sample_out_of_order_total`.
    pub out_of_order: u64,
    /// For `prometheus_target_scrapes_sample_duplicate_timestamp_total`.
    pub duplicates: u64,
    /// For `prometheus_target_scrapes_sample_out_of_bounds_total`.
    pub out_of_bounds: u64,
    /// For `prometheus_target_scrapes_exemplar_out_of_order_total`.
    pub exemplars_out_of_order: u64,
    /// For `prometheus_target_scrapes_cache_flush_forced_total`.
    pub cache_flush_forced: u64,
    /// New series that the store's own limit refused; the rest of the body is in.
    pub series_refused: u64,
    /// Staleness markers written for series that the body no longer has.
    pub stale_markers: u64,
    /// Of `scraped`, how many took the fast path; for benches and doctor.
    pub fast: u64,
}
