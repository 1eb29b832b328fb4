//! How to reach an HTTP endpoint: the fields that every `http_config` shares (upstream `common/config`).

use std::collections::BTreeMap;
use std::path::Path;

use model::Secret;

use crate::error::ConfigError;
use crate::load::{LoadOptions, decode_text, read_text};
use crate::url::ConfigUrl;
use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node};

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

yaml_words!(TlsVersion, {
    "TLS10" => TlsVersion::Tls10,
    "TLS11" => TlsVersion::Tls11,
    "TLS12" => TlsVersion::Tls12,
    "TLS13" => TlsVersion::Tls13,
}, |text| format!("unknown TLS version: {text} (known: TLS10, TLS11, TLS12, TLS13)"));

yaml_record!(HttpClientConfig, "http client settings", {
    basic_auth: omit,
    authorization: omit,
    oauth2: omit,
    bearer_token: omit,
    bearer_token_file: omit,
    tls_config: omit,
    follow_redirects: keep,
    enable_http2: keep,
    proxy: inline,
    http_headers: omit,
});
yaml_record!(BasicAuth, "basic_auth", {
    username: omit,
    username_file: omit,
    username_ref: omit,
    password: omit,
    password_file: omit,
    password_ref: omit,
});
yaml_record!(Authorization, "authorization", {
    kind = "type": omit,
    credentials: omit,
    credentials_file: omit,
    credentials_ref: omit,
});
yaml_record!(OAuth2Config, "oauth2", {
    client_id: omit,
    client_secret: omit,
    client_secret_file: omit,
    client_secret_ref: omit,
    client_certificate_key_id: omit,
    client_certificate_key: omit,
    client_certificate_key_file: omit,
    client_certificate_key_ref: omit,
    grant_type: omit,
    signature_algorithm: omit,
    iss: omit,
    audience: omit,
    claims: omit,
    scopes: omit,
    token_url: omit,
    endpoint_params: omit,
    tls_config: omit,
    proxy: inline,
});
yaml_record!(TlsConfig, "tls_config", {
    ca: omit,
    cert: omit,
    key: omit,
    ca_file: omit,
    cert_file: omit,
    key_file: omit,
    ca_ref: omit,
    cert_ref: omit,
    key_ref: omit,
    server_name: omit,
    insecure_skip_verify: keep,
    min_version: with(OptWord<TlsVersion>),
    max_version: with(OptWord<TlsVersion>),
});
yaml_record!(ProxyConfig, "proxy settings", {
    proxy_url: omit,
    no_proxy: omit,
    proxy_from_environment: omit,
    proxy_connect_header: omit,
});
yaml_record!(HeaderValues, "the values of a header", {
    values: omit,
    secrets: omit,
    files: omit,
});
yaml_record!(SigV4Config, "sigv4", {
    region: omit,
    access_key: omit,
    secret_key: omit,
    profile: omit,
    role_arn: omit,
    external_id: omit,
    session_name: omit,
    tags: omit,
    use_fips_sts_endpoint: omit,
    service_name: omit,
});

impl Hooks for BasicAuth {}
impl Hooks for Authorization {}
impl Hooks for HeaderValues {}
impl Hooks for ProxyConfig {}

impl Hooks for HttpClientConfig {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        self.complete()
    }
}

impl Hooks for OAuth2Config {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        self.proxy.check()
    }
}

