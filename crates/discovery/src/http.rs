//! `http_sd_configs`: a URL that answers with JSON target groups (upstream: `discovery/http/http.go`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use config::HttpSdConfig;
use model::TargetGroup;
use net::{BodyPool, ClientOptions, HttpClient, ReadOptions, status_text};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::manager::Options;
use crate::metrics::Metrics;
use crate::provider::{Mechanism, ProviderError, Running, target_group};
use crate::refresh::Refresher;
use crate::room::{NoRoom, Room};

/// Label of the URL that named a target.
const URL_LABEL: &str = "__meta_url";
/// Most bytes of an answer: 100,000 targets of 300 bytes are 30 MB, doubled. Upstream has no bound.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// One URL.
pub struct HttpDiscovery {
    client: HttpClient,
    bodies: BodyPool,
    room: Room,
    uri: http::Uri,
    /// As configured; names the groups.
    url: String,
    interval: Duration,
    set: String,
    metrics: Metrics,
    /// Groups found the last time, to remove those that are gone.
    groups_before: Arc<AtomicUsize>,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
enum HttpSdError {
    #[error(transparent)]
    Client(#[from] net::ClientError),
    #[error(transparent)]
    Body(#[from] net::BodyError),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Content(#[from] config::ConfigError),
    #[error("server returned HTTP status {0}")]
    Status(String),
    #[error("unsupported content type {}", model::name::Quoted(.0))]
    ContentType(String),
    #[error(
        "Get {url:?}: context deadline exceeded after {seconds} s (refresh_interval is also the timeout)"
    )]
    Timeout { url: String, seconds: f64 },
}

impl HttpDiscovery {
    /// Makes the client.
    ///
    /// # Errors
    /// A client's files or a URL that cannot be used.
    pub fn new(
        config: &HttpSdConfig,
        set: &str,
        options: &Options,
        metrics: Metrics,
    ) -> Result<Self, ProviderError> {
        let client_options =
            ClientOptions { user_agent: options.user_agent.clone(), ..ClientOptions::default() };
        let client = HttpClient::new(&config.http, client_options)?;
        let bad_url =
            |e: http::uri::InvalidUri| ProviderError::Url { url: config.url.clone(), reason: e.to_string() };
        Ok(HttpDiscovery {
            client,
            bodies: options.bodies.clone(),
            room: options.room.clone(),
            uri: config.url.parse().map_err(bad_url)?,
            url: config.url.clone(),
            interval: config.refresh_interval,
            set: set.to_string(),
            metrics,
            groups_before: Arc::default(),
        })
    }

    async fn refresh(&self) -> Result<Vec<TargetGroup>, HttpSdError> {
        let found = if self.interval.is_zero() {
            self.fetch().await
        } else {
            let seconds = self.interval.as_secs_f64();
            let late = HttpSdError::Timeout { url: self.url.clone(), seconds };
            tokio::time::timeout(self.interval, self.fetch()).await.unwrap_or(Err(late))
        };
        if found.is_err() {
            self.metrics.http_failures.inc();
        }
        found
    }

    async fn fetch(&self) -> Result<Vec<TargetGroup>, HttpSdError> {
        let seconds = model::float_text::format_f(self.interval.as_secs_f64());
        let request = http::Request::get(self.uri.clone())
            .header("Accept", "application/json")
            .header("Accept-Encoding", "gzip")
            .header("X-Prometheus-Refresh-Interval-Seconds", seconds)
            .body(Bytes::new())?;
        let response = self.client.send(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(HttpSdError::Status(status_text(&response)));
        }
        let content_type =
            response.headers().get("Content-Type").map(|v| String::from_utf8_lossy(v.as_bytes()));
        let content_type = content_type.unwrap_or_default().into_owned();
        if !is_json(&content_type) {
            return Err(HttpSdError::ContentType(content_type));
        }
        let options = ReadOptions { limit_bytes: BODY_BYTES_MAX, ..ReadOptions::default() };
        let body = self.bodies.read(response, options).await?;
        self.room.for_list(body.len() as u64)?;
        let written = config::parse_targets_json(&body, &self.url)?;
        let count = written.len();
        let mut groups: Vec<TargetGroup> = Vec::with_capacity(count);
        for (i, group) in written.into_iter().enumerate() {
            let mut group = target_group(group, format!("{}:{i}", self.url));
            group.labels.insert(URL_LABEL.to_string(), self.url.clone());
            groups.push(group);
        }
        let before = self.groups_before.swap(count, Ordering::Relaxed);
        groups.extend(
            (count..before)
                .map(|i| TargetGroup { source: format!("{}:{i}", self.url), ..TargetGroup::default() }),
        );
        Ok(groups)
    }
}

/// `application/json`, with `charset=utf-8` at most, in any case.
fn is_json(content_type: &str) -> bool {
    let text = content_type.trim().to_ascii_lowercase();
    match text.strip_prefix("application/json") {
        Some("") => true,
        Some(rest) => {
            let parameter =
                rest.strip_prefix(';').map(|p| p.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']));
            matches!(parameter, Some("charset=utf-8" | "charset=\"utf-8\""))
        }
        None => false,
    }
}

impl Mechanism for HttpDiscovery {
    fn name(&self) -> &'static str {
        "http"
    }
    fn run(self: Box<Self>, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let refresher = Refresher {
                mechanism: "http",
                set: self.set.clone(),
                interval: self.interval,
                metrics: self.metrics.clone(),
            };
            let this = &*self;
            refresher.run(updates, stop, || this.refresh()).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn content_types_of_upstream() {
        for good in [
            "application/json",
            " Application/JSON ",
            "application/json;charset=utf-8",
            "application/json; charset=\"UTF-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/json;",
            "application/json; charset=latin1",
            "application/jsonx",
            "application/json; charset=utf-8; x",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
