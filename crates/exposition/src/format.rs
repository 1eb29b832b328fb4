//! Which format a body has or shall have: scrape protocols, `Content-Type`, and the `Accept` header of a
//! scrape (upstream: `config.ScrapeProtocolsHeaders`, `scrape.acceptHeader`, `textparse.extractMediaType`).

use std::fmt::Write as _;

use model::name::EscapingScheme;

/// A protocol of `scrape_protocols`, by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScrapeProtocol {
    /// `PrometheusProto`
    PrometheusProto,
    /// `PrometheusText0.0.4`
    PrometheusText0_0_4,
    /// `PrometheusText1.0.0`
    PrometheusText1_0_0,
    /// `OpenMetricsText0.0.1`
    OpenMetricsText0_0_1,
    /// `OpenMetricsText1.0.0`
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// All protocols.
    pub const ALL: [ScrapeProtocol; 5] = [
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::PrometheusText0_0_4,
        ScrapeProtocol::PrometheusText1_0_0,
    ];
    /// Offered where the configuration says nothing.
    pub const DEFAULT: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
    /// Offered instead where native histograms or created timestamps are wanted.
    pub const DEFAULT_PROTO_FIRST: [ScrapeProtocol; 5] = [
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];

    /// Name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => "PrometheusProto",
            ScrapeProtocol::PrometheusText0_0_4 => "PrometheusText0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "PrometheusText1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }

    /// From the name in the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ScrapeProtocol::ALL.into_iter().find(|p| p.as_str() == name)
    }

    /// Media type with parameters, as it stands in `Accept`.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        }
    }

    /// Parser for bodies of this protocol.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            ScrapeProtocol::PrometheusProto => Format::Protobuf,
            ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0 => Format::Text,
            ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                Format::OpenMetrics
            }
        }
    }
}

/// `Accept` header for a scrape: the protocols in order of preference with falling weights.
#[must_use]
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut out = String::with_capacity(64 * (protocols.len() + 1));
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    for protocol in protocols {
        out.push_str(protocol.header());
        // The older versions of the text formats know no escaping parameter.
        if matches!(protocol, ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0) {
            let _ = write!(out, ";escaping={}", escaping.as_str());
        }
        let _ = write!(out, ";q=0.{weight},");
        weight = weight.saturating_sub(1);
    }
    let _ = write!(out, "*/*;q=0.{weight}");
    out
}

/// Syntax of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics text 0.0.1 and 1.0.0.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// The chosen format, with a warning where the target's header was not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// What to parse as.
    pub format: Format,
    /// Why the fallback was taken, for the log at debug level.
    pub warning: Option<String>,
}

/// No format can be told; the scrape must fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No `Content-Type`.
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    Blank,
    /// A `Content-Type` that is not one.
    #[error("cannot parse Content-Type {0:?} and no fallback_scrape_protocol for target")]
    Unparseable(String),
    /// A media type that nobody parses.
    #[error("received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target")]
    Unsupported(String),
}

impl Format {
    /// From a response's `Content-Type`, falling back to `fallback_scrape_protocol` as upstream does.
    ///
    /// # Errors
    /// Blank, unparseable or unsupported without a fallback.
    pub fn from_content_type(
        header: &str,
        fallback: Option<ScrapeProtocol>,
    ) -> Result<Negotiated, FormatError> {
        let settle = |error: FormatError, trouble: String| match fallback {
            None => Err(error),
            Some(p) => {
                let media = p.header().split(';').next().unwrap_or_default();
                let warning = Some(format!("{trouble}, using fallback_scrape_protocol {media:?}"));
                Ok(Negotiated { format: p.format(), warning })
            }
        };
        if header.is_empty() {
            let trouble = "non-compliant scrape target sending blank Content-Type".to_string();
            return settle(FormatError::Blank, trouble);
        }
        let Some(media) = MediaType::parse(header) else {
            let trouble = format!("could not parse received Content-Type {header:?}");
            return settle(FormatError::Unparseable(header.to_string()), trouble);
        };
        let version = media.param("version");
        let format = match media.essence.as_str() {
            // OpenMetrics 2.0 is another syntax, behind a feature flag upstream.
            "application/openmetrics-text" if version != Some("2.0.0") => Format::OpenMetrics,
            "application/vnd.google.protobuf" => Format::Protobuf,
            "text/plain" => Format::Text,
            _ => {
                let trouble = format!("received unsupported Content-Type {header:?}");
                return settle(FormatError::Unsupported(header.to_string()), trouble);
            }
        };
        Ok(Negotiated { format, warning: None })
    }

