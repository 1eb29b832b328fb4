//! `--web.config.file`: TLS, users, headers and rate limit of the listener (upstream
//! `exporter-toolkit/web/tls_config.go`). The file is re-read by its user; this is one reading of it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Secret;

use crate::http::TlsVersion;

/// The web config file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// `tls_server_config`.
    pub tls_server_config: WebTlsConfig,
    /// `http_server_config`.
    pub http_server_config: WebHttpConfig,
    /// `rate_limit`.
    pub rate_limit: WebRateLimit,
    /// User to bcrypt hash.
    pub basic_auth_users: BTreeMap<String, Secret>,
}

/// `tls_server_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTlsConfig {
    /// PEM.
    pub cert: String,
    /// PEM.
    pub key: Secret,
    /// PEM.
    pub client_ca: String,
    /// Re-read at each handshake.
    pub cert_file: String,
    /// Re-read at each handshake.
    pub key_file: String,
    /// As written; [`WebTlsConfig::client_auth`] reads it.
    pub client_auth_type: String,
    /// CA certificates of clients.
    pub client_ca_file: String,
    /// Go's names, e.g. `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`; TLS 1.2 and below. Empty: the library's.
    pub cipher_suites: Vec<String>,
    /// `CurveP256`, `CurveP384`, `CurveP521`, `X25519`. Empty: the library's.
    pub curve_preferences: Vec<String>,
    /// Default TLS 1.2.
    pub min_version: Option<TlsVersion>,
    /// Default TLS 1.3.
    pub max_version: Option<TlsVersion>,
    /// Accepted without effect, as upstream.
    pub prefer_server_cipher_suites: bool,
    /// Subject alternative names of clients, one of which must be present; `None`: not checked.
    pub client_allowed_sans: Option<Vec<String>>,
}

impl Default for WebTlsConfig {
    fn default() -> Self {
        WebTlsConfig {
            cert: String::new(),
            key: Secret::default(),
            client_ca: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            client_auth_type: String::new(),
            client_ca_file: String::new(),
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            min_version: Some(TlsVersion::Tls12),
            max_version: Some(TlsVersion::Tls13),
            prefer_server_cipher_suites: true,
            client_allowed_sans: None,
        }
    }
}

impl WebTlsConfig {
    /// Whether TLS is on: any of its main fields is set.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        let texts = [
            &self.cert_file,
            &self.cert,
            &self.key_file,
            &self.client_ca_file,
            &self.client_ca,
            &self.client_auth_type,
        ];
        texts.iter().any(|t| !t.is_empty()) || !self.key.is_empty()
    }
    /// `client_auth_type`; `None` for an unknown word (refused at loading).
    #[must_use]
    pub fn client_auth(&self) -> Option<ClientAuth> {
        match self.client_auth_type.as_str() {
            "" | "NoClientCert" => Some(ClientAuth::None),
            "RequestClientCert" => Some(ClientAuth::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Some(ClientAuth::RequireAny),
            "VerifyClientCertIfGiven" => Some(ClientAuth::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Some(ClientAuth::RequireAndVerify),
            _ => None,
        }
    }
}

/// What clients must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// Asked for, not verified.
    Request,
    /// Any certificate, not verified.
    RequireAny,
    /// Verified where given.
    VerifyIfGiven,
    /// A verified one.
    RequireAndVerify,
}

/// `http_server_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebHttpConfig {
    /// Offer HTTP/2 over TLS. Default true.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: BTreeMap<String, String>,
}

impl Default for WebHttpConfig {
    fn default() -> Self {
        WebHttpConfig { http2: true, headers: BTreeMap::new() }
    }
}

/// `rate_limit`: a token bucket over all requests. Off where `interval` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebRateLimit {
    /// Size of the bucket.
    pub burst: i64,
    /// One token an interval.
    pub interval: Duration,
}
