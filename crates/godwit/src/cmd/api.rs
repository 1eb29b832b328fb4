//! The client of a running server's HTTP API, for commands that ask one: URL, credentials and timeouts as
//! promtool takes them, errors in its words.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use model::Secret;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::flags::{Flag, Found, valued};
use super::group::Failed;

/// Longest wait for an answer: promtool's for queries.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer taken: it is held whole, and decoded beside itself.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// File with the settings of the client.
pub const HTTP_CONFIG: Flag = valued(
    "http.config.file",
    "FILE",
    "",
    "Settings of the HTTP client, such as credentials and TLS: what scrape configs have, in a file of its own.",
);
/// Headers to send.
pub const HEADER: Flag = valued("header", "NAME=VALUE", "", "A header to send; can be repeated.");

/// Parameters of a request, in order.
pub type Params<'a> = &'a [(&'a str, &'a str)];

/// A server.
pub struct Api {
    base: String,
    client: net::HttpClient,
    headers: BTreeMap<String, String>,
    runtime: tokio::runtime::Runtime,
}

/// An answer that is none of the API's.
fn work(e: impl std::fmt::Display) -> Failed {
    Failed::Work(e.to_string())
}

/// An answer: status and body.
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Content, decompressed.
    pub body: Vec<u8>,
}

impl Api {
    /// A client for the server at `address`, with the flags [`HTTP_CONFIG`] and [`HEADER`] where the command
    /// has them.
    ///
    /// # Errors
    /// No URL, a settings file that cannot be used.
    pub fn new(found: &Found, address: &str) -> Result<Api, Failed> {
        let text = if address.contains("://") { address.to_string() } else { format!("http://{address}") };
        let mut url = url::Url::parse(&text).map_err(|e| Failed::usage(format!("parse {address:?}: {e}")))?;
        let mut settings = config::HttpClientConfig::default();
        let file = found.text(HTTP_CONFIG.name);
        if !file.is_empty() {
            if !url.username().is_empty() {
                return Err(Failed::usage(
                    "Cannot set base auth in the server URL and use a http.config.file at the same time",
                ));
            }
            settings = config::HttpClientConfig::load_file(Path::new(file))
                .map_err(|e| Failed::usage(format!("Failed to load HTTP config file: {e}")))?;
        } else if !url.username().is_empty() {
            let decoded = |s: &str| percent(s);
            settings.basic_auth = Some(config::BasicAuth {
                username: decoded(url.username()),
                password: Secret::new(decoded(url.password().unwrap_or_default())),
                ..config::BasicAuth::default()
            });
        }
        // Credentials go into a header, never into texts.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let user_agent = format!("{}/{}", found.program, env!("CARGO_PKG_VERSION"));
        let options = net::ClientOptions { user_agent, ..net::ClientOptions::default() };
        let client = net::HttpClient::new(&settings, options)
            .map_err(|e| Failed::usage(format!("Failed to create a new HTTP round tripper: {e}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let headers = found.map(HEADER.name).map_err(Failed::usage)?;
        Ok(Api { base: url.to_string().trim_end_matches('/').to_string(), client, headers, runtime })
    }

    /// The server's URL with a path behind it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends one request and reads its answer.
    ///
    /// # Errors
    /// No connection, no answer in time, an answer that is too long.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Reply, Failed> {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.url(path).parse().map_err(work)?;
        let own = self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        for (name, value) in headers.iter().copied().chain(own) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(work)?;
            request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(work)?);
        }
        let exchange = async {
            let response = self.client.send(request).await.map_err(work)?;
            let status = response.status().as_u16();
            let limits =
                net::BodyLimits { body_bytes_max: ANSWER_BYTES_MAX, in_flight_bytes_max: ANSWER_BYTES_MAX };
            let pool = net::BodyPool::new(limits);
            let body = pool.read(response, net::ReadOptions::default()).await.map_err(work)?;
            Ok(Reply { status, body: body.to_vec() })
        };
        let late = || work(format!("{}: context deadline exceeded", self.url(path)));
        self.runtime.block_on(async { tokio::time::timeout(timeout, exchange).await }).map_err(|_| late())?
    }