impl Hooks for TlsConfig {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        let count = |given: [bool; 3]| given.iter().filter(|g| **g).count();
        let cert = [!self.cert.is_empty(), !self.cert_file.is_empty(), !self.cert_ref.is_empty()];
        let key = [!self.key.is_empty(), !self.key_file.is_empty(), !self.key_ref.is_empty()];
        if count([!self.ca.is_empty(), !self.ca_file.is_empty(), !self.ca_ref.is_empty()]) > 1 {
            return Err("at most one of ca, ca_file & ca_ref must be configured".into());
        }
        if count(cert) > 1 {
            return Err("at most one of cert, cert_file & cert_ref must be configured".into());
        }
        if count(key) > 1 {
            return Err("at most one of key and key_file must be configured".into());
        }
        match (count(cert), count(key)) {
            (1, 0) => Err(
                "exactly one of key or key_file must be configured when a client certificate is configured"
                    .into(),
            ),
            (0, 1) => {
                Err("exactly one of cert or cert_file must be configured when a client key is configured"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl HttpClientConfig {
    /// Upstream's checks, and the move of `bearer_token*` into `authorization`. Public fields are final
    /// afterwards. The settings are inlined in their owner, which calls this.
    pub(crate) fn complete(&mut self) -> Result<(), Invalid> {
        let count = |given: [bool; 3]| given.iter().filter(|g| **g).count();
        let (token, token_file) = (!self.bearer_token.is_empty(), !self.bearer_token_file.is_empty());
        if token && token_file {
            return Err(Invalid::at(
                "bearer_token",
                "at most one of bearer_token & bearer_token_file must be configured",
            ));
        }
        if (self.basic_auth.is_some() || self.oauth2.is_some()) && (token || token_file) {
            let key = if token { "bearer_token" } else { "bearer_token_file" };
            return Err(Invalid::at(
                key,
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            ));
        }
        if let Some(auth) = &self.basic_auth {
            if count([
                !auth.username.is_empty(),
                !auth.username_file.is_empty(),
                !auth.username_ref.is_empty(),
            ]) > 1
            {
                return Err(Invalid::at(
                    "basic_auth",
                    "at most one of basic_auth username, username_file & username_ref must be configured",
                ));
            }
            if count([
                !auth.password.is_empty(),
                !auth.password_file.is_empty(),
                !auth.password_ref.is_empty(),
            ]) > 1
            {
                return Err(Invalid::at(
                    "basic_auth",
                    "at most one of basic_auth password, password_file & password_ref must be configured",
                ));
            }
        }
        self.complete_authorization(token, token_file)?;
        if let Some(oauth) = &self.oauth2 {
            if self.basic_auth.is_some() {
                return Err(Invalid::at(
                    "oauth2",
                    "at most one of basic_auth, oauth2 & authorization must be configured",
                ));
            }
            oauth.check().map_err(|text| Invalid::at("oauth2", text))?;
        }
        self.proxy.check()?;
        for name in self.http_headers.iter().flatten().map(|(name, _)| name) {
            if RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                return Err(Invalid::at(
                    "http_headers",
                    format!("setting header {:?} is not allowed", canonical_header(name)),
                ));
            }
        }
        Ok(())
    }

    fn complete_authorization(&mut self, token: bool, token_file: bool) -> Result<(), Invalid> {
        let count = |given: [bool; 3]| given.iter().filter(|g| **g).count();
        let Some(auth) = &mut self.authorization else {
            if token || token_file {
                self.authorization = Some(Authorization {
                    kind: "Bearer".to_string(),
                    credentials: std::mem::take(&mut self.bearer_token),
                    credentials_file: std::mem::take(&mut self.bearer_token_file),
                    credentials_ref: String::new(),
                });
            }
            return Ok(());
        };
        let invalid = |text: &str| Err(Invalid::at("authorization", text));
        if token || token_file {
            return invalid("authorization is not compatible with bearer_token & bearer_token_file");
        }
        if count([
            !auth.credentials.is_empty(),
            !auth.credentials_file.is_empty(),
            !auth.credentials_ref.is_empty(),
        ]) > 1
        {
            return invalid("at most one of authorization credentials & credentials_file must be configured");
        }
        auth.kind = auth.kind.trim().to_string();
        if auth.kind.is_empty() {
            auth.kind = "Bearer".to_string();
        }
        if auth.kind.eq_ignore_ascii_case("basic") {
            return invalid("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        if self.basic_auth.is_some() || self.oauth2.is_some() {
            return invalid("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        Ok(())
    }

    /// Reads a file that has nothing but these settings. Its relative paths are below its folder.
    ///
    /// # Errors
    /// All problems found.
    pub fn load_file(path: &Path) -> Result<HttpClientConfig, ConfigError> {
        let mut cx = Decoder::new(&LoadOptions::default());
        let text = read_text(path)?;
        let mut config =
            decode_text(&text, HttpClientConfig::default(), &mut cx, |_, _, _| {}).ok_or_else(|| {
                ConfigError::Invalid { file: path.display().to_string(), problems: cx.into_problems() }
            })?;
        config
            .set_directory(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Joins relative paths to a folder.
    pub(crate) fn set_directory(&mut self, dir: &Path) {
        self.tls_config.set_directory(dir);
        if let Some(auth) = &mut self.basic_auth {
            join(dir, &mut auth.username_file);
            join(dir, &mut auth.password_file);
        }
        if let Some(auth) = &mut self.authorization {
            join(dir, &mut auth.credentials_file);
        }
        if let Some(oauth) = &mut self.oauth2 {
            join(dir, &mut oauth.client_secret_file);
            oauth.tls_config.set_directory(dir);
        }
        for header in self.http_headers.iter_mut().flatten().map(|(_, header)| header) {
            header.files.iter_mut().for_each(|file| join(dir, file));
        }
        join(dir, &mut self.bearer_token_file);
    }

    /// Every file these settings refer to, for watchers.
    pub(crate) fn files<'a>(&'a self, out: &mut Vec<&'a str>) {
        self.tls_config.files(out);
        if let Some(auth) = &self.basic_auth {
            out.extend([auth.username_file.as_str(), auth.password_file.as_str()]);
        }
        if let Some(auth) = &self.authorization {
            out.push(&auth.credentials_file);
        }
        if let Some(oauth) = &self.oauth2 {
            out.extend([oauth.client_secret_file.as_str(), oauth.client_certificate_key_file.as_str()]);
            oauth.tls_config.files(out);
        }
        for header in self.http_headers.iter().flatten().map(|(_, header)| header) {
            out.extend(header.files.iter().map(String::as_str));
        }
    }
}

impl OAuth2Config {
    fn check(&self) -> Result<(), &'static str> {
        let count = |given: [bool; 3]| given.iter().filter(|g| **g).count();
        if self.client_id.is_empty() {
            return Err("oauth2 client_id must be configured");
        }
        if self.token_url.is_empty() {
            return Err("oauth2 token_url must be configured");
        }
        if self.grant_type == JWT_BEARER {
            let keys = [
                !self.client_certificate_key.is_empty(),
                !self.client_certificate_key_file.is_empty(),
                !self.client_certificate_key_ref.is_empty(),
            ];
            if count(keys) > 1 {
                return Err(
                    "at most one of oauth2 client_certificate_key, client_certificate_key_file & client_certificate_key_ref must be configured using grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
                );
            }
            if !matches!(self.signature_algorithm.as_str(), "" | "RS256" | "RS384" | "RS512") {
                return Err("valid signature algorithms are RS256, RS384 and RS512");
            }
        } else if count([
            !self.client_secret.is_empty(),
            !self.client_secret_file.is_empty(),
            !self.client_secret_ref.is_empty(),
        ]) > 1
        {
            return Err(
                "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured using grant-type=client_credentials",
            );
        }
        Ok(())
    }
}

impl TlsConfig {
    pub(crate) fn set_directory(&mut self, dir: &Path) {
        for file in [&mut self.ca_file, &mut self.cert_file, &mut self.key_file] {
            join(dir, file);
        }
    }
    pub(crate) fn files<'a>(&'a self, out: &mut Vec<&'a str>) {
        out.extend([self.ca_file.as_str(), self.cert_file.as_str(), self.key_file.as_str()]);
    }
}

impl ProxyConfig {
    fn check(&self) -> Result<(), Invalid> {
        let given = self.proxy_url.as_ref().is_some_and(|url| !url.is_empty());
        if !self.proxy_connect_header.is_empty() && !self.proxy_from_environment && !given {
            let text = "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured";
            return Err(Invalid::at("proxy_connect_header", text));
        }
        if self.proxy_from_environment && given {
            return Err(Invalid::at(
                "proxy_url",
                "if proxy_from_environment is configured, proxy_url must not be configured",
            ));
        }
        if self.proxy_from_environment && !self.no_proxy.is_empty() {
            return Err(Invalid::at(
                "no_proxy",
                "if proxy_from_environment is configured, no_proxy must not be configured",
            ));
        }
        if self.proxy_url.is_none() && !self.no_proxy.is_empty() {
            return Err(Invalid::at(
                "no_proxy",
                "if no_proxy is configured, proxy_url must also be configured",
            ));
        }
        Ok(())
    }
}

impl Hooks for SigV4Config {
    fn begin(&mut self) {
        *self = SigV4Config::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.access_key.is_empty() != self.secret_key.is_empty() {
            return Err("must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config".into());
        }
        if self.role_arn.is_empty() {
            for (key, given) in [
                ("external_id", !self.external_id.is_empty()),
                ("session_name", !self.session_name.is_empty()),
                ("tags", !self.tags.is_empty()),
            ] {
                if given {
                    return Err(Invalid::at(key, format!("{key} can only be used with role_arn")));
                }
            }
        }
        let name = self.session_name.as_bytes();
        let word = |b: &u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(b);
        let fits = (2..=64).contains(&name.len()) && name.iter().all(word);
        if !name.is_empty() && !fits {
            let text =
                r"session_name must match ^[\w+=,.@-]{2,64}$ (2-64 alphanumeric and +=,.@- characters)";
            return Err(Invalid::at("session_name", text));
        }
        for (key, value) in &self.tags {
            if key.is_empty() {
                return Err(Invalid::at("tags", "tag key must not be empty"));
            }
            if key.len() > 128 {
                return Err(Invalid::at("tags", format!("tag key {key:?} exceeds maximum length of 128")));
            }
            if value.len() > 256 {
                return Err(Invalid::at(
                    "tags",
                    format!("tag value for key {key:?} exceeds maximum length of 256"),
                ));
            }
        }
        Ok(())
    }
}

/// Headers that would break the request or are set by the server itself.
pub(crate) const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// `x-my-header` as `X-My-Header`.
fn canonical_header(name: &str) -> String {
    let mut upper = true;
    let letter = |c: char| {
        let out = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        upper = c == '-';
        out
    };
    name.chars().map(letter).collect()
}

/// Checks the plain `headers` of remote write and read. Upstream's list there lacks the scrape timeout.
pub(crate) fn check_headers(
    headers: &BTreeMap<String, String>,
    authorization: &'static str,
) -> Result<(), Invalid> {
    for name in headers.keys() {
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            return Err(Invalid::at("headers", authorization));
        }
        if lower != "x-prometheus-scrape-timeout-seconds" && RESERVED_HEADERS.contains(&lower.as_str()) {
            return Err(Invalid::at(
                "headers",
                format!("{name} is a reserved header. It must not be changed"),
            ));
        }
    }
    Ok(())
}

/// Joins a relative path to a folder; "" and absolute paths stay. Cleaned as Go's `filepath.Join` does.
pub(crate) fn join(dir: &Path, file: &mut String) {
    if file.is_empty() || file.starts_with('/') {
        return;
    }
    *file = clean(&format!("{}/{file}", dir.display()));
}

/// Lexical cleaning: no `//`, no `.`, `..` resolved where it can be.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match out.last() {
                Some(last) if *last != ".." => {
                    out.pop();
                }
                _ if rooted => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    let joined = out.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_string(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_as_in_go() {
        for (dir, file, want) in [
            ("/etc/p", "a", "/etc/p/a"),
            ("/etc/p", "../a", "/etc/a"),
            ("/etc/p", "/a//b", "/a//b"),
            ("/etc/p", "", ""),
            (".", "a/./b", "a/b"),
            ("", "a", "/a"),
            ("x", "../../a", "../a"),
        ] {
            let mut file = file.to_string();
            join(Path::new(dir), &mut file);
            if dir.is_empty() {
                continue;
            }
            assert_eq!(file, want);
        }
    }
}
