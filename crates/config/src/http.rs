//! How to reach an HTTP endpoint: the fields that every `http_config` shares (upstream `common/config`).

use std::collections::BTreeMap;

use model::Secret;

use crate::url::ConfigUrl;

/// Settings of one HTTP client. At most one of `basic_auth`, `authorization`, `oauth2` is set after
/// loading; `bearer_token` and `bearer_token_file` have been moved into `authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// A ready `Authorization` header.
    pub authorization: Option<Authorization>,
    /// Fetch a token first.
    pub oauth2: Option<OAuth2Config>,
    /// Deprecated spelling of `authorization.credentials`; empty after loading.
    pub bearer_token: Secret,
    /// Deprecated spelling of `authorization.credentials_file`; empty after loading.
    pub bearer_token_file: String,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Follow 3xx answers.
    pub follow_redirects: bool,
    /// Offer HTTP/2.
    pub enable_http2: bool,
    /// Proxy.
    pub proxy: ProxyConfig,
    /// Extra headers, by name as written.
    pub http_headers: Option<BTreeMap<String, HeaderValues>>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        HttpClientConfig {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy: ProxyConfig::default(),
            http_headers: None,
        }
    }
}

/// Basic authentication. `*_ref` name entries of a secret manager, which a stand-alone server lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasicAuth {
    /// User.
    pub username: String,
    /// File with the user, re-read at each use.
    pub username_file: String,
    /// Name in a secret manager.
    pub username_ref: String,
    /// Password.
    pub password: Secret,
    /// File with the password, re-read at each use.
    pub password_file: String,
    /// Name in a secret manager.
    pub password_ref: String,
}

/// A ready `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// `Bearer` where not given.
    pub kind: String,
    /// What follows the type.
    pub credentials: Secret,
    /// File with the credentials, re-read at each use.
    pub credentials_file: String,
    /// Name in a secret manager.
    pub credentials_ref: String,
}

/// OAuth 2.0 client credentials or JWT bearer grant (RFC 7523).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuth2Config {
    /// Client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// File with the secret.
    pub client_secret_file: String,
    /// Name in a secret manager.
    pub client_secret_ref: String,
    /// `kid` of the JWT.
    pub client_certificate_key_id: String,
    /// PEM key that signs the JWT.
    pub client_certificate_key: Secret,
    /// File with that key.
    pub client_certificate_key_file: String,
    /// Name in a secret manager.
    pub client_certificate_key_ref: String,
    /// "" or `client_credentials`, or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    pub grant_type: String,
    /// "" (RS256), RS256, RS384, RS512.
    pub signature_algorithm: String,
    /// `iss` of the JWT; the client id where empty.
    pub iss: String,
    /// `aud` of the JWT; the token URL where empty.
    pub audience: String,
    /// Further claims of the JWT, as JSON values.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Where to get the token.
    pub token_url: String,
    /// Further form fields.
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS towards the token endpoint.
    pub tls_config: TlsConfig,
    /// Proxy towards the token endpoint.
    pub proxy: ProxyConfig,
}

/// TLS of a client. Texts are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// CA certificates; replace the system's roots.
    pub ca: String,
    /// Client certificate.
    pub cert: String,
    /// Client key.
    pub key: Secret,
    /// File with CA certificates.
    pub ca_file: String,
    /// File with the client certificate.
    pub cert_file: String,
    /// File with the client key.
    pub key_file: String,
    /// Name in a secret manager.
    pub ca_ref: String,
    /// Name in a secret manager.
    pub cert_ref: String,
    /// Name in a secret manager.
    pub key_ref: String,
    /// Name to verify and to send as SNI, where it is not the host's.
    pub server_name: String,
    /// Verify nothing.
    pub insecure_skip_verify: bool,
    /// Lowest version.
    pub min_version: Option<TlsVersion>,
    /// Highest version.
    pub max_version: Option<TlsVersion>,
}

/// TLS versions by their names in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLS10`.
    Tls10,
    /// `TLS11`.
    Tls11,
    /// `TLS12`.
    Tls12,
    /// `TLS13`.
    Tls13,
}

/// Proxy of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The proxy; `None` where not given.
    pub proxy_url: Option<ConfigUrl>,
    /// Hosts, domains and ranges that go without it, comma-separated (curl's syntax).
    pub no_proxy: String,
    /// Use HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
    pub proxy_from_environment: bool,
    /// Headers of CONNECT requests.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Values of one header, from the three sources; all are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderValues {
    /// Plain values.
    pub values: Vec<String>,
    /// Hidden values.
    pub secrets: Vec<Secret>,
    /// Files that hold a value each, re-read at each use.
    pub files: Vec<String>,
}

/// AWS signature version 4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigV4Config {
    /// Region.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: Secret,
    /// Profile of the shared credentials file.
    pub profile: String,
    /// Role to assume.
    pub role_arn: String,
    /// External id of the role.
    pub external_id: String,
    /// Session name of the role.
    pub session_name: String,
    /// Session tags of the role.
    pub tags: BTreeMap<String, String>,
    /// FIPS endpoint of STS.
    pub use_fips_sts_endpoint: bool,
    /// Service to sign for; `aps` where empty.
    pub service_name: String,
}
