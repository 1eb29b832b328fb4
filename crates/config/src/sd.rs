//! Where targets come from. Mechanisms that are not built are refused by name when a file is loaded.

use std::time::Duration;

use model::target_group::LabelMap;

use crate::http::HttpClientConfig;
use crate::kubernetes::KubernetesSdConfig;

/// All discovery of one job or Alertmanager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SdConfigs {
    /// `static_configs`.
    pub static_configs: Vec<StaticConfig>,
    /// `file_sd_configs`.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// `http_sd_configs`.
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// `dns_sd_configs`.
    pub dns_sd_configs: Vec<DnsSdConfig>,
    /// `kubernetes_sd_configs`.
    pub kubernetes_sd_configs: Vec<KubernetesSdConfig>,
}

/// One group of `static_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfig {
    /// Values of `__address__`.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: LabelMap,
}

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSdConfig {
    /// Paths; the last element may hold one `*`. Ends in .json, .yml or .yaml. Joined to the config's folder.
    pub files: Vec<String>,
    /// Re-read at least this often. Default 5m.
    pub refresh_interval: Duration,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        FileSdConfig { files: Vec::new(), refresh_interval: Duration::from_secs(300) }
    }
}

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSdConfig {
    /// How to reach it.
    pub http: HttpClientConfig,
    /// Also the timeout of one request. Default 1m.
    pub refresh_interval: Duration,
    /// http or https.
    pub url: String,
}

impl Default for HttpSdConfig {
    fn default() -> Self {
        HttpSdConfig {
            http: HttpClientConfig::default(),
            refresh_interval: Duration::from_secs(60),
            url: String::new(),
        }
    }
}

/// One entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSdConfig {
    /// Names to look up.
    pub names: Vec<String>,
    /// Default 30s.
    pub refresh_interval: Duration,
    /// Default SRV.
    pub kind: DnsRecordType,
    /// Port of the targets; unused for SRV.
    pub port: i64,
    /// The type as written (any case), for printing back.
    pub kind_text: String,
}

impl Default for DnsSdConfig {
    fn default() -> Self {
        DnsSdConfig {
            names: Vec::new(),
            refresh_interval: Duration::from_secs(30),
            kind: DnsRecordType::Srv,
            port: 0,
            kind_text: "SRV".to_string(),
        }
    }
}

/// Record types of `dns_sd_configs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsRecordType {
    /// SRV.
    #[default]
    Srv,
    /// A.
    A,
    /// AAAA.
    Aaaa,
    /// MX.
    Mx,
    /// NS.
    Ns,
}