    /// `Content-Type` of bodies of this format, without escaping.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// A parsed media type. Accepts and refuses what Go's `mime.ParseMediaType` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// `type/subtype` in lower case.
    pub(crate) essence: String,
    /// Parameters: name in lower case, value as given.
    params: Vec<(String, String)>,
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

impl MediaType {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn parse(text: &str) -> Option<MediaType> {
        let (head, mut rest) = match text.find(';') {
            Some(i) => text.split_at(i),
            None => (text, ""),
        };
        let essence = head.trim().to_ascii_lowercase();
        let (kind, sub) = essence.split_once('/').unwrap_or((&essence, "x"));
        let token = |s: &str| !s.is_empty() && s.bytes().all(is_token_byte);
        if !token(kind) || !token(sub) {
            return None;
        }
        let mut params: Vec<(String, String)> = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let Some((name, value, tail)) = take_param(rest) else {
                // A lone trailing semicolon is let pass.
                if rest.trim() == ";" {
                    break;
                }
                return None;
            };
            if params.iter().any(|(n, v)| *n == name && *v != value) {
                return None;
            }
            params.push((name, value));
            rest = tail;
        }
        Some(MediaType { essence, params })
    }
}

fn take_param(text: &str) -> Option<(String, String, &str)> {
    let rest = text.strip_prefix(';')?.trim_start();
    let end = rest.bytes().position(|b| !is_token_byte(b)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if let Some(mut quoted) = rest.strip_prefix('"') {
        let mut value = String::new();
        loop {
            let mut chars = quoted.chars();
            match chars.next()? {
                '"' => return Some((name.to_ascii_lowercase(), value, chars.as_str())),
                '\\' => {
                    // A backslash before an ordinary character stands for itself, as some agents send paths.
                    match chars.clone().next()? {
                        c if c.is_ascii() && !is_token_byte(c as u8) => {
                            value.push(c);
                            chars.next();
                        }
                        _ => value.push('\\'),
                    }
                }
                '\r' | '\n' => return None,
                c => value.push(c),
            }
            quoted = chars.as_str();
        }
    }
    let end = rest.bytes().position(|b| !is_token_byte(b)).unwrap_or(rest.len());
    let (value, rest) = rest.split_at(end);
    if value.is_empty() {
        return None;
    }
    Some((name.to_ascii_lowercase(), value.to_string(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_are_upstreams() {
        assert_eq!(
            accept_header(&ScrapeProtocol::DEFAULT, EscapingScheme::None),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept_header(&ScrapeProtocol::DEFAULT_PROTO_FIRST, EscapingScheme::Underscores),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=underscores;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        for p in ScrapeProtocol::ALL {
            assert_eq!(ScrapeProtocol::from_name(p.as_str()), Some(p));
        }
    }

    #[test]
    fn content_types() {
        let plain = |h: &str| Format::from_content_type(h, None).map(|n| n.format);
        assert_eq!(plain("text/plain; version=0.0.4; charset=utf-8"), Ok(Format::Text));
        assert_eq!(plain("TEXT/PLAIN"), Ok(Format::Text));
        assert_eq!(plain("text/plain;"), Ok(Format::Text));
        assert_eq!(plain("text/plain; version=2.0.0; charset=\"utf-8\""), Ok(Format::Text));
        assert_eq!(plain("application/openmetrics-text"), Ok(Format::OpenMetrics));
        assert_eq!(
            plain("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=x"),
            Ok(Format::Protobuf)
        );
        assert_eq!(plain(""), Err(FormatError::Blank));
        for bad in [
            "text/plain; =",
            "text /plain",
            "text/plain; charset=a; charset=b",
            "text/plain; a=\"b",
            "/",
            "@",
        ] {
            assert_eq!(plain(bad), Err(FormatError::Unparseable(bad.into())), "{bad}");
        }
        for odd in ["text/html", "application/json", "application/openmetrics-text; version=2.0.0", "plain"] {
            assert_eq!(plain(odd), Err(FormatError::Unsupported(odd.into())), "{odd}");
        }
        for bad in ["", "text/html", "te xt"] {
            let n = Format::from_content_type(bad, Some(ScrapeProtocol::OpenMetricsText1_0_0)).unwrap();
            assert_eq!(n.format, Format::OpenMetrics);
            assert!(
                n.warning
                    .unwrap()
                    .ends_with("using fallback_scrape_protocol \"application/openmetrics-text\"")
            );
        }
    }
}
