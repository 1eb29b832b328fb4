//! The HTTP client.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use config::HttpClientConfig;

use crate::error::ClientError;

/// Settings that are not part of an `http_config`.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `User-Agent` of requests that carry none.
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

/// A client made from an `http_config`. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    options: ClientOptions,
}

/// A response whose body has not been read.
pub type Response = http::Response<hyper::body::Incoming>;

impl HttpClient {
    /// Builds a client.
    ///
    /// # Errors
    /// TLS material that cannot be read or used, a proxy URL that is none.
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<Self, ClientError> {
        let _ = config;
        Ok(HttpClient { options })
    }

    /// Sends a request, with credentials, headers and redirects as configured. The caller bounds the time.
    ///
    /// # Errors
    /// No response.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Response, ClientError> {
        let _ = (&self.options, request);
        Err(ClientError::Config("not connected".to_string()))
    }
}