    /// Tells the server to do something.
    ///
    /// # Errors
    /// What the server says, with its URL; [`Api::send`]'s.
    pub fn tell(&self, path: &str, params: Params<'_>, timeout: Duration) -> Result<Value, Failed> {
        let query = Serializer::new(String::new()).extend_pairs(params).finish();
        let reply = self.send(Method::POST, &format!("{path}?{query}"), &[], Vec::new(), timeout)?;
        let mut answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        match answer.get_mut("data") {
            Some(data) if reply.status == 200 => Ok(data.take()),
            _ => {
                let why = answer["error"].as_str().unwrap_or("the answer is not that of a Prometheus API");
                Err(work(format!("{}: {}: {why}", self.url(path), reply.status)))
            }
        }
    }

    /// Asks with a form, or with a URL where the server (or what stands before it) takes no POST.
    ///
    /// # Errors
    /// What the server says; [`Api::send`]'s.
    pub fn ask(&self, path: &str, params: Params<'_>) -> Result<Value, Failed> {
        let form = Serializer::new(String::new()).extend_pairs(params).finish();
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let reply = self.send(Method::POST, path, &kind, form.clone().into_bytes(), TIMEOUT)?;
        if matches!(reply.status, 403 | 405 | 501) {
            let reply = self.send(Method::GET, &format!("{path}?{form}"), &[], Vec::new(), TIMEOUT)?;
            return data(&reply);
        }
        data(&reply)
    }

    /// Asks with a URL.
    ///
    /// # Errors
    /// As [`Api::ask`].
    pub fn get(&self, path: &str, params: Params<'_>) -> Result<Value, Failed> {
        let query = Serializer::new(String::new()).extend_pairs(params).finish();
        let path = if query.is_empty() { path.to_string() } else { format!("{path}?{query}") };
        data(&self.send(Method::GET, &path, &[], Vec::new(), TIMEOUT)?)
    }
}

/// Percent signs decoded, as in the user's part of a URL.
fn percent(text: &str) -> String {
    // The same rules as in a form but for `+`.
    let form = text.replace('+', "%2B");
    url::form_urlencoded::parse(form.as_bytes()).map(|(k, _)| k.into_owned()).collect()
}

/// The `data` of an answer; warnings go to standard error, infos nowhere.
fn data(reply: &Reply) -> Result<Value, Failed> {
    let status = reply.status;
    let plain = || {
        let what = match status / 100 {
            4 => format!("client_error: client error: {status}"),
            5 => format!("server_error: server error: {status}"),
            _ => format!("bad_response: bad response code {status}"),
        };
        match String::from_utf8_lossy(&reply.body).trim() {
            "" => work(format!("query error: {what}")),
            detail => work(format!("query error: {what} (detail: {detail})")),
        }
    };
    let answered = status / 100 == 2;
    if !answered && !matches!(status, 400 | 422) {
        return Err(plain());
    }
    let mut answer: Value = match serde_json::from_slice(&reply.body) {
        Ok(answer) => answer,
        Err(_) if !answered => return Err(plain()),
        Err(e) => return Err(work(format!("query error: bad_response: {e}"))),
    };
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    match (answered, text("status").as_str()) {
        (true, "success") => Ok(answer.get_mut("data").map(Value::take).unwrap_or_default()),
        (true, "error") | (false, "success") => {
            Err(work("query error: bad_response: inconsistent body for response code"))
        }
        _ => {
            let or = |text: String, other: &str| if text.is_empty() { other.to_string() } else { text };
            let (kind, error) = (or(text("errorType"), "client_error"), text("error"));
            let error = or(error, &format!("client error: {status}"));
            Err(work(format!("query error: {kind}: {error}")))
        }
    }
}
