//! The HTTP client that an `http_config` describes (upstream: `common/config/http_config.go`): hyper-util's
//! pooled client under our own connector, credentials, headers and redirects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use config::HttpClientConfig;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;

use crate::auth::Auth;
use crate::connect::{ConnectError, Connector, Dial};
use crate::error::ClientError;
use crate::proxy::ProxyRules;
use crate::secret::{SecretSource, os_text};
use crate::tls::{ClientTls, Material};

/// Redirects followed for one request, as Go's client does.
const REDIRECTS_MAX: usize = 10;
/// Idle connections kept per host: scrapes need one, remote write as many as it has shards.
const IDLE_PER_HOST_MAX: usize = 100;
/// hyper's buffer per connection, which also bounds a response's head. Twice what common servers allow
/// (8-16 KiB); ten thousand idle connections hold at most 320 MiB, and usually a quarter of that.
const CONNECTION_BUFFER_BYTES: usize = 32 << 10;
/// Header lines of a response.
const RESPONSE_HEADERS_MAX: usize = 256;

/// Settings that are not part of an `http_config`.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `User-Agent` of requests that carry none; "" for none.
    pub user_agent: String,
    /// Connect to this socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Most time to establish a connection, TLS included.
    pub connect_timeout: Duration,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            user_agent: String::new(),
            unix_socket: None,
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

/// A response whose body has not been read; [`crate::BodyPool::read`] reads it under limits.
pub type Response = http::Response<Incoming>;

struct Transport {
    dial: Arc<Dial>,
    client: legacy::Client<Connector, Full<Bytes>>,
    material: Material,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({:?})", self.client)
    }
}

#[derive(Debug)]
struct ExtraHeader {
    name: HeaderName,
    sources: Vec<SecretSource>,
}

#[derive(Debug)]
struct Inner {
    transport: ArcSwap<Transport>,
    /// Held while a transport is made anew.
    renewing: Mutex<()>,
    tls: ClientTls,
    proxy: Arc<ProxyRules>,
    connect_headers: HeaderMap,
    auth: Auth,
    extra_headers: Vec<ExtraHeader>,
    follow_redirects: bool,
    options: ClientOptions,
    user_agent: Option<HeaderValue>,
}

/// A client made from an `http_config`. Clones share connections, tokens and files.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

impl HttpClient {
    /// Builds a client. Reads TLS files once, to refuse a configuration that cannot work.
    ///
    /// # Errors
    /// TLS material that cannot be read or used, a proxy URL or header that is none.
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<Self, ClientError> {
        let bad = ClientError::Config;
        let tls = ClientTls::new(&config.tls_config, config.enable_http2).map_err(bad)?;
        let proxy = ProxyRules::new(&config.proxy, |name| std::env::var(name).ok()).map_err(bad)?;
        let mut connect_headers = HeaderMap::new();
        for (name, values) in &config.proxy.proxy_connect_header {
            for value in values {
                let (name, value) = header_of(name, value.expose())?;
                connect_headers.append(name, value);
            }
        }
        let mut extra_headers = Vec::new();
        for (name, values) in config.http_headers.iter().flatten() {
            let (parsed, _) = header_of(name, "")?;
            let mut sources = Vec::new();
            for value in
                values.values.iter().map(String::as_str).chain(values.secrets.iter().map(|s| s.expose()))
            {
                header_of(name, value)?;
                sources.push(SecretSource::Inline(model::Secret::new(value)));
            }
            for file in &values.files {
                sources.push(SecretSource::File(crate::secret::WatchedFile::new(file)));
            }
            extra_headers.push(ExtraHeader { name: parsed, sources });
        }
        let auth = Auth::new(config, &options.user_agent).map_err(bad)?;
        let user_agent = match options.user_agent.as_str() {
            "" => None,
            text => Some(header_of("User-Agent", text)?.1),
        };
        let proxy = Arc::new(proxy);
        let material = tls.read().map_err(bad)?;
        let transport = make_transport(&tls, &proxy, &connect_headers, &options, material)?;
        Ok(HttpClient {
            inner: Arc::new(Inner {
                transport: ArcSwap::from_pointee(transport),
                renewing: Mutex::new(()),
                tls,
                proxy,
                connect_headers,
                auth,
                extra_headers,
                follow_redirects: config.follow_redirects,
                options,
                user_agent,
            }),
        })
    }

