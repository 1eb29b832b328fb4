//! The format of `/metrics` and `/federate`, from `Accept`, as the Go client library chooses it. Offered are
//! text 0.0.4 and delimited protobuf; upstream also offers two text forms of protobuf, for people.

use exposition::OutputFormat;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};

use crate::compress::Encoding;
use crate::respond::header_str;

struct Clause<'a> {
    media: &'a str,
    weight: f64,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let pairs =
            parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim().trim_matches('"')));
        let mut weights = pairs.filter(|(k, _)| *k == "q");
        let weight = weights.next().and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
        Clause { media, weight }
    }
}

/// Clauses of a header looked at; more than any client sends.
const CLAUSES_MAX: usize = 32;

fn clauses(text: &str) -> impl Iterator<Item = Clause<'_>> {
    text.split(',').take(CLAUSES_MAX).map(Clause::parse)
}

/// The format, as the request asks for it; text where nothing fits.
pub(crate) fn format(headers: &HeaderMap) -> OutputFormat {
    exposition::negotiate(header_str(headers, &ACCEPT), false)
}

/// Compression of `/metrics`: gzip where the client takes it with a weight above zero.
pub(crate) fn metrics_encoding(headers: &HeaderMap) -> Encoding {
    let gzip = |c: &Clause<'_>| c.media == "gzip" && c.weight > 0.0;
    if clauses(header_str(headers, &ACCEPT_ENCODING)).any(|c| gzip(&c)) {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exposition::Format;

    fn of(accept: &str) -> (Format, &'static str) {
        let mut h = HeaderMap::new();
        h.insert(ACCEPT, http::HeaderValue::from_str(accept).unwrap());
        let c = format(&h);
        (c.format, c.escaping.as_str())
    }

    /// Expectations are what a Prometheus 3.15 answered.
    #[test]
    fn chosen_as_upstream() {
        let proto =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, format, escaping) in [
            (format!("{proto};q=0.7,text/plain;version=0.0.4;q=0.3"), Format::Protobuf, "underscores"),
            (format!("text/plain;version=0.0.4;q=0.3,{proto};q=0.7"), Format::Protobuf, "underscores"),
            (format!("{proto};escaping=allow-utf-8"), Format::Protobuf, "allow-utf-8"),
            ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1".into(), Format::Text, "allow-utf-8"),
            ("application/vnd.google.protobuf".into(), Format::Text, "underscores"),
            ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2".into(), Format::Text, "allow-utf-8"),
            ("*/*;escaping=dots".into(), Format::Text, "dots"),
            ("text/plain;escaping=foo".into(), Format::Text, "underscores"),
            (String::new(), Format::Text, "underscores"),
        ] {
            assert_eq!(of(&accept), (format, escaping), "{accept}");
        }
    }
}
