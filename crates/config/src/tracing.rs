//! `tracing`: where the server's own spans go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::http::{TlsConfig, check_headers};
use crate::yaml::record::yaml_record;
use crate::yaml::{Decoder, Hooks, Invalid, Node};

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

yaml_record!(TracingConfig, "tracing", {
    client_type: omit,
    endpoint: omit,
    sampling_fraction: omit,
    insecure: omit,
    tls_config: omit,
    headers: omit,
    compression: omit,
    timeout: omit,
});

impl Hooks for TracingConfig {
    fn begin(&mut self) {
        *self = TracingConfig { client_type: "grpc".to_string(), ..TracingConfig::default() };
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if !matches!(self.client_type.as_str(), "http" | "grpc") {
            let text = format!(
                "expected tracing client type to be to be http or grpc, but got {}",
                self.client_type
            );
            return Err(Invalid::at("client_type", text));
        }
        check_headers(&self.headers, "custom authorization header configuration is not yet supported")?;
        if self.endpoint.is_empty() {
            return Err(Invalid::at("endpoint", "tracing endpoint must be set"));
        }
        if !matches!(self.compression.as_str(), "" | "gzip") {
            let text = format!("invalid compression type {} provided, valid options: gzip", self.compression);
            return Err(Invalid::at("compression", text));
        }
        Ok(())
    }
}
