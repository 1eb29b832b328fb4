//! Hostile and huge input: bounded, quick, never a panic.

use std::fmt::Write as _;
use std::time::Instant;

use config::{Config, RuleChecks, RuleFile, WebConfig, parse_targets_json, parse_targets_yaml};
use proptest::prelude::*;

use super::options;

#[test]
fn bombs_are_refused() {
    let mut lists = String::from("global:\n  external_labels: {}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    let mut merges = String::from("scrape_configs:\n- &m0 {job_name: a}\n");
    for i in 1..20 {
        let refs = format!("*a{},", i - 1).repeat(9);
        let _ = writeln!(lists, "a{i}: &a{i} [{refs}]");
        let _ = writeln!(merges, "- &m{i} {{<<: [{}], job_name: b{i}}}", format!("*m{},", i - 1).repeat(9));
    }
    // Under a key that is decoded, not only parsed.
    let nested = lists.replace("a19: &a19", "rule_files:");
    let nested = nested.replace("global:\n  external_labels: {}\n", "");
    for text in [lists, merges, nested] {
        let start = Instant::now();
        assert!(Config::parse(&text, &options()).is_err());
        assert!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
    }
}

#[test]
fn nesting_is_bounded() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!("a:\n{}", "? ".repeat(50_000)),
    ] {
        assert!(Config::parse(&text, &options()).is_err());
    }
}

#[test]
fn endless_files_and_lines() {
    for text in [
        "a".repeat(4 << 20),
        "\n".repeat(4 << 20),
        format!("global: {{query_log_file: \"{}\"}}", "x".repeat(4 << 20)),
        "#".repeat(1 << 20),
    ] {
        let _ = Config::parse(&text, &options());
    }
}

#[test]
fn twenty_thousand_jobs_load_quickly() {
    let mut text = String::with_capacity(12 << 20);
    text.push_str("scrape_configs:\n");
    for i in 0..20_000 {
        let _ = write!(
            text,
            "- job_name: job-number-{i}\n  scrape_interval: 30s\n  metrics_path: /metrics/of/{i}\n  static_configs:\n  - targets: ['host-{i}.example.com:9100', 'other-{i}.example.com:9100']\n    labels: {{env: production, team: team-{i}}}\n  relabel_configs:\n  - source_labels: [__address__, __meta_something]\n    regex: '(.+):(\\d+);.*'\n    target_label: instance\n    replacement: '${{1}}'\n  - action: labeldrop\n    regex: tmp_.*\n  metric_relabel_configs:\n  - source_labels: [__name__]\n    regex: go_(gc|memstats)_.*\n    action: drop\n"
        );
    }
    assert!(text.len() > 10_000_000, "{}", text.len());
    let start = Instant::now();
    let config = Config::parse(&text, &options()).unwrap();
    let parsed = start.elapsed();
    let printed = config.to_yaml();
    assert_eq!(config.scrape_configs.len(), 20_000);
    assert!(printed.len() > text.len());
    // Seconds in a debug build, half a minute on a loaded machine: wide enough for that, not for work that
    // grows with the square of the jobs.
    assert!(parsed.as_secs() < 300, "{parsed:?}");
}

fn rules(text: &str) {
    let mut checks = RuleChecks {
        scheme: config::ValidationScheme::Utf8,
        ignore_unknown_fields: false,
        expression: &mut |_| Ok(()),
        template: &mut |_| Ok(()),
    };
    let _ = RuleFile::parse(text, &mut checks);
}

fn everything(text: &str) {
    // Nulls do not read back as themselves, so only that printing and reading again do not fail hard.
    if let Ok(config) = Config::parse(text, &options()) {
        let _ = Config::parse(&config.to_yaml(), &options());
    }
    rules(text);
    let _ = WebConfig::parse(text);
    let _ = parse_targets_yaml(text, "f");
    let _ = parse_targets_json(text.as_bytes(), "f");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:\\-\\[\\]{} \n\"'&*!|>#,?%@`~.0-9\t]{0,120}") {
        everything(&text);
    }

    /// Real keys in a random shape reach further than random text.
    #[test]
    fn any_shape_of_real_keys(parts in prop::collection::vec((0usize..24, 0usize..16, 0usize..4), 1..12)) {
        const KEYS: [&str; 24] = [
            "global", "scrape_configs", "job_name", "scrape_interval", "static_configs", "targets", "labels", "relabel_configs",
            "regex", "action", "remote_write", "url", "alerting", "alertmanagers", "tls_config", "basic_auth", "storage", "tsdb",
            "rule_files", "otlp", "external_labels", "<<", "params", "http_headers",
        ];
        const VALUES: [&str; 16] = [
            "", "a", "5s", "[a, b]", "{a: b}", "null", "-1", "1e9", "true", "&x 5", "*x", "|\n   text", "\"\\u0001\"", "''", "[null]", "{<<: {a: b}}",
        ];
        let mut text = String::new();
        for (key, value, depth) in parts {
            let _ = writeln!(text, "{}{}{}: {}", "  ".repeat(depth), if key % 5 == 2 { "- " } else { "" }, KEYS[key], VALUES[value]);
        }
        everything(&text);
    }

    /// Every string survives being printed.
    #[test]
    fn strings_round_trip(value in "\\PC{0,100}|[ a:#'\"\n\\-\\[\\]{}0-9]{0,40}", key in "[a-z_]{1,8}") {
        let json = serde_json::to_string(&value).unwrap();
        let json = json.replace('\u{7f}', "\\u007f").replace('$', "$$");
        let text = format!("global:\n  external_labels: {{{key}: {json}}}\n");
        let config = Config::parse(&text, &options()).unwrap();
        prop_assert_eq!(&config.global.external_label_map[&key], &value);
        let printed = config.to_yaml().replace('$', "$$");
        let again = Config::parse(&printed, &options()).unwrap();
        prop_assert_eq!(&again.global.external_label_map[&key], &value, "{}", printed);
    }
}
