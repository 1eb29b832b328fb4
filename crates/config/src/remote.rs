//! `remote_write` and `remote_read`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Secret;
use model::relabel::RelabelConfig;

use crate::http::{HttpClientConfig, SigV4Config};
use crate::url::ConfigUrl;

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// Where to write.
    pub url: ConfigUrl,
    /// Timeout of one request. Default 30s.
    pub remote_timeout: Duration,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// Rules for samples.
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Unique where given.
    pub name: String,
    /// Send exemplars.
    pub send_exemplars: bool,
    /// Send native histograms.
    pub send_native_histograms: bool,
    /// A connection a resolved address.
    pub round_robin_dns: bool,
    /// Default 1.0's message.
    pub protobuf_message: RemoteWriteMessage,
    /// Log failed 2.0 requests at debug.
    pub failed_request_logging: bool,
    /// How to reach it. HTTP/2 is off by default here.
    pub http: HttpClientConfig,
    /// Queue.
    pub queue_config: QueueConfig,
    /// Metadata.
    pub metadata_config: MetadataConfig,
    /// AWS.
    pub sigv4: Option<SigV4Config>,
    /// Azure.
    pub azuread: Option<AzureAdConfig>,
    /// Google.
    pub google_iam: Option<GoogleIamConfig>,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        RemoteWriteConfig {
            url: ConfigUrl::default(),
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            name: String::new(),
            send_exemplars: false,
            send_native_histograms: false,
            round_robin_dns: false,
            protobuf_message: RemoteWriteMessage::V1,
            failed_request_logging: false,
            http: HttpClientConfig { enable_http2: false, ..HttpClientConfig::default() },
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            sigv4: None,
            azuread: None,
            google_iam: None,
        }
    }
}

/// Message of the write request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteWriteMessage {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// `queue_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Samples buffered a shard. Default 10,000.
    pub capacity: i64,
    /// Default 50.
    pub max_shards: i64,
    /// Default 1.
    pub min_shards: i64,
    /// Default 2,000.
    pub max_samples_per_send: i64,
    /// Default 5s.
    pub batch_send_deadline: Duration,
    /// Default 30ms.
    pub min_backoff: Duration,
    /// Default 5s.
    pub max_backoff: Duration,
    /// Default false.
    pub retry_on_http_429: bool,
    /// Older samples are dropped. 0: none.
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: Duration::ZERO,
        }
    }
}

/// `metadata_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Default true.
    pub send: bool,
    /// Default 1m.
    pub send_interval: Duration,
    /// Default 2,000.
    pub max_samples_per_send: i64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2_000 }
    }
}

/// One entry of `remote_read`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteReadConfig {
    /// Where to read.
    pub url: ConfigUrl,
    /// Default 1m.
    pub remote_timeout: Duration,
    /// Bytes of one frame. Default 50 MB.
    pub chunked_read_limit: u64,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// Also where local storage is complete.
    pub read_recent: bool,
    /// Unique where given.
    pub name: String,
    /// How to reach it.
    pub http: HttpClientConfig,
    /// Matchers a selector must have.
    pub required_matchers: BTreeMap<String, String>,
    /// Add external labels as matchers. Default true.
    pub filter_external_labels: bool,
}

impl Default for RemoteReadConfig {
    fn default() -> Self {
        RemoteReadConfig {
            url: ConfigUrl::default(),
            remote_timeout: Duration::from_secs(60),
            chunked_read_limit: 50_000_000,
            headers: BTreeMap::new(),
            read_recent: false,
            name: String::new(),
            http: HttpClientConfig::default(),
            required_matchers: BTreeMap::new(),
            filter_external_labels: true,
        }
    }
}

/// `azuread`: one of the five ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureAdConfig {
    /// `managed_identity`.
    pub managed_identity: Option<AzureManagedIdentity>,
    /// `workload_identity`.
    pub workload_identity: Option<AzureWorkloadIdentity>,
    /// `oauth`.
    pub oauth: Option<AzureOAuth>,
    /// `sdk`.
    pub sdk: Option<AzureSdk>,
    /// `certificate`.
    pub certificate: Option<AzureCertificate>,
    /// AzurePublic, AzureChina, AzureGovernment.
    pub cloud: String,
    /// Scope instead of the cloud's.
    pub scope: String,
}

/// `azuread.managed_identity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureManagedIdentity {
    /// "" is the system's.
    pub client_id: String,
}

/// `azuread.workload_identity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureWorkloadIdentity {
    /// Client.
    pub client_id: String,
    /// Tenant.
    pub tenant_id: String,
    /// Projected token.
    pub token_file_path: String,
}

/// `azuread.oauth`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureOAuth {
    /// Client.
    pub client_id: String,
    /// Secret.
    pub client_secret: Secret,
    /// Tenant.
    pub tenant_id: String,
}

/// `azuread.sdk`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureSdk {
    /// Tenant.
    pub tenant_id: String,
}

/// `azuread.certificate`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureCertificate {
    /// Client.
    pub client_id: String,
    /// Tenant.
    pub tenant_id: String,
    /// PEM or PKCS 12.
    pub certificate_path: String,
    /// PEM.
    pub certificate_key_path: String,
    /// Of the PKCS 12.
    pub certificate_password: Secret,
    /// x5c header.
    pub send_certificate_chain: bool,
}

/// `google_iam`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoogleIamConfig {
    /// "": the default credentials.
    pub credentials_file: String,
}
