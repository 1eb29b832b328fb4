//! The headers of a scrape's request, byte for byte upstream's: targets choose their format by them.

use std::time::Duration;

use config::{EscapingScheme, ScrapeConfig, ScrapeProtocol};
use http::HeaderValue;

/// Protocols that upstream knows; the weights count down from one more.
const PROTOCOLS: usize = 6;

/// Headers that are the same for all targets of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHeaders {
    pub(crate) accept: HeaderValue,
    pub(crate) accept_encoding: &'static str,
}

impl RequestHeaders {
    pub(crate) fn new(config: &ScrapeConfig, zstd: bool) -> Self {
        let accept_encoding = match (config.enable_compression, zstd) {
            (false, _) => "identity",
            (true, false) => "gzip",
            (true, true) => "zstd,gzip",
        };
        let accept = accept(&config.scrape_protocols, config.escaping_scheme());
        // Made of the words above, which are always valid in a header.
        let accept = HeaderValue::try_from(accept).unwrap_or_else(|_| HeaderValue::from_static("*/*"));
        RequestHeaders { accept, accept_encoding }
    }
}

/// Media type of a protocol with its parameters.
fn media_type(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::PrometheusProto => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
        }
        ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
        ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        ScrapeProtocol::OpenMetricsText2_0_0 => "application/openmetrics-text;version=2.0.0",
    }
}

fn accept(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut out = String::new();
    let mut weight = PROTOCOLS + 1;
    for protocol in protocols {
        out.push_str(media_type(*protocol));
        if matches!(protocol, ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0) {
            out.push_str(";escaping=");
            out.push_str(escaping.as_str());
        }
        out.push_str(&format!(";q=0.{weight},"));
        weight = weight.saturating_sub(1);
    }
    out.push_str(&format!("*/*;q=0.{weight}"));
    out
}

/// `X-Prometheus-Scrape-Timeout-Seconds`: shortest digits, no exponent.
pub(crate) fn timeout_header(timeout: Duration) -> String {
    model::float_text::format_f(timeout.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_of_the_default_protocols_is_upstreams() {
        let config = ScrapeConfig {
            scrape_protocols: vec![
                ScrapeProtocol::OpenMetricsText1_0_0,
                ScrapeProtocol::OpenMetricsText0_0_1,
                ScrapeProtocol::PrometheusText1_0_0,
                ScrapeProtocol::PrometheusText0_0_4,
            ],
            ..ScrapeConfig::default()
        };
        let headers = RequestHeaders::new(&config, false);
        assert_eq!(
            headers.accept,
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,\
             application/openmetrics-text;version=0.0.1;q=0.6,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
        );
        assert_eq!(headers.accept_encoding, "gzip");
    }

    #[test]
    fn timeouts() {
        assert_eq!(timeout_header(Duration::from_secs(10)), "10");
        assert_eq!(timeout_header(Duration::from_millis(1500)), "1.5");
        assert_eq!(timeout_header(Duration::from_millis(9900)), "9.9");
    }
}
