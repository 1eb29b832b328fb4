//! Writing families, for `/metrics` and `/federate` (upstream: `common/expfmt`).

mod negotiate;
mod protobuf;
mod text;

use model::MetricType;
use model::name::{EscapingScheme, escape};

use crate::{Family, Format};

pub use negotiate::{OutputFormat, negotiate};

/// A family as it goes out: names escaped.
struct Head<'f> {
    family: &'f Family,
    name: String,
}

/// Writes families one after the other, with `# EOF` at the end of OpenMetrics. Families without metrics are
/// left out in the text formats, as upstream's encoder refuses them.
#[must_use]
pub fn write_families(families: &[Family], format: Format, escaping: EscapingScheme) -> Vec<u8> {
    let mut out = Vec::with_capacity(families.len() * 256);
    for family in families {
        write_family(&mut out, family, format, escaping);
    }
    finish(&mut out, format);
    out
}

/// Appends one family.
pub fn write_family(out: &mut Vec<u8>, family: &Family, format: Format, escaping: EscapingScheme) {
    if family.name.is_empty() {
        return;
    }
    let head = Head { family, name: escape_name(&family.name, escaping) };
    match format {
        Format::Protobuf => protobuf::write(out, &head, escaping),
        Format::Text | Format::OpenMetrics => {
            let mut text = String::with_capacity(256 + 96 * family.metrics.len());
            text::write(&mut text, &head, format == Format::OpenMetrics, escaping);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends what ends a body of the format.
pub fn finish(out: &mut Vec<u8>, format: Format) {
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

/// Legacy names are left alone by every scheme here, also by `dots`, as upstream's encoder does.
fn escape_name(name: &str, escaping: EscapingScheme) -> String {
    if model::name::is_legacy_metric_name(name) { name.to_string() } else { escape(name, escaping) }
}

/// Labels with names escaped, in order.
fn labels<'m>(
    metric: &'m crate::Metric,
    escaping: EscapingScheme,
) -> impl Iterator<Item = (std::borrow::Cow<'m, str>, &'m str)> {
    metric.labels.iter().map(move |(name, value)| {
        let plain = escaping == EscapingScheme::None || model::name::is_legacy_metric_name(name);
        let name = if plain { name.into() } else { escape(name, escaping).into() };
        (name, value)
    })
}

/// Whether a family is a histogram of either kind.
fn is_histogram(kind: MetricType) -> bool {
    matches!(kind, MetricType::Histogram | MetricType::GaugeHistogram)
}
