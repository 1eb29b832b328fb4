//! `tracing`: where the server's own spans go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::http::TlsConfig;

/// `tracing`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracingConfig {
    /// `grpc` (default) or `http`; "" where there is no `tracing` block.
    pub client_type: String,
    /// Where to send.
    pub endpoint: String,
    /// 0.0-1.0.
    pub sampling_fraction: f64,
    /// No TLS.
    pub insecure: bool,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// "" or `gzip`.
    pub compression: String,
    /// 0: the exporter's default.
    pub timeout: Duration,
}
