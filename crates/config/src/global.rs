//! `global` and `runtime`.

use std::time::Duration;

use model::Labels;
use model::name::{EscapingScheme, ValidationScheme};

use crate::scrape::ScrapeProtocol;

/// `global`: what jobs and rules inherit. Limits of 0 mean "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// Default 1m.
    pub scrape_interval: Duration,
    /// Default the smaller of 10s and the interval.
    pub scrape_timeout: Duration,
    /// `None`: each job decides by `scrape_native_histograms`.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Default 1m.
    pub evaluation_interval: Duration,
    /// How far in the past rules are evaluated.
    pub rule_query_offset: Duration,
    /// "" is off.
    pub query_log_file: String,
    /// "" is off.
    pub scrape_failure_log_file: String,
    /// With `$VAR` and `${VAR}` replaced.
    pub external_labels: Labels,
    /// Bytes, uncompressed.
    pub body_size_limit: u64,
    /// Samples a scrape, after metric relabeling.
    pub sample_limit: u64,
    /// Targets a job, after relabeling.
    pub target_limit: u64,
    /// Labels a sample.
    pub label_limit: u64,
    /// Bytes of a label name.
    pub label_name_length_limit: u64,
    /// Bytes of a label value.
    pub label_value_length_limit: u64,
    /// Dropped targets remembered a job.
    pub keep_dropped_targets: u64,
    /// Default UTF-8.
    pub metric_name_validation_scheme: ValidationScheme,
    /// `None`: follows the validation scheme.
    pub metric_name_escaping_scheme: Option<EscapingScheme>,
    /// Default false.
    pub scrape_native_histograms: Option<bool>,
    /// Default false.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Default false.
    pub always_scrape_classic_histograms: bool,
    /// Default false.
    pub extra_scrape_metrics: Option<bool>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        GlobalConfig {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: None,
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            query_log_file: String::new(),
            scrape_failure_log_file: String::new(),
            external_labels: Labels::empty(),
            body_size_limit: 0,
            sample_limit: 0,
            target_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            keep_dropped_targets: 0,
            metric_name_validation_scheme: ValidationScheme::Utf8,
            metric_name_escaping_scheme: Some(EscapingScheme::None),
            scrape_native_histograms: Some(false),
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: Some(false),
        }
    }
}

/// `runtime`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Go's GC percentage: accepted, printed back, without meaning here. Default 75.
    pub gogc: i64,
    /// Least severity that is logged. `None` where a `runtime` block leaves it out.
    pub log_level: Option<LogLevel>,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        RuntimeConfig { gogc: 75, log_level: Some(LogLevel::Info) }
    }
}

/// Severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `debug`.
    Debug,
    /// `info`.
    Info,
    /// `warn`.
    Warn,
    /// `error`.
    Error,
}
