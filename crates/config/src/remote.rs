//! `remote_write` and `remote_read`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Secret;
use model::name::ValidationScheme;
use model::relabel::RelabelConfig;

use crate::http::{HttpClientConfig, SigV4Config, check_headers};
use crate::relabel::{WriteRules, apply_scheme};
use crate::sd::LabelSet;
use crate::url::ConfigUrl;
use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, Word, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node, Out};

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

yaml_words!(RemoteWriteMessage, {
    "prometheus.WriteRequest" => RemoteWriteMessage::V1,
    "io.prometheus.write.v2.Request" => RemoteWriteMessage::V2,
}, |text| format!(
    "invalid protobuf_message value: unknown type for remote write protobuf message {text}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
));

struct Message;

impl Message {
    fn decode(into: &mut RemoteWriteMessage, node: &Node, cx: &mut Decoder) -> bool {
        let mut word = None;
        let good = OptWord::decode(&mut word, node, cx);
        match word {
            Some(message) => *into = message,
            None if good => cx.fail(node.pos, RemoteWriteMessage::unknown("")),
            None => {}
        }
        good
    }
    fn encode(value: &RemoteWriteMessage) -> Out {
        Out::Text(value.as_str().to_string())
    }
    fn is_zero(_: &RemoteWriteMessage) -> bool {
        false
    }
}

yaml_record!(RemoteWriteConfig, "remote_write", {
    url: keep,
    remote_timeout: omit,
    headers: omit,
    write_relabel_configs: with(WriteRules),
    name: omit,
    send_exemplars: omit,
    send_native_histograms: omit,
    round_robin_dns: omit,
    protobuf_message: with(Message),
    failed_request_logging: omit,
    http: inline,
    queue_config: omit,
    metadata_config: omit,
    sigv4: omit,
    azuread: omit,
    google_iam: omit,
});

impl Hooks for RemoteWriteConfig {
    fn begin(&mut self) {
        *self = RemoteWriteConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.url.is_empty() {
            return Err(Invalid::at("url", "url for remote_write is empty"));
        }
        let authorization = "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter";
        check_headers(&self.headers, authorization)?;
        self.http.complete()?;
        self.queue_config.check().map_err(|text| Invalid::at("queue_config", text))?;
        let given = [
            ("basic_auth", self.http.basic_auth.is_some()),
            ("authorization", self.http.authorization.is_some()),
            ("oauth2", self.http.oauth2.is_some()),
            ("sigv4", self.sigv4.is_some()),
            ("azuread", self.azuread.is_some()),
            ("google_iam", self.google_iam.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if given.len() > 1 {
            return Err(format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. Currently configured: [{}]",
                given.join(" ")
            )
            .into());
        }
        Ok(())
    }
}

impl RemoteWriteConfig {
    pub(crate) fn apply_scheme(&mut self, scheme: ValidationScheme, node: &Node, cx: &mut Decoder) {
        apply_scheme(&mut self.write_relabel_configs, scheme, node.get("write_relabel_configs"), node, cx);
    }
}

yaml_record!(QueueConfig, "queue_config", zero = QueueConfig {
    capacity: 0,
    max_shards: 0,
    min_shards: 0,
    max_samples_per_send: 0,
    batch_send_deadline: Duration::ZERO,
    min_backoff: Duration::ZERO,
    max_backoff: Duration::ZERO,
    ..QueueConfig::default()
}, {
    capacity: omit,
    max_shards: omit,
    min_shards: omit,
    max_samples_per_send: omit,
    batch_send_deadline: omit,
    min_backoff: omit,
    max_backoff: omit,
    retry_on_http_429: omit,
    sample_age_limit: omit,
});

impl Hooks for QueueConfig {}

impl QueueConfig {
    fn check(&self) -> Result<(), &'static str> {
        if self.max_shards <= 0 {
            return Err("remote write queue max_shards must be positive");
        }
        if self.min_shards <= 0 {
            return Err("remote write queue min_shards must be positive");
        }
        if self.min_shards > self.max_shards {
            return Err("remote write queue min_shards must not be greater than max_shards");
        }
        if self.max_samples_per_send <= 0 {
            return Err("remote write queue max_samples_per_send must be positive");
        }
        if self.capacity <= 0 {
            return Err("remote write queue capacity must be positive");
        }
        if self.max_backoff < self.min_backoff {
            return Err("remote write queue max_backoff must not be less than min_backoff");
        }
        Ok(())
    }
}

yaml_record!(MetadataConfig, "metadata_config", zero = MetadataConfig { send: false, send_interval: Duration::ZERO, max_samples_per_send: 0 }, {
    send: keep,
    send_interval: keep,
    max_samples_per_send: omit,
});

impl Hooks for MetadataConfig {}

yaml_record!(RemoteReadConfig, "remote_read", {
    url: keep,
    remote_timeout: omit,
    chunked_read_limit: omit,
    headers: omit,
    read_recent: omit,
    name: omit,
    http: inline,
    required_matchers: with(LabelSet),
    filter_external_labels: omit,
});