    /// Whether its files can be used now, as [`HttpClient::new`] found them.
    ///
    /// # Errors
    /// TLS material that cannot be read or used.
    pub fn check(&self) -> Result<(), ClientError> {
        self.transport().map(drop).map_err(ClientError::Config)
    }

    /// Whether there are clones of it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.inner) > 1
    }

    /// Whether `other` is a clone of it.
    #[must_use]
    pub fn is_same(&self, other: &HttpClient) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Sends a request with credentials, headers and redirects as configured. The caller bounds the time:
    /// dropping the future ends everything. Headers of the request win over configured ones.
    ///
    /// # Errors
    /// No response: a secret that cannot be read, no connection, a broken or endless exchange.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, ClientError> {
        let (parts, body) = request.into_parts();
        let (mut method, mut uri, mut body) = (parts.method, parts.uri, body);
        let caller_headers = parts.headers;
        let origin = uri.host().unwrap_or_default().to_ascii_lowercase();
        // Once a redirect has left the first host, credentials stay behind for good.
        let mut left_origin = false;
        let mut referer: Option<HeaderValue> = None;
        for hop in 0.. {
            let fail = |reason: String| ClientError::Request {
                method: go_method(&method),
                url: redacted(&uri),
                reason,
            };
            let transport = self.transport().map_err(fail)?;
            let mut headers = caller_headers.clone();
            self.add_headers(&mut headers, &uri, left_origin).await.map_err(fail)?;
            if let Some(referer) = &referer {
                headers.entry(header::REFERER).or_insert_with(|| referer.clone());
            }
            if hop > 0 && body.is_empty() {
                headers.remove(header::CONTENT_TYPE);
                headers.remove(header::CONTENT_ENCODING);
                headers.remove(header::CONTENT_LENGTH);
            }
            let response = exchange(&transport.client, &method, &uri, headers, &body).await.map_err(fail)?;
            let status = response.status();
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !self.inner.follow_redirects || !redirects {
                return Ok(response);
            }
            let Some(location) = response.headers().get(header::LOCATION) else { return Ok(response) };
            if hop >= REDIRECTS_MAX {
                // Go names the Location here, as it was sent.
                return Err(ClientError::Request {
                    method: go_method(&method),
                    url: String::from_utf8_lossy(location.as_bytes()).chars().take(1000).collect(),
                    reason: format!("stopped after {REDIRECTS_MAX} redirects"),
                });
            }
            let next = location.to_str().ok().and_then(|l| resolve(&uri, l)).ok_or_else(|| {
                fail(format!(
                    "failed to parse Location header {:.200?}",
                    String::from_utf8_lossy(location.as_bytes())
                ))
            })?;
            let scheme_falls = uri.scheme_str() == Some("https") && next.scheme_str() == Some("http");
            referer = (!scheme_falls).then(|| HeaderValue::from_str(&without_userinfo(&uri)).ok()).flatten();
            left_origin |= !same_or_subdomain(&next.host().unwrap_or_default().to_ascii_lowercase(), &origin);
            if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
                && method != Method::HEAD
            {
                method = Method::GET;
                body = Bytes::new();
            }
            uri = next;
        }
        // The loop above ends by return only; this keeps the compiler and a reader from wondering.
        Err(ClientError::Config("no request was sent".to_string()))
    }

    /// The transport in force, made anew where a TLS file changed: connections made under the old material
    /// are not used again.
    fn transport(&self) -> Result<Arc<Transport>, String> {
        let current = self.inner.transport.load_full();
        if !self.inner.tls.is_reloadable() {
            return Ok(current);
        }
        let material = self.inner.tls.read()?;
        if material == current.material {
            return Ok(current);
        }
        let _one_at_a_time = self.inner.renewing.lock();
        let current = self.inner.transport.load_full();
        if material == current.material {
            return Ok(current);
        }
        let i = &self.inner;
        let made = make_transport(&i.tls, &i.proxy, &i.connect_headers, &i.options, material);
        let made = Arc::new(made.map_err(|e| e.to_string())?);
        i.transport.store(Arc::clone(&made));
        Ok(made)
    }

    /// How to connect for `uri` where that is a TCP connection and nothing else.
    pub(crate) fn plain_dial(&self, uri: &Uri) -> Option<Arc<Dial>> {
        if uri.scheme_str() != Some("http") || self.inner.proxy.find(uri).is_some() {
            return None;
        }
        let dial = Arc::clone(&self.transport().ok()?.dial);
        dial.unix_socket.is_none().then_some(dial)
    }

    pub(crate) fn follows_redirects(&self) -> bool {
        self.inner.follow_redirects
    }

    /// That there is no answer to a GET.
    pub(crate) fn get_error(&self, uri: &Uri, reason: String) -> ClientError {
        ClientError::Request { method: go_method(&Method::GET), url: redacted(uri), reason }
    }

    pub(crate) async fn add_headers(
        &self,
        headers: &mut HeaderMap,
        uri: &Uri,
        left_origin: bool,
    ) -> Result<(), String> {
        let inner = &self.inner;
        if let Some(agent) = &inner.user_agent {
            headers.entry(header::USER_AGENT).or_insert_with(|| agent.clone());
        }
        for extra in &inner.extra_headers {
            if left_origin && is_sensitive(&extra.name) {
                continue;
            }
            for source in &extra.sources {
                let value = source.read().map_err(|e| format!("unable to read headers file: {e}"))?;
                let value = HeaderValue::from_str(&value).map_err(|_| {
                    format!("net/http: invalid header field value for {:?}", extra.name.as_str())
                })?;
                headers.append(extra.name.clone(), value);
            }
        }
        if left_origin {
            for name in [header::AUTHORIZATION, header::COOKIE, header::WWW_AUTHENTICATE] {
                headers.remove(name);
            }
        } else if !headers.contains_key(header::AUTHORIZATION) {
            let value = match user_info(uri) {
                Some(value) if matches!(inner.auth, Auth::None) => Some(value),
                _ => inner.auth.header().await?,
            };
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        if uri.scheme_str() == Some("http")
            && let Some(proxy) = inner.proxy.find(uri)
            && let Some(value) = proxy.authorization()
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        Ok(())
    }
}

