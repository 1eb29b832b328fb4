//! `scrape_configs`: one job each.

use std::collections::BTreeMap;
use std::time::Duration;

use model::name::{EscapingScheme, ValidationScheme};
use model::relabel::RelabelConfig;

use crate::http::HttpClientConfig;
use crate::sd::SdConfigs;

/// One job. After loading every inherited field is filled from `global`; limits of 0 mean "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeConfig {
    /// Value of the `job` label; unique.
    pub job_name: String,
    /// Keep the target's labels where they clash with the server's.
    pub honor_labels: bool,
    /// Keep the target's timestamps. Default true.
    pub honor_timestamps: bool,
    /// Staleness markers for series with timestamps of their own.
    pub track_timestamps_staleness: bool,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Interval.
    pub scrape_interval: Duration,
    /// Timeout; at most the interval.
    pub scrape_timeout: Duration,
    /// In order of preference; never empty after loading.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What to assume for an answer without a usable Content-Type. `None`: the scrape fails.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// `Some` after loading, as the next three.
    pub scrape_native_histograms: Option<bool>,
    /// Keep the classic buckets beside a native histogram.
    pub always_scrape_classic_histograms: Option<bool>,
    /// Classic histograms to native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    /// "" is off.
    pub scrape_failure_log_file: String,
    /// Default `/metrics`.
    pub metrics_path: String,
    /// `http` (default) or `https`.
    pub scheme: String,
    /// Offer compression. Default true.
    pub enable_compression: bool,
    /// Bytes, uncompressed.
    pub body_size_limit: u64,
    /// Samples after metric relabeling.
    pub sample_limit: u64,
    /// Targets after relabeling.
    pub target_limit: u64,
    /// Labels a sample.
    pub label_limit: u64,
    /// Bytes of a label name.
    pub label_name_length_limit: u64,
    /// Bytes of a label value.
    pub label_value_length_limit: u64,
    /// Buckets of a native histogram; more are merged.
    pub native_histogram_bucket_limit: u64,
    /// Least growth factor of a native histogram's buckets.
    pub native_histogram_min_bucket_factor: f64,
    /// Dropped targets remembered.
    pub keep_dropped_targets: u64,
    /// `Some` after loading.
    pub metric_name_validation_scheme: Option<ValidationScheme>,
    /// `Some` after loading.
    pub metric_name_escaping_scheme: Option<EscapingScheme>,
    /// `Some` after loading.
    pub extra_scrape_metrics: Option<bool>,
    /// How to reach the targets.
    pub http: HttpClientConfig,
    /// Rules for targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules for samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Where targets come from.
    pub sd: SdConfigs,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        ScrapeConfig {
            job_name: String::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            params: BTreeMap::new(),
            scrape_interval: Duration::ZERO,
            scrape_timeout: Duration::ZERO,
            scrape_protocols: Vec::new(),
            fallback_scrape_protocol: None,
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            scrape_failure_log_file: String::new(),
            metrics_path: "/metrics".to_string(),
            scheme: "http".to_string(),
            enable_compression: true,
            body_size_limit: 0,
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: None,
            extra_scrape_metrics: None,
            http: HttpClientConfig::default(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            sd: SdConfigs::default(),
        }
    }
}

impl ScrapeConfig {
    /// Whether to ask for and keep native histograms.
    #[must_use]
    pub fn scrape_native_histograms(&self) -> bool {
        self.scrape_native_histograms == Some(true)
    }
    /// Whether to keep classic buckets beside a native histogram.
    #[must_use]
    pub fn always_scrape_classic_histograms(&self) -> bool {
        self.always_scrape_classic_histograms == Some(true)
    }
    /// Whether to convert classic histograms.
    #[must_use]
    pub fn convert_classic_histograms_to_nhcb(&self) -> bool {
        self.convert_classic_histograms_to_nhcb == Some(true)
    }
    /// Whether to store `scrape_timeout_seconds`, `scrape_sample_limit`, `scrape_body_size_bytes`.
    #[must_use]
    pub fn extra_scrape_metrics(&self) -> bool {
        self.extra_scrape_metrics == Some(true)
    }
    /// Validation scheme in force.
    #[must_use]
    pub fn validation_scheme(&self) -> ValidationScheme {
        self.metric_name_validation_scheme.unwrap_or_default()
    }
    /// Escaping scheme in force.
    #[must_use]
    pub fn escaping_scheme(&self) -> EscapingScheme {
        self.metric_name_escaping_scheme.unwrap_or(match self.validation_scheme() {
            ValidationScheme::Utf8 => EscapingScheme::None,
            ValidationScheme::Legacy => EscapingScheme::Underscores,
        })
    }
}

/// Exposition formats by their names in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeProtocol {
    /// `PrometheusProto`.
    PrometheusProto,
    /// `PrometheusText0.0.4`.
    PrometheusText0_0_4,
    /// `PrometheusText1.0.0`.
    PrometheusText1_0_0,
    /// `OpenMetricsText0.0.1`.
    OpenMetricsText0_0_1,
    /// `OpenMetricsText1.0.0`.
    OpenMetricsText1_0_0,
    /// `OpenMetricsText2.0.0`.
    OpenMetricsText2_0_0,
}
