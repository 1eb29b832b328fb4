//! All configuration: `prometheus.yml`, scrape config files, rule files, web config, file_sd contents and
//! godwit's own settings. Strict (an unknown key is an error with line, column and the nearest valid
//! name), with upstream's defaults, and printed back as upstream prints it.
//!
//! Followed: upstream `config/config.go`, `model/rulefmt`, `discovery/*`, `common/config`,
//! `exporter-toolkit/web`. Start at [`Config::load_file`].

mod alerting;
mod error;
mod global;
mod http;
mod kubernetes;
mod otlp;
mod remote;
mod root;
mod scrape;
mod sd;
mod storage;
mod tracing;
mod url;
mod web;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use error::{ConfigError, Problem};
pub use global::{GlobalConfig, LogLevel, RuntimeConfig};
pub use http::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, OAuth2Config, ProxyConfig, SigV4Config,
    TlsConfig, TlsVersion,
};
pub use kubernetes::{
    AttachMetadata, KubernetesRole, KubernetesSdConfig, KubernetesSelector, NamespaceDiscovery,
};
pub use model::name::{EscapingScheme, ValidationScheme};
pub use otlp::{OtlpConfig, TranslationStrategy};
pub use remote::{
    AzureAdConfig, AzureCertificate, AzureManagedIdentity, AzureOAuth, AzureSdk, AzureWorkloadIdentity,
    GoogleIamConfig, MetadataConfig, QueueConfig, RemoteReadConfig, RemoteWriteConfig, RemoteWriteMessage,
};
pub use root::Config;
pub use scrape::{ScrapeConfig, ScrapeProtocol};
pub use sd::{DnsRecordType, DnsSdConfig, FileSdConfig, HttpSdConfig, SdConfigs, StaticConfig};
pub use storage::{ExemplarsConfig, RetentionConfig, StorageConfig, TsdbConfig};
pub use tracing::TracingConfig;
pub use url::ConfigUrl;
pub use web::{ClientAuth, WebConfig, WebHttpConfig, WebRateLimit, WebTlsConfig};