impl Hooks for RemoteReadConfig {
    fn begin(&mut self) {
        *self = RemoteReadConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.url.is_empty() {
            return Err(Invalid::at("url", "url for remote_read is empty"));
        }
        let authorization = "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter";
        check_headers(&self.headers, authorization)?;
        self.http.complete()
    }
}

yaml_record!(AzureAdConfig, "azuread", {
    managed_identity: omit,
    workload_identity: omit,
    oauth: omit,
    sdk: omit,
    certificate: omit,
    cloud: omit,
    scope: omit,
});
yaml_record!(AzureManagedIdentity, "azuread.managed_identity", {
    client_id: omit,
});
yaml_record!(AzureWorkloadIdentity, "azuread.workload_identity", {
    client_id: omit,
    tenant_id: omit,
    token_file_path: omit,
});
yaml_record!(AzureOAuth, "azuread.oauth", {
    client_id: omit,
    client_secret: omit,
    tenant_id: omit,
});
yaml_record!(AzureSdk, "azuread.sdk", {
    tenant_id: omit,
});
yaml_record!(AzureCertificate, "azuread.certificate", {
    client_id: omit,
    tenant_id: omit,
    certificate_path: omit,
    certificate_key_path: omit,
    certificate_password: omit,
    send_certificate_chain: omit,
});
yaml_record!(GoogleIamConfig, "google_iam", {
    credentials_file: omit,
});

impl Hooks for AzureManagedIdentity {}
impl Hooks for AzureWorkloadIdentity {}
impl Hooks for AzureOAuth {}
impl Hooks for AzureSdk {}
impl Hooks for AzureCertificate {}
impl Hooks for GoogleIamConfig {}

/// Where the workload identity webhook projects the token.
const AZURE_TOKEN_PATH: &str = "/var/run/secrets/azure/tokens/azure-identity-token";

impl Hooks for AzureAdConfig {
    fn begin(&mut self) {
        *self = AzureAdConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.cloud.is_empty() {
            self.cloud = "AzurePublic".to_string();
        }
        if !matches!(self.cloud.as_str(), "AzurePublic" | "AzureChina" | "AzureGovernment") {
            return Err(Invalid::at("cloud", "must provide a cloud in the Azure AD config"));
        }
        let ways = [
            self.managed_identity.is_some(),
            self.workload_identity.is_some(),
            self.oauth.is_some(),
            self.sdk.is_some(),
            self.certificate.is_some(),
        ];
        match ways.iter().filter(|given| **given).count() {
            0 => {
                return Err(
                    "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth, Azure Certificate or Azure SDK in the Azure AD config".into(),
                );
            }
            1 => {}
            _ => return Err("cannot provide multiple authentication methods in the Azure AD config".into()),
        }
        if let Some(identity) = &self.managed_identity {
            check_azure_id(&identity.client_id, "Azure Managed Identity", "client_id", true)?;
        }
        if let Some(identity) = &mut self.workload_identity {
            check_azure_id(&identity.client_id, "Azure Workload Identity", "client_id", false)?;
            check_azure_id(&identity.tenant_id, "Azure Workload Identity", "tenant_id", false)?;
            if identity.token_file_path.is_empty() {
                identity.token_file_path = AZURE_TOKEN_PATH.to_string();
            }
        }
        if let Some(oauth) = &self.oauth {
            check_azure_id(&oauth.client_id, "Azure OAuth", "client_id", false)?;
            if oauth.client_secret.is_empty() {
                return Err("must provide an Azure OAuth client_secret in the Azure AD config".into());
            }
            if oauth.tenant_id.is_empty() {
                return Err("must provide an Azure OAuth tenant_id in the Azure AD config".into());
            }
        }
        if let Some(certificate) = &self.certificate {
            check_azure_id(&certificate.client_id, "Azure Certificate", "client_id", false)?;
            if certificate.tenant_id.is_empty() {
                return Err("must provide an Azure Certificate tenant_id in the Azure AD config".into());
            }
            if certificate.certificate_path.is_empty() {
                return Err(
                    "must provide an Azure Certificate certificate_path in the Azure AD config".into()
                );
            }
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "_:/.-".contains(c);
        if !self.scope.chars().all(allowed) {
            return Err(Invalid::at("scope", "the provided scope contains invalid characters"));
        }
        Ok(())
    }
}

fn check_azure_id(id: &str, way: &str, field: &str, optional: bool) -> Result<(), Invalid> {
    if id.is_empty() {
        return if optional {
            Ok(())
        } else {
            Err(format!("must provide an {way} {field} in the Azure AD config").into())
        };
    }
    if is_uuid(id) { Ok(()) } else { Err(format!("the provided {way} {field} is invalid").into()) }
}

/// 8-4-4-4-12 hex digits, in `{}` or after `urn:uuid:` too, or all 32 without dashes.
fn is_uuid(text: &str) -> bool {
    let text = match text.get(..9) {
        Some(prefix) if prefix.eq_ignore_ascii_case("urn:uuid:") => &text[9..],
        _ => text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text),
    };
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_hexdigit());
    if text.len() == 32 {
        return hex(text);
    }
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|p| hex(p))
}
