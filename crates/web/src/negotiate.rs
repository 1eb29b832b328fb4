//! The format of `/metrics` and `/federate`, from `Accept`, as the Go client library chooses it. Offered are
//! text 0.0.4 and delimited protobuf; upstream also offers two text forms of protobuf, for people.

use exposition::Format;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use model::name::EscapingScheme;

use crate::compress::Encoding;
use crate::respond::header_str;

/// A format with the escaping of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) format: Format,
    pub(crate) escaping: EscapingScheme,
}

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    weight: f64,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let pairs = parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim().trim_matches('"')));
        let (weights, params): (Vec<_>, Vec<_>) = pairs.partition(|(k, _)| *k == "q");
        let weight = weights.first().and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
        Clause { media, params, weight }
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(k, _)| *k == name).map(|(_, v)| *v)
    }

    fn format(&self) -> Option<Format> {
        match self.media {
            "application/vnd.google.protobuf"
                if self.param("proto") == Some("io.prometheus.client.MetricFamily")
                    && self.param("encoding") == Some("delimited") =>
            {
                Some(Format::Protobuf)
            }
            "text/plain" if matches!(self.param("version"), None | Some("" | "0.0.4")) => Some(Format::Text),
            _ => None,
        }
    }
}

/// Clauses of a header looked at; more than any client sends.
const CLAUSES_MAX: usize = 32;

fn clauses(text: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = text.split(',').take(CLAUSES_MAX).map(Clause::parse).collect();
    all.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    all
}

impl Chosen {
    /// As the request asks for it; text where nothing fits.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut escaping = EscapingScheme::Underscores;
        for clause in clauses(header_str(headers, &ACCEPT)) {
            if let Some(wanted) = clause.param("escaping").and_then(EscapingScheme::parse) {
                escaping = wanted;
            }
            if let Some(format) = clause.format() {
                return Chosen { format, escaping };
            }
        }
        Chosen { format: Format::Text, escaping }
    }

    /// `Content-Type` of the answer.
    pub(crate) fn content_type(self) -> String {
        format!("{}; escaping={}", self.format.content_type(), self.escaping.as_str())
    }
}

/// Compression of `/metrics`: gzip where the client takes it with a weight above zero.
pub(crate) fn metrics_encoding(headers: &HeaderMap) -> Encoding {
    let gzip = |c: &Clause<'_>| c.media == "gzip" && c.weight > 0.0;
    if clauses(header_str(headers, &ACCEPT_ENCODING)).iter().any(gzip) { Encoding::Gzip } else { Encoding::Identity }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> (Format, &'static str) {
        let mut h = HeaderMap::new();
        h.insert(ACCEPT, http::HeaderValue::from_str(accept).unwrap());
        let c = Chosen::of(&h);
        (c.format, c.escaping.as_str())
    }

    /// Expectations are what a Prometheus 3.15 answered.
    #[test]
    fn chosen_as_upstream() {
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
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
