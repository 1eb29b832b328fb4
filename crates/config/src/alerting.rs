//! `alerting`: where alerts go.

use std::time::Duration;

use model::relabel::RelabelConfig;

use crate::http::{HttpClientConfig, SigV4Config};
use crate::sd::SdConfigs;

/// `alerting`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertingConfig {
    /// Rules for all alerts.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Groups of Alertmanagers.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// One group of Alertmanagers.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerConfig {
    /// How to reach them.
    pub http: HttpClientConfig,
    /// AWS signature.
    pub sigv4: Option<SigV4Config>,
    /// `http` (default) or `https`.
    pub scheme: String,
    /// Before `/api/v2/alerts`.
    pub path_prefix: String,
    /// Default 10s.
    pub timeout: Duration,
    /// Always `v2`.
    pub api_version: String,
    /// Rules for the Alertmanagers as targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules for alerts sent to this group.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where the Alertmanagers come from.
    pub sd: SdConfigs,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        AlertmanagerConfig {
            http: HttpClientConfig::default(),
            sigv4: None,
            scheme: "http".to_string(),
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            api_version: "v2".to_string(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            sd: SdConfigs::default(),
        }
    }
}
