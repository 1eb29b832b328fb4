//! `global` and `runtime`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Labels;
use model::name::{EscapingScheme, ValidationScheme};

use crate::scrape::{Protocols, ScrapeProtocol, check_protocols};
use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, Size, Word, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node, Out};

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
    /// The same, with those of empty value, as they are printed back.
    pub external_label_map: BTreeMap<String, String>,
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
            external_label_map: BTreeMap::new(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

yaml_words!(LogLevel, {
    "debug" => LogLevel::Debug,
    "info" => LogLevel::Info,
    "warn" => LogLevel::Warn,
    "error" => LogLevel::Error,
}, |text| format!("unrecognized log level {text} (known: debug, info, warn, error)"));

yaml_record!(GlobalConfig, "global", {
    scrape_interval: omit,
    scrape_timeout: omit,
    scrape_protocols: with(Protocols),
    evaluation_interval: omit,
    rule_query_offset: omit,
    query_log_file: omit,
    scrape_failure_log_file: omit,
    external_label_map = "external_labels": omit,
    body_size_limit: with(Size),
    sample_limit: omit,
    target_limit: omit,
    label_limit: omit,
    label_name_length_limit: omit,
    label_value_length_limit: omit,
    keep_dropped_targets: omit,
    metric_name_validation_scheme: with(GlobalScheme),
    metric_name_escaping_scheme: with(OptWord<EscapingScheme>),
    scrape_native_histograms: omit,
    convert_classic_histograms_to_nhcb: omit,
    always_scrape_classic_histograms: omit,
    extra_scrape_metrics: omit,
});

yaml_record!(RuntimeConfig, "runtime", zero = RuntimeConfig { gogc: 0, log_level: None }, {
    gogc: omit,
    log_level: with(LogLevelField),
});

impl Hooks for RuntimeConfig {}

/// Upper and lower case are one; "" is the default.
struct LogLevelField;

impl LogLevelField {
    fn decode(into: &mut Option<LogLevel>, node: &Node, cx: &mut Decoder) -> bool {
        let mut text = Some(String::new());
        if !cx.decode(node, &mut text) {
            return false;
        }
        let Some(text) = text else {
            *into = None;
            return true;
        };
        let lower = if text.is_empty() { "info".to_string() } else { text.to_ascii_lowercase() };
        *into = LogLevel::from_word(&lower);
        if into.is_none() {
            cx.fail(node.pos, LogLevel::unknown(&text));
        }
        into.is_some()
    }
    fn encode(value: &Option<LogLevel>) -> Out {
        OptWord::encode(value)
    }
    fn is_zero(value: &Option<LogLevel>) -> bool {
        value.is_none()
    }
}

/// "" is the default, `utf8`.
struct GlobalScheme;

impl GlobalScheme {
    fn decode(into: &mut ValidationScheme, node: &Node, cx: &mut Decoder) -> bool {
        let mut scheme = None;
        let good = OptWord::decode(&mut scheme, node, cx);
        *into = scheme.unwrap_or_default();
        good
    }
    fn encode(value: &ValidationScheme) -> Out {
        Out::Text(value.as_str().to_string())
    }
    fn is_zero(_: &ValidationScheme) -> bool {
        false
    }
}

impl Hooks for GlobalConfig {
    fn begin(&mut self) {
        *self = GlobalConfig {
            scrape_interval: Duration::ZERO,
            scrape_timeout: Duration::ZERO,
            evaluation_interval: Duration::ZERO,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: None,
            extra_scrape_metrics: None,
            ..GlobalConfig::default()
        };
    }
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        for name in self.external_label_map.keys() {
            if !self.metric_name_validation_scheme.is_valid_label_name(name) {
                return Err(Invalid::at("external_labels", format!("{name:?} is not a valid label name")));
            }
        }
        self.external_labels = Labels::from_pairs(&self.external_label_map);
        let defaults = &cx.global_defaults;
        if self.scrape_interval.is_zero() {
            self.scrape_interval = defaults.scrape_interval;
        }
        if self.scrape_timeout > self.scrape_interval {
            let key = if node.get("scrape_timeout").is_some() { "scrape_timeout" } else { "scrape_interval" };
            return Err(Invalid::at(key, "global scrape timeout greater than scrape interval"));
        }
        if self.scrape_timeout.is_zero() {
            self.scrape_timeout = defaults.scrape_timeout.min(self.scrape_interval);
        }
        if self.evaluation_interval.is_zero() {
            self.evaluation_interval = defaults.evaluation_interval;
        }
        self.scrape_native_histograms = self.scrape_native_histograms.or(defaults.scrape_native_histograms);
        self.extra_scrape_metrics = self.extra_scrape_metrics.or(defaults.extra_scrape_metrics);
        if self.scrape_protocols.is_none() {
            self.scrape_protocols.clone_from(&defaults.scrape_protocols);
        }
        match &self.scrape_protocols {
            Some(protocols) => check_protocols(protocols)
                .map_err(|text| Invalid::at("scrape_protocols", format!("{text} for global config"))),
            None => Ok(()),
        }
    }
}
