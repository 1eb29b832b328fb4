//! `scrape_configs`: one job each.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::name::{EscapingScheme, ValidationScheme};
use model::relabel::RelabelConfig;

use crate::global::GlobalConfig;
use crate::http::{HttpClientConfig, join};
use crate::relabel::{MetricRules, TargetRules, apply_scheme};
use crate::sd::SdConfigs;
use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, Size, Word, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node, Out};

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

yaml_words!(ScrapeProtocol, {
    "PrometheusProto" => ScrapeProtocol::PrometheusProto,
    "PrometheusText0.0.4" => ScrapeProtocol::PrometheusText0_0_4,
    "PrometheusText1.0.0" => ScrapeProtocol::PrometheusText1_0_0,
    "OpenMetricsText0.0.1" => ScrapeProtocol::OpenMetricsText0_0_1,
    "OpenMetricsText1.0.0" => ScrapeProtocol::OpenMetricsText1_0_0,
    "OpenMetricsText2.0.0" => ScrapeProtocol::OpenMetricsText2_0_0,
}, |text| format!(
    "unknown scrape protocol {text}, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 OpenMetricsText2.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0]"
));

impl ScrapeProtocol {
    /// What is offered where native histograms are off.
    pub const DEFAULT: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
    /// What is offered where native histograms or created timestamps are wanted.
    pub const DEFAULT_PROTO_FIRST: [ScrapeProtocol; 5] = [
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
}

impl Word for ValidationScheme {
    fn word(self) -> &'static str {
        self.as_str()
    }
    fn from_word(text: &str) -> Option<Self> {
        ValidationScheme::parse(text)
    }
    fn unknown(text: &str) -> String {
        format!("unrecognized ValidationScheme: {text:?} (known: utf8, legacy)")
    }
}

impl Word for EscapingScheme {
    fn word(self) -> &'static str {
        self.as_str()
    }
    fn from_word(text: &str) -> Option<Self> {
        EscapingScheme::parse(text)
    }
    fn unknown(text: &str) -> String {
        format!(
            "unknown name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values', got {text:?}"
        )
    }
}

/// A list of protocols; null is "not given".
pub(crate) struct Protocols;

impl Protocols {
    pub(crate) fn decode(into: &mut Option<Vec<ScrapeProtocol>>, node: &Node, cx: &mut Decoder) -> bool {
        let mut words: Option<Vec<String>> = None;
        let mut good = cx.decode(node, &mut words);
        let Some(words) = words else {
            *into = None;
            return good;
        };
        let mut protocols = Vec::new();
        for (word, node) in words.iter().zip(node.items()) {
            match ScrapeProtocol::from_word(word) {
                Some(protocol) => protocols.push(protocol),
                None => {
                    good = false;
                    let near =
                        crate::nearest(word, ScrapeProtocol::DEFAULT_PROTO_FIRST.map(ScrapeProtocol::as_str));
                    let hint = near.map(|near| format!(", did you mean {near:?}?")).unwrap_or_default();
                    cx.fail(node.pos, format!("scrape_protocols: {}{hint}", ScrapeProtocol::unknown(word)));
                }
            }
        }
        *into = Some(protocols);
        good
    }
    pub(crate) fn encode(value: &Option<Vec<ScrapeProtocol>>) -> Out {
        ProtocolList::encode(value.as_deref().unwrap_or_default())
    }
    pub(crate) fn is_zero(value: &Option<Vec<ScrapeProtocol>>) -> bool {
        value.as_ref().is_none_or(Vec::is_empty)
    }
}

/// The same for a job, where the list is filled in later. An empty list given is a problem there and then.
struct ProtocolList;

impl ProtocolList {
    fn decode(into: &mut Vec<ScrapeProtocol>, node: &Node, cx: &mut Decoder) -> bool {
        let mut protocols = None;
        let before = cx.found();
        let good = Protocols::decode(&mut protocols, node, cx);
        if cx.found() == before && protocols.as_ref().is_some_and(Vec::is_empty) {
            cx.fail(node.pos, "scrape_protocols cannot be empty");
        }
        *into = protocols.unwrap_or_default();
        good
    }
    fn encode(value: &[ScrapeProtocol]) -> Out {
        Out::Seq { items: value.iter().map(|p| Out::Text(p.as_str().to_string())).collect(), flow: false }
    }
    fn is_zero(value: &[ScrapeProtocol]) -> bool {
        value.is_empty()
    }
}

pub(crate) fn check_protocols(protocols: &[ScrapeProtocol]) -> Result<(), String> {
    if protocols.is_empty() {
        return Err("scrape_protocols cannot be empty".to_string());
    }
    let repeated = protocols.iter().enumerate().any(|(i, p)| protocols.iter().take(i).any(|q| q == p));
    if repeated {
        let words: Vec<&str> = protocols.iter().map(|p| p.as_str()).collect();
        return Err(format!("duplicated protocol in scrape_protocols, got [{}]", words.join(" ")));
    }
    Ok(())
}

yaml_record!(ScrapeConfig, "scrape_configs", {
    job_name: keep,
    honor_labels: omit,
    honor_timestamps: keep,
    track_timestamps_staleness: keep,
    params: omit,
    scrape_interval: omit,
    scrape_timeout: omit,
    scrape_protocols: with(ProtocolList),
    fallback_scrape_protocol: with(OptWord<ScrapeProtocol>),
    scrape_native_histograms: omit,
    always_scrape_classic_histograms: omit,
    convert_classic_histograms_to_nhcb: omit,
    scrape_failure_log_file: omit,
    metrics_path: omit,
    scheme: omit,
    enable_compression: keep,
    body_size_limit: with(Size),
    sample_limit: omit,
    target_limit: omit,
    label_limit: omit,
    label_name_length_limit: omit,
    label_value_length_limit: omit,
    native_histogram_bucket_limit: omit,
    native_histogram_min_bucket_factor: omit,
    keep_dropped_targets: omit,
    metric_name_validation_scheme: with(OptWord<ValidationScheme>),
    metric_name_escaping_scheme: with(OptWord<EscapingScheme>),
    extra_scrape_metrics: omit,
    http: inline,
    relabel_configs: with(TargetRules),
    metric_relabel_configs: with(MetricRules),
    sd: inline,
});

