//! What tests compare, and how it is printed: alerts and samples.

use std::cmp::Ordering;

use model::float_text::{format_e, format_g};
use model::{CounterResetHint, FloatHistogram, Labels, Span};
use promql::SampleValue;

/// Names and values, sorted by name; empty values count, other than in `model::Labels`.
pub(super) type Pairs = Vec<(String, String)>;

/// Most zero buckets that are shown between filled ones.
const GAP_MAX: usize = 10_000;

/// An alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alert {
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

/// `%q`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = model::name::write_quoted(&mut out, text);
    out
}

fn pairs_text(pairs: &Pairs) -> String {
    let one = |(name, value): &(String, String)| {
        let name = if model::name::is_legacy_label_name(name) { name.clone() } else { quoted(name) };
        format!("{name}={}", quoted(value))
    };
    format!("{{{}}}", pairs.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// All lines but the first one behind `indent`; a last line without anything stays so.
pub(super) fn indented(text: &str, indent: &str) -> String {
    text.split('\n').collect::<Vec<_>>().join(&format!("\n{indent}"))
}

/// A list of alerts, with their numbers.
pub(super) fn alerts_text(alerts: &[Alert]) -> String {
    if alerts.is_empty() {
        return "[]".to_string();
    }
    let one = |(i, alert): (usize, &Alert)| {
        let (labels, annotations) = (pairs_text(&alert.labels), pairs_text(&alert.annotations));
        format!("\n{i}:\n  Labels:{labels}\n  Annotations:{annotations}")
    };
    format!("[{}\n]", alerts.iter().enumerate().map(one).collect::<Vec<_>>().join(","))
}

/// A sample. With a histogram its value is that of the test file.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    pub(super) value: f64,
    pub(super) histogram: String,
}

impl Sample {
    /// Of a result.
    pub(super) fn of(labels: Labels, value: &SampleValue) -> Sample {
        match value {
            SampleValue::Float(value) => Sample { labels, value: *value, histogram: String::new() },
            SampleValue::Histogram(h) => Sample { labels, value: 0.0, histogram: histogram_text(h) },
        }
    }

    fn same(&self, other: &Sample, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let value = a == b || (fuzzy && (a.next_down() == b || a.next_up() == b));
        value && self.labels == other.labels && self.histogram == other.histogram
    }

    fn text(&self) -> String {
        if !self.histogram.is_empty() {
            return format!("{} {}", self.labels, self.histogram);
        }
        let value = format_e(self.value, None);
        let value = if self.value.is_finite() { value.replace('e', "E") } else { value };
        format!("{} {value}", self.labels)
    }
}

/// Order in which samples are compared.
pub(super) fn by_labels(a: &Sample, b: &Sample) -> Ordering {
    a.labels.cmp(&b.labels)
}

/// Whether samples are the same, one by one.
pub(super) fn same(want: &[Sample], got: &[Sample], fuzzy: bool) -> bool {
    want.len() == got.len() && want.iter().zip(got).all(|(a, b)| a.same(b, fuzzy))
}

/// Samples in a line.
pub(super) fn samples_text(samples: &[Sample]) -> String {
    match samples {
        [] => "nil".to_string(),
        all => all.iter().map(Sample::text).collect::<Vec<_>>().join(", "),
    }
}

/// The notation of test files, in which a histogram has one span a side: gaps become zeros.
pub(super) fn histogram_text(h: &FloatHistogram) -> String {
    let mut h = h.clone();
    h.compact();
    let mut parts = Vec::new();
    let mut number = |name: &str, v: f64| {
        if v != 0.0 {
            parts.push(format!("{name}:{}", format_g(v)));
        }
    };
    number("schema", f64::from(h.schema));
    number("count", h.count);
    number("sum", h.sum);
    number("z_bucket", h.zero_count);
    number("z_bucket_w", h.zero_threshold);
    let list = |all: &[f64]| all.iter().map(|v| format_g(*v)).collect::<Vec<_>>().join(" ");
    if h.uses_custom_buckets() {
        parts.push(format!("custom_values:[{}]", list(&h.custom_values)));
    }
    match h.reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::Reset => parts.push("counter_reset_hint:reset".into()),
        CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".into()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".into()),
    }
    let sides = [
        ("offset", "buckets", &h.positive_spans, &h.positive_buckets),
        ("n_offset", "n_buckets", &h.negative_spans, &h.negative_buckets),
    ];
    for (offset, name, spans, buckets) in sides {
        if let Some(first) = spans.first().filter(|span| span.offset != 0) {
            parts.push(format!("{offset}:{}", first.offset));
        }
        let filled = filled(spans, buckets);
        if !filled.is_empty() {
            parts.push(format!("{name}:[{}]", list(&filled)));
        }
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

fn filled(spans: &[Span], buckets: &[f64]) -> Vec<f64> {
    let mut out = Vec::with_capacity(buckets.len());
    let mut rest = buckets.iter().copied();
    let mut room = GAP_MAX;
    for (i, span) in spans.iter().enumerate() {
        let gap = usize::try_from(span.offset).unwrap_or(0).min(room);
        if i > 0 {
            room -= gap;
            out.extend(std::iter::repeat_n(0.0, gap));
        }
        out.extend(rest.by_ref().take(usize::try_from(span.length).unwrap_or(usize::MAX)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::parse::{SequenceValue, parse_series};

    #[test]
    fn histograms_read_back() {
        for text in [
            "{{}}",
            "{{schema:1 count:3 sum:1.5 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 2]}}",
            "{{count:2 sum:1e+06 counter_reset_hint:gauge offset:-2 buckets:[1 1] n_offset:3 n_buckets:[1]}}",
            "{{schema:-53 count:1 sum:1 custom_values:[5 10] buckets:[1]}}",
        ] {
            let (_, values) = parse_series(&format!("x {text}")).unwrap();
            let [SequenceValue::Histogram(h, _)] = &values[..] else { panic!("{text}") };
            assert_eq!(histogram_text(h), text);
        }
    }

    #[test]
    fn fuzzy_is_one_step() {
        let one = |value: f64| [Sample { labels: Labels::empty(), value, histogram: String::new() }];
        assert!(
            same(&one(3.0), &one(3.0f64.next_up()), true) && !same(&one(3.0), &one(3.0f64.next_up()), false)
        );
        assert!(!same(&one(3.0), &one(3.0f64.next_up().next_up()), true));
        // As upstream, which compares by ==.
        assert!(!same(&one(f64::NAN), &one(f64::NAN), true));
        assert_eq!(samples_text(&one(1e9)), "{} 1E+09");
    }
}