fn make_transport(
    tls: &ClientTls,
    proxy: &Arc<ProxyRules>,
    connect_headers: &HeaderMap,
    options: &ClientOptions,
    material: Material,
) -> Result<Transport, ClientError> {
    let dial = Dial {
        tls: Arc::new(tls.build(&material).map_err(ClientError::Config)?),
        server_name: tls.server_name().map_err(ClientError::Config)?,
        proxy: Arc::clone(proxy),
        connect_headers: connect_headers.clone(),
        unix_socket: options.unix_socket.clone(),
        timeout: options.connect_timeout,
    };
    let dial = Arc::new(dial);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_buf_size(CONNECTION_BUFFER_BYTES)
        .http1_max_headers(RESPONSE_HEADERS_MAX)
        .http1_title_case_headers(true)
        .http2_max_header_list_size(CONNECTION_BUFFER_BYTES as u32)
        .http2_keep_alive_interval(Duration::from_secs(60))
        .build(Connector(Arc::clone(&dial)));
    Ok(Transport { dial, client, material })
}

/// One request and its response. A kept-alive connection that the server closed meanwhile shows as an
/// incomplete message; requests that may be repeated are, once, as Go does.
async fn exchange(
    client: &legacy::Client<Connector, Full<Bytes>>,
    method: &Method,
    uri: &Uri,
    headers: HeaderMap,
    body: &Bytes,
) -> Result<Response, String> {
    let repeatable = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let mut attempts = if repeatable { 2 } else { 1 };
    loop {
        attempts -= 1;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        match client.request(request).await {
            Ok(response) => return Ok(response),
            Err(e) if attempts > 0 && is_closed_early(&e) => {}
            Err(e) => return Err(request_error(&e)),
        }
    }
}

fn sources<'a>(
    e: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(e), |e| e.source())
}

fn is_closed_early(e: &legacy::Error) -> bool {
    sources(e).any(|e| {
        e.downcast_ref::<hyper::Error>().is_some_and(|h| h.is_incomplete_message() || h.is_canceled())
    })
}

/// Go's words for what went wrong below HTTP.
fn request_error(e: &legacy::Error) -> String {
    for source in sources(e) {
        if let Some(connect) = source.downcast_ref::<ConnectError>() {
            return connect.0.clone();
        }
    }
    for source in sources(e) {
        if let Some(hyper) = source.downcast_ref::<hyper::Error>() {
            if hyper.is_incomplete_message() {
                return "EOF".to_string();
            }
            if hyper.is_parse_too_large() {
                return format!(
                    "net/http: server response headers exceeded {CONNECTION_BUFFER_BYTES} bytes; aborted"
                );
            }
            if hyper.is_parse() {
                return format!(
                    "net/http: HTTP/1.x transport connection broken: malformed HTTP response ({hyper})"
                );
            }
        }
        if let Some(io) = source.downcast_ref::<std::io::Error>() {
            return format!("read: {}", os_text(io));
        }
    }
    sources(e).last().map_or_else(|| e.to_string(), ToString::to_string)
}