impl Hooks for ScrapeConfig {
    fn begin(&mut self) {
        *self = ScrapeConfig::default();
    }
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        if self.job_name.is_empty() {
            return Err(Invalid::at("job_name", "job_name is empty"));
        }
        self.http.complete()?;
        if self.relabel_configs.is_empty() {
            self.sd.check_addresses(node, cx);
        }
        Ok(())
    }
}

impl ScrapeConfig {
    /// Fills in what `global` gives and checks the result. Problems are noted at the job's place.
    pub(crate) fn inherit(&mut self, global: &GlobalConfig, node: &Node, cx: &mut Decoder) {
        let before = cx.found();
        if let Err(invalid) = self.inherit_values(global) {
            cx.fail_at(node, invalid);
        }
        if cx.found() == before {
            let scheme = self.validation_scheme();
            apply_scheme(&mut self.relabel_configs, scheme, node.get("relabel_configs"), node, cx);
            apply_scheme(
                &mut self.metric_relabel_configs,
                scheme,
                node.get("metric_relabel_configs"),
                node,
                cx,
            );
        }
    }

    /// Says that another job has its name.
    pub(crate) fn fail_taken(&self, node: &Node, cx: &mut Decoder) {
        let at = node.get("job_name").unwrap_or(node);
        cx.fail(at.pos, format!("found multiple scrape configs with job name {:?}", self.job_name));
    }

    fn inherit_values(&mut self, global: &GlobalConfig) -> Result<(), Invalid> {
        if self.scrape_interval.is_zero() {
            self.scrape_interval = global.scrape_interval;
        }
        if self.scrape_timeout > self.scrape_interval {
            let text = format!(
                "scrape timeout greater than scrape interval for scrape config with job name {:?}",
                self.job_name
            );
            return Err(Invalid::at("scrape_timeout", text));
        }
        if self.scrape_timeout.is_zero() {
            self.scrape_timeout = global.scrape_timeout.min(self.scrape_interval);
        }
        for (own, inherited) in [
            (&mut self.body_size_limit, global.body_size_limit),
            (&mut self.sample_limit, global.sample_limit),
            (&mut self.target_limit, global.target_limit),
            (&mut self.label_limit, global.label_limit),
            (&mut self.label_name_length_limit, global.label_name_length_limit),
            (&mut self.label_value_length_limit, global.label_value_length_limit),
            (&mut self.keep_dropped_targets, global.keep_dropped_targets),
        ] {
            if *own == 0 {
                *own = inherited;
            }
        }
        if self.scrape_failure_log_file.is_empty() {
            self.scrape_failure_log_file.clone_from(&global.scrape_failure_log_file);
        }
        self.scrape_native_histograms = self.scrape_native_histograms.or(global.scrape_native_histograms);
        self.extra_scrape_metrics = self.extra_scrape_metrics.or(global.extra_scrape_metrics);
        if self.scrape_protocols.is_empty() {
            self.scrape_protocols = match &global.scrape_protocols {
                Some(protocols) => protocols.clone(),
                None if self.scrape_native_histograms() => ScrapeProtocol::DEFAULT_PROTO_FIRST.to_vec(),
                None => ScrapeProtocol::DEFAULT.to_vec(),
            };
        }
        check_protocols(&self.scrape_protocols).map_err(|text| {
            Invalid::at(
                "scrape_protocols",
                format!("{text} for scrape config with job name {:?}", self.job_name),
            )
        })?;
        self.inherit_schemes(global)?;
        self.convert_classic_histograms_to_nhcb.get_or_insert(global.convert_classic_histograms_to_nhcb);
        self.always_scrape_classic_histograms.get_or_insert(global.always_scrape_classic_histograms);
        Ok(())
    }

    fn inherit_schemes(&mut self, global: &GlobalConfig) -> Result<(), Invalid> {
        let follow = |scheme: ValidationScheme| match scheme {
            ValidationScheme::Legacy => EscapingScheme::Underscores,
            ValidationScheme::Utf8 => EscapingScheme::None,
        };
        let inherited =
            global.metric_name_escaping_scheme.unwrap_or(follow(global.metric_name_validation_scheme));
        let own = self.metric_name_validation_scheme;
        let scheme = own.unwrap_or(global.metric_name_validation_scheme);
        self.metric_name_validation_scheme = Some(scheme);
        let escaping = self.metric_name_escaping_scheme.unwrap_or(if own.is_some() {
            follow(scheme)
        } else {
            inherited
        });
        self.metric_name_escaping_scheme = Some(escaping);
        if escaping == EscapingScheme::None && scheme != ValidationScheme::Utf8 {
            let text = "utf8 metric names requested but validation scheme is not set to UTF8";
            return Err(Invalid::at("metric_name_escaping_scheme", text));
        }
        Ok(())
    }

    pub(crate) fn set_directory(&mut self, dir: &Path) {
        self.sd.set_directory(dir);
        self.http.set_directory(dir);
        join(dir, &mut self.scrape_failure_log_file);
    }
}

/// Whether an address is a host and not a URL.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    if address.contains('/') { Err(format!("{address:?} is not a valid hostname")) } else { Ok(()) }
}
