//! Advice on metrics, for `check metrics`: the rules and texts of upstream's `promlint`
//! (client_golang, `prometheus/testutil/promlint`).

use std::collections::HashMap;

use model::MetricType;

use crate::Family;

/// Something to improve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Family.
    pub metric: String,
    /// What is wrong with it.
    pub text: String,
}

/// Units and their base units.
const UNITS: [(&str, &str); 24] = [
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];
const UNIT_PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mebi",
    "giga", "gibi", "tera", "tebi", "peta", "pebi",
];
const ABBREVIATIONS: [&str; 14] =
    ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"];

fn base_unit(word: &str) -> Option<&'static str> {
    UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, base)| *base)
}

/// The first word of a name that is a unit, and the base unit it should be.
fn unit_in(name: &str) -> Option<(&str, &'static str)> {
    name.split('_').find_map(|word| {
        let prefixed = || UNIT_PREFIXES.iter().find_map(|p| base_unit(word.strip_prefix(p)?));
        base_unit(word).or_else(prefixed).map(|base| (word, base))
    })
}

fn is_camel(name: &str) -> bool {
    let mut before = false;
    name.bytes().any(|b| std::mem::replace(&mut before, b.is_ascii_lowercase()) && b.is_ascii_uppercase())
}

fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || name.ends_with(&format!("_{word}"))
}

fn lint_family(family: &Family, say: &mut dyn FnMut(String)) {
    use MetricType::{Counter, Histogram, Summary, Unknown};
    let (name, kind) = (family.name.as_str(), family.kind);
    if family.help.is_empty() {
        say("no help text".into());
    }
    if let Some((unit, base)) = unit_in(name).filter(|(unit, base)| unit != base) {
        say(format!("use base unit \"{base}\" instead of \"{unit}\""));
    }
    match (kind, name.ends_with("_total")) {
        (Counter, false) => say("counter metrics should have \"_total\" suffix".into()),
        (Counter | Unknown, _) | (_, false) => {}
        (_, true) => say("non-counter metrics should not have \"_total\" suffix".into()),
    }
    let (histogram, summary) = (kind == Histogram, kind == Summary);
    let label_names = || family.metrics.iter().flat_map(|m| m.labels.iter().map(|(n, _)| n));
    if kind != Unknown {
        if !histogram && name.ends_with("_bucket") {
            say("non-histogram metrics should not have \"_bucket\" suffix".into());
        }
        for suffix in ["_count", "_sum"] {
            if !histogram && !summary && name.ends_with(suffix) {
                say(format!("non-histogram and non-summary metrics should not have \"{suffix}\" suffix"));
            }
        }
        for label in label_names() {
            if !histogram && label == "le" {
                say("non-histogram metrics should not have \"le\" label".into());
            }
            if !summary && label == "quantile" {
                say("non-summary metrics should not have \"quantile\" label".into());
            }
        }
        let lower = name.to_lowercase();
        let word = if kind == MetricType::GaugeHistogram { "gauge_histogram" } else { kind.as_str() };
        if has_word(&lower, word) {
            say(format!("metric name should not include type '{word}'"));
        }
    }
    if name.contains(':') {
        say("metric names should not contain ':'".into());
    }
    if is_camel(name) {
        say("metric names should be written in 'snake_case' not 'camelCase'".into());
    }
    for _ in label_names().filter(|n| is_camel(n)) {
        say("label names should be written in 'snake_case' not 'camelCase'".into());
    }
    let lower = name.to_lowercase();
    for _ in ABBREVIATIONS.iter().filter(|a| has_word(&lower, a)) {
        say("metric names should not contain abbreviated units".into());
    }
    let mut seen: HashMap<&model::Labels, usize> = HashMap::new();
    for metric in &family.metrics {
        let times = seen.entry(&metric.labels).or_default();
        *times += 1;
        if *times > 1 {
            say("metric not unique".into());
        }
    }
}

/// Applies all rules; sorted by metric, then text.
#[must_use]
pub fn lint(families: &[Family]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for family in families {
        lint_family(family, &mut |text| problems.push(Problem { metric: family.name.clone(), text }));
    }
    problems.sort();
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, read_families};

    fn texts(body: &str) -> Vec<String> {
        let families = read_families(body.as_bytes(), Format::Text).unwrap();
        lint(&families).into_iter().map(|p| format!("{} {}", p.metric, p.text)).collect()
    }

    #[test]
    fn says_what_promlint_says() {
        assert_eq!(
            texts("# TYPE http_requests counter\nhttp_requests 1\n"),
            ["http_requests counter metrics should have \"_total\" suffix", "http_requests no help text"]
        );
        assert_eq!(
            texts("# HELP x_milliseconds t\n# TYPE x_milliseconds gauge\nx_milliseconds{fooBar=\"1\"} 1\n"),
            [
                "x_milliseconds label names should be written in 'snake_case' not 'camelCase'",
                "x_milliseconds use base unit \"seconds\" instead of \"milliseconds\""
            ]
        );
        assert_eq!(
            texts(
                "# HELP a:gauge_ms t\n# TYPE a:gauge_ms gauge\na:gauge_ms{le=\"1\"} 1\na:gauge_ms{le=\"1\"} 1\n"
            ),
            [
                "a:gauge_ms metric names should not contain ':'",
                "a:gauge_ms metric names should not contain abbreviated units",
                "a:gauge_ms metric not unique",
                "a:gauge_ms non-histogram metrics should not have \"le\" label",
                "a:gauge_ms non-histogram metrics should not have \"le\" label"
            ]
        );
        let fine = "# HELP h_seconds t\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1\"} 1\n\
                    h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 2\nh_seconds_count 2\n";
        assert_eq!(texts(fine), [""; 0]);
    }
}
