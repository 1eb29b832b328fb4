//! One request (upstream: `storage/remote/client.go`).

use std::time::Duration;

use bytes::Bytes;
use config::{RemoteWriteConfig, RemoteWriteMessage};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http_body_util::BodyExt as _;
use net::{ClientOptions, HttpClient};

use super::batch::Counts;
use super::retry::retry_after;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];
/// What is kept of an answer's text, for the log: as upstream.
const TEXT_BYTES_MAX: usize = 1024;
/// What is read of an answer so that its connection can be used again; beyond it the connection goes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error(transparent)]
    Client(#[from] net::ClientError),
    #[error("invalid URL: {0}")]
    Url(#[from] http::uri::InvalidUri),
    #[error("header {0:?} is none")]
    Header(String),
}

/// A request that was not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) text: String,
    /// 0 without an answer.
    pub(crate) status: u16,
    /// Worth another try.
    pub(crate) again: bool,
    /// The receiver's wish.
    pub(crate) after: Option<Duration>,
    pub(crate) written: Option<Counts>,
}

/// Where one destination's requests go.
#[derive(Debug)]
pub(crate) struct Client {
    http: HttpClient,
    uri: http::Uri,
    headers: HeaderMap,
    timeout: Duration,
    retry_429: bool,
}

impl Client {
    pub(crate) fn new(config: &RemoteWriteConfig, user_agent: &str) -> Result<Self, MakeError> {
        let options = ClientOptions { user_agent: user_agent.to_string(), ..ClientOptions::default() };
        let (kind, version) = match config.protobuf_message {
            // The short form, for receivers of 1.0 that know no other.
            RemoteWriteMessage::V1 => ("application/x-protobuf", "0.1.0"),
            RemoteWriteMessage::V2 => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(VERSION, HeaderValue::from_static(version));
        for (name, value) in &config.headers {
            let bad = || MakeError::Header(name.clone());
            let parsed = name.parse::<HeaderName>().map_err(|_| bad())?;
            headers.insert(parsed, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        Ok(Client {
            http: HttpClient::new(&config.http, options)?,
            uri: config.url.as_str().parse()?,
            headers,
            timeout: config.remote_timeout,
            retry_429: config.queue_config.retry_on_http_429,
        })
    }

    /// Posts a body. Gives what the receiver says it stored, where it says so.
    pub(crate) async fn store(&self, body: Bytes, attempt: u32) -> Result<Option<Counts>, Refusal> {
        let no_answer = |text: String| Refusal { text, status: 0, again: true, after: None, written: None };
        match tokio::time::timeout(self.timeout, self.post(body, attempt)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => Err(no_answer(e.to_string())),
            Err(_) => {
                Err(no_answer(format!("context deadline exceeded (remote_timeout: {:?})", self.timeout)))
            }
        }
    }

    async fn post(
        &self,
        body: Bytes,
        attempt: u32,
    ) -> Result<Result<Option<Counts>, Refusal>, net::ClientError> {
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if attempt > 0 {
            request.headers_mut().insert(RETRY_ATTEMPT, HeaderValue::from(attempt));
        }
        let response = self.http.send(request).await?;
        let status = response.status();
        let words = net::status_text(&response);
        let written = written(response.headers());
        let asked = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok());
        let after = asked.and_then(|v| retry_after(v, jiff::Timestamp::now().as_second()));
        let (mut text, mut read) = (Vec::new(), 0);
        let mut body = response.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            read += data.len();
            let room = TEXT_BYTES_MAX - text.len();
            text.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        if status.is_success() {
            return Ok(Ok(written));
        }
        let again = status.is_server_error() || (status.as_u16() == 429 && self.retry_429);
        let text =
            format!("server returned HTTP status {words}: {}", String::from_utf8_lossy(&text).trim_end());
        Ok(Err(Refusal { text, status: status.as_u16(), again, after, written }))
    }
}

/// What a receiver of 2.0 says that it stored; one header is enough to trust it.
fn written(headers: &HeaderMap) -> Option<Counts> {
    let of =
        |name: &&str| headers.get(*name).map(|v| v.to_str().ok().and_then(|v| v.parse().ok()).unwrap_or(0));
    let [samples, histograms, exemplars] = WRITTEN.each_ref().map(of);
    samples.or(histograms).or(exemplars)?;
    Some(Counts {
        samples: samples.unwrap_or(0),
        histograms: histograms.unwrap_or(0),
        exemplars: exemplars.unwrap_or(0),
        metadata: 0,
    })
}
