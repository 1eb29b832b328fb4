//! The whole of `prometheus.yml`.

use crate::alerting::AlertingConfig;
use crate::global::{GlobalConfig, RuntimeConfig};
use crate::otlp::OtlpConfig;
use crate::remote::{RemoteReadConfig, RemoteWriteConfig};
use crate::scrape::ScrapeConfig;
use crate::storage::StorageConfig;
use crate::tracing::TracingConfig;

/// `prometheus.yml`, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `global`.
    pub global: GlobalConfig,
    /// `runtime`.
    pub runtime: RuntimeConfig,
    /// `alerting`.
    pub alerting: AlertingConfig,
    /// Paths and globs, joined to the config's folder.
    pub rule_files: Vec<String>,
    /// Paths and globs, joined to the config's folder.
    pub scrape_config_files: Vec<String>,
    /// Jobs of the main file; [`Config::scrape_configs_all`] adds those of `scrape_config_files`.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// `storage`.
    pub storage: StorageConfig,
    /// `tracing`.
    pub tracing: TracingConfig,
    /// `remote_write`.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// `remote_read`.
    pub remote_read: Vec<RemoteReadConfig>,
    /// `otlp`.
    pub otlp: OtlpConfig,
}
