//! All configuration: `prometheus.yml`, scrape config files, rule files, web config, file_sd contents and
//! godwit's own settings. Strict (an unknown key is an error with line, column and the nearest valid
//! name), with upstream's defaults, and printed back as upstream prints it.
//!
//! Followed: upstream `config/config.go`, `model/rulefmt`, `discovery/*`, `common/config`,
//! `exporter-toolkit/web`. Start at [`Config::load_file`].

mod alerting;
mod digest;
mod error;
mod glob;
mod global;
mod http;
mod jobs;
mod kubernetes;
mod legacy;
mod load;
mod otlp;
mod relabel;
mod remote;
mod root;
mod rule_tests;
mod rules;
mod scrape;
mod sd;
mod settings;
mod storage;
mod target_file;
mod tracing;
mod url;
mod web;
mod yaml;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use digest::config_digest;
pub use error::{ConfigError, Problem};
pub use glob::{BadPattern, glob, is_sound_pattern, try_glob};
pub use global::{GlobalConfig, LogLevel, RuntimeConfig};
pub use http::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, OAuth2Config, ProxyConfig, SigV4Config,
    TlsConfig, TlsVersion,
};
pub use kubernetes::{
    AttachMetadata, KubernetesRole, KubernetesSdConfig, KubernetesSelector, NamespaceDiscovery,
};
pub use legacy::{changes_since_2x, expression_changes_since_2x};
pub use load::{Env, LoadOptions};
pub use model::name::{EscapingScheme, ValidationScheme};
pub use otlp::{OtlpConfig, TranslationStrategy};
pub use remote::{
    AzureAdConfig, AzureCertificate, AzureManagedIdentity, AzureOAuth, AzureSdk, AzureWorkloadIdentity,
    GoogleIamConfig, MetadataConfig, QueueConfig, RemoteReadConfig, RemoteWriteConfig, RemoteWriteMessage,
};
pub use root::Config;
pub use rule_tests::{AlertTest, ExpectedAlert, ExpectedSample, ExprTest, InputSeries, RuleTest, RuleTests};
pub use rules::{Check, Rule, RuleChecks, RuleFile, RuleGroup};
pub use scrape::{ScrapeConfig, ScrapeProtocol};
pub use sd::{DnsRecordType, DnsSdConfig, FileSdConfig, HttpSdConfig, SdConfigs, StaticConfig};
pub use settings::{GodwitSettings, HostCollectorSettings, QuerySettings, SeriesRetention, StorageSettings};
pub use storage::{ChunkEncoding, ExemplarsConfig, RetentionConfig, StorageConfig, TsdbConfig};
pub use target_file::{parse_targets_json, parse_targets_yaml};
pub use tracing::TracingConfig;
pub use url::ConfigUrl;
pub use web::{ClientAuth, WebConfig, WebHttpConfig, WebRateLimit, WebTlsConfig};
pub use yaml::near::nearest;
pub use yaml::value::{format_size, parse_flag_duration, parse_go_duration, parse_size};