fn header_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ClientError> {
    let parsed = HeaderName::try_from(name)
        .map_err(|_| ClientError::Config(format!("net/http: invalid header field name {name:?}")))?;
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| ClientError::Config(format!("net/http: invalid header field value for {name:?}")))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// Headers that do not follow a redirect to another host.
fn is_sensitive(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "www-authenticate"
            | "cookie"
            | "cookie2"
            | "proxy-authorization"
            | "proxy-authenticate"
    )
}

/// Whether a redirect to `host` may carry what was meant for `parent`; both in lower case.
fn same_or_subdomain(host: &str, parent: &str) -> bool {
    if host == parent {
        return !parent.is_empty();
    }
    !host.contains([':', '%'])
        && !parent.is_empty()
        && host.strip_suffix(parent).is_some_and(|front| front.ends_with('.'))
}

/// The absolute form of a Location.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let base = url::Url::parse(&base.to_string()).ok()?;
    let next = base.join(location).ok()?;
    if !matches!(next.scheme(), "http" | "https") {
        return None;
    }
    Uri::try_from(next.as_str()).ok()
}

/// Credentials in the URL become basic authentication, as in Go.
fn user_info(uri: &Uri) -> Option<HeaderValue> {
    use base64::Engine as _;
    let (info, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = info.split_once(':').unwrap_or((info, ""));
    let plain = format!("{}:{}", crate::proxy::percent_decode(user), crate::proxy::percent_decode(password));
    let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
    HeaderValue::from_str(&format!("Basic {encoded}")).ok()
}

/// `404 Not Found`, with the server's own words where it sent some.
#[must_use]
pub fn status_text(response: &Response) -> String {
    let words = response.extensions().get::<hyper::ext::ReasonPhrase>();
    status_words(response.status(), words.map(hyper::ext::ReasonPhrase::as_bytes))
}

pub(crate) fn status_words(status: StatusCode, words: Option<&[u8]>) -> String {
    let words = match words {
        Some(words) => String::from_utf8_lossy(words).chars().take(200).collect(),
        None => status.canonical_reason().unwrap_or_default().to_string(),
    };
    format!("{} {words}", status.as_u16()).trim_end().to_string()
}

fn without_userinfo(uri: &Uri) -> String {
    let text = uri.to_string();
    match uri.authority().and_then(|a| a.as_str().rsplit_once('@')) {
        Some((info, _)) => text.replacen(&format!("{info}@"), "", 1),
        None => text,
    }
}

/// The URL with its password hidden, for errors.
fn redacted(uri: &Uri) -> String {
    let text = uri.to_string();
    match uri.authority().and_then(|a| a.as_str().rsplit_once('@')) {
        Some((info, _)) => match info.split_once(':') {
            Some((user, _)) => text.replacen(&format!("{info}@"), &format!("{user}:***@"), 1),
            None => text,
        },
        None => text,
    }
}

/// `Get`, `Post`: how Go names the operation in its errors.
pub(crate) fn go_method(method: &Method) -> String {
    let mut chars = method.as_str().chars();
    let first = chars.next().map(String::from).unwrap_or_default();
    first + &chars.as_str().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_within_a_domain() {
        for (host, parent, same) in [
            ("a.example", "a.example", true),
            ("x.a.example", "a.example", true),
            ("xa.example", "a.example", false),
            ("example", "a.example", false),
            ("::1%.a.example", "a.example", false),
            ("", "", false),
        ] {
            assert_eq!(same_or_subdomain(host, parent), same, "{host} {parent}");
        }
    }

    #[test]
    fn urls_in_errors_have_no_password() {
        let uri: Uri = "http://user:pw@h:1/x?y".parse().unwrap();
        assert_eq!(redacted(&uri), "http://user:***@h:1/x?y");
        assert_eq!(without_userinfo(&uri), "http://h:1/x?y");
        assert_eq!(user_info(&uri).unwrap(), "Basic dXNlcjpwdw==");
    }
}
