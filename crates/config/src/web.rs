//! `--web.config.file`: TLS, users, headers and rate limit of the listener (upstream
//! `exporter-toolkit/web/tls_config.go`). The file is re-read by its user; this is one reading of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::Secret;

use crate::error::ConfigError;
use crate::http::{TlsVersion, join};
use crate::load::{LoadOptions, decode_text, read_text};
use crate::yaml::near::nearest;
use crate::yaml::record::yaml_record;
use crate::yaml::value::{GoDuration, OptWord};
use crate::yaml::{Decoder, Hooks, Invalid, Node};

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

impl WebConfig {
    /// Reads and checks a file; relative paths are joined to its folder. Certificates are not read: that is
    /// for the listener, at each handshake.
    ///
    /// # Errors
    /// An unreadable file, or all problems found in it.
    pub fn load_file(path: &Path) -> Result<WebConfig, ConfigError> {
        let mut config = WebConfig::parse_named(&read_text(path)?, &path.display().to_string())?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let tls = &mut config.tls_server_config;
        for file in [&mut tls.cert_file, &mut tls.key_file, &mut tls.client_ca_file] {
            join(dir, file);
        }
        Ok(config)
    }

    /// As [`WebConfig::load_file`] for a text.
    ///
    /// # Errors
    /// All problems found.
    pub fn parse(text: &str) -> Result<WebConfig, ConfigError> {
        WebConfig::parse_named(text, "")
    }

    fn parse_named(text: &str, file: &str) -> Result<WebConfig, ConfigError> {
        let mut cx = Decoder::new(&LoadOptions::default());
        decode_text(text, WebConfig::default(), &mut cx, |_, _, _| {})
            .ok_or_else(|| ConfigError::Invalid { file: file.to_string(), problems: cx.into_problems() })
    }
}

yaml_record!(WebConfig, "the web config", {
    tls_server_config: keep,
    http_server_config: keep,
    rate_limit: keep,
    basic_auth_users: keep,
});
yaml_record!(WebTlsConfig, "tls_server_config", zero = WebTlsConfig {
    min_version: None,
    max_version: None,
    prefer_server_cipher_suites: false,
    ..WebTlsConfig::default()
}, {
    cert: keep,
    key: keep,
    client_ca: keep,
    cert_file: keep,
    key_file: keep,
    client_auth_type: keep,
    client_ca_file: keep,
    cipher_suites: keep,
    curve_preferences: keep,
    min_version: with(OptWord<TlsVersion>),
    max_version: with(OptWord<TlsVersion>),
    prefer_server_cipher_suites: keep,
    client_allowed_sans: keep,
});
yaml_record!(WebHttpConfig, "http_server_config", zero = WebHttpConfig { http2: false, headers: BTreeMap::new() }, {
    http2: keep,
    headers: omit,
});
yaml_record!(WebRateLimit, "rate_limit", {
    burst: keep,
    interval: with(GoDuration),
});

impl Hooks for WebRateLimit {}

impl Hooks for WebConfig {
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        let users = node.get("basic_auth_users").unwrap_or(node);
        for (user, hash) in &self.basic_auth_users {
            if let Err(text) = check_bcrypt(hash.expose()) {
                let at = users.get(user).unwrap_or(users);
                cx.fail(at.pos, format!("basic_auth_users, user {user:?}: {text}"));
            }
        }
        Ok(())
    }
}

