//! Which format an `Accept` header asks for (upstream: `expfmt.Negotiate`, on top of `goautoneg`).

use model::name::EscapingScheme;

use crate::Format;

/// Clauses of a header that are looked at; more than any client sends.
const CLAUSES_MAX: usize = 64;

/// How a response is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputFormat {
    /// Syntax.
    pub format: Format,
    /// Escaping of names outside the legacy character set.
    pub escaping: EscapingScheme,
    /// OpenMetrics 0.0.1 was asked for instead of 1.0.0; only the header differs.
    pub old_openmetrics: bool,
}

impl OutputFormat {
    /// Value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> String {
        let base = match self.format {
            Format::OpenMetrics if self.old_openmetrics => {
                "application/openmetrics-text; version=0.0.1; charset=utf-8"
            }
            format => format.content_type(),
        };
        format!("{base}; escaping={}", self.escaping.as_str())
    }
}

struct Clause<'a> {
    kind: &'a str,
    sub: &'a str,
    weight: f64,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.trim_matches(' ').split(';');
        let (kind, sub) = match parts.next()?.split_once('/') {
            Some((kind, sub)) if !sub.contains('/') && !sub.is_empty() => {
                (kind.trim_matches(' '), sub.trim_matches(' '))
            }
            None if text.trim_matches(' ').starts_with('*') => ("*", "*"),
            _ => return None,
        };
        let mut clause = Clause { kind, sub, weight: 1.0, params: Vec::new() };
        for part in parts {
            let Some((name, value)) = part.split_once('=').filter(|(_, v)| !v.is_empty() && !v.contains('='))
            else {
                continue;
            };
            match name.trim_matches(' ') {
                "q" => clause.weight = value.parse().unwrap_or(0.0),
                name => clause.params.push((name, value.trim_matches(' '))),
            }
        }
        Some(clause)
    }

    fn param(&self, name: &str) -> &'a str {
        self.params.iter().rev().find(|(n, _)| *n == name).map_or("", |(_, v)| v)
    }

    fn matches(&self, format: Format, old_openmetrics: bool) -> bool {
        let (kind, sub) = match format {
            Format::Text => ("text", "plain"),
            Format::OpenMetrics => ("application", "openmetrics-text"),
            Format::Protobuf => ("application", "vnd.google.protobuf"),
        };
        if !(self.kind == "*" || self.kind == kind) || !(self.sub == "*" || self.sub == sub) {
            return false;
        }
        let version = match (self.param("version"), self.kind, self.sub) {
            ("", "application", "openmetrics-text") => "0.0.1",
            ("", "text", "plain") => "0.0.4",
            (v, _, _) => v,
        };
        match format {
            Format::Text => version == "0.0.4",
            Format::OpenMetrics => version == if old_openmetrics { "0.0.1" } else { "1.0.0" },
            Format::Protobuf => {
                self.param("proto") == "io.prometheus.client.MetricFamily"
                    && self.param("encoding") == "delimited"
            }
        }
    }
}

/// Chooses the format for an `Accept` header. OpenMetrics is offered only where `openmetrics` is true:
/// upstream's own `/metrics` and `/federate` do not. Text is the answer to all that is not understood.
#[must_use]
pub fn negotiate(accept: &str, openmetrics: bool) -> OutputFormat {
    let mut clauses: Vec<Clause<'_>> =
        accept.split(',').take(CLAUSES_MAX).filter_map(Clause::parse).collect();
    let wildcards = |c: &Clause<'_>| u8::from(c.kind == "*") + u8::from(c.sub == "*");
    clauses.sort_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| wildcards(a).cmp(&wildcards(b))));
    let mut escaping = EscapingScheme::Underscores;
    let offered = [
        (Format::OpenMetrics, false),
        (Format::OpenMetrics, true),
        (Format::Protobuf, false),
        (Format::Text, false),
    ];
    for clause in &clauses {
        escaping = EscapingScheme::parse(clause.param("escaping")).unwrap_or(escaping);
        for (format, old_openmetrics) in offered {
            if (openmetrics || format != Format::OpenMetrics) && clause.matches(format, old_openmetrics) {
                return OutputFormat { format, escaping, old_openmetrics };
            }
        }
    }
    OutputFormat { format: Format::Text, escaping, old_openmetrics: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScrapeProtocol, accept_header};

    #[test]
    fn chooses_like_expfmt() {
        let choose = |accept: &str, om: bool| negotiate(accept, om).content_type();
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        for accept in ["", "*/*", "text/html", "text/plain;version=0.0.3", "application/json;q=0.9,*/*;q=0.1"]
        {
            assert_eq!(choose(accept, true), text, "{accept}");
        }
        let ours = accept_header(&ScrapeProtocol::DEFAULT_PROTO_FIRST, EscapingScheme::None);
        assert_eq!(
            choose(&ours, false),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
        );
        let ours = accept_header(&ScrapeProtocol::DEFAULT, EscapingScheme::None);
        assert_eq!(
            choose(&ours, true),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
        assert_eq!(choose(&ours, false), "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
        assert_eq!(
            choose("application/openmetrics-text", true),
            "application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores"
        );
    }
}