impl Hooks for WebTlsConfig {
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        let lists = [
            ("cipher_suites", "cipher", &self.cipher_suites, CIPHERS),
            ("curve_preferences", "curve", &self.curve_preferences, CURVES),
        ];
        for (key, what, words, known) in lists {
            let items = node.get(key).map_or(&[][..], Node::items);
            for (i, word) in words.iter().enumerate().filter(|(_, word)| !known.contains(&word.as_str())) {
                let hint = nearest(word, known.iter().copied())
                    .map(|near| format!(", did you mean {near:?}?"))
                    .unwrap_or_default();
                cx.fail(items.get(i).unwrap_or(node).pos, format!("unknown {what}: {word}{hint}"));
            }
        }
        if !self.is_enabled() {
            return Ok(());
        }
        if self.cert_file.is_empty() && self.cert.is_empty() {
            return Err("missing one of cert or cert_file".into());
        }
        if self.key_file.is_empty() && self.key.is_empty() {
            return Err("missing one of key or key_file".into());
        }
        match self.client_auth() {
            None => {
                Err(Invalid::at("client_auth_type", format!("invalid ClientAuth: {}", self.client_auth_type)))
            }
            Some(ClientAuth::None) if !self.client_ca_file.is_empty() || !self.client_ca.is_empty() => {
                Err(Invalid::at(
                    "client_ca_file",
                    "client CA's have been configured without a Client Auth Policy",
                ))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Hooks for WebHttpConfig {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        for (name, value) in &self.headers {
            let allowed: &[&str] = match name.as_str() {
                "Strict-Transport-Security" | "X-XSS-Protection" | "Content-Security-Policy" => &[],
                "X-Content-Type-Options" => &["nosniff"],
                "X-Frame-Options" => &["deny", "sameorigin"],
                _ => {
                    return Err(Invalid::at(
                        "headers",
                        format!("HTTP header {name:?} can not be configured"),
                    ));
                }
            };
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                let text =
                    format!("invalid value for {name}. Expected one of: {allowed:?}, but got: {value:?}");
                return Err(Invalid::at("headers", text));
            }
        }
        Ok(())
    }
}

/// Form of a bcrypt hash: `$2y$10$` and 53 characters. Never prints it.
fn check_bcrypt(hash: &str) -> Result<(), &'static str> {
    let bytes = hash.as_bytes();
    if bytes.len() < 59 {
        return Err("the hash is too short to be a bcrypt hash (make one with htpasswd -nBC 10 \"\")");
    }
    if bytes[0] != b'$' || bytes[1] != b'2' {
        return Err("not a bcrypt hash: it must start with $2");
    }
    let rest = if bytes[2] == b'$' { &bytes[3..] } else { &bytes[4..] };
    let cost = std::str::from_utf8(&rest[..2]).ok().and_then(|text| text.parse::<u32>().ok());
    match cost {
        Some(4..=31) => Ok(()),
        _ => Err("bcrypt cost outside of 4..31"),
    }
}

/// Go's names of its secure cipher suites.
const CIPHERS: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];
const CURVES: &[&str] = &["CurveP256", "CurveP384", "CurveP521", "X25519"];

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        WebConfig::parse(text).map_or_else(|e| e.to_string(), |_| "accepted".to_string())
    }

    #[test]
    fn defaults_and_checks_are_upstreams() {
        let config = WebConfig::parse(
            "tls_server_config: {cert_file: a, key_file: b}\nrate_limit: {burst: 3, interval: 1.5s}",
        )
        .unwrap();
        assert_eq!(config.tls_server_config.min_version, Some(TlsVersion::Tls12));
        assert_eq!(config.rate_limit.interval, Duration::from_millis(1500));
        assert!(config.http_server_config.http2 && config.tls_server_config.is_enabled());
        for (text, want) in [
            ("tls_server_config: {cert_file: a}", "missing one of key"),
            ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: X}", "invalid ClientAuth: X"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
                "without a Client Auth Policy",
            ),
            (
                "tls_server_config: {cipher_suites: [TLS_AES_128_GCM_SHA25]}",
                "did you mean \"TLS_AES_128_GCM_SHA256\"?",
            ),
            ("tls_server_config: {min_version: SSL3}", "unknown TLS version: SSL3"),
            ("http_server_config: {headers: {X-A: b}}", "can not be configured"),
            ("http_server_config: {headers: {X-Frame-Options: b}}", "invalid value for X-Frame-Options"),
            ("basic_auth_users: {u: secret}", "too short"),
            ("basic_auth_user: {u: secret}", "did you mean \"basic_auth_users\"?"),
            (
                "basic_auth_users: {u: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}",
                "accepted",
            ),
            ("basic_auth_users: {u: $2y$99$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}", "cost"),
        ] {
            assert!(problem(text).contains(want), "{text}: {}", problem(text));
            assert!(!problem(text).contains("QOauh"));
        }
    }
}
